"""Which readings are new, which came before, and which contradict what came before.

A reading is (series, event time, quantity). Of several the first in the journal stands: an equal value is a
duplicate, another one a conflicting duplicate. A quantity that was absent is taken into the row.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from gateway.model import Flag, Reason, Rejection

if TYPE_CHECKING:
    from gateway.model import Bool, Float64, Int64, Readings, UInt8


@dataclass(slots=True)
class Known:
    """m rows as they stand: `values` float64[q, m], `flags` uint8[q, m] (MISSING where absent).

    `complemented` bool[q, m]: which of their quantities came with a later row.
    """

    values: Float64
    flags: UInt8
    complemented: Bool

    @classmethod
    def of(cls, values: Float64, flags: UInt8) -> Known:
        """Return rows as they stand, before any comparison. Keeps the arrays."""
        return cls(values, flags, np.zeros(values.shape, np.bool_))


@dataclass(slots=True)
class Verdict:
    """What became of readings whose identity was known."""

    duplicates: int = 0
    conflicts: list[Rejection] = field(default_factory=list)
    conflicting: int = 0


def compare(known: Known, readings: Readings, rows: Int64, place: Int64) -> Verdict:
    """Hold some rows of a batch against what stands, in their order; takes complements into `known`.

    `rows` int64[r] are places in `readings`, in order of arrival; `place` int64[r] says which of the m
    known rows each has the identity of. Rows of one identity are taken one after the other, in rounds.
    """
    verdict = Verdict()
    for chosen in _rounds(place):
        _compare_round(known, readings, rows[chosen], place[chosen], verdict)
    verdict.conflicts.sort(key=lambda rejection: rejection.index)
    return verdict


def _compare_round(known: Known, readings: Readings, rows: Int64, place: Int64, verdict: Verdict) -> None:
    """Compare rows of different identities."""
    values, present = readings.values[:, rows], readings.present[:, rows]
    stands = known.flags[:, place] != Flag.MISSING
    equal = values == known.values[:, place]
    verdict.duplicates += int(np.count_nonzero(present & stands & equal))
    conflicting = present & stands & ~equal
    verdict.conflicting += int(np.count_nonzero(conflicting))
    for column in np.flatnonzero(conflicting.any(axis=0)).tolist():
        one = _rejection(known, readings, int(rows[column]), int(place[column]), conflicting[:, column])
        verdict.conflicts.append(one)
    fresh = present & ~stands
    quantity, row = np.nonzero(fresh)
    known.values[quantity, place[row]] = values[quantity, row]
    known.flags[quantity, place[row]] = readings.flags[:, rows][quantity, row]
    known.complemented[quantity, place[row]] = True


def _rejection(known: Known, readings: Readings, row: int, place: int, conflicting: Bool) -> Rejection:
    """Name the quantities of one row that contradict what stands."""
    names = [readings.group.quantities[q].name for q in np.flatnonzero(conflicting).tolist()]
    first = int(np.argmax(conflicting))
    detail = (
        f"{', '.join(names)} of {'/'.join(readings.table.keys[int(readings.series[row])])} at "
        f"{int(readings.time[row])} ns came before with another value "
        f"({names[0]}: {known.values[first, place]:g} stands, not {readings.values[first, row]:g})"
    )
    return Rejection(
        index=int(readings.uplink[row]),
        reason=Reason.CONFLICTING_DUPLICATE,
        detail=detail,
        readings=len(names),
    )


def _rounds(place: Int64) -> list[Int64]:
    """Split into rounds in which each place comes at most once: the first, then the second of each."""
    order = np.argsort(place, kind="stable")
    ranked = place[order]
    starts = np.flatnonzero(np.diff(ranked, prepend=-1))
    rank = np.empty(len(place), np.int64)
    rank[order] = np.arange(len(place)) - np.repeat(starts, np.diff(starts, append=len(place)))
    return [np.flatnonzero(rank == each) for each in range(int(rank.max(initial=-1)) + 1)]
