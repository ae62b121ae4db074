"""Quantiles that merge: a histogram with logarithmic buckets (DDSketch), exact below 8 values.

Bucket i holds values in (g^(i-1), g^i] with g = (1 + e) / (1 - e); its middle 2 g^i / (g + 1) is within the
relative error e = 1 % of each of them. Masson, Rim, Lee: DDSketch, VLDB 2019. Negative values have buckets
of their own, and zero one. A bucket depends on its value alone, so that any merging gives the same counts.
A quantile q of n values is the smallest of them that at least q·n do not exceed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.model import Float64, Int64

RELATIVE_ERROR = 0.01
EXACT_BELOW = 8

_GAMMA = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
_LOG_GAMMA = float(np.log(_GAMMA))
# Moves the bucket numbers of all floats (±37,000) away from zero, so that one integer says sign and size,
# and integers ascend as the values do.
_SHIFT = 1 << 20


@dataclass(slots=True)
class Sketch:
    """Histograms of k owners, sparse: m buckets with a count each, and the values of small owners.

    `owner` int64[m], `bucket` int64[m], `count` int64[m], sorted by (owner, bucket), each pair once;
    `small_owner` int64[s], `small_value` float64[s]: all values of the owners with fewer than 8, sorted.
    """

    owner: Int64
    bucket: Int64
    count: Int64
    small_owner: Int64
    small_value: Float64

    @property
    def nbytes(self) -> int:
        """Bytes of all columns."""
        return 24 * len(self.owner) + 16 * len(self.small_owner)


def sketch(owner: Int64, values: Float64) -> Sketch:
    """Return the histograms of some values (float64[n], finite), each of an owner (int64[n])."""
    return _reduced(owner, _bucket(values), np.ones(len(owner), np.int64), owner, values)


def merge(parts: Sequence[tuple[Int64, Sketch]]) -> Sketch:
    """Return the sum of some sketches; each comes with the new number of each of its owners, int64[k]."""
    return _reduced(
        np.concatenate([new[part.owner] for new, part in parts]),
        np.concatenate([part.bucket for _, part in parts]),
        np.concatenate([part.count for _, part in parts]),
        np.concatenate([new[part.small_owner] for new, part in parts]),
        np.concatenate([part.small_value for _, part in parts]),
    )


def quantiles(of: Sketch, owners: int, wanted: Sequence[float]) -> list[Float64]:
    """Return, for each wanted quantile (0 … 1), float64[owners]; 0 where an owner has no value."""
    total = np.zeros(owners, np.int64)
    np.add.at(total, of.owner, of.count)
    before = np.concatenate([[0], np.cumsum(total)])
    running = np.cumsum(of.count)
    some = np.flatnonzero(total)
    small = some[total[some] < EXACT_BELOW]
    small_before = np.searchsorted(of.small_owner, small)
    answers = []
    for share in wanted:
        # The hair less keeps 0.1 · 30 = 3.0000000000000004 from asking for the fourth.
        rank = np.maximum(np.ceil(share * total - 1e-9).astype(np.int64) - 1, 0)
        answer = np.zeros(owners)
        place = np.searchsorted(running, before[some] + rank[some], "right")
        answer[some] = _middle(of.bucket[place])
        answer[small] = of.small_value[small_before + rank[small]]
        answers.append(answer)
    return answers


def _reduced(owner: Int64, bucket: Int64, count: Int64, small_owner: Int64, small: Float64) -> Sketch:
    """Sort, add up equal buckets, and forget the values of owners that have become large."""
    order = np.lexsort((bucket, owner))
    owner, bucket, count = owner[order], bucket[order], count[order]
    first = np.ones(len(owner), np.bool_)
    first[1:] = (owner[1:] != owner[:-1]) | (bucket[1:] != bucket[:-1])
    starts = np.flatnonzero(first)
    count = np.add.reduceat(count, starts) if len(starts) else count
    owner, bucket = owner[starts], bucket[starts]
    total = np.zeros(int(owner[-1]) + 1 if len(owner) else 0, np.int64)
    np.add.at(total, owner, count)
    keep = total[small_owner] < EXACT_BELOW
    small_owner, small = small_owner[keep], small[keep]
    order = np.lexsort((small, small_owner))
    return Sketch(owner, bucket, count, small_owner[order], small[order])


def _bucket(values: Float64) -> Int64:
    """Return the bucket of each value, int64[n]: ascending as the values ascend."""
    size = np.abs(values)
    some = size > 0
    index = np.ceil(np.log(size, where=some, out=np.zeros(len(size))) / _LOG_GAMMA).astype(np.int64)
    bucket: Int64 = np.where(some, (index + _SHIFT) * np.sign(values).astype(np.int64), 0)
    return bucket


def _middle(bucket: Int64) -> Float64:
    """Return the value that stands for each bucket, float64[n]."""
    size = np.exp((np.abs(bucket) - _SHIFT) * _LOG_GAMMA) * 2 / (_GAMMA + 1)
    middle: Float64 = np.where(bucket == 0, 0.0, np.sign(bucket) * size)
    return middle
