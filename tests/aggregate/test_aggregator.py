"""What becomes of readings, one behaviour a test: identity, lateness, corrections, deliveries, versions."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import StateError
from gateway.model import Reason
from gateway.profiles.plan import Kind, QuantityPlan, Statistic
from gateway.testing import MemoryStateStore
from tests.aggregate.oracle import DAY, HOUR, MINUTE, Row
from tests.aggregate.profiles import (
    CARS,
    DOOR,
    INDEX,
    LEVEL,
    NOON,
    ZONES,
    aggregator,
    flows,
    profile,
    readings,
)

if TYPE_CHECKING:
    from gateway.aggregate.aggregator import Aggregator
    from gateway.aggregate.settle import Settled
    from gateway.model import Windows
    from gateway.profiles.plan import ProfilePlan

TEMPERATURE = QuantityPlan(
    "temperature",
    "Cel",
    Kind.GAUGE,
    fail_range=(-40, 60),
    suspect_range=(-20, 45),
    statistics=(Statistic.COUNT, Statistic.MEAN),
)
PLAIN = profile((TEMPERATURE, CARS))
QUARTER = 15 * MINUTE


def at(minute: float, series: int = 0, **values: float) -> Row:
    """Return a reading so many minutes after noon."""
    return Row(series, NOON + int(minute * MINUTE), values)


def add(ours: Aggregator, *rows: Row, received: float | None = None, plan: ProfilePlan = PLAIN) -> Settled:
    """Give the aggregator one batch, received (minutes after noon) with its newest row unless said."""
    received_ns = NOON + int(received * MINUTE) if received is not None else max(row.time for row in rows)
    return ours.add(readings(ours, plan, rows, received_ns), flows(rows))


def due(ours: Aggregator, minute: float) -> dict[tuple[str, int, int], dict[str, Any]]:
    """Return what is written so many minutes after noon: (window, series, minute of its start) → fields."""
    return said(list(ours.due(NOON + int(minute * MINUTE))))


def said(windows: list[Windows]) -> dict[tuple[str, int, int], dict[str, Any]]:
    found = {}
    for each in windows:
        for n in range(len(each)):
            fields = {k: c.values[n] for k, c in each.fields.items() if c.present is None or c.present[n]}
            key = each.window, int(each.series[n]), (int(each.start[n]) - NOON) // MINUTE
            found[key] = fields | {"revision": int(each.revision[n])}
    return found


def counts(settled: Settled) -> tuple[int, int, int, int]:
    return settled.aggregated, settled.raw_only, settled.duplicates, settled.conflicting


def test_a_window_is_written_when_it_has_ended_and_the_grace_is_over() -> None:
    """Not at its end, but ten seconds later; longer ones in their turn."""
    ours = aggregator(MemoryStateStore(), PLAIN)
    add(ours, at(1, temperature=20.0), at(16, temperature=22.0))
    assert due(ours, 15) == {}
    written = due(ours, 15 + 10 / 60)
    assert list(written) == [("15m", 0, 0)]
    assert written["15m", 0, 0]["temperature_mean"] == 20.0
    assert due(ours, 29) == {}
    assert {key[0] for key in due(ours, 61)} == {"15m", "1h"}


def test_the_same_reading_again_is_a_duplicate() -> None:
    """In a later batch and in the same one; it is written raw once."""
    ours = aggregator(MemoryStateStore(), PLAIN)
    first = add(ours, at(1, temperature=20.0), at(1, temperature=20.0))
    again = add(ours, at(1, temperature=20.0), at(2, temperature=21.0))
    assert (counts(first), counts(again)) == ((1, 0, 1, 0), (1, 0, 1, 0))
    assert [len(first.raw), again.raw.time.tolist()] == [1, [NOON + 2 * MINUTE]]


def test_of_two_values_the_first_in_the_journal_stands() -> None:
    """The second is a conflicting duplicate: named, counted, written nowhere."""
    ours = aggregator(MemoryStateStore(), PLAIN)
    add(ours, at(1, temperature=20.0))
    settled = add(ours, at(2, temperature=5.0), at(1, temperature=21.0), at(1, temperature=20.0))
    assert counts(settled) == (1, 0, 1, 1)
    (conflict,) = settled.conflicts
    assert (conflict.index, conflict.reason, conflict.readings) == (1, Reason.CONFLICTING_DUPLICATE, 1)
    assert "temperature of paris/a" in conflict.detail
    assert due(ours, 20)["15m", 0, 0]["temperature_mean"] == 12.5


def test_a_quantity_that_comes_later_is_taken_into_its_row() -> None:
    """A device may say one instant in two messages: the row is written raw again, with both."""
    ours = aggregator(MemoryStateStore(), PLAIN)
    add(ours, at(1, temperature=20.0), at(2, temperature=20.0))
    due(ours, 20)
    settled = add(ours, at(1, temperature=20.0, cars=3.0))
    assert counts(settled) == (1, 0, 1, 0)
    assert settled.raw.values[:, 0].tolist() == [20.0, 3.0]
    assert settled.raw.uplink.tolist() == [0]
    assert due(ours, 21)["15m", 0, 0]["cars_sum"] == 3


def test_a_late_reading_corrects_its_windows_once_a_call() -> None:
    """Revision counts the writings; untouched windows are not written again."""
    ours = aggregator(MemoryStateStore(), PLAIN)
    add(ours, at(1, temperature=20.0), at(16, temperature=20.0), at(1, series=3, temperature=1.0))
    due(ours, 40)
    add(ours, at(2, temperature=22.0))
    add(ours, at(3, temperature=24.0))
    written = due(ours, 41)
    assert list(written) == [("15m", 0, 0)]
    assert (written["15m", 0, 0]["temperature_mean"], written["15m", 0, 0]["revision"]) == (22.0, 1)
    assert due(ours, 42) == {}


def test_a_reading_behind_the_lateness_is_written_raw_only() -> None:
    """Judged by receive times, to the nanosecond; it corrects nothing and is known nowhere."""
    plan = profile((TEMPERATURE, CARS), lateness=HOUR)
    ours = aggregator(MemoryStateStore(), plan)
    end = NOON + QUARTER + HOUR
    batch = readings(ours, plan, [at(1, temperature=20.0), at(2, temperature=21.0)], [end, end + 1])
    settled = ours.add(batch, {})
    assert counts(settled) == (1, 1, 0, 0)
    assert (settled.late.tolist(), settled.late_readings) == ([False, True], 1)
    again = add(ours, at(3, temperature=20.0), received=0, plan=plan)
    assert again.late.tolist() == [True], "the river has passed it, whatever its own receive time"
    assert due(ours, 3000)["15m", 0, 0]["temperature_count"] == 1


@settings(deadline=None, max_examples=40)
@given(
    batches=st.lists(
        st.lists(
            st.tuples(st.integers(0, 120), st.integers(0, 2), st.sampled_from((10.0, 11.0, 90.0))),
            min_size=1,
            max_size=6,
        ),
        min_size=1,
        max_size=8,
    ),
    restarts=st.sets(st.integers(0, 7)),
)
def test_a_first_writing_has_none_before_it(
    batches: list[list[tuple[int, int, float]]], restarts: set[int]
) -> None:
    """A row that is not said to come again was never written; in whatever order, over restarts."""
    plan = profile((replace(LEVEL, rate=None, flat=None), CARS), lateness=HOUR)
    store, written = MemoryStateStore(), set[tuple[int, int]]()
    ours = aggregator(store, plan)
    for number, batch in enumerate(batches):
        rows = [at(minute, series=series, level=level) for minute, series, level in batch]
        settled = add(ours, *rows, plan=plan)
        assert len(settled.again) == len(settled.raw)
        keys = list(zip(settled.raw.series.tolist(), settled.raw.time.tolist(), strict=True))
        first = {key for key, again in zip(keys, settled.again.tolist(), strict=True) if not again}
        assert not first & written
        written |= set(keys)
        if number in restarts:
            store.commit(ours.dirty(), {})
            ours.committed()
            ours = aggregator(store, plan)


def test_a_value_out_of_range_is_kept_out_of_windows_and_counted() -> None:
    """It is written raw with FAIL; a window of nothing else is not written at all."""
    ours = aggregator(MemoryStateStore(), PLAIN)
    settled = add(ours, at(1, temperature=99.0), at(2, temperature=50.0), at(16, temperature=-99.0))
    assert counts(settled) == (1, 2, 0, 0)
    assert settled.raw.flags[0].tolist() == [4, 3, 4]
    written = due(ours, 40)
    assert list(written) == [("15m", 0, 0)]
    fields = written["15m", 0, 0]
    assert (fields["failed_count"], fields["suspect_count"], fields["quality"]) == (1, 1, 3)
    assert fields["temperature_mean"] == 50.0


def test_coverage_is_the_share_of_expected_intervals() -> None:
    """Two readings in one interval count once."""
    plan = profile((TEMPERATURE,), every=5 * MINUTE)
    ours = aggregator(MemoryStateStore(), plan)
    add(ours, at(0, temperature=1.0), at(4, temperature=1.0), at(14, temperature=1.0), plan=plan)
    assert due(ours, 20)["15m", 0, 0]["coverage"] == pytest.approx(2 / 3)


def test_a_spike_that_a_later_block_shows_is_written_raw_again() -> None:
    """The next reading decides: the row of the earlier block comes again with SUSPECT, its window too."""
    plan = profile((replace(LEVEL, rate=None, flat=None),))
    ours = aggregator(MemoryStateStore(), plan)
    add(ours, at(1, level=10.0), at(14, level=60.0), plan=plan)
    assert due(ours, 16)["15m", 0, 0]["quality"] == 1
    settled = add(ours, at(17, level=10.0), plan=plan)
    assert settled.raw.time.tolist() == [NOON + 17 * MINUTE, NOON + 14 * MINUTE]
    assert settled.raw.flags[0].tolist() == [1, 3]
    assert settled.raw.uplink.tolist() == [0, -1]
    assert due(ours, 18)["15m", 0, 0]["suspect_count"] == 1
    taken_back = add(ours, at(16, level=95.0), plan=plan)
    flags = dict(zip(taken_back.raw.time.tolist(), taken_back.raw.flags[0].tolist(), strict=True))
    assert flags == {NOON + 14 * MINUTE: 1, NOON + 16 * MINUTE: 3}


def test_a_late_reading_splits_an_increment_and_leaves_the_total() -> None:
    """40 L in the later window become 10 and 30, and the hour stays at 40."""
    plan = profile((INDEX,))
    ours = aggregator(MemoryStateStore(), plan)
    add(ours, at(1, index=100.0), at(31, index=140.0), plan=plan)
    before = due(ours, 70)
    assert before["15m", 0, 30]["index_increment"] == 40
    assert "index_increment" not in before["15m", 0, 0]
    add(ours, at(16, index=110.0), plan=plan)
    after = due(ours, 71)
    assert [after["15m", 0, 15]["index_increment"], after["15m", 0, 30]["index_increment"]] == [10, 30]
    assert after["1h", 0, 0]["index_increment"] == before["1h", 0, 0]["index_increment"] == 40


def test_a_state_holds_into_the_next_windows() -> None:
    """Up to the next reading, at most its hold, cut at the window's bounds."""
    plan = profile((DOOR, CARS))
    ours = aggregator(MemoryStateStore(), plan)
    add(ours, at(5, door=1.0), at(20, cars=1.0), at(40, door=0.0), plan=plan)
    written = due(ours, 70)
    seconds = {key[2]: fields["door_open_seconds"] for key, fields in written.items() if key[0] == "15m"}
    assert seconds == {0: 600.0, 15: 900.0, 30: 600.0}
    assert written["1h", 0, 0]["door_open_seconds"] == 35 * 60.0
    add(ours, at(18, door=0.0), plan=plan)
    assert due(ours, 71)["15m", 0, 30]["door_open_seconds"] == 0.0


