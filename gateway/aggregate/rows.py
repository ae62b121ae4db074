"""Rows of readings kept for windows: a struct of arrays, sorted by (series, event time).

This order is canonical: whatever came first, the same set of readings lies in memory in the same order, so
that sums over it are the same to the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from gateway.model import Flag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from gateway.aggregate.layout import Layout
    from gateway.model import Bool, Float64, Int32, Int64, UInt8
    from gateway.packing import Arrays

    Index = NDArray[np.integer] | Bool

_Scalar = TypeVar("_Scalar", bound=np.generic)


@dataclass(slots=True)
class Rows:
    """n rows of q quantities, of which c are counters; each (series, time) once, in that order.

    `series` int32[n]; `time` int64[n] ns UTC; `values` float64[q, n]; `flags` uint8[q, n] (`Flag`;
    MISSING where absent) after the neighbour tests, `ranged` uint8[q, n] before them (shape [0, n]
    where the group has none); `revised` bool[s, n]: the s quantities with a spike test that a reading
    of a later block shows to be a spike (`final_flags` says both); `increments` float64[c, n] and
    `counted` bool[c, n] of the counters;
    `parameters` float64[p, n] that the counters need; `time_source` uint8[n]; `unsaved` bool[n]:
    not yet in the state file as they are now. Owns its arrays.
    """

    series: Int32
    time: Int64
    values: Float64
    flags: UInt8
    ranged: UInt8
    revised: Bool
    increments: Float64
    counted: Bool
    parameters: Float64
    time_source: UInt8
    unsaved: Bool

    def __len__(self) -> int:
        return len(self.series)

    @property
    def nbytes(self) -> int:
        """Bytes of all columns."""
        return sum(getattr(self, name).nbytes for name in _COLUMNS)

    def take(self, rows: Index) -> Rows:
        """Return the rows of an index (in its order) or a mask, as new arrays."""
        # `take` costs half of what `[..., rows]` does, and its columns lie one behind the other.
        index = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        return Rows(*(getattr(self, name).take(index, axis=-1) for name in _COLUMNS))

    def final_flags(self, layout: Layout) -> UInt8:
        """Return uint8[q, n]: the flags with what later readings say. May be `flags` itself."""
        if not self.revised.any():
            return self.flags
        flags = self.flags.copy()
        for mark, quantity in enumerate(layout.spikes):
            own = flags[quantity]
            own[self.revised[mark] & (own < Flag.SUSPECT)] = Flag.SUSPECT
        return flags

    def run_starts(self) -> Int64:
        """Return where each series' rows begin, int64[k]."""
        return run_starts(self.series)

    def find(self, series: Int32, time: Int64) -> Int64:
        """Return int64[m]: the place of each (series, time), or -1 where there is no such row."""
        if not len(self):
            return np.full(len(series), -1, dtype=np.int64)
        place = np.minimum(lower_bound(self, series, time), len(self) - 1)
        found = (self.series[place] == series) & (self.time[place] == time)
        return np.where(found, place, -1)

    def of_series(self, series: Int32) -> Int64:
        """Return the places of all rows of `series` (unique, ascending), ascending."""
        low = np.searchsorted(self.series, series, "left")
        count = np.searchsorted(self.series, series, "right") - low
        return spans(low, count)

    def pack(self) -> Arrays:
        """Return the columns to be stored."""
        return {name: getattr(self, name) for name in _COLUMNS if name != "unsaved"}


_COLUMNS = tuple(field.name for field in fields(Rows))


def empty(layout: Layout) -> Rows:
    """Return no rows, with the columns of `layout`."""
    q, c = len(layout.quantities), len(layout.counters)
    return Rows(
        series=np.empty(0, np.int32),
        time=np.empty(0, np.int64),
        values=np.empty((q, 0)),
        flags=np.empty((q, 0), np.uint8),
        ranged=np.empty((q if layout.ordered else 0, 0), np.uint8),
        revised=np.empty((len(layout.spikes), 0), np.bool_),
        increments=np.empty((c, 0)),
        counted=np.empty((c, 0), np.bool_),
        parameters=np.empty((len(layout.parameters), 0)),
        time_source=np.empty(0, np.uint8),
        unsaved=np.empty(0, np.bool_),
    )


