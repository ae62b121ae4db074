"""Quantiles: exact for few values, within 1 % for many, the same however they are merged."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gateway.aggregate.sketch import merge, quantiles, sketch

VALUES = st.floats(-1e9, 1e9, allow_nan=False).filter(lambda v: v == 0 or abs(v) > 1e-9)
SHARES = (0.0, 0.1, 0.5, 0.95, 0.999, 1.0)


def smallest(values: list[float], share: float) -> float:
    return sorted(values)[max(math.ceil(share * len(values) - 1e-9) - 1, 0)]


def of(values: list[float]) -> list[float]:
    owner = np.zeros(len(values), np.int64)
    return [float(a[0]) for a in quantiles(sketch(owner, np.array(values)), 1, SHARES)]


@given(st.lists(VALUES, min_size=1, max_size=7))
def test_few_values_are_exact(values: list[float]) -> None:
    """Below 8 values a quantile is one of them."""
    assert of(values) == [smallest(values, share) for share in SHARES]


@given(st.lists(VALUES, min_size=8, max_size=60))
def test_many_values_are_within_one_percent(values: list[float]) -> None:
    """From 8 values on the relative error is at most 1 %."""
    for got, share in zip(of(values), SHARES, strict=True):
        right = smallest(values, share)
        assert abs(got - right) <= 0.010001 * abs(right)


@given(st.lists(st.lists(VALUES, max_size=12), min_size=2, max_size=5))
def test_merging_is_the_same_as_counting_at_once(parts: list[list[float]]) -> None:
    """A bucket depends on its value alone: parts merged give what all values give together."""
    at = np.array([1])
    merged = merge([(at, sketch(np.zeros(len(p), np.int64), np.array(p, dtype=float))) for p in parts])
    whole = [v for part in parts for v in part]
    expected = sketch(np.ones(len(whole), np.int64), np.array(whole, dtype=float))
    for left, right in zip(quantiles(merged, 2, SHARES), quantiles(expected, 2, SHARES), strict=True):
        assert left.tolist() == right.tolist()


def test_owners_do_not_mix() -> None:
    """Each owner has its own quantiles; one without values has 0."""
    owner = np.array([0] * 20 + [2] * 3)
    values = np.concatenate([np.arange(1.0, 21.0), [5.0, 6.0, 7.0]])
    (median,) = quantiles(sketch(owner, values), 4, (0.5,))
    assert abs(median[0] - 10) <= 0.1
    assert median[1:].tolist() == [0.0, 6.0, 0.0]
