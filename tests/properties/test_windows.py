"""The invariant of every window: its last writing is a function of the set of its readings alone."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.testing import MemoryStateStore
from tests.aggregate import oracle
from tests.aggregate.oracle import HOUR, MINUTE, Row
from tests.aggregate.profiles import (
    KEYS,
    LEVEL,
    NOON,
    QUANTITIES,
    TEXTS,
    ZONES,
    aggregator,
    final,
    flows,
    profile,
    readings,
)

if TYPE_CHECKING:
    from gateway.model import Column, Readings, Windows

VALUES = {
    "level": st.one_of(st.integers(-120, 120).map(float), st.floats(-100, 100)),
    "speed": st.integers(0, 130).map(float),
    "cars": st.integers(0, 3).map(float),
    "index": st.integers(0, 999).map(float),
    "door": st.integers(0, 1).map(float),
    "note": st.integers(0, 1).map(float),
}
SERIES_ZONES = {code: ZONES[key[0]] for code, key in enumerate(KEYS)}
ROWS = st.lists(
    st.builds(
        Row,
        st.integers(0, len(KEYS) - 1),
        # Minutes over a day and a half, often the same ones, so that identities meet.
        st.one_of(st.integers(0, 36 * 60), st.integers(0, 90)).map(lambda minute: NOON + minute * MINUTE),
        st.fixed_dictionaries({}, optional=VALUES).filter(bool),
    ),
    min_size=1,
    max_size=40,
)

Written = dict[oracle.Key, dict[str, Any]]


def take_up(written: Written, windows: list[Windows]) -> None:
    """Write windows as a database does: the later one stands."""
    for each in windows:
        for n in range(len(each)):
            key = each.window, int(each.series[n]), int(each.start[n])
            written[key] = {name: c.values[n] for name, c in each.fields.items() if _there(c, n)}


def _there(column: Column, n: int) -> bool:
    return column.present is None or bool(column.present[n])


def take_raw(raw: dict[tuple[int, int], list[int]], readings: Readings) -> None:
    """Write raw rows as a database does; of each its flags."""
    for n in range(len(readings)):
        raw[int(readings.series[n]), int(readings.time[n])] = readings.flags[:, n].tolist()


def same(left: Written, right: Written) -> None:
    """Assert that two sets of windows say the same: whole numbers exactly, others to 1e-9."""
    assert left.keys() == right.keys()
    for key, fields in left.items():
        assert fields.keys() == right[key].keys(), key
        for name, value in fields.items():
            other = right[key][name]
            if isinstance(other, float):
                tolerance = _tolerance(name, fields, other)
                assert abs(value - other) <= tolerance, (key, name, value, other)
            else:
                assert value == other, (key, name, value, other)


def _tolerance(name: str, fields: dict[str, Any], value: float) -> float:
    if name.endswith("_stddev"):
        return 1e-9 + 1e-4  # the root of a variance within 1e-9 of (v - ref)² ≤ 150²
    if name in ("level_p50", "level_p99_9") and fields["level_count"] >= 8:
        return 0.010001 * abs(value)
    return 1e-9 * max(1.0, abs(value))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=ROWS)
def test_aggregation_equals_the_naive_loop(rows: list[Row]) -> None:
    """One batch of anything, then all windows: equal to plain Python over the sorted readings."""
    plan = profile()
    ours = aggregator(MemoryStateStore(), plan)
    settled = ours.add(readings(ours, plan, rows, NOON + 36 * HOUR), flows(rows))
    counted = settled.aggregated + settled.raw_only + settled.duplicates + settled.conflicting
    assert counted == sum(len(row.values) for row in rows)
    written: Written = {}
    take_up(written, list(ours.due(NOON + 100 * HOUR)))
    same(written, oracle.windows(plan, plan.groups[0], final(plan, rows), SERIES_ZONES, TEXTS))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=ROWS, seed=st.integers(0, 2**32), hot=st.sampled_from([0, 20_000, 1 << 30]))
def test_any_way_to_come_gives_the_same_last_writings(rows: list[Row], seed: int, hot: int) -> None:
    """Batches, order, repeats, windows written early, checkpoints, crashes and evictions change nothing."""
    chance = random.Random(seed)
    plan = profile()
    # Identities that contradict each other are decided by the journal's order, so it is kept for them.
    first = {(row.series, row.time): row for row in reversed(rows)}
    journal = list(first.values())
    chance.shuffle(journal)
    journal += chance.choices(journal, k=len(journal) // 3)
    store = MemoryStateStore()
    ours = aggregator(store, plan, hot_bytes=hot)
    written: Written = {}
    raw: dict[tuple[int, int], list[int]] = {}
    place = saved = crashes = crashed_at = 0
    while place < len(journal):
        size = chance.randint(1, 12)
        batch = journal[place : place + size]
        settled = ours.add(readings(ours, plan, batch, NOON + 36 * HOUR + place, place), flows(batch))
        take_raw(raw, settled.raw)
        place += len(batch)
        if place >= crashed_at:
            for again in ours.replayed():
                take_raw(raw, again)
        if chance.random() < 0.4:
            take_up(written, list(ours.due(NOON + chance.randint(0, 60) * HOUR)))
        if chance.random() < 0.4:
            store.commit(ours.dirty(), {})
            saved = place
            if chance.random() < 0.5:
                ours.committed()
        if chance.random() < 0.2 and crashes < 3:
            ours, crashed_at, crashes = (
                aggregator(store, plan, hot_bytes=hot),
                max(place, crashed_at),
                crashes + 1,
            )
            place = saved
    take_up(written, list(ours.due(NOON + 100 * HOUR)))
    expected = final(plan, list(first.values()))
    same(written, oracle.windows(plan, plan.groups[0], expected, SERIES_ZONES, TEXTS))
    names = [quantity.name for quantity in plan.groups[0].quantities]
    for row in expected:
        flags = [row.flags.get(name, 9) for name in names]
        assert raw[row.series, row.time] == flags, (row, raw[row.series, row.time])


ARRIVALS = st.lists(
    st.tuples(
        st.integers(0, len(KEYS) - 1),
        st.integers(0, 40),  # minutes since the arrival before
        st.integers(0, 200),  # minutes of delay
        st.fixed_dictionaries({}, optional=VALUES).filter(bool),
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(arrivals=ARRIVALS, seed=st.integers(0, 2**32), hot=st.sampled_from([0, 1 << 30]))
def test_what_is_late_and_what_is_dropped_does_not_depend_on_batches(
    arrivals: list[tuple[int, int, int, dict[str, float]]], seed: int, hot: int
) -> None:
    """A live river, one hour of lateness: blocks go, crashes come; the windows are those of the rest."""
    chance = random.Random(seed)
    # Without spikes: one that is shown after its own window is final changes nothing any more.
    plan = profile((replace(LEVEL, spike=None), *QUANTITIES[1:]), lateness=HOUR)
    now, rows, received = NOON, [], []
    for series, after, delay, values in arrivals:
        now += after * MINUTE
        rows.append(Row(series, now - delay * MINUTE, values))
        received.append(now)
    accepted = [row for row, at in zip(rows, received, strict=True) if at <= _end(row) + HOUR]
    store = MemoryStateStore()
    ours = aggregator(store, plan, hot_bytes=hot)
    written: Written = {}
    place = saved = crashes = crashed_at = late = late_saved = 0
    while place < len(rows):
        size = chance.randint(1, 8)
        batch, times = rows[place : place + size], received[place : place + size]
        settled = ours.add(readings(ours, plan, batch, times, place), flows(batch))
        late += int(settled.late.sum())
        place += len(batch)
        if place >= crashed_at:
            ours.replayed()
        take_up(written, list(ours.due(times[-1])))
        if chance.random() < 0.4:
            store.commit(ours.dirty(), {})
            ours.committed()
            saved, late_saved = place, late
        elif chance.random() < 0.3 and crashes < 3 and saved:
            ours, crashed_at = aggregator(store, plan, hot_bytes=hot), max(place, crashed_at)
            place, crashes, late = saved, crashes + 1, late_saved
    take_up(written, list(ours.due(now + 100 * HOUR)))
    assert late == len(rows) - len(accepted)
    same(written, oracle.windows(plan, plan.groups[0], final(plan, accepted), SERIES_ZONES, TEXTS))


def _end(row: Row) -> int:
    return oracle.bounds("UTC", 15 * MINUTE, row.time)[1]