def latest_of(parts: Sequence[Rows]) -> Rows:
    """Return all rows of some stored parts, sorted; of a (series, time) in several, the last part's."""
    rows = joined(parts)
    order = order_of(rows.series, rows.time)  # stable: a later part's row stands behind an earlier's
    series, time = rows.series[order], rows.time[order]
    last = np.ones(len(order), np.bool_)
    last[:-1] = (series[1:] != series[:-1]) | (time[1:] != time[:-1])
    return rows.take(order[last])


def remapped(rows: Rows, layout: Layout, old: Layout) -> Rows:
    """Return the rows in the columns of another version of the plan; what it did not have is absent."""
    flags = _moved(rows.flags, layout.quantities, old.quantities, Flag.MISSING)
    ranged = rows.ranged if len(rows.ranged) else rows.flags
    return Rows(
        series=rows.series,
        time=rows.time,
        values=_moved(rows.values, layout.quantities, old.quantities, 0),
        flags=flags,
        ranged=_moved(ranged, layout.quantities if layout.ordered else (), old.quantities, Flag.MISSING),
        revised=_moved(rows.revised, layout.names_of(layout.spikes), old.names_of(old.spikes), 0),
        increments=_moved(rows.increments, layout.names_of(layout.counters), old.names_of(old.counters), 0),
        counted=_moved(rows.counted, layout.names_of(layout.counters), old.names_of(old.counters), 0),
        parameters=_moved(rows.parameters, layout.parameters, old.parameters, np.nan),
        time_source=rows.time_source,
        unsaved=rows.unsaved,
    )


def _moved(
    column: NDArray[_Scalar], names: tuple[str, ...], old: tuple[str, ...], absent: float
) -> NDArray[_Scalar]:
    """Return a [names, n] column from an [old, n] one, filled with `absent` where there was none."""
    moved = np.full((len(names), column.shape[1]), absent, dtype=column.dtype)
    for place, name in enumerate(names):
        if name in old:
            moved[place] = column[old.index(name)]
    return moved


def merged(pieces: Sequence[Rows]) -> Rows:
    """Return sorted pieces (at least one) as one; no (series, time) may be in two of them."""
    if len(pieces) == 1:
        return pieces[0]
    rows = joined(pieces)
    return rows.take(order_of(rows.series, rows.time))


def order_of(series: Int32, time: Int64) -> Int64:
    """Return the order by (series, time), int64[n]; equal ones stay in theirs.

    Nearly always each series' rows come in order of time already: then one stable sort does, at a third
    of the cost of two.
    """
    order = np.argsort(series, kind="stable")
    ranked, at = series.take(order), time.take(order)
    if ((at[1:] >= at[:-1]) | (ranked[1:] != ranked[:-1])).all():
        return order
    return np.lexsort((time, series))


def joined(pieces: Sequence[Rows]) -> Rows:
    """Return the pieces (of one layout, at least one) behind each other, in the order given."""
    return Rows(*(np.concatenate([getattr(p, name) for p in pieces], axis=-1) for name in _COLUMNS))


def lower_bound(rows: Rows, series: Int32, time: Int64) -> Int64:
    """Return int64[m]: the first place whose (series, time) is not below the one asked for.

    Two steps, both exact: the series' span by searchsorted, then all the spans are halved together.
    """
    low = np.searchsorted(rows.series, series, "left").astype(np.int64)
    high = np.searchsorted(rows.series, series, "right").astype(np.int64)
    open_ = np.flatnonzero(low < high)
    while len(open_):
        middle = (low[open_] + high[open_]) // 2
        below = rows.time[middle] < time[open_]
        low[open_[below]] = middle[below] + 1
        high[open_[~below]] = middle[~below]
        open_ = open_[low[open_] < high[open_]]
    return low


def run_starts(series: Int32) -> Int64:
    """Return where runs of equal series begin in a sorted column, int64[k]."""
    if not len(series):
        return np.empty(0, np.int64)
    return np.concatenate([[0], np.flatnonzero(series[1:] != series[:-1]) + 1])


def spans(low: Int64, count: Int64) -> Int64:
    """Return low[0], low[0]+1, … (count[0] of them), low[1], …: the indices of some spans, joined."""
    total = int(count.sum())
    ends = np.cumsum(count)
    return np.arange(total, dtype=np.int64) + np.repeat(low - ends + count, count)
