"""From sorted rows to partial results, and from partial results to larger ones: chunk and combine.

A partial result of k series is what any number of later statistics need of their rows. It is made of a
block's rows (`chunk`) and taken up, block by block in order of time, into a larger one (`Partial.absorb`):
always in that order, so that a sum is the same to the last bit however often it is computed.
Missing is a count of zero, never an infinity: a column says nothing where its count is 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from gateway.aggregate.cut import Cut, cut
from gateway.aggregate.durations import Durations, durations
from gateway.aggregate.sketch import Sketch, merge, sketch
from gateway.model import Flag
from gateway.profiles.plan import Kind, Statistic

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gateway.aggregate.blocks import Pasts
    from gateway.aggregate.layout import Layout
    from gateway.aggregate.rows import Rows
    from gateway.model import Bool, Float64, Int32, Int64, UInt8
    from gateway.profiles.plan import GroupPlan, QuantityPlan

_ADDED = ("sum", "dev1", "dev2", "weight", "weighted", "increment", "counted")
_MERGE_EVERY = 32
"""How many sketches wait until they are added up: bounds memory while many blocks are combined."""


@dataclass(slots=True)
class Tally:
    """Partial results of one quantity of k series.

    `columns` float64 or int64[k] by name: `count` always; as the statistics need them `sum`, `low`,
    `high`, `dev1` and `dev2` (Σ(v-ref), Σ(v-ref)²), `weight` and `weighted` (Σw, Σwv), `first`,
    `last`, `increment` and `counted` (the number of increments).
    """

    columns: dict[str, NDArray[Any]]
    durations: Durations | None = None
    sketches: list[tuple[Int64, Sketch]] = field(default_factory=list)

    def absorb(self, at: Int64, part: Tally, *, seen: Bool) -> None:
        """Take up later rows' results at the places `at`; `seen` says where there were rows before."""
        had, has = self.columns["count"][at] > 0, part.columns["count"] > 0
        for name, theirs in part.columns.items():
            mine = self.columns[name]
            if name in _ADDED:
                mine[at] += theirs
            elif name == "low":
                mine[at] = np.where(had & has, np.minimum(mine[at], theirs), np.where(has, theirs, mine[at]))
            elif name == "high":
                mine[at] = np.where(had & has, np.maximum(mine[at], theirs), np.where(has, theirs, mine[at]))
            elif name == "first":
                mine[at] = np.where(had, mine[at], theirs)
            elif name == "last":
                mine[at] = np.where(has, theirs, mine[at])
        if self.durations is not None and part.durations is not None:
            self.durations.absorb(at, part.durations, had=had, has=has, seen=seen)
        self.columns["count"][at] += part.columns["count"]
        self.sketches += [(at[owners], each) for owners, each in part.sketches]
        if len(self.sketches) >= _MERGE_EVERY:
            self.sketches = [(np.arange(len(self.columns["count"])), merge(self.sketches))]


@dataclass(slots=True)
class Partial:
    """Partial results of the rows of k series (int32[k], ascending).

    `used` int64[k]: rows with a usable reading; `suspect`, `failed` int64[k]: readings with those
    flags; `quality` uint8[k]: the worst flag of a usable reading; `slots` int64[k]: how many expected
    intervals (multiples of `every_ns` since 1970) have a usable reading, with the first and the last
    of them in `slot_first`, `slot_last`.
    """

    series: Int32
    seen: Bool
    used: Int64
    suspect: Int64
    failed: Int64
    quality: UInt8
    slots: Int64
    slot_first: Int64
    slot_last: Int64
    tallies: list[Tally]

    @property
    def nbytes(self) -> int:
        """Bytes of the columns; sketches and durations included."""
        columns = sum(column.nbytes for tally in self.tallies for column in tally.columns.values())
        sketches = sum(each.nbytes for tally in self.tallies for _, each in tally.sketches)
        held = sum(tally.durations.nbytes for tally in self.tallies if tally.durations)
        return 54 * len(self.series) + columns + sketches + held

    @classmethod
    def empty(cls, group: GroupPlan, series: Int32) -> Partial:
        """Return the results of no rows of some series."""
        k = len(series)
        zeros = [np.zeros(k, np.int64) for _ in range(6)]
        return cls(
            series=series,
            seen=np.zeros(k, np.bool_),
            used=zeros[0],
            suspect=zeros[1],
            failed=zeros[2],
            quality=np.zeros(k, np.uint8),
            slots=zeros[3],
            slot_first=zeros[4],
            slot_last=zeros[5],
            tallies=[_empty_tally(quantity, k) for quantity in group.quantities],
        )

    def absorb(self, at: Int64, part: Partial) -> None:
        """Take up the results of later rows; row i of `part` belongs to row `at[i]` of this."""
        both = (self.used[at] > 0) & (part.used > 0)
        self.slots[at] += part.slots - (both & (self.slot_last[at] == part.slot_first))
        self.slot_first[at] = np.where(self.used[at] > 0, self.slot_first[at], part.slot_first)
        self.slot_last[at] = np.where(part.used > 0, part.slot_last, self.slot_last[at])
        self.used[at] += part.used
        self.suspect[at] += part.suspect
        self.failed[at] += part.failed
        self.quality[at] = np.maximum(self.quality[at], part.quality)
        for mine, theirs in zip(self.tallies, part.tallies, strict=True):
            mine.absorb(at, theirs, seen=self.seen[at])
        self.seen[at] = True


