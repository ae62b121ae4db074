"""A block: the readings of one shelf whose shortest window begins at one time.

Rows lie in sorted runs; runs of a size are merged once there are `FAN` of them, so that a row is copied a
logarithmic number of times however the readings come, and looking one up asks few runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gateway.aggregate.rows import empty, joined, merged, order_of, run_starts

if TYPE_CHECKING:
    from gateway.aggregate.carry import Carry
    from gateway.aggregate.layout import Layout
    from gateway.aggregate.reductions import Partial
    from gateway.aggregate.rows import Rows
    from gateway.model import Bool, Float64, Int32, Int64


FAN = 8
"""Runs that are merged together: more copy less, fewer are looked up faster."""


@dataclass(slots=True)
class Place:
    """Where m rows lie in a block: the run and the row in it, int64[m]; -1 where there is none.

    Good until the next `append`.
    """

    run: Int64
    row: Int64

    def __len__(self) -> int:
        return len(self.run)

    @property
    def found(self) -> Bool:
        """bool[m]: which rows there are."""
        there: Bool = self.run >= 0
        return there

    def take(self, index: Int64 | Bool) -> Place:
        """Return some of the places."""
        return Place(self.run[index], self.row[index])


class Pasts:
    """What was remembered of each series before its first row in a block.

    `carry` holds the pasts in order of arrival, `series` whose they are; `_place` finds them by code.
    """

    __slots__ = ("_place", "_series", "carry", "changed", "count", "saved")

    def __init__(self, carry: Carry) -> None:
        self.carry = carry
        self.count = 0
        self.saved = 0
        self.changed = False
        """Whether one that is saved was replaced: then all must be saved anew."""
        self._series = np.empty(0, np.int32)
        self._place = np.empty(0, np.int32)

    @property
    def series(self) -> Int32:
        """int32[count]: the series known here, in order of arrival."""
        return self._series[: self.count]

    @property
    def nbytes(self) -> int:
        """Bytes of all columns."""
        return self.carry.nbytes + self._series.nbytes + self._place.nbytes

    def has(self, series: Int32) -> Bool:
        """Return bool[m]: of which series there is a past here."""
        return self._places(series) >= 0

    def recall(self, series: Int32) -> Carry:
        """Return the pasts of `series`, all of which must be known here, as a copy."""
        return self.carry.take(self._places(series))

    def held(self, series: Int32) -> tuple[Float64, Int64]:
        """Return the last states before this block, and since when: [h, m] each."""
        places = self._places(series)
        return self.carry.state[:, places], self.carry.since[:, places]

    def add(self, series: Int32, carry: Carry) -> None:
        """Take the pasts of series (unique) that are not known here yet."""
        if not len(series):
            return
        old, self.count = self.count, self.count + len(series)
        self.carry.grow(self.count)
        new = np.arange(old, self.count)
        self.carry.put(new, carry)
        self._series = _grown(self._series, self.count, 0)
        self._series[new] = series
        self._place = _grown(self._place, int(series.max()) + 1, -1)
        self._place[series] = new

    def replace(self, series: Int32, carry: Carry) -> None:
        """Replace the pasts of series that are known here."""
        places = self._places(series)
        self.carry.put(places, carry)
        self.changed |= bool((places < self.saved).any())

    def _places(self, series: Int32) -> Int32:
        known = series < len(self._place)
        places = np.full(len(series), -1, np.int32)
        places[known] = self._place[series[known]]
        return places


class Block:
    """The readings of one shelf in one shortest window, and each series' past before them."""

    __slots__ = ("in_flight", "layout", "partial", "parts", "past_parts", "pasts", "runs", "start")

    def __init__(self, start: int, layout: Layout, pasts: Pasts) -> None:
        self.start = start
        self.layout = layout
        self.runs: list[Rows] = []
        self.pasts = pasts
        self.partial: Partial | None = None
        """What all its rows give, kept until one of them changes."""
        self.parts = 0
        self.past_parts = 0
        self.in_flight = False
        """Whether cells of it were handed to a checkpoint that is not known to be committed."""

    def __len__(self) -> int:
        return sum(map(len, self.runs))

    @property
    def nbytes(self) -> int:
        """Bytes of all that it holds."""
        kept = self.partial.nbytes if self.partial else 0
        return sum(run.nbytes for run in self.runs) + self.pasts.nbytes + kept

    @property
    def is_saved(self) -> bool:
        """Whether the state file holds all of it as it is now."""
        pasts = self.pasts
        return (
            not self.in_flight
            and not pasts.changed
            and pasts.saved == pasts.count
            and not any(run.unsaved.any() for run in self.runs)
        )

    def append(self, rows: Rows) -> None:
        """Take rows, sorted, none of which is here yet. Keeps the arrays."""
        if not len(rows):
            return
        self.partial = None
        self.runs.append(rows)
        while (alike := self._alike()) >= FAN:
            self.runs[-alike:] = [merged(self.runs[-alike:])]

    def rows(self) -> Rows:
        """Return all rows as one run."""
        if len(self.runs) > 1:
            self.runs = [merged(self.runs)]
        return self.runs[0] if self.runs else empty(self.layout)

    def _alike(self) -> int:
        """Return how many of the last runs are at most twice as long as the last one."""
        most = 2 * len(self.runs[-1])
        return next((n for n, run in enumerate(reversed(self.runs)) if len(run) > most), len(self.runs))

    def find(self, series: Int32, time: Int64) -> Place:
        """Return where the rows of (series, time) lie."""
        place = Place(np.full(len(series), -1, np.int64), np.full(len(series), -1, np.int64))
        for number, run in enumerate(self.runs):
            row = run.find(series, time)
            found = row >= 0
            place.run[found] = number
            place.row[found] = row[found]
        return place

    def select(self, series: Int32) -> tuple[Rows, Place]:
        """Return the rows of `series` (unique, ascending) as a sorted copy, and where they lie."""
        rows = [run.of_series(series) for run in self.runs]
        place = Place(
            np.repeat(np.arange(len(rows)), [len(r) for r in rows]),
            np.concatenate([[], *rows]).astype(np.int64),
        )
        if not len(place):
            return empty(self.layout), place
        piece = joined([run.take(r) for run, r in zip(self.runs, rows, strict=True)])
        if len(self.runs) == 1:
            return piece, place
        order = order_of(piece.series, piece.time)
        return piece.take(order), place.take(order)

    def gather(self, place: Place) -> Rows:
        """Return the rows at `place`, all found, in that order, as a copy."""
        if not len(place):
            return empty(self.layout)
        order = np.argsort(place.run, kind="stable")
        pieces = [run.take(place.row[place.run == number]) for number, run in enumerate(self.runs)]
        return joined(pieces).take(np.argsort(order))

    def has(self, series: Int32) -> Bool:
        """Return bool[m]: which series have rows here. Only for groups whose readings have an order."""
        return self.pasts.has(series)

    def series(self) -> Int32:
        """Return the series that have rows here, ascending."""
        heads = [run.series[run_starts(run.series)] for run in self.runs]
        return np.unique(np.concatenate(heads)) if heads else np.empty(0, np.int32)


def _grown(column: Int32, size: int, fill: int) -> Int32:
    """Return the column with room for `size` entries; amortised by doubling."""
    if size <= len(column):
        return column
    new = np.full(max(size, 2 * len(column)), fill, np.int32)
    new[: len(column)] = column
    return new
