"""Taking a batch into a shelf: late or not, new or known, in order or not; and what to write raw of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from gateway.aggregate.identity import Known, compare
from gateway.aggregate.intake import Heads, as_readings, both_of, heads_of, rows_of
from gateway.aggregate.ordering import Ordering
from gateway.aggregate.rows import Rows, joined
from gateway.model import Flag, Readings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.aggregate.blocks import Block, Place
    from gateway.aggregate.carry import Assess
    from gateway.aggregate.shelf import Shelf
    from gateway.model import Bool, Float64, Int32, Int64, Rejection


@dataclass(slots=True)
class Settled:
    """What became of a batch. Counts are of readings (values present) and add up to those given.

    `raw`: rows to write raw now, each with its final flags: new ones, rows that got another quantity,
    and older ones whose flag a new reading changed (`uplink` is -1 where a row is not of this batch).
    `late` bool[rows of raw]: behind their window's lateness, written raw only.
    `again` bool[rows of raw]: may have been written before; what is newer than its series ever was, was not.
    `raw_only` = late + outside their range + without windows.
    """

    raw: Readings
    late: Bool
    again: Bool
    aggregated: int = 0
    raw_only: int = 0
    late_readings: int = 0
    duplicates: int = 0
    conflicting: int = 0
    conflicts: list[Rejection] = field(default_factory=list)


def settle(shelf: Shelf, readings: Readings, parameters: Mapping[str, Float64], assess: Assess) -> Settled:
    """Take a batch of the shelf's group; `parameters` float64[n] by name, NaN where one is missing."""
    shelf.fit()
    if not len(readings):
        nothing = np.empty(0, np.bool_)
        return Settled(raw=readings, late=nothing, again=nothing)
    start, end = shelf.blocks_of(readings.series, readings.time)
    # The running greatest receive time, not the row's own: what is late is then the same however the
    # rows are cut into batches, and nothing can come into a block that has been dropped.
    river = np.maximum(np.maximum.accumulate(readings.received_ns), shelf.river_ns)
    late = river > end + shelf.profile.lateness_ns
    shelf.river_ns = int(river[-1])
    heads = heads_of(readings, start, np.flatnonzero(~late))
    rows = rows_of(readings, heads.at, parameters, shelf)
    taken = _Taking(shelf, readings, heads, rows, assess)
    settled = taken.run()
    return _with_late(settled, readings, np.flatnonzero(late))


