"""The city as a whole: deterministic, complete, in order, and the same for a device in any fleet."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from itertools import pairwise, takewhile
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_sim.city import city
from firmware_sim.faults import Rates
from firmware_sim.fleet import Fleet
from firmware_sim.model import DAY, HOUR, MINUTE, SECOND, Happening, Message, Span

if TYPE_CHECKING:
    from firmware_sim.model import Item, Spec

START = int(datetime(2026, 11, 16, 6, tzinfo=UTC).timestamp()) * SECOND  # a Monday


def lived(
    specs: list[Spec],
    *,
    hours: float = 6,
    faults: float = 0.0,
    seed: int = 1,
    start: int = START,
    origin: int = START,
) -> list[Item]:
    span = Span(seed=seed, origin_ns=origin, start_ns=start)
    items = city(specs, span, Rates.of(faults))
    return list(takewhile(lambda item: item.due_ns < start + int(hours * HOUR), items))


def messages(items: list[Item]) -> list[Message]:
    return [item for item in items if isinstance(item, Message)]


def test_same_seed_same_city() -> None:
    """Two runs with one seed are equal to the byte; another seed gives another city."""
    specs = Fleet.of(30).specs(1)
    assert lived(specs, faults=0.05) == lived(specs, faults=0.05)
    assert lived(specs, faults=0.05) != lived(specs, faults=0.05, seed=2)


@settings(max_examples=8, deadline=None)
@given(st.integers(3, 25), st.randoms(use_true_random=False))
def test_a_device_is_the_same_in_any_fleet(size: int, shuffler: object) -> None:
    """What a device sends depends neither on how many others there are nor on their order."""
    small = Fleet.of(size).specs(3)
    large = Fleet.of(40).specs(3)
    shuffler.shuffle(large)  # type: ignore[attr-defined]
    one = small[-1]
    alone = [item for item in lived(small, hours=3, faults=0.05) if item.device == one.id]
    among = [item for item in lived(large, hours=3, faults=0.05) if item.device == one.id]
    assert alone
    assert alone == among


def test_messages_come_in_order_of_time() -> None:
    """The stream is sorted by the time at which its items are due."""
    due = [item.due_ns for item in lived(Fleet.of(60).specs(1), faults=0.05)]
    assert due == sorted(due)


def test_every_device_reports_early_and_at_least_hourly() -> None:
    """Every device speaks within five minutes; no gap of a healthy city exceeds an hour."""
    specs = Fleet.of(100).specs(1)
    heard = defaultdict(list)
    for message in messages(lived(specs)):
        heard[message.device].append(message.due_ns)
    assert heard.keys() == {spec.id for spec in specs}
    for times in heard.values():
        assert times[0] < START + 5 * MINUTE
        gaps = [later - earlier for earlier, later in pairwise(times)]
        assert max(gaps) <= HOUR + MINUTE


def test_reports_are_spread_over_the_interval() -> None:
    """No minute of the hour carries much more than its share of the messages."""
    later = [m for m in messages(lived(Fleet.of(300).specs(1), hours=3)) if m.due_ns > START + HOUR]
    per_minute = defaultdict(int)
    for message in later:
        per_minute[message.due_ns // MINUTE] += 1
    assert max(per_minute.values()) < 3 * len(later) / len(per_minute)


def test_a_later_run_goes_on_with_the_same_city() -> None:
    """A run that starts later with the same origin sends the same regular readings as one run through."""
    specs = Fleet.of(20).specs(5)
    through = {row for m in messages(lived(specs, hours=12)) for row in map(_row, m.readings)}
    later = messages(lived(specs, start=START + 6 * HOUR, hours=5))
    repeated = [m for m in later if m.due_ns > START + 7 * HOUR]
    assert repeated
    assert all(_row(reading) in through for m in repeated for reading in m.readings)


def test_a_row_told_twice_is_told_alike() -> None:
    """Overlapping logs, duplicates and reports out of order never contradict each other."""
    known: dict[object, object] = {}
    for message in messages(lived(Fleet.of(80).specs(2), hours=30, faults=0.03)):
        for reading in message.readings:
            row = known.setdefault(
                (reading.device, str(reading.dimensions), reading.time_ns), dict(reading.fields)
            )
            for name, value in reading.fields.items():
                assert row.setdefault(name, value) == value


def test_clocks_are_off_but_bounded() -> None:
    """Device times differ from the true ones by up to a minute, and not all alike."""
    offsets = {
        (m.readings[0].time_ns - m.due_ns) // SECOND
        for m in messages(lived(Fleet(60, 0, 0).specs(1), hours=2))
    }
    assert len(offsets) > 20
    assert max(map(abs, offsets)) <= 61


def test_happenings_have_times_and_devices() -> None:
    """A week of a city has collections, incidents and leaks, each with a device and a span."""
    happenings = [i for i in lived(Fleet.of(60).specs(4), hours=5 * 24) if isinstance(i, Happening)]
    kinds = {happening.what for happening in happenings}
    assert {"collection", "incident", "leak"} <= kinds
    assert all(h.start_ns <= h.end_ns and h.device and h.start_ns < START + 5 * DAY for h in happenings)


def _row(reading: object) -> str:
    return repr(reading)
