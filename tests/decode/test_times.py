"""Times of devices become nanoseconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.decode.scalars import of_values
from gateway.decode.times import MAX_TIME_NS, NS_PER_UNIT, floats_to_ns, to_ns

NOW = 1_763_769_600


@pytest.mark.parametrize(("unit", "scale"), NS_PER_UNIT.items())
def test_whole_numbers(unit: str, scale: int) -> None:
    """Integers are exact in every unit."""
    values = [NOW * (10**9 // scale), 0, -5]
    time, present, bad = to_ns(of_values(values), unit)
    assert time.tolist() == [value * scale for value in values]
    assert present.all()
    assert not bad.any()


def test_floats_keep_microseconds() -> None:
    """A float of seconds gives the microsecond that was written."""
    time, _, _ = to_ns(of_values([NOW + 0.123, float(NOW), NOW + 0.000001]), "s")
    assert time.tolist() == [NOW * 10**9 + 123_000_000, NOW * 10**9, NOW * 10**9 + 1_000]


def test_neighbours_do_not_change_a_time() -> None:
    """A whole number of nanoseconds stays exact beside a float and a gap."""
    exact = 1_763_769_600_123_456_789
    time, present, bad = to_ns(of_values([exact, 1.5e18, None]), "ns")
    assert time.tolist()[:2] == [exact, 1_500_000_000_000_000_000]
    assert present.tolist() == [True, True, False]
    assert not bad.any()


@pytest.mark.parametrize("value", [2**63 - 1, -(2**63) + 1, 1e30, -1e300, MAX_TIME_NS // 10**9 + 1])
def test_out_of_bounds(value: float) -> None:
    """What int64 nanoseconds cannot hold is bad, alone and among others."""
    for values in ([value], [value, 1], [value, 1.5], [value, None]):
        time, _, bad = to_ns(of_values(values), "s")
        assert bad.tolist() == [True] + [False] * (len(values) - 1)
        assert time[0] == 0


@pytest.mark.parametrize("value", [True, "x", "1763769600"])
def test_other_scalars_are_bad(value: object) -> None:
    """Where the field is shared with another use, what is no number is no time."""
    for values in ([value], [value, NOW]):
        _, present, bad = to_ns(of_values(values), "s")
        assert present.all()
        assert bad.tolist() == [True] + [False] * (len(values) - 1)


def test_moments() -> None:
    """Moments with any offset, and texts where the field is shared."""
    paris = datetime(2026, 11, 22, 11, 15, 0, 5, tzinfo=timezone(timedelta(hours=1)))
    values = [paris, None, "2026-11-22T10:15:00.000005Z", "2026-11-22T10:15:00", "x", 5]
    time, present, bad = to_ns(of_values(values), "iso")
    expected = int(np.datetime64("2026-11-22T10:15:00.000005", "ns").astype(np.int64))
    assert [time[0], time[2]] == [expected, expected]
    assert present.tolist() == [True, False, True, True, True, True]
    assert bad.tolist() == [False, False, False, True, True, True]


def test_moments_far_away() -> None:
    """Years that int64 nanoseconds cannot hold are bad, not wrapped around."""
    far = [
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(9999, 12, 31, tzinfo=UTC),
        datetime(2100, 1, 1, tzinfo=UTC),
    ]
    time, _, bad = to_ns(of_values(far), "iso")
    assert bad.tolist() == [True, True, False]
    assert time[2] == 4_102_444_800 * 10**9


@given(
    st.lists(st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(allow_nan=False) | st.none(), max_size=5),
    st.sampled_from([*NS_PER_UNIT]),
)
def test_each_value_by_itself(values: list[Any], unit: str) -> None:
    """Converted together or one by one: the same."""
    together = [column.tolist() for column in to_ns(of_values(values), unit)]
    alone = [[column.tolist()[0] for column in to_ns(of_values([value]), unit)] for value in values]
    assert [list(row) for row in zip(*together, strict=True)] == alone


@given(st.datetimes(datetime(1700, 1, 1), datetime(2250, 1, 1)))  # noqa: DTZ001 - hypothesis wants naive bounds
def test_moments_are_exact(moment: datetime) -> None:
    """Every microsecond comes through."""
    time, _, bad = to_ns(of_values([moment.replace(tzinfo=UTC)]), "iso")
    assert not bad.any()
    assert time[0] == np.datetime64(moment, "ns").astype(np.int64)


def test_nan_is_bad() -> None:
    """A length that is not known is no length."""
    _, bad = floats_to_ns(np.array([np.nan, np.inf, 1.0]), 10**9, 1)
    assert bad.tolist() == [True, True, False]
