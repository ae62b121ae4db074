"""Cutting the usable readings of one quantity out of sorted rows, and reducing them series by series."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gateway.model import Bool, Int64


@dataclass(frozen=True, slots=True)
class Cut:
    """The usable rows of one quantity, and where each series' begin among them.

    `rows` picks them; `starts` int64[g] are places among the picked; `groups` int64[g] says which of
    the k series each belongs to: never an empty one, for reduceat would return a neighbour's element.
    """

    rows: NDArray[np.integer] | slice
    starts: Int64
    groups: Int64
    k: int
    size: int

    @property
    def lengths(self) -> Int64:
        """How many rows each has, int64[g]."""
        return np.diff(self.starts, append=self.size)

    @property
    def ends(self) -> Int64:
        """Where each one's last row is among the picked, int64[g]."""
        return self.starts + self.lengths - 1

    def spread(self, found: NDArray[Any]) -> NDArray[Any]:
        """Return g results as k: 0 for series without rows here."""
        if len(found) == self.k:
            return found
        column = np.zeros(self.k, found.dtype)
        column[self.groups] = found
        return column

    def reduced(self, ufunc: np.ufunc, picked: NDArray[Any]) -> NDArray[Any]:
        """Return the reduction of each series' picked rows, [k]."""
        return self.spread(ufunc.reduceat(picked, self.starts)) if len(self.starts) else self.spread(picked)


def cut(usable: Bool, starts: Int64) -> Cut:
    """Cut the usable ones out of sorted rows whose k series begin at `starts`."""
    k = len(starts)
    if usable.all():
        return Cut(slice(None), starts, np.arange(k), k, len(usable))
    rows = np.flatnonzero(usable)
    low = np.searchsorted(rows, starts)
    groups = np.flatnonzero(np.diff(low, append=len(rows)))
    return Cut(rows, low[groups], groups, k, len(rows))
