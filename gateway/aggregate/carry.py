"""What is remembered of a series' past where its rows begin: the state just before a reading.

Two parts: what the neighbour tests and counters remember (an object of the quality room, handed in by the
composition root), and the last state of each state quantity, which holds into the next window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from gateway.model import Flag

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from gateway.aggregate.layout import Layout
    from gateway.aggregate.rows import Rows
    from gateway.model import Bool, Float64, Int32, Int64, UInt8
    from gateway.packing import Arrays
    from gateway.profiles.plan import GroupPlan

    Index = NDArray[np.integer]

NEVER = int(np.iinfo(np.int64).min)
"""The time of a state of which there has been no reading."""


class Neighbours(Protocol):
    """What the neighbour tests remember of k series × p quantities (see `gateway.quality.neighbours`)."""

    @property
    def last_time(self) -> Int64:
        """int64[p, k]: when the last usable reading was; undefined where not known."""
        ...

    @property
    def last_known(self) -> Bool:
        """bool[p, k]: whether there has been one."""
        ...

    def take(self, index: Index) -> Any:  # noqa: ANN401 - "of my own kind", which a Protocol cannot say
        """Return the state of some series, as a copy."""
        ...

    def put(self, index: Index, other: Any) -> None:  # noqa: ANN401 - the same
        """Replace the state of some series."""
        ...

    def grow(self, k: int) -> None:
        """Make room for `k` series; new ones are unknown."""
        ...

    def equals(self, other: Any) -> Bool:  # noqa: ANN401 - the same
        """Return bool[k]: which series have the same state in both."""
        ...

    def pack(self) -> dict[str, NDArray[np.generic]]:
        """Return arrays to be stored: `shape` (p, k), `quantities` (indices of those kept), `words`."""
        ...


class NeighboursFactory(Protocol):
    """Makes `Neighbours`: the class itself, handed in."""

    def empty(self, p: int, k: int) -> Neighbours:
        """Return the state of `p` quantities of `k` series of which nothing is known."""
        ...

    def unpack(self, packed: Mapping[str, NDArray[np.generic]]) -> Neighbours:
        """Return what `pack` gave."""
        ...


class Assessed(Protocol):
    """What the neighbour tests found; see `gateway.quality.assess`."""

    @property
    def flags(self) -> UInt8:
        """uint8[q, n]."""
        ...

    @property
    def increments(self) -> Float64:
        """float64[q, n]: a counter's increment since the usable reading before."""
        ...

    @property
    def counted(self) -> Bool:
        """bool[q, n]: where there is one."""
        ...

    @property
    def revised_series(self) -> Int32:
        """int32[m]: place, in the call, of the series of a remembered reading that is now SUSPECT."""
        ...

    @property
    def revised_quantity(self) -> Int32:
        """int32[m]: its quantity."""
        ...

    @property
    def revised_time(self) -> Int64:
        """int64[m]: its event time."""
        ...

    @property
    def after(self) -> Any:  # noqa: ANN401 - Neighbours
        """The state behind the rows."""
        ...


if TYPE_CHECKING:
    Assess = Callable[
        [GroupPlan, Int64, Float64, UInt8, Int64, Any, Mapping[str, Float64]],
        Assessed,
    ]


