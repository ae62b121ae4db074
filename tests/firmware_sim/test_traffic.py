"""Traffic has rush hours, nights, weekends and incidents, and its truth is that of the payload."""

from __future__ import annotations

from itertools import takewhile
from statistics import mean

import orjson
import pytest

from firmware_sim import traffic
from firmware_sim.fleet import spec_of
from firmware_sim.model import DAY, HOUR, MINUTE, SECOND, Happening, Sample, Span

MONDAY = 20_773 * DAY  # 2026-11-16
SEED = 7
PARIS = HOUR  # winter time


def life(index: int, days: float = 7) -> list[Sample | Happening]:
    span = Span(seed=SEED, origin_ns=MONDAY, start_ns=MONDAY)
    items = traffic.samples(spec_of("traffic", index, seed=SEED), span)
    return list(
        takewhile(
            lambda i: (i.due_ns if isinstance(i, Happening) else i.sent_ns) < MONDAY + days * DAY, items
        )
    )


def passed(sample: Sample) -> int:
    return sum(kind["n"] for lane in sample.body["lanes"] for kind in lane["classes"].values())


def by_hour(days: range) -> dict[int, float]:
    counts: dict[int, list[int]] = {hour: [] for hour in range(24)}
    for index in range(1, 12):
        for item in life(index):
            if isinstance(item, Sample):
                local = item.readings[0].time_ns - MONDAY + PARIS
                if local // DAY in days:
                    counts[local % DAY // HOUR].append(passed(item))
    return {hour: mean(values) for hour, values in counts.items() if values}


def test_two_rush_hours_on_workdays() -> None:
    """Morning and evening peaks stand above noon, and noon far above the night."""
    hours = by_hour(range(1, 5))
    assert hours[8] > 1.3 * hours[11]
    assert hours[17] > 1.3 * hours[14]
    assert hours[12] > 5 * hours[3]


def test_weekends_have_no_morning_rush() -> None:
    """On Saturday and Sunday eight o'clock is quieter than noon, and than on a workday."""
    hours, workday = by_hour(range(5, 7)), by_hour(range(1, 5))
    assert hours[8] < hours[12]
    assert hours[8] < 0.5 * workday[8]


def test_incidents_thin_and_slow_the_flow() -> None:
    """During an incident its direction is slower, and a queue stands over the lane."""
    seen = 0
    for index in range(1, 25):
        items = life(index)
        samples = [i for i in items if isinstance(i, Sample)]
        for incident in (i for i in items if isinstance(i, Happening) and i.what == "incident"):
            lanes = [
                (sample.readings[0].time_ns, lane)
                for sample in samples
                for lane in sample.body["lanes"]
                if lane["direction"] == incident.detail["direction"]
            ]
            during = [lane for at, lane in lanes if incident.start_ns <= at < incident.end_ns]
            usual = [lane for at, lane in lanes if at % DAY == incident.start_ns % DAY and lane not in during]
            seen += 1
            assert min(lane["occupancy"] for lane in during) > 30
            assert mean(lane["classes"]["car"]["v"] for lane in during) < 20
            assert mean(lane["classes"]["car"]["v"] for lane in usual) > 20
    assert seen >= 10


def test_time_is_the_end_of_the_period() -> None:
    """The payload's time is a quarter of an hour's end, and the truth stands at its start."""
    for item in life(3, days=1):
        if isinstance(item, Sample):
            end = traffic.moment(item.body["time"])
            assert end % (15 * MINUTE) == 0
            assert -MINUTE <= item.sent_ns - end < 16 * MINUTE
            assert {row.time_ns for row in item.readings} == {end - item.body["period_s"] * SECOND}


def test_no_period_is_told_twice_or_left_out() -> None:
    """A healthy counter tells each quarter of an hour once (the boot's is the first)."""
    ends = [traffic.moment(i.body["time"]) for i in life(5) if isinstance(i, Sample)]
    assert ends == list(range(ends[0], ends[-1] + 1, 15 * MINUTE))


def test_payload_and_truth_agree() -> None:
    """Rows per lane and class, per lane, and per device hold the payload's values; nobody, no speed."""
    empty = 0
    for item in life(2, days=2):
        if not isinstance(item, Sample):
            continue
        body = orjson.loads(orjson.dumps(item.body))
        rows = {tuple(row.dimensions.items()): row.fields for row in item.readings}
        assert rows[()] == {"battery": float(body["battery_pct"])}
        for lane in body["lanes"]:
            place = (("lane", lane["lane"]), ("direction", lane["direction"]))
            assert rows[place] == {"occupancy": lane["occupancy"]}
            assert 0 <= lane["occupancy"] <= 100
            for name, kind in lane["classes"].items():
                row = rows[(*place, ("class", name))]
                assert row["vehicles"] == kind["n"]
                assert row.get("mean_speed") == (kind["v"] if kind["n"] else None)
                empty += not kind["n"]
    assert empty


@pytest.mark.parametrize("index", [1, 2, 3, 4])
def test_lanes_have_distinct_names(index: int) -> None:
    """(lane, direction) is unique, in and out are both there."""
    sample = next(i for i in life(index, days=1) if isinstance(i, Sample))
    lanes = [(lane["lane"], lane["direction"]) for lane in sample.body["lanes"]]
    assert len(set(lanes)) == len(lanes)
    assert {direction for _, direction in lanes} == {"in", "out"}
