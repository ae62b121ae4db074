from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.health.histogram import LATENCY_BUCKETS_S, Histogram


@given(st.lists(st.tuples(st.floats(0, 1e6), st.integers(1, 1000)), max_size=50))
def test_counts_are_cumulative(seen: list[tuple[float, int]]) -> None:
    """Each bucket counts the observations up to its bound, the last one all."""
    histogram = Histogram()
    for seconds, count in seen:
        histogram.observe(seconds, count)
    for bound, counted in histogram.cumulative():
        limit = float(bound.replace("+Inf", "inf"))
        assert counted == sum(count for seconds, count in seen if seconds <= limit)
    assert histogram.total == pytest.approx(sum(seconds * count for seconds, count in seen))


def test_a_bound_belongs_to_its_bucket() -> None:
    """As Prometheus' `le` says."""
    histogram = Histogram()
    histogram.observe(LATENCY_BUCKETS_S[3])
    assert dict(histogram.cumulative())[str(LATENCY_BUCKETS_S[3])] == 1


def test_a_quantile_is_its_buckets_upper_bound() -> None:
    """Infinite beyond the last bound, None of nothing."""
    histogram = Histogram()
    assert histogram.quantile(0.5) is None
    histogram.observe(0.004, 90)
    histogram.observe(0.3, 9)
    histogram.observe(1_000)
    assert histogram.quantile(0.5) == 0.005
    assert histogram.quantile(0.95) == 0.5
    assert histogram.quantile(1) == float("inf")