def test_sinks_that_cannot_overwrite_get_each_window_once() -> None:
    """At its end and the settle; what a correction changes after that is counted, not delivered."""
    ours = aggregator(MemoryStateStore(), PLAIN, settle=QUARTER)
    add(ours, at(1, temperature=20.0))
    due(ours, 16)
    assert list(ours.settled(NOON + 29 * MINUTE)) == []
    add(ours, at(2, temperature=22.0))
    due(ours, 29)
    assert said(list(ours.settled(NOON + 30 * MINUTE)))["15m", 0, 0]["temperature_mean"] == 21.0
    assert ours.take_undelivered() == 0
    add(ours, at(3, temperature=30.0))
    assert list(due(ours, 31)) == [("15m", 0, 0)]
    assert list(ours.settled(NOON + 31 * MINUTE)) == []
    assert (ours.take_undelivered(), ours.take_undelivered()) == (1, 0)


def test_blocks_that_nothing_can_change_are_deleted() -> None:
    """Once the river has passed the last of their windows by the lateness: rows, pasts, writings."""
    store = MemoryStateStore()
    plan = profile((TEMPERATURE, INDEX), lateness=HOUR)
    ours = aggregator(store, plan)
    add(ours, at(1, temperature=20.0, index=5.0), plan=plan)
    due(ours, 20)
    store.commit(ours.dirty(), {})
    assert store.starts("rows", "street/") == [NOON]
    add(ours, at(5 * 1440, temperature=20.0, index=9.0), plan=plan)
    due(ours, 5 * 1440 + 1500)
    store.commit(ours.dirty(), {})
    assert store.starts("rows", "street/") == store.starts("pasts", "street/") == [NOON + 5 * DAY]
    assert [start for start in store.starts("written", f"street//{QUARTER}") if start < NOON + 4 * DAY] == []
    assert add(ours, at(5 * 1440 + 1, index=10.0), plan=plan).aggregated == 1
    assert due(ours, 7 * 1440)["15m", 0, 5 * 1440]["index_increment"] == 5, "9 - 5, then 10 - 9"