@dataclass(slots=True)
class Carry:
    """The past of k series: `neighbours`, and the last reading of each of the h state quantities.

    `state` float64[h, k] (a state's code; 0 where none), `since` int64[h, k] ns (`NEVER` where none).
    """

    neighbours: Neighbours
    state: Float64
    since: Int64

    @classmethod
    def empty(cls, layout: Layout, k: int, factory: NeighboursFactory) -> Carry:
        """Return the past of `k` series of which nothing is known."""
        h = len(layout.states)
        return cls(
            factory.empty(len(layout.remembered), k), np.zeros((h, k)), np.full((h, k), NEVER, np.int64)
        )

    def take(self, index: Index) -> Carry:
        """Return the past of some series, as a copy."""
        return Carry(self.neighbours.take(index), self.state[:, index], self.since[:, index])

    def put(self, index: Index, other: Carry) -> None:
        """Replace the past of some series."""
        self.neighbours.put(index, other.neighbours)
        self.state[:, index] = other.state
        self.since[:, index] = other.since

    def grow(self, k: int) -> None:
        """Make room for `k` series; new ones are unknown. Amortised by doubling."""
        self.neighbours.grow(k)
        have = self.state.shape[1]
        if k > have:
            more = max(k, 2 * have) - have
            h = len(self.state)
            self.state = np.concatenate([self.state, np.zeros((h, more))], axis=1)
            self.since = np.concatenate([self.since, np.full((h, more), NEVER, np.int64)], axis=1)

    def held_equals(self, other: Carry) -> Bool:
        """Return bool[k]: which series have the same states in both."""
        same: Bool = ((self.state == other.state) & (self.since == other.since)).all(axis=0)
        return same

    def equals(self, other: Carry) -> Bool:
        """Return bool[k]: which series have the same past in both."""
        return self.held_equals(other) & self.neighbours.equals(other.neighbours)

    def pack(self) -> Arrays:
        """Return the columns to be stored."""
        stored: Arrays = {f"neighbours.{name}": array for name, array in self.neighbours.pack().items()}
        return {"state": self.state, "since": self.since, **stored}

    @property
    def nbytes(self) -> int:
        """Bytes of its columns, as far as known here (a record of 7 words a series and quantity)."""
        return self.state.nbytes + self.since.nbytes + self.neighbours.last_time.size * 56


def unpack(packed: Arrays, layout: Layout, old: Layout, factory: NeighboursFactory) -> Carry:
    """Return what `Carry.pack` gave, in the columns of `layout` (it was packed in those of `old`)."""
    prefix = "neighbours."
    neighbours = {name.removeprefix(prefix): a for name, a in packed.items() if name.startswith(prefix)}
    state, since = packed["state"], packed["since"]
    if layout != old:
        neighbours = _renamed(neighbours, layout, old)
        state, since = moved_states(state, since, layout, old)
    return Carry(factory.unpack(neighbours), state, since)


def remapped(carry: Carry, layout: Layout, old: Layout, factory: NeighboursFactory) -> Carry:
    """Return it in the columns of another version of the plan; what that did not have is unknown."""
    return unpack(carry.pack(), layout, old, factory)


def _renamed(packed: dict[str, NDArray[Any]], layout: Layout, old: Layout) -> dict[str, NDArray[Any]]:
    """Renumber the quantities of packed neighbours; those that are gone are left out."""
    had, has = old.names_of(old.remembered), layout.names_of(layout.remembered)
    names = [had[place] for place in packed["quantities"].tolist()]
    kept = [place for place, name in enumerate(names) if name in has]
    return {
        "shape": np.array([len(has), packed["shape"][1]], dtype=np.int64),
        "quantities": np.array([has.index(names[place]) for place in kept], dtype=np.int64),
        "words": packed["words"][:, kept],
    }


def moved_states(state: Float64, since: Int64, layout: Layout, old: Layout) -> tuple[Float64, Int64]:
    """Move the rows of held states to where the new layout has them."""
    k = state.shape[1]
    known = old.names_of(old.states)
    new_state, new_since = (
        np.zeros((len(layout.states), k)),
        np.full((len(layout.states), k), NEVER, np.int64),
    )
    for place, name in enumerate(layout.names_of(layout.states)):
        if name in known:
            new_state[place], new_since[place] = state[known.index(name)], since[known.index(name)]
    return new_state, new_since


def last_states(rows: Rows, starts: Int64, before: Carry, layout: Layout) -> tuple[Float64, Int64]:
    """Return the held states (`state`, `since`) of k series behind their rows, given those before them.

    `starts` int64[k]: where each series' rows begin in `rows`; `before`: the k series' past.
    """
    state, since = before.state.copy(), before.since.copy()
    owner = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(rows)))
    for place, quantity in enumerate(layout.states):
        usable = np.flatnonzero(rows.flags[quantity] < Flag.FAIL)
        # Rows ascend in time within a series, and of several writes to one place the last one stands.
        state[place, owner[usable]] = rows.values[quantity, usable]
        since[place, owner[usable]] = rows.time[usable]
    return state, since
