from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ioos_qc import qartod

from gateway.model import Flag
from gateway.profiles.plan import CounterPlan, FlatLine, Kind, Limit
from gateway.quality.ranges import is_evaluated, is_usable, range_flags
from tests.quality.columns import NOON, profile, quantity, readings


def flags_of(values: list[float | None], **tests: object) -> list[int]:
    times = [NOON + i for i in range(len(values))]
    return range_flags(readings(profile(quantity(**tests)), [values], time=times))[0].tolist()


def test_a_value_is_flagged_by_the_ranges_that_it_leaves() -> None:
    """FAIL outside the sensor's range, SUSPECT outside the place's, GOOD within; ends included."""
    flags = flags_of(
        [-40.1, -40.0, -10.1, -10.0, 45.0, 45.1, 85.0, 85.1, None],
        fail_range=(-40.0, 85.0),
        suspect_range=(-10.0, 45.0),
    )
    assert flags == [4, 3, 3, 1, 1, 3, 3, 4, 9]


def test_a_suspect_range_alone_never_fails() -> None:
    """Only the sensor's own range keeps a value out of windows."""
    assert flags_of([-1e300, 0.0, 1e300], suspect_range=(-1.0, 1.0)) == [3, 1, 3]


def test_a_nan_lies_in_no_range() -> None:
    """A NaN that is marked present fails instead of slipping between two comparisons."""
    batch = readings(profile(quantity(fail_range=(0.0, 1.0))), [[0.5]], time=[NOON])
    batch.values[:] = np.nan
    assert range_flags(batch).tolist() == [[Flag.FAIL]]


def test_a_quantity_without_any_test_is_not_evaluated() -> None:
    """No test asked for: nothing can be said, and the reading still counts."""
    assert flags_of([5.0, None]) == [Flag.NOT_EVALUATED, Flag.MISSING]
    assert is_usable(np.array([Flag.NOT_EVALUATED], dtype=np.uint8)).tolist() == [True]


@pytest.mark.parametrize(
    "tests",
    [
        {"fail_range": (0.0, 9.0)},
        {"suspect_range": (0.0, 9.0)},
        {"rate": Limit(rise=1.0)},
        {"spike": 0.0},
        {"flat": FlatLine(0.0, 1)},
        {"counter": CounterPlan()},
        {"kind": Kind.COUNTER},
        {"kind": Kind.STATE, "states": ("off", "on")},
    ],
)
def test_any_test_makes_a_quantity_evaluated(tests: dict[str, object]) -> None:
    """A reading that passes what the profile asks for is GOOD, from the first one on."""
    assert is_evaluated(quantity(**tests))
    assert flags_of([5.0], **tests) == [Flag.GOOD]


def test_only_present_readings_that_did_not_fail_are_usable() -> None:
    """SUSPECT counts, FAIL and MISSING do not."""
    flags = np.array([[Flag.GOOD, Flag.NOT_EVALUATED, Flag.SUSPECT, Flag.FAIL, Flag.MISSING]], dtype=np.uint8)
    assert is_usable(flags).tolist() == [[True, True, True, False, False]]


@given(
    st.lists(st.one_of(st.none(), st.floats(-100, 100)), min_size=1, max_size=30),
    st.lists(st.floats(-100, 100), min_size=4, max_size=4, unique=True),
)
def test_agrees_with_ioos_qc(values: list[float | None], limits: list[float]) -> None:
    """The gross range test is QARTOD's, as the package ioos_qc has it."""
    lowest, low, high, highest = sorted(limits)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = qartod.gross_range_test(
            [np.nan if v is None else v for v in values], (lowest, highest), (low, high)
        )
    ours = flags_of(values, fail_range=(lowest, highest), suspect_range=(low, high))
    assert ours == np.asarray(expected).tolist()