def test_memory_is_bounded_by_the_budget_once_committed() -> None:
    """Cold blocks leave, and come back when a late reading needs them."""
    store = MemoryStateStore()
    ours = aggregator(store, PLAIN, hot_bytes=0)
    for hour in range(5):
        add(ours, at(60 * hour, temperature=1.0))
    assert ours.figures().hot_blocks == 5, "not one is saved yet"
    store.commit(ours.dirty(), {})
    ours.committed()
    assert (ours.figures().hot_blocks, ours.figures().blocks, ours.figures().hot_bytes) == (0, 5, 0)
    assert counts(add(ours, at(60, temperature=1.0), at(61, temperature=3.0))) == (1, 0, 1, 0)
    assert due(ours, 1000)["15m", 0, 60]["temperature_mean"] == 2.0


def test_a_checkpoint_appends_only_what_changed() -> None:
    """The second one holds the new row, not the block."""
    store = MemoryStateStore()
    ours = aggregator(store, PLAIN)
    add(ours, *[at(minute / 100, temperature=1.0) for minute in range(500)])
    store.commit(ours.dirty(), {})
    add(ours, at(6, temperature=1.0))
    changes = ours.dirty()
    ((key, body),) = [(key, body) for key, body in changes.cells.items() if key[0] == "rows"]
    assert key == ("rows", "street/", NOON, 1)
    assert len(body) < 1500
    assert not ours.dirty().cells


