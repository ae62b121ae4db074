"""Meters: the log continues the register, nights are quiet, leaks never stop, registers roll over."""

from __future__ import annotations

from itertools import pairwise, takewhile

import orjson
import pytest

from firmware_sim import water
from firmware_sim.fleet import spec_of
from firmware_sim.model import DAY, HOUR, SECOND, Happening, Sample, Span
from firmware_sim.rhythm import Weather

START = 20_773 * DAY
SEED = 7
SPAN = Span(seed=SEED, origin_ns=START, start_ns=START)


def life(index: int, days: float = 4, seed: int = SEED) -> list[Sample | Happening]:
    span = Span(seed=seed, origin_ns=START, start_ns=START)
    items = water.samples(spec_of("water", index, seed=seed), span, Weather(seed))
    return list(
        takewhile(lambda i: (i.due_ns if isinstance(i, Happening) else i.sent_ns) < START + days * DAY, items)
    )


def meter(index: int) -> water.Meter:
    return water.Meter(spec_of("water", index, seed=SEED), SPAN)


@pytest.mark.parametrize("index", range(1, 8))
def test_log_and_register_are_one_story(index: int) -> None:
    """The register at the log's start plus its deltas is that of the hour; the present one follows."""
    for item in life(index):
        if isinstance(item, Sample):
            body = orjson.loads(orjson.dumps(item.body))
            log = body["log"]
            assert log["ts"] % 3600 == 0
            assert log["ts"] + 3600 * len(log["deltas_l"]) == body["ts"] // 3600 * 3600
            at_hour = (log["index_l"] + sum(log["deltas_l"])) % water.MODULUS_L
            since = (body["index_l"] - at_hour) % water.MODULUS_L
            assert 0 <= since <= 3125
            assert 0 <= body["index_l"] < water.MODULUS_L


def test_successive_logs_overlap_and_agree() -> None:
    """An hour told in two uplinks is told alike; most uplinks tell fifteen hours."""
    hours: dict[int, object] = {}
    lengths = []
    for item in life(4):
        if isinstance(item, Sample):
            lengths.append(len(item.body["log"]["deltas_l"]))
            for row in item.readings[1:]:
                assert hours.setdefault(row.time_ns, row.fields["index"]) == row.fields["index"]
    assert max(lengths) == water.LOGGED
    assert len(hours) > 3 * 24


def test_sound_households_sleep() -> None:
    """Without a leak nothing flows in the night hour; over a day something does."""
    for index in range(1, 30):
        one = meter(index)
        for day in range(5):
            first = START // HOUR + 24 * day
            if any(one.leaking(first + hour) for hour in range(24)):
                continue
            used = [one.used(first + hour) for hour in range(24)]
            assert used[2] == 0  # three o'clock in the city, winter
            assert sum(used) < 3_000
    assert (
        sum(meter(index).used(START // HOUR + hour) for index in range(1, 30) for hour in range(24)) > 1_000
    )


def test_a_leak_flows_in_every_hour_and_is_told() -> None:
    """While a leak lasts every hour's delta holds at least its flow, and the status says so after a day."""
    found = 0
    for index in range(1, 120):
        one = meter(index)
        for leak in one.household.leaks:
            first = START // HOUR
            if leak.start < first - 24 and leak.end > first + 30 and leak.lph < water.BURST_LPH:
                items = life(index, days=1)
                told = [i for i in items if isinstance(i, Happening) and i.what == "leak"]
                assert [h.detail["lph"] for h in told] == [leak.lph]
                for item in items:
                    if isinstance(item, Sample):
                        assert min(item.body["log"]["deltas_l"]) >= leak.lph
                        assert item.body["flow_lph"] >= leak.lph
                        assert item.readings[0].fields["leak"] == "on"
                found += 1
    assert found >= 3


def test_sound_meters_tell_no_leak() -> None:
    """The leak bit is on for no meter whose last two days were without a leak."""
    for index in range(1, 40):
        one = meter(index)
        for item in life(index, days=2):
            if isinstance(item, Sample) and item.readings[0].fields["leak"] == "on":
                hour = item.body["ts"] // 3600
                assert any(one.leaking(earlier) for earlier in range(hour - 25, hour + 1))


def test_some_registers_roll_over() -> None:
    """A few old meters pass their modulus: the index falls, the deltas go on, and the ledger is told."""
    rolled = 0
    for index in range(1, 120):
        if meter(index).household.base < water.MODULUS_L - 2_000:
            continue
        items = life(index)
        told = [i for i in items if isinstance(i, Happening) and i.what == "rollover"]
        registers = [i.body["index_l"] for i in items if isinstance(i, Sample)]
        assert len(told) == 1
        assert sum(later < earlier for earlier, later in pairwise(registers)) == 1
        rolled += 1
    assert rolled >= 1


def test_a_swapped_meter_starts_anew() -> None:
    """After a swap the log reaches back no further than the new meter's first hour."""
    index, one = next(
        (index, one)
        for index, one in ((i, meter(i)) for i in range(1, 600))
        if one.household.swapped is not None and one.household.swapped < START // HOUR + 100
    )
    swapped = one.household.swapped
    assert swapped is not None
    items = life(index, days=6)
    assert [h.start_ns for h in items if isinstance(h, Happening) and h.what == "meter swap"] == [
        swapped * HOUR
    ]
    after = [i for i in items if isinstance(i, Sample) and i.body["ts"] // 3600 >= swapped]
    assert after[0].body["index_l"] < 4_000
    assert after[0].body["log"]["deltas_l"] == []
    assert all(i.body["log"]["ts"] >= swapped * 3600 for i in after)


def test_status_bits_and_states_agree() -> None:
    """Each state in the truth is its bit, or its value of the bits 5 to 7."""
    for index in range(1, 60):
        for item in life(index, days=1):
            if isinstance(item, Sample):
                status, fields = item.body["status"], item.readings[0].fields
                assert fields["battery_low"] == ("on" if status & 4 else "off")
                assert fields["leak"] == ("on" if status >> 5 & 7 == 1 else "off")
                assert fields["freezing"] == ("on" if status >> 5 & 7 == 4 else "off")
                assert fields["burst"] == ("on" if status >> 5 & 7 == 5 else "off")
                assert item.readings[0].time_ns == item.body["ts"] * SECOND
