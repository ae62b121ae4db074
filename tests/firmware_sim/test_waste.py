"""Bins fill by hour, are emptied by rounds, and tell the truth about both."""

from __future__ import annotations

from itertools import pairwise, takewhile
from statistics import mean

import orjson
import pytest

from firmware_sim import waste
from firmware_sim.fleet import spec_of
from firmware_sim.model import DAY, HOUR, MINUTE, Happening, Sample, Span
from firmware_sim.rhythm import Weather

START = 20_773 * DAY  # Monday, 2026-11-16
SEED = 7
SPAN = Span(seed=SEED, origin_ns=START, start_ns=START)


def life(index: int, days: float = 14) -> list[Sample | Happening]:
    items = waste.samples(spec_of("waste", index, seed=SEED), SPAN, Weather(SEED))

    def early(item: Sample | Happening) -> bool:
        at = item.due_ns if isinstance(item, Happening) else item.sent_ns
        return at < START + days * DAY

    return list(takewhile(early, items))


def level(sample: Sample) -> float:
    value = sample.readings[0].fields["filling_level"]
    assert isinstance(value, float)
    return value


@pytest.mark.parametrize("index", range(1, 6))
def test_fills_up_and_is_emptied_by_collections(index: int) -> None:
    """Between collections the level rises; at each collection it falls to nearly nothing."""
    items = life(index)
    visits = [i for i, item in enumerate(items) if isinstance(item, Happening) and item.what == "collection"]
    assert len(visits) >= 2
    for place in visits:
        before = next(level(i) for i in reversed(items[:place]) if isinstance(i, Sample))
        after = next(level(i) for i in items[place:] if isinstance(i, Sample))
        assert after < 6
        assert before > after
    for first, last in pairwise(visits):
        levels = [level(i) for i in items[first + 1 : last] if isinstance(i, Sample)]
        assert levels[-1] > levels[0]
        falls = [earlier - later for earlier, later in pairwise(levels)]
        assert max(falls, default=0.0) < 4  # an echo trembles; nothing else falls


def test_some_collections_are_missed() -> None:
    """Over a fleet and two weeks a few rounds leave a bin out, and its level does not fall then."""
    visits = [i for index in range(1, 60) for i in life(index) if isinstance(i, Happening)]
    missed = [visit for visit in visits if visit.what == "missed collection"]
    assert 0.01 < len(missed) / len(visits) < 0.10


def test_more_is_thrown_in_by_day() -> None:
    """Between midnight and five less is thrown in than between eight and twenty."""
    rises: dict[int, list[float]] = {hour: [] for hour in range(24)}
    for index in range(1, 20):
        samples = [i for i in life(index, days=5) if isinstance(i, Sample)]
        for one, two in pairwise(samples):
            if level(two) > level(one) - 5:
                rises[one.sent_ns % DAY // HOUR].append(level(two) - level(one))
    night = mean(rise for hour in range(4) for rise in rises[hour])
    day = mean(rise for hour in range(8, 19) for rise in rises[hour])
    assert day > 2 * max(night, 0.01)


def test_payload_and_truth_agree() -> None:
    """The derived level follows the contract's formula from the payload's distance."""
    spec = spec_of("waste", 3, seed=SEED)
    empty, full = spec.parameters["empty"], spec.parameters.get("full", 300.0)
    for item in life(3, days=3):
        if isinstance(item, Sample):
            body = orjson.loads(orjson.dumps(item.body))
            assert list(body) == ["id", "seq", "ts", "dist_mm", "temp_c", "battery_v", "tilt", "rssi"]
            (row,) = item.readings
            assert row.time_ns == body["ts"] * 1_000_000
            assert row.fields["distance"] == body["dist_mm"]
            share = (empty - body["dist_mm"]) / (empty - full)
            assert row.fields["filling_level"] == pytest.approx(100 * max(0.0, min(1.0, share)))
            assert row.fields["tilt"] == ("upright", "tilted")[body["tilt"]]
            assert 20 <= body["dist_mm"] <= 4500


def test_no_echo_gives_no_level() -> None:
    """Distances 0 and 65535 say that there was no echo: the row has neither distance nor level."""
    spec = spec_of("waste", 3, seed=SEED)
    sample = next(i for i in life(3, days=1) if isinstance(i, Sample))
    for nothing in waste.NO_ECHO:
        (row,) = waste.readings(spec, {**sample.body, "dist_mm": nothing})
        assert not {"distance", "filling_level"} & row.fields.keys()


def test_battery_decays() -> None:
    """Over a year the voltage falls, and stays one that works."""
    spec = spec_of("waste", 2, seed=SEED)
    young, old = (
        next(
            i
            for i in waste.samples(spec, Span(SEED, START, START + later), Weather(SEED))
            if isinstance(i, Sample)
        )
        for later in (0, 365 * DAY)
    )
    assert 2.4 < old.body["battery_v"] < young.body["battery_v"] <= 3.65


def test_collected_bins_are_tilted() -> None:
    """Around a collection the bin is tilted, if a report falls into it."""
    for index in range(1, 80):
        items = life(index, days=7)
        visits = [i.start_ns for i in items if isinstance(i, Happening) and i.what == "collection"]
        for item in items:
            if isinstance(item, Sample):
                at = item.readings[0].time_ns
                if any(abs(at - visit) < 3 * MINUTE for visit in visits):
                    assert item.body["tilt"] == 1
                    return
    pytest.fail("no report fell into a collection")