def test_a_new_version_keeps_what_it_knows_by_name() -> None:
    """Quantities move, come and go; rows in memory and in the state file are laid out anew."""
    store = MemoryStateStore()
    old, new = profile((TEMPERATURE, INDEX)), profile((CARS, INDEX, TEMPERATURE), version=2)
    ours = aggregator(store, old, hot_bytes=0)
    add(ours, at(1, temperature=20.0, index=100.0), plan=old)
    store.commit(ours.dirty(), {})
    ours.committed()
    add(ours, at(16, temperature=22.0), plan=old)
    ours.use([new])
    settled = add(ours, at(17, cars=2.0, index=130.0), at(1, index=100.0), plan=new)
    assert counts(settled) == (2, 0, 1, 0)
    written = due(ours, 70)
    assert written["15m", 0, 0]["temperature_mean"] == 20.0
    assert written["15m", 0, 0]["cars_count"] == 0
    assert written["15m", 0, 15]["index_increment"] == 30
    assert written["15m", 0, 15]["temperature_mean"] == 22.0


@pytest.mark.parametrize("quantities", [(TEMPERATURE, CARS), (LEVEL, INDEX, DOOR)])
def test_other_window_lengths_cut_the_kept_readings_anew(quantities: tuple[QuantityPlan, ...]) -> None:
    """Finer blocks than before: windows say what they would have said from the beginning."""
    hourly = profile(quantities, windows=(("1h", HOUR), ("1d", DAY)))
    finer = profile(quantities, windows=(("10m", 10 * MINUTE), ("1h", HOUR)), version=2)
    name = quantities[0].name
    rows = [at(7 * k, series=k % 3, **{name: float(k % 13)}) for k in range(60)]
    ours, fresh = aggregator(MemoryStateStore(), hourly), aggregator(MemoryStateStore(), finer)
    add(ours, *rows, plan=hourly)
    written = due(ours, 100)
    ours.use([finer])
    add(fresh, *rows, plan=finer)
    written = {key: fields for key, fields in written.items() if key[0] != "1d"} | due(ours, 3000)
    expected = due(fresh, 3000)
    for fields in [*written.values(), *expected.values()]:
        del fields["revision"]
    assert written == expected


def test_another_zone_moves_the_windows_to_come() -> None:
    """The site's day is another from then on; the readings that are kept go into it."""
    ours = aggregator(MemoryStateStore(), PLAIN)
    add(ours, at(1, temperature=20.0))
    calendar = ours._calendar
    before = dict(calendar.sites)
    try:
        ours.use([PLAIN], zones={**ZONES, "paris": "Asia/Kathmandu"}, default_zone="UTC")
        (day,) = [key for key in due(ours, 5000) if key[0] == "1d"]
        assert day[2] == -(17 * 60 + 45)  # 18:15 UTC of the day before
    finally:
        ours.use([PLAIN], zones=before, default_zone="UTC")  # the calendar is shared by the tests


