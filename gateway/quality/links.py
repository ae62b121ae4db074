"""Each usable reading of one quantity with the two usable readings before it in its series.

FAIL and absent readings are nobody's neighbour: they are left out first, so that the reading before
is always the one above, or, for a series' first, what `Neighbours` remembers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from gateway.model import NS_PER_S

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gateway.model import Bool, Float64, Int64
    from gateway.quality.neighbours import Neighbours

_Scalar = TypeVar("_Scalar", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Past:
    """An earlier reading of each of m readings; time (ns) and value are undefined where not `known`."""

    time: Int64
    value: Float64
    known: Bool


@dataclass(frozen=True, slots=True)
class Links:
    """m usable readings of one quantity, sorted by series, then time; every array has length m.

    `rows` and `series` are the readings' places in the call's rows and series; `first` marks each
    series' first reading here, `final` its last; `previous` is the usable reading before, `before`
    the one before that. `remembered` [1, number of `first`] is what was known of this quantity of
    these series before the call, in their order.
    """

    rows: Int64
    series: Int64
    time: Int64
    value: Float64
    first: Bool
    final: Bool
    previous: Past
    before: Past
    remembered: Neighbours

    def __len__(self) -> int:
        return len(self.rows)

    def seconds(self) -> Float64:
        """Seconds since the previous reading, float64[m]; 1 where there is none."""
        elapsed: Float64 = np.where(self.previous.known, self.time - self.previous.time, NS_PER_S) / NS_PER_S
        return elapsed


def link(
    quantity: int, neighbours: Neighbours, *, time: Int64, value: Float64, usable: Bool, series: Int64
) -> Links:
    """Link the usable rows of one quantity: `time`, `value`, `usable`, `series` are its n rows."""
    rows = np.flatnonzero(usable)
    of = series[rows]
    first = np.ones(len(rows), dtype=np.bool_)
    first[1:] = of[1:] != of[:-1]
    final = np.ones(len(rows), dtype=np.bool_)
    final[:-1] = first[1:]
    remembered = neighbours.take_quantity(quantity, of[first])
    times, numbers = time[rows], value[rows]
    previous = Past(
        time=_shift(times, first, remembered.last_time[0]),
        value=_shift(numbers, first, remembered.last_value[0]),
        known=_shift(np.ones_like(first), first, remembered.last_known[0]),
    )
    # The reading before the previous is the previous one's previous: the same shift once more.
    before = Past(
        time=_shift(previous.time, first, remembered.before_time[0]),
        value=_shift(previous.value, first, remembered.before_value[0]),
        known=_shift(previous.known, first, remembered.before_known[0]),
    )
    return Links(rows, of, times, numbers, first, final, previous, before, remembered)


def _shift(column: NDArray[_Scalar], first: Bool, remembered: NDArray[_Scalar]) -> NDArray[_Scalar]:
    """Each row's value in the row above; in a series' first row what is remembered of that series."""
    if len(remembered) == len(column):
        return remembered
    above = np.empty_like(column)
    above[1:] = column[:-1]
    above[first] = remembered
    return above
