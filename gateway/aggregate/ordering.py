"""Readings whose meaning depends on those before them: put in order, and put right when one comes late.

In order, a batch is assessed from each series' last readings. A late reading is put into its block, and the
series is assessed again from there, block by block, until what it leaves behind is what the next block
remembers: from there on nothing can differ. So flags and increments are those of the sorted readings.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from gateway.aggregate.carry import Carry, last_states
from gateway.aggregate.rows import run_starts
from gateway.model import Flag

if TYPE_CHECKING:
    from gateway.aggregate.blocks import Block
    from gateway.aggregate.carry import Assess
    from gateway.aggregate.rows import Rows
    from gateway.aggregate.shelf import Shelf
    from gateway.model import Bool, Float64, Int32, Int64, UInt8


@dataclass(slots=True)
class Keys:
    """Rows that must be written raw again, as lists of (series, time)."""

    series: list[Int32] = field(default_factory=list)
    time: list[Int64] = field(default_factory=list)

    def add(self, series: Int32, time: Int64) -> None:
        """Note some rows."""
        if len(series):
            self.series.append(series)
            self.time.append(time)

    def once(self) -> tuple[Int32, Int64]:
        """Return them sorted, each once."""
        series, time = np.concatenate(self.series), np.concatenate(self.time)
        order = np.lexsort((time, series))
        series, time = series[order], time[order]
        first = np.ones(len(order), np.bool_)
        first[1:] = (series[1:] != series[:-1]) | (time[1:] != time[:-1])
        return series[first], time[first]

    def __len__(self) -> int:
        return len(self.series)


@dataclass(frozen=True, slots=True)
class _Found:
    """What an assessment says of n rows of k series: see `Rows`; `after`: the k series' past behind them.

    `spike_*` [m]: earlier readings, in other blocks, that these rows show to be spikes.
    """

    flags: UInt8
    increments: Float64
    counted: Bool
    after: Carry
    spike_series: Int32
    spike_quantity: Int32
    spike_time: Int64


class Ordering:
    """The ordered part of taking a batch into one shelf. `again` gathers rows to be rewritten raw."""

    def __init__(self, shelf: Shelf, assess: Assess) -> None:
        self._shelf = shelf
        self._assess_rows = assess
        self.again = Keys()

    def take(self, rows: Rows, starts: Int64) -> None:
        """Take rows that are all newer than their series' last reading; writes their flags into `rows`.

        `starts` int64[n] says in which block each belongs. Blocks are taken one after the other, for
        what a block remembers is the past that the one before it leaves behind.
        """
        if len(rows) and (starts == starts[0]).all():  # nearly always: nothing has to be cut
            self._take(rows, int(starts[0]))
            return
        for start in np.unique(starts).tolist():
            places = np.flatnonzero(starts == start)
            piece = rows.take(places)
            self._take(piece, start)
            rows.flags[:, places] = piece.flags
            rows.increments[:, places], rows.counted[:, places] = piece.increments, piece.counted

    def _take(self, rows: Rows, start: int) -> None:
        """Take rows of one block, which keeps them."""
        shelf = self._shelf
        series = rows.series[rows.run_starts()]
        past = shelf.latest.take(series)
        block = shelf.blocks.get(start)
        unknown = np.flatnonzero(~block.has(series))
        block.pasts.add(series[unknown], past.take(unknown))
        found = self._assess(rows, past)
        rows.flags, rows.increments, rows.counted = found.flags, found.increments, found.counted
        block.append(rows)
        shelf.remember(series, found.after)
        shelf.mark(start, series)
        self._mark_spikes(found.spike_series, found.spike_quantity, found.spike_time, is_spike=True)
        shelf.blocks.touch(block)

    def insert(self, rows: Rows, starts: Int64) -> dict[int, Int32]:
        """Put rows that came late into their blocks; returns the series to `repair`, by block."""
        touched = {}
        for start in np.unique(starts).tolist():
            piece = rows.take(np.flatnonzero(starts == start))
            series = piece.series[piece.run_starts()]
            block = self._shelf.blocks.get(start)
            unknown = series[~block.has(series)]
            if len(unknown):
                block.pasts.add(unknown, self._shelf.past_before(unknown, start))
            block.append(piece)
            self._shelf.mark(start, series)
            touched[start] = series
        return touched

    def repair(self, touched: dict[int, Int32]) -> None:
        """Assess again the series whose rows changed (by block, ascending), from the first change on."""
        shelf = self._shelf
        moving = np.empty(0, np.int32)
        past = shelf.latest.take(moving)
        for start in shelf.blocks.starts():
            changed = touched.get(start, moving[:0])
            if start < min(touched) or not (len(moving) or len(changed)):
                continue
            block = shelf.blocks.get(start)
            moving, past = self._join(block, moving, past, changed)
            going = np.flatnonzero(block.has(moving))
            if not len(going):
                continue
            stop = self._settle(block, moving[going], past.take(going), changed)
            going, done = going[~stop], going[stop]
            if len(going):
                after = self._again(block, moving[going], past.take(going))
                past.put(going, after)
            kept = np.setdiff1d(np.arange(len(moving)), done)
            moving, past = moving[kept], past.take(kept)
            shelf.blocks.touch(block)
        shelf.remember(moving, past)

    def _join(self, block: Block, moving: Int32, past: Carry, changed: Int32) -> tuple[Int32, Carry]:
        """Let series whose first change is in this block join those that are being assessed again."""
        joining = np.setdiff1d(changed, moving)
        if not len(joining):
            return moving, past
        both = np.concatenate([moving, joining])
        order = np.argsort(both)
        wider = past.take(np.zeros(len(both), np.int64)) if len(moving) else block.pasts.recall(both)
        wider.put(np.arange(len(moving)), past)
        wider.put(np.arange(len(moving), len(both)), block.pasts.recall(joining))
        return both[order], wider.take(order)

    def _settle(self, block: Block, series: Int32, past: Carry, changed: Int32) -> Bool:
        """Give the block the new pasts of its series; returns bool[k]: which need no more assessing."""
        stored = block.pasts.recall(series)
        same = past.equals(stored)
        moved = np.flatnonzero(~same)
        if len(moved):
            block.pasts.replace(series[moved], past.take(moved))
            # The state that holds into a window is part of it, though none of its rows may change.
            held = series[moved[~past.take(moved).held_equals(stored.take(moved))]]
            if len(held):
                block.partial = None
                self._shelf.mark(block.start, held)
        return same & ~np.isin(series, changed)

    def _again(self, block: Block, series: Int32, past: Carry) -> Carry:
        """Assess the block's rows of some series again, keep what changed, return the past behind them."""
        rows, place = block.select(series)
        found = self._assess(rows, past)
        revised = rows.revised & _is_last(rows, self._shelf.layout.spikes)
        changed = (
            (found.flags != rows.flags).any(axis=0)
            | (found.increments != rows.increments).any(axis=0)
            | (found.counted != rows.counted).any(axis=0)
            | (revised != rows.revised).any(axis=0)
        )
        for number, run in enumerate(block.runs):
            here = np.flatnonzero(changed & (place.run == number))
            at = place.row[here]
            run.flags[:, at], run.revised[:, at] = found.flags[:, here], revised[:, here]
            run.increments[:, at], run.counted[:, at] = found.increments[:, here], found.counted[:, here]
            run.unsaved[at] = True
        if changed.any():
            block.partial = None
            self._shelf.mark(block.start, rows.series[changed])
            self.again.add(rows.series[changed], rows.time[changed])
        self._renew_spikes(rows, past, found)
        return found.after

    def _renew_spikes(self, rows: Rows, past: Carry, found: _Found) -> None:
        """Say anew of each remembered reading that these rows decide on whether it is a spike."""
        series = rows.series[rows.run_starts()]
        layout = self._shelf.layout
        for quantity in layout.spikes:
            place = layout.remembered.index(quantity)
            decided = np.zeros(len(series), np.bool_)
            usable = rows.flags[quantity] < Flag.FAIL
            decided[np.searchsorted(series, rows.series[usable])] = True
            decided &= past.neighbours.last_known[place]
            spikes = found.spike_series[found.spike_quantity == quantity]
            for is_spike in (True, False):
                chosen = decided & (np.isin(series, spikes) == is_spike)
                time = past.neighbours.last_time[place][chosen]
                of = np.full(len(time), quantity, np.int32)
                self._mark_spikes(series[chosen], of, time, is_spike=is_spike)

    def _mark_spikes(self, series: Int32, quantity: Int32, time: Int64, *, is_spike: bool) -> None:
        """Mark earlier readings as spikes or not, where their block is kept; those that change come again."""
        if not len(series):
            return
        shelf = self._shelf
        starts, _ = shelf.blocks_of(series, time)
        for start in np.unique(starts).tolist():
            if not shelf.blocks.has(start):
                continue
            block = shelf.blocks.get(start)
            here = np.flatnonzero(starts == start)
            place = block.find(series[here], time[here])
            changed = np.zeros(len(here), np.bool_)
            for number, run in enumerate(block.runs):
                there = np.flatnonzero(place.run == number)
                mark = np.searchsorted(shelf.layout.spikes, quantity[here[there]])
                at = place.row[there]
                changed[there] = run.revised[mark, at] != is_spike
                run.revised[mark, at] = is_spike
                run.unsaved[at] |= changed[there]
            if changed.any():
                block.partial = None
                shelf.mark(start, series[here[changed]])
                self.again.add(series[here[changed]], time[here[changed]])

    def _assess(self, rows: Rows, past: Carry) -> _Found:
        """Assess rows (sorted, at least one) of the series whose past is given."""
        layout = self._shelf.layout
        starts = rows.run_starts()
        # One value a series: that of its last row, for a parameter holds from its valid-from on.
        ends = np.append(starts[1:], len(rows)) - 1
        parameters = {name: rows.parameters[place][ends] for place, name in enumerate(layout.parameters)}
        found = self._assess_rows(
            self._shelf.group, rows.time, rows.values, rows.ranged, starts, past.neighbours, parameters
        )
        state, since = last_states(rows, starts, past, layout)
        counters = list(layout.counters)
        return _Found(
            flags=found.flags,
            increments=found.increments[counters],
            counted=found.counted[counters],
            after=Carry(found.after, state, since),
            spike_series=rows.series[starts][found.revised_series],
            spike_quantity=found.revised_quantity,
            spike_time=found.revised_time,
        )


def _is_last(rows: Rows, spikes: tuple[int, ...]) -> Bool:
    """Return bool[s, n]: which usable readings of the quantities with a spike test end their series here.

    Only those can be shown to be spikes by a later block; of the others this block's own rows say it.
    """
    last = np.zeros((len(spikes), len(rows)), np.bool_)
    for mark, quantity in enumerate(spikes):
        usable = np.flatnonzero(rows.flags[quantity] < Flag.FAIL)
        starts = run_starts(rows.series[usable])
        last[mark, usable[np.append(starts[1:], len(usable)) - 1] if len(usable) else usable] = True
    return last