def test_a_profile_without_windows_still_knows_duplicates() -> None:
    """Its readings are raw only."""
    plan = profile((TEMPERATURE,), windows=())
    ours = aggregator(MemoryStateStore(), plan)
    assert counts(add(ours, at(1, temperature=1.0), plan=plan)) == (0, 1, 0, 0)
    assert counts(add(ours, at(1, temperature=1.0), plan=plan)) == (0, 0, 1, 0)
    assert list(ours.due(NOON + DAY)) == []


def test_an_empty_batch_is_nothing() -> None:
    """No rows in, no rows out."""
    ours = aggregator(MemoryStateStore(), PLAIN)
    settled = ours.add(readings(ours, PLAIN, [], 0), {})
    assert (len(settled.raw), counts(settled)) == (0, (0, 0, 0, 0))


def test_huge_values_leave_their_field_out() -> None:
    """A sum beyond float64 is no field; nothing warns and nothing fails."""
    plan = profile((replace(LEVEL, fail_range=None, rate=None, spike=None, flat=None),))
    ours = aggregator(MemoryStateStore(), plan)
    add(ours, at(1, level=1.7e308), at(2, level=1.7e308), plan=plan)
    fields = due(ours, 20)["15m", 0, 0]
    assert "level_mean" not in fields
    assert fields["level_max"] == 1.7e308


def test_a_damaged_state_file_is_said() -> None:
    """Not guessed: StateError, with the shelf it concerns."""
    store = MemoryStateStore()
    ours = aggregator(store, PLAIN)
    add(ours, at(1, temperature=20.0))
    store.commit(ours.dirty(), {})
    (key,) = [key for key in store.cells if key[0] == "rows"]
    store.cells[key] = store.cells[key][:-3]
    again = aggregator(store, PLAIN)
    with pytest.raises(StateError, match="street/"):
        list(again.due(NOON + DAY))


def test_nothing_given_is_written_to() -> None:
    """A stage owns what it makes and only reads what it was given."""
    ours = aggregator(MemoryStateStore(), profile())
    plan = profile()
    rows = [at(20, level=3.0, index=5.0), at(1, level=1.0, index=4.0), at(1, level=1.0, door=1.0)]
    batch = readings(ours, plan, rows, NOON + HOUR)
    for name in ("series", "time", "values", "present", "flags", "uplink", "received_ns", "time_source"):
        getattr(batch, name).flags.writeable = False
    parameters = flows(rows)
    parameters["flow"].flags.writeable = False
    first = ours.add(batch, parameters)
    ours.add(batch, parameters)
    assert np.array_equal(first.raw.time, [NOON + MINUTE, NOON + 20 * MINUTE])


def test_what_went_out_behind_a_checkpoint_is_put_right_after_the_replay() -> None:
    """A flag that was sent before the crash, and that the replay never comes to see, is written again."""
    plan = profile((replace(LEVEL, rate=None, flat=None),))
    store = MemoryStateStore()
    ours = aggregator(store, plan)
    ours.replayed()
    add(ours, at(1, level=10.0), at(14, level=60.0), plan=plan)
    due(ours, 16)
    store.commit(ours.dirty(), {})
    assert add(ours, at(17, level=10.0), plan=plan).raw.flags[0].tolist() == [1, 3]
    again = aggregator(store, plan)  # here the late reading comes in the same batch: 60 is no spike
    settled = add(again, at(17, level=10.0), at(16, level=95.0), plan=plan)
    assert NOON + 14 * MINUTE not in settled.raw.time
    (raw,) = again.replayed()
    assert dict(zip(raw.time.tolist(), raw.flags[0].tolist(), strict=True))[NOON + 14 * MINUTE] == 1
    assert due(again, 17)["15m", 0, 0]["suspect_count"] == 0
    assert again.replayed() == []


def test_figures_say_what_is_held() -> None:
    """Blocks, bytes, rows, series, and the event time before which windows are final."""
    ours = aggregator(MemoryStateStore(), PLAIN)
    assert ours.figures().watermarks == {"street": 0}
    add(ours, at(1, temperature=1.0), at(20, temperature=2.0))
    figures = ours.figures()
    assert (figures.blocks, figures.hot_blocks, figures.hot_rows, figures.series) == (2, 2, 2, 4)
    assert figures.hot_bytes > 0
    assert figures.watermarks == {"street": NOON + 20 * MINUTE - 3 * DAY}