def chunk(rows: Rows, layout: Layout, group: GroupPlan, every_ns: int, pasts: Pasts) -> Partial:
    """Return the partial results of some rows (at least one) of one block, sorted by (series, time)."""
    starts = rows.run_starts()
    series = rows.series[starts]
    flags = rows.final_flags(layout)
    usable = flags < Flag.FAIL
    some: Bool = np.logical_or.reduce(usable, axis=0)
    whole = cut(some, starts)
    slots, slot_first, slot_last = _slots(rows.time[whole.rows], whole, every_ns)
    return Partial(
        series=series,
        seen=np.ones(len(series), np.bool_),
        used=whole.spread(whole.lengths),
        suspect=np.add.reduceat((flags == Flag.SUSPECT).sum(axis=0), starts),
        failed=np.add.reduceat((flags == Flag.FAIL).sum(axis=0), starts),
        quality=np.maximum.reduceat(np.where(usable, flags, np.uint8(0)).max(axis=0), starts),
        slots=slots,
        slot_first=slot_first,
        slot_last=slot_last,
        tallies=[
            _tally(rows, q, group, layout, usable=usable, starts=starts, pasts=pasts)
            for q in range(len(group.quantities))
        ],
    )


def _tally(
    rows: Rows, q: int, group: GroupPlan, layout: Layout, *, usable: Bool, starts: Int64, pasts: Pasts
) -> Tally:
    """Return the partial results of one quantity."""
    quantity = group.quantities[q]
    picked = cut(usable[q], starts)
    values = rows.values[q][picked.rows]
    columns = _columns(quantity, picked, values)
    if "weight" in columns:
        columns["weight"], columns["weighted"] = _weighted(rows, q, group, usable, starts)
    if Statistic.INCREMENT in quantity.statistics and q in layout.counters:
        place = layout.counters.index(q)
        columns["increment"] = np.add.reduceat(rows.increments[place], starts)
        columns["counted"] = np.add.reduceat(rows.counted[place].astype(np.int64), starts)
    tally = Tally(columns)
    if Statistic.QUANTILES in quantity.statistics and quantity.quantiles:
        owner = np.repeat(picked.groups, picked.lengths)
        tally.sketches = [(np.arange(picked.k), sketch(owner, values))]
    if _has_durations(quantity):
        state, since = pasts.held(rows.series[starts])
        place = layout.states.index(q)
        tally.durations = durations(
            quantity, picked, rows.time[picked.rows], values, before=state[place], since=since[place]
        )
    return tally


def _columns(quantity: QuantityPlan, picked: Cut, values: Float64) -> dict[str, NDArray[Any]]:
    """Return the plain columns that the quantity's statistics need."""
    columns: dict[str, NDArray[Any]] = {"count": picked.spread(picked.lengths)}
    for name in _needed(quantity) - {"count"}:
        if name == "sum":
            columns[name] = picked.reduced(np.add, values)
        elif name == "low":
            columns[name] = picked.reduced(np.minimum, values)
        elif name == "high":
            columns[name] = picked.reduced(np.maximum, values)
        elif name == "dev1":
            columns[name] = picked.reduced(np.add, values - quantity.reference)
        elif name == "dev2":
            columns[name] = picked.reduced(np.add, (values - quantity.reference) ** 2)
        elif name == "first":
            columns[name] = picked.spread(values[picked.starts])
        elif name == "last":
            columns[name] = picked.spread(values[picked.ends])
        else:
            columns[name] = np.zeros(picked.k)
    return columns


def _weighted(rows: Rows, q: int, group: GroupPlan, usable: Bool, starts: Int64) -> tuple[Float64, Float64]:
    """Return Σw and Σwv over the rows in which both the value and its weight are usable."""
    names = [quantity.name for quantity in group.quantities]
    w = names.index(group.quantities[q].weight or "")
    both = cut(usable[q] & usable[w], starts)
    weights = rows.values[w][both.rows]
    return both.reduced(np.add, weights), both.reduced(np.add, weights * rows.values[q][both.rows])


def _slots(time: Int64, used: Cut, every_ns: int) -> tuple[Int64, Int64, Int64]:
    """Return how many expected intervals have a row, the first and the last of them: int64[k] each."""
    slot = time // (every_ns or 1)
    fresh = np.ones(len(slot), np.int64)
    fresh[1:] = slot[1:] != slot[:-1]
    fresh[used.starts] = 1
    return used.reduced(np.add, fresh), used.spread(slot[used.starts]), used.spread(slot[used.ends])


def _needed(quantity: QuantityPlan) -> set[str]:
    """Return the names of the columns that the quantity's statistics are computed from."""
    needed = {"count"}
    for statistic in quantity.statistics:
        match statistic:
            case Statistic.SUM:
                needed.add("sum")
            case Statistic.MEAN:
                needed |= {"weight", "weighted"} if quantity.weight else {"sum"}
            case Statistic.MIN:
                needed.add("low")
            case Statistic.MAX:
                needed.add("high")
            case Statistic.STANDARD_DEVIATION:
                needed |= {"dev1", "dev2", "low", "high"}
            case Statistic.FIRST:
                needed.add("first")
            case Statistic.LAST:
                needed.add("last")
            case Statistic.INCREMENT:
                needed |= {"increment", "counted"} if quantity.kind is Kind.COUNTER else set()
            case _:
                pass
    return needed


def _has_durations(quantity: QuantityPlan) -> bool:
    return quantity.kind is Kind.STATE and Statistic.TIME_IN_STATE in quantity.statistics


def _empty_tally(quantity: QuantityPlan, k: int) -> Tally:
    whole = {"count", "counted"}
    columns = {name: np.zeros(k, np.int64 if name in whole else np.float64) for name in _needed(quantity)}
    return Tally(
        columns,
        Durations.empty(len(quantity.states), quantity.hold_ns, k) if _has_durations(quantity) else None,
    )
