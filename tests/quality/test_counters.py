from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.profiles.plan import CounterPlan
from gateway.quality.counters import Case, increments, is_doubtful

HOUR = 3_600.0
WATER = CounterPlan(modulus=1e8, reverse="flag")
FLOW = 3.125 * 1_000 / HOUR
"""3.125 m³/h in L/s: the overload flow Q4 of a household's meter."""


def one(
    old: float, new: float, plan: CounterPlan, max_flow: float | None = None, dt_s: float = HOUR
) -> tuple[float, Case]:
    increment, case = increments(np.array([old]), np.array([new]), np.array([dt_s]), plan, max_flow)
    return float(increment[0]), Case(int(case[0]))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (1000, 1000, (0, Case.NORMAL)),
        (1000, 1012, (12, Case.NORMAL)),
        (0, 3125, (3125, Case.NORMAL)),  # the greatest flow for an hour, whatever rounding says
        (99_999_990, 5, (15, Case.ROLLOVER)),
        (99_999_999, 0, (1, Case.ROLLOVER)),
        (50_000, 49_998, (-2, Case.REVERSE)),
        (5, 99_999_998, (-7, Case.REVERSE)),  # backwards across zero
        (50_000_000, 0, (0, Case.RESET)),
        (50_000_000, 40, (40, Case.RESET)),
        (50_000_000, 12_000_000, (0, Case.SWAP)),
        (1000, 61_000, (0, Case.SWAP)),
        (50_000, 99_999_990, (0, Case.SWAP)),
    ],
)
def test_each_case_of_a_water_meter(old: float, new: float, expected: tuple[float, Case]) -> None:
    """With a maximum flow the five cases are told apart."""
    assert one(old, new, WATER, FLOW) == expected


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (65_530, 4, (10, Case.ROLLOVER)),
        (65_530, 32_000, (32_006, Case.ROLLOVER)),
        (40_000, 39_000, (-1000, Case.REVERSE)),
        (20_000, 3, (3, Case.RESET)),  # to come back to 3 takes 3, to flow back takes 19,997
        (3, 65_530, (-9, Case.REVERSE)),
    ],
)
def test_half_the_modulus_decides_without_a_maximum_flow(
    old: float, new: float, expected: tuple[float, Case]
) -> None:
    """A 16-bit register of which nothing else is known."""
    assert one(old, new, CounterPlan(modulus=65_536)) == expected


@pytest.mark.parametrize(
    ("plan", "max_flow", "expected"),
    [
        (CounterPlan(modulus=0, reverse="flag"), None, (-2, Case.REVERSE)),
        (CounterPlan(modulus=0, reverse="reset"), None, (998, Case.RESET)),
        (CounterPlan(modulus=0, reverse="reset"), 0.1, (0, Case.SWAP)),
        (CounterPlan(modulus=65_536, reverse="reset"), None, (998, Case.RESET)),
        (CounterPlan(modulus=1_024, reverse="reset"), 1.0, (1_022, Case.ROLLOVER)),
        (CounterPlan(modulus=1_024, reverse="flag"), 1.0, (-2, Case.REVERSE)),
    ],
)
def test_a_small_decrease_is_what_the_profile_says(
    plan: CounterPlan, max_flow: float | None, expected: tuple[float, Case]
) -> None:
    """1000 → 998 is backflow where the profile flags it, else a plausible rollover or reset, else a swap."""
    assert one(1000, 998, plan, max_flow) == expected


def test_a_spurious_zero_invents_no_flow() -> None:
    """50000 → 0 → 50001 is a reset and a swap; without a maximum flow the way back is believed."""
    assert [one(50_000, 0, WATER, FLOW), one(0, 50_001, WATER, FLOW)] == [(0, Case.RESET), (0, Case.SWAP)]
    assert one(0, 50_001, WATER) == (50_001, Case.NORMAL)


def test_a_register_counts_whole_units() -> None:
    """1 L may fall between two readings a second apart, although the flow is below 1 L/s."""
    assert one(1000, 1001, WATER, FLOW, dt_s=1.0) == (1, Case.NORMAL)
    assert one(1000, 1003, WATER, FLOW, dt_s=1.0) == (0, Case.SWAP)