class _Taking:
    """The rows of one batch that are not late, on their way into the shelf's blocks."""

    def __init__(self, shelf: Shelf, readings: Readings, heads: Heads, rows: Rows, assess: Assess) -> None:
        self._shelf = shelf
        self._readings = readings
        self._heads = heads
        self._rows = rows
        self._ordering = Ordering(shelf, assess)
        self._again = self._ordering.again
        self._fresh = rows.time > shelf.latest_time[rows.series]
        self._known = np.zeros(len(rows), np.bool_)

    def run(self) -> Settled:
        """Take all rows; returns what became of them, late ones aside."""
        if self._shelf.replayed:
            self._shelf.replayed.note(self._rows.series, self._rows.time)
        stored = self._look_up()
        outcome, changed = self._compare(stored)
        flags = self._rows.flags
        new = flags[:, ~self._known] if self._known.any() else flags
        self._count(outcome, new != Flag.MISSING, new == Flag.FAIL)
        self._place(changed)
        outcome.raw, first = self._raw()
        outcome.late = np.zeros(len(outcome.raw), np.bool_)
        outcome.again = np.zeros(len(outcome.raw), np.bool_)
        outcome.again[first:] = True
        return outcome

    def _look_up(self) -> list[_Stored]:
        """Find the rows whose identity is stored already, by block; one newer than the latest is in none."""
        rows, shelf = self._rows, self._shelf
        older = np.flatnonzero(~self._fresh)
        if not len(older):
            return []
        starts = self._heads.start[older]
        stored = []
        for start in np.unique(starts).tolist():
            if not shelf.blocks.has(start):
                continue
            here = older[starts == start]
            block = shelf.blocks.get(start)
            place = block.find(rows.series[here], rows.time[here])
            here, place = here[place.found], place.take(place.found)
            if len(here):
                self._known[here] = True
                stored.append(_Stored(block, here, place))
        return stored

    def _compare(self, stored: list[_Stored]) -> tuple[Settled, dict[int, Int32]]:
        """Settle the identities that came before, in an earlier batch or in this one.

        Takes complements into the new rows and into stored ones; returns the latter's series by block.
        """
        heads, rows, readings = self._heads, self._rows, self._readings
        outcome = Settled(raw=readings, late=self._known, again=self._known)
        if not len(heads.of) and not self._known.any():
            return outcome, {}
        contested = np.union1d(np.flatnonzero(self._known), heads.of)
        standing = Known.of(rows.values[:, contested], rows.flags[:, contested])
        for each in stored:
            at = np.searchsorted(contested, each.here)
            kept = each.block.gather(each.place)
            standing.values[:, at], standing.flags[:, at] = kept.values, kept.flags
        # A stored row is met by all of its identity in this batch, a new one by those behind the first.
        met = np.concatenate([np.flatnonzero(self._known), heads.of])
        came = np.concatenate([heads.at[self._known], heads.repeats])
        order = np.argsort(came)
        verdict = compare(standing, readings, came[order], np.searchsorted(contested, met[order]))
        outcome.duplicates, outcome.conflicting = verdict.duplicates, verdict.conflicting
        outcome.conflicts = verdict.conflicts
        own = np.flatnonzero(~self._known[contested])
        at = contested[own]
        rows.values[:, at], rows.flags[:, at] = standing.values[:, own], standing.flags[:, own]
        if len(rows.ranged):
            rows.ranged[:, at] = standing.flags[:, own]
        return outcome, self._complement(standing, contested, stored, outcome)

    def _complement(
        self, standing: Known, contested: Int64, stored: list[_Stored], outcome: Settled
    ) -> dict[int, Int32]:
        """Write quantities that came later into stored rows; returns the series changed, by block."""
        changed: dict[int, Int32] = {}
        for each in stored:
            at = np.searchsorted(contested, each.here)
            fresh = standing.complemented[:, at]
            rows = np.flatnonzero(fresh.any(axis=0))
            if not len(rows):
                continue
            for row in rows.tolist():  # rare: a device that says one instant in two messages
                run, of = each.block.runs[int(each.place.run[row])], int(each.place.row[row])
                which = fresh[:, row]
                run.values[which, of] = standing.values[which, at[row]]
                run.flags[which, of] = standing.flags[which, at[row]]
                if len(run.ranged):
                    run.ranged[which, of] = standing.flags[which, at[row]]
                run.unsaved[of] = True
            self._count(outcome, fresh, fresh & (standing.flags[:, at] == Flag.FAIL))
            each.block.partial = None
            series, time = self._rows.series[each.here[rows]], self._rows.time[each.here[rows]]
            self._again.add(series, time)
            self._shelf.mark(each.block.start, series)
            changed[each.block.start] = np.unique(series)
        return changed

    def _count(self, outcome: Settled, taken: Bool, failed: Bool) -> None:
        """Count readings that were taken: into windows, or only raw."""
        count, fails = int(np.count_nonzero(taken)), int(np.count_nonzero(failed))
        if not self._shelf.lengths:
            fails = count
        outcome.aggregated += count - fails
        outcome.raw_only += fails

    def _place(self, changed: dict[int, Int32]) -> None:
        """Put the new rows into their blocks, and put right what depends on them."""
        shelf, rows, starts = self._shelf, self._rows, self._heads.start
        fresh = np.flatnonzero(self._fresh)
        self._newest = rows if len(fresh) == len(rows) else rows.take(fresh)
        inserted = np.flatnonzero(~self._known & ~self._fresh)
        self._again.add(rows.series[inserted], rows.time[inserted])
        if shelf.layout.ordered:
            touched = self._ordering.insert(rows.take(inserted), starts[inserted]) if len(inserted) else {}
            for start, series in changed.items():
                touched[start] = np.union1d(touched.get(start, series), series)
            if touched:
                self._ordering.repair(touched)
            self._ordering.take(self._newest, starts[fresh])
        else:
            new = np.flatnonzero(~self._known)
            for start in np.unique(starts[new]).tolist():
                piece = rows.take(new[starts[new] == start])
                block = shelf.blocks.get(start)
                block.append(piece)
                shelf.mark(start, piece.series)
                shelf.blocks.touch(block)
        ends = np.append(self._newest.run_starts()[1:], len(self._newest)) - 1
        if len(fresh):
            shelf.advance(self._newest.series[ends], self._newest.time[ends])

    def _raw(self) -> tuple[Readings, int]:
        """Return the new rows, then those that must be written again, each once and as it stands now.

        And how many stand there for the first time: those newer than all before of their series.
        """
        if not len(self._again):
            return self._as_readings(self._newest, np.flatnonzero(self._fresh)), len(self._newest)
        again = self._shelf.stored(*self._again.once())
        newest = self._newest
        kept = again.find(newest.series, newest.time) < 0
        rows = joined([newest.take(kept), again])
        return self._as_readings(rows, self._rows.find(rows.series, rows.time)), int(np.count_nonzero(kept))

    def _as_readings(self, rows: Rows, place: Int64) -> Readings:
        """Return rows as readings, with what this batch knows of where they came from.

        `place` int64[n] says where each stands among the batch's, -1 where it is not of this batch.
        """
        raw = as_readings(self._shelf, rows, self._readings.texts)
        ours = place >= 0
        at = self._heads.at[place[ours]]
        raw.uplink[ours] = self._readings.uplink[at]
        raw.received_ns[ours] = self._readings.received_ns[at]
        return raw


@dataclass(frozen=True, slots=True)
class _Stored:
    """Rows of the batch (`here`, places among the first ones) whose identity a block holds, and where."""

    block: Block
    here: Int64
    place: Place


def _with_late(settled: Settled, readings: Readings, late: Int64) -> Settled:
    """Add the late rows: written raw as they came, known nowhere else."""
    if not len(late):
        return settled
    rows = readings.take(late)
    settled.late_readings = rows.count()
    settled.raw_only += settled.late_readings
    settled.late = np.append(settled.late, np.ones(len(rows), np.bool_))
    settled.again = np.append(settled.again, np.ones(len(rows), np.bool_))
    settled.raw = both_of(settled.raw, rows)
    return settled
