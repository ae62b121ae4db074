"""What must be written again after a replay, though the replay did not change it.

Before a crash, points may have gone out behind the last checkpoint that say what readings said at that
moment: a flag, say, that the next reading took back. The replay need not pass through that moment, for its
batches are others, and would leave such a point as it is. So when it has ended, every row that a replayed
reading can have touched is written once more, and its windows with it: those of its series from that
reading on, and the reading just before, which it may have shown to be a spike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gateway.aggregate.ordering import Keys
from gateway.model import Flag

if TYPE_CHECKING:
    from gateway.aggregate.rows import Rows
    from gateway.aggregate.shelf import Shelf
    from gateway.model import Bool, Int32, Int64

UNTOUCHED = int(np.iinfo(np.int64).max)


class Replayed:
    """The earliest replayed reading of each series of one shelf."""

    def __init__(self) -> None:
        self._first = np.empty(0, np.int64)

    def note(self, series: Int32, time: Int64) -> None:
        """Note some readings."""
        size = int(series.max(initial=-1)) + 1
        if size > len(self._first):
            more = np.full(max(size, 2 * len(self._first)) - len(self._first), UNTOUCHED, np.int64)
            self._first = np.concatenate([self._first, more])
        np.minimum.at(self._first, series, time)

    def touched(self, shelf: Shelf) -> Keys:
        """Return the kept rows that must be written again; marks their windows for a correction."""
        keys = Keys()
        series = np.flatnonzero(self._first < UNTOUCHED).astype(np.int32)
        first = self._first[series]
        begun, _ = shelf.blocks_of(series, first)
        for start in shelf.blocks.starts():
            here = np.flatnonzero(begun <= start)
            if not len(here):
                continue
            block = shelf.blocks.get(start)
            rows, _ = block.select(series[here])
            since = np.where(begun[here] == start, first[here], start)[
                np.searchsorted(series[here], rows.series)
            ]
            kept = (rows.time >= since) | _just_before(rows, since, shelf.layout.spikes)
            keys.add(rows.series[kept], rows.time[kept])
            if kept.any():
                shelf.mark(start, rows.series[kept])
            opening = here[begun[here] == start]
            if len(shelf.layout.spikes) and len(opening):
                self._before(shelf, start, series[opening], keys)
            shelf.blocks.relieve()
        return keys

    def _before(self, shelf: Shelf, start: int, series: Int32, keys: Keys) -> None:
        """Add the readings that series had last before a block, where they are kept."""
        block = shelf.blocks.get(start)
        series = series[block.has(series)]
        past = block.pasts.recall(series).neighbours
        for quantity in shelf.layout.spikes:
            place = shelf.layout.remembered.index(quantity)
            known = past.last_known[place]
            of, time = series[known], past.last_time[place][known]
            starts, _ = shelf.blocks_of(of, time)
            for earlier in np.unique(starts).tolist():
                if shelf.blocks.has(earlier):
                    here = starts == earlier
                    keys.add(of[here], time[here])
                    shelf.mark(earlier, of[here])


def _just_before(rows: Rows, since: Int64, spikes: tuple[int, ...]) -> Bool:
    """Return bool[n]: the last usable reading of each series before `since` (int64[n]), by quantity."""
    found = np.zeros(len(rows), np.bool_)
    for quantity in spikes:
        before = np.flatnonzero((rows.flags[quantity] < Flag.FAIL) & (rows.time < since))
        last = np.ones(len(before), np.bool_)
        last[:-1] = rows.series[before][1:] != rows.series[before][:-1]
        found[before[last]] = True
    return found
