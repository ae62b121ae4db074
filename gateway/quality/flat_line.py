"""Flat line (QARTOD test 8, stuck value), as a fold: one anchor a series instead of its past readings.

A series' anchor is a reading: the first one, then any that leaves the tolerance around the anchor.
A reading is SUSPECT where the anchor is at least the duration older than it. So a flagged reading
and all those since the anchor lie within ± tolerance of one value, for the duration or longer.

QARTOD's manual (and `ioos_qc`) looks at the range over a window of the duration instead, which
needs every reading of that window to be remembered for every series. The two agree where readings of
one level differ by less than the tolerance and those of the next level by more; always so at equal
values. Otherwise the anchor's answer is bounded by the window's: the readings of the last duration
before a flagged one have a range of at most 2 · tolerance, and a stretch with a range of at most
`tolerance` that lasts twice the duration and a sampling interval has been flagged by its end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from gateway.model import Bool, Float64, Int64
    from gateway.profiles.plan import FlatLine
    from gateway.quality.links import Links

_WORTH_A_ROUND = 16
"""With fewer series in a numpy round, on average, a plain loop over the readings is faster."""


@dataclass(frozen=True, slots=True)
class Anchors:
    """m anchors: time int64[m], ns; value float64[m], NaN where there is none yet."""

    time: Int64
    value: Float64


def anchor(links: Links, remembered: Anchors, tolerance: float) -> Anchors:
    """Return the anchor after each of m readings.

    `remembered` are the anchors before the readings marked `links.first`, in that order. The
    recursion runs along each series, in time: its result is a function of the series' usable readings
    in their order, however they are cut into calls and whatever other series are there.
    """
    if links.first.all():
        return _step(links.time, links.value, remembered, tolerance)
    place = np.arange(len(links))
    rank = place - np.maximum.accumulate(np.where(links.first, place, 0))
    rounds = int(rank.max()) + 1
    if len(links) < _WORTH_A_ROUND * rounds:
        return _one_by_one(links, remembered, tolerance)
    return _in_rounds(links, remembered, tolerance, rank)


def is_flat(links: Links, anchors: Anchors, plan: FlatLine) -> Bool:
    """Tell which of m readings end a flat line of at least the plan's duration, bool[m]."""
    flat: Bool = links.time - anchors.time >= plan.duration_ns
    return flat


def _in_rounds(links: Links, remembered: Anchors, tolerance: float, rank: Int64) -> Anchors:
    """Round r takes the r-th reading of every series at once."""
    time, value = np.empty_like(links.time), np.empty_like(links.value)
    order = np.argsort(rank, kind="stable")
    ends = np.cumsum(np.bincount(rank))
    before = remembered
    for begin, end in zip([0, *ends[:-1]], ends, strict=True):
        rows = order[begin:end]
        if begin:  # the reading before is in the row above, and its anchor is settled
            before = Anchors(time[rows - 1], value[rows - 1])
        settled = _step(links.time[rows], links.value[rows], before, tolerance)
        time[rows], value[rows] = settled.time, settled.value
    return Anchors(time, value)


def _step(time: Int64, value: Float64, before: Anchors, tolerance: float) -> Anchors:
    """One reading of each series: its anchor is the one before it, or itself. NaN holds nothing."""
    held = np.abs(value - before.value) <= tolerance
    return Anchors(np.where(held, before.time, time), np.where(held, before.value, value))


def _one_by_one(links: Links, remembered: Anchors, tolerance: float) -> Anchors:
    """The same for few and long series (a backfill), where a round would hold next to nothing."""
    begun = iter(zip(remembered.time.tolist(), remembered.value.tolist(), strict=True))
    times: list[int] = []
    values: list[float] = []
    since, level = 0, float("nan")
    for first, time, value in zip(
        links.first.tolist(), links.time.tolist(), links.value.tolist(), strict=True
    ):
        if first:
            since, level = next(begun)
        if not abs(value - level) <= tolerance:
            since, level = time, value
        times.append(since)
        values.append(level)
    return Anchors(np.array(times, dtype=np.int64), np.array(values, dtype=np.float64))