def test_without_modulus_and_flow_every_rise_is_believed() -> None:
    """Nothing is known against it."""
    assert one(0, 1e15, CounterPlan()) == (1e15, Case.NORMAL)


def test_a_maximum_flow_can_be_given_for_some_series_only() -> None:
    """NaN is «not known», for one pair at a time."""
    increment, case = increments(
        np.array([0.0, 0.0]), np.array([9e6, 9e6]), np.array([HOUR, HOUR]), WATER, np.array([FLOW, np.nan])
    )
    assert increment.tolist() == [0.0, 9e6]
    assert case.tolist() == [Case.SWAP, Case.NORMAL]


def test_only_reset_reverse_and_swap_are_doubtful() -> None:
    """A rollover is how a register works, no doubt about the reading."""
    doubtful = is_doubtful(np.array(list(Case), dtype=np.uint8))
    assert [case for case, flagged in zip(Case, doubtful, strict=True) if flagged] == [
        Case.RESET,
        Case.REVERSE,
        Case.SWAP,
    ]


def test_a_register_beyond_its_modulus_is_no_rollover() -> None:
    """What the profile does not describe is not explained by a turn."""
    assert one(3e8, 10, WATER, FLOW) == (10, Case.RESET)
    assert one(3e8, 5e7, WATER, FLOW) == (0, Case.SWAP)


flows = st.lists(st.tuples(st.integers(1, 7_200), st.floats(0, 1)), min_size=2, max_size=20)


@given(flows, st.integers(0, 9_999_999), st.data())
def test_the_total_does_not_depend_on_which_readings_are_known(
    steps: list[tuple[int, float]], start: int, data: st.DataObject
) -> None:
    """A late reading splits an increment: the sum over any subset is last − first, across rollovers."""
    modulus, max_flow = 10_000_000, 50.0
    total, at = [start], [0]
    for seconds, share in steps:
        total.append(total[-1] + int(share * seconds * max_flow))
        at.append(at[-1] + seconds)
    inner = range(1, len(total) - 1)
    known = [
        0,
        *sorted(data.draw(st.sets(st.sampled_from(inner)) if inner else st.just(set()))),
        len(total) - 1,
    ]
    pairs = list(pairwise(known))
    register = np.array(total, dtype=np.float64) % modulus
    increment, case = increments(
        register[[a for a, _ in pairs]],
        register[[b for _, b in pairs]],
        np.array([at[b] - at[a] for a, b in pairs], dtype=np.float64),
        CounterPlan(modulus=modulus, reverse=data.draw(st.sampled_from(["flag", "reset"]))),
        data.draw(st.sampled_from([max_flow, None])),
    )
    assert increment.sum() == total[-1] - total[0]
    assert not is_doubtful(case).any()


registers = st.one_of(st.integers(0, 1 << 16), st.floats(0, 1e12), st.floats(-1e6, 1e6))


@given(
    st.tuples(registers, registers),
    st.floats(1e-3, 1e7),
    st.sampled_from([0.0, 65_536.0, 1e8]),
    st.sampled_from(["flag", "reset"]),
    st.sampled_from([None, 0.0, 1.0, 1e4]),
)
def test_an_increment_is_never_more_than_the_flow_allows(
    pair: tuple[float, float], dt_s: float, modulus: float, reverse: str, max_flow: float | None
) -> None:
    """Whatever the registers, |increment| is plausible, and negative only for reverse flow."""
    increment, case = one(*pair, CounterPlan(modulus=modulus, reverse=reverse), max_flow, dt_s)
    capacity = np.inf if modulus == 0 else modulus / 2
    if max_flow is not None:
        capacity = max_flow * dt_s * (1 + 1e-6) + 1
    assert abs(increment) <= capacity
    assert np.isfinite(increment)
    assert increment >= 0 or case is Case.REVERSE
    assert case is not Case.REVERSE or reverse == "flag"
    assert increment == 0 or case is not Case.SWAP
