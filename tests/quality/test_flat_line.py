from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from ioos_qc import qartod

from gateway.profiles.plan import FlatLine
from gateway.quality import flat_line
from gateway.quality.flat_line import Anchors, anchor, is_flat
from gateway.quality.links import Links, link
from gateway.quality.neighbours import Neighbours
from tests.quality.columns import NOON, SECOND

MINUTE = 60 * SECOND
UNKNOWN = np.array([np.nan])


def linked(values: list[list[float]]) -> Links:
    """Some series, one reading a minute each."""
    lengths = [len(one) for one in values]
    time = NOON + np.concatenate([np.arange(n) for n in lengths]).astype(np.int64) * MINUTE
    series = np.repeat(np.arange(len(values)), lengths)
    usable = np.ones(len(series), dtype=bool)
    value = np.concatenate([np.array(one, dtype=np.float64) for one in values])
    return link(0, Neighbours.empty(1, len(values)), time=time, value=value, usable=usable, series=series)


def flat(values: list[float], minutes: int, tolerance: float) -> list[bool]:
    links = linked([values])
    plan = FlatLine(tolerance, minutes * MINUTE)
    return is_flat(links, anchor(links, Anchors(np.array([0]), UNKNOWN), plan.tolerance), plan).tolist()


def test_suspect_from_the_duration_on_until_the_value_moves() -> None:
    """The reading that makes the line long enough is the first that is flagged."""
    assert flat([5, 5, 5, 5, 6, 6, 6, 6], minutes=2, tolerance=0) == [False, False, True, True] * 2


def test_the_tolerance_includes_its_end_and_is_taken_from_the_anchor() -> None:
    """A drift is no flat line: each reading is near its neighbour, and the anchor is left."""
    assert flat([5.0, 5.5, 4.5], minutes=2, tolerance=0.5) == [False, False, True]
    assert flat([5.0, 5.5, 6.0, 6.5, 7.0, 7.5], minutes=2, tolerance=0.5) == [False] * 6


def test_a_remembered_anchor_goes_on() -> None:
    """The line began in an earlier batch."""
    links = linked([[5.0, 5.0], [5.0, 5.0]])
    remembered = Anchors(np.array([NOON - MINUTE, NOON - MINUTE]), np.array([5.0, 6.0]))
    after = anchor(links, remembered, 0.0)
    assert ((after.time - NOON) // MINUTE).tolist() == [-1, -1, 0, 0]


steps = st.floats(-3, 3) | st.sampled_from([0.0, 0.0, 0.5, -0.5, 1.0])


@given(
    st.lists(st.lists(steps, min_size=1, max_size=40), min_size=1, max_size=40),
    st.sampled_from([0.0, 0.5, 1.0]),
)
def test_rounds_and_the_plain_loop_agree(values: list[list[float]], tolerance: float) -> None:
    """Which of the two ways is faster is never seen in the result."""
    links = linked(values)
    remembered = Anchors(np.zeros(len(values), dtype=np.int64), np.full(len(values), np.nan))
    rank = np.concatenate([np.arange(len(one)) for one in values])
    rounds = flat_line._in_rounds(links, remembered, tolerance, rank)
    loop = flat_line._one_by_one(links, remembered, tolerance)
    either = anchor(links, remembered, tolerance)
    assert rounds.time.tolist() == loop.time.tolist() == either.time.tolist()
    assert rounds.value.tolist() == loop.value.tolist() == either.value.tolist()


@given(
    st.lists(st.tuples(st.integers(0, 5), st.floats(-0.2, 0.2)), min_size=3, max_size=60), st.integers(2, 6)
)
def test_agrees_with_ioos_qc_on_levels(readings: list[tuple[int, float]], minutes: int) -> None:
    """Levels that differ by more than the tolerance, with noise below it: the window's answer is ours."""
    values = [level * 10 + noise for level, noise in readings]
    expected = qartod.flat_line_test(
        values, np.arange(len(values)) * 60, minutes * 60, 1_000_000, tolerance=0.5
    )
    assert flat(values, minutes, 0.5) == (np.asarray(expected) == 3).tolist()


@given(st.lists(steps, min_size=1, max_size=60), st.integers(1, 6))
def test_the_window_bounds_the_anchors_answer(values: list[float], minutes: int) -> None:
    """A flagged reading ends a window of range ≤ 2 · tolerance; what lasts twice as long is flagged."""
    tolerance = 0.5
    flags = flat(values, minutes, tolerance)
    for n, flagged in enumerate(flags):
        short, double = values[max(0, n - minutes) : n + 1], values[n - 2 * minutes - 1 : n + 1]
        assert not flagged or (n >= minutes and max(short) - min(short) <= 2 * tolerance + 1e-12)
        if n > 2 * minutes and max(double) - min(double) <= tolerance:
            assert any(flags[n - 2 * minutes - 1 : n + 1])
