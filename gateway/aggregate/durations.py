"""Time in state: a state holds until the next reading, at most `hold`, and is cut at the window's bounds.

A partial result holds what lies between its first and its last reading, and the states at its ends with
their times, so that combining two fills the gap between them exactly. All in integer nanoseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gateway.aggregate.carry import NEVER

if TYPE_CHECKING:
    from gateway.aggregate.cut import Cut
    from gateway.model import Bool, Float64, Int64
    from gateway.profiles.plan import QuantityPlan


@dataclass(slots=True)
class Durations:
    """Time in the s states of one quantity, for k series.

    `inside` int64[s, k] ns between the first and the last reading; `first_time`, `last_time` int64[k],
    `last_state` int64[k] (undefined without a reading); `before` int64[k] the state that held before
    any row of the series here, `since` int64[k] its time (`NEVER`: none). `hold_ns` bounds each.
    """

    inside: Int64
    first_time: Int64
    last_time: Int64
    last_state: Int64
    before: Int64
    since: Int64
    hold_ns: int

    @property
    def nbytes(self) -> int:
        """Bytes of all columns."""
        return self.inside.nbytes + 5 * self.since.nbytes

    @classmethod
    def empty(cls, states: int, hold_ns: int, k: int) -> Durations:
        """Return what is known of `k` series without a row."""
        return cls(
            inside=np.zeros((states, k), np.int64),
            first_time=np.zeros(k, np.int64),
            last_time=np.zeros(k, np.int64),
            last_state=np.zeros(k, np.int64),
            before=np.zeros(k, np.int64),
            since=np.full(k, NEVER, np.int64),
            hold_ns=hold_ns,
        )

    def absorb(self, at: Int64, part: Durations, *, had: Bool, has: Bool, seen: Bool) -> None:
        """Take up later rows: `had`, `has` say where a reading of the quantity is before, and in `part`.

        `seen` says where any row was before: the past of the first rows is the past of all.
        """
        self.inside[:, at] += part.inside
        both = np.flatnonzero(had & has)
        gap = np.minimum(part.first_time[both] - self.last_time[at[both]], self.hold_ns)
        np.add.at(self.inside, (self.last_state[at[both]], at[both]), gap)
        self.before[at] = np.where(seen, self.before[at], part.before)
        self.since[at] = np.where(seen, self.since[at], part.since)
        self.first_time[at] = np.where(had, self.first_time[at], part.first_time)
        self.last_time[at] = np.where(has, part.last_time, self.last_time[at])
        self.last_state[at] = np.where(has, part.last_state, self.last_state[at])

    def within(self, start: int, end: int, known: Bool) -> Int64:
        """Return the time in each state inside [start, end), int64[s, k] ns; `known`: there is a reading."""
        total = self.inside.copy()
        series = np.arange(total.shape[1])
        held = np.flatnonzero(self.since != NEVER)
        until = np.minimum(self.since[held] + self.hold_ns, np.where(known, self.first_time, end)[held])
        np.add.at(total, (self.before[held], held), np.maximum(until - start, 0))
        last = series[known]
        np.add.at(total, (self.last_state[last], last), np.minimum(end - self.last_time[last], self.hold_ns))
        return total


def durations(
    quantity: QuantityPlan, picked: Cut, time: Int64, values: Float64, *, before: Float64, since: Int64
) -> Durations:
    """Return the times in state of one block's readings (`time`, `values`: those that `picked` picks)."""
    state = values.astype(np.int64)
    found = Durations.empty(len(quantity.states), quantity.hold_ns, picked.k)
    owner = np.repeat(picked.groups, picked.lengths)
    linked = np.flatnonzero(owner[1:] == owner[:-1])
    gap = np.minimum(time[linked + 1] - time[linked], quantity.hold_ns)
    np.add.at(found.inside, (state[linked], owner[linked]), gap)
    found.first_time = picked.spread(time[picked.starts])
    found.last_time = picked.spread(time[picked.ends])
    found.last_state = picked.spread(state[picked.ends])
    found.before = before.astype(np.int64)
    found.since = since.copy()
    return found
