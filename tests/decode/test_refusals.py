"""Refusals become rejections."""

from __future__ import annotations

import numpy as np

from gateway.decode.fault import Fault
from gateway.decode.refusals import Refusals
from gateway.model import Reason, Rejection


def test_the_first_reason_stands() -> None:
    """An uplink is refused whole once, for what was found first, and its readings no more."""
    refusals = Refusals(2)
    refusals.refuse_readings(1, Reason.WRONG_TYPE, "a")
    refusals.refuse(1, Reason.NO_READING, "b")
    refusals.refuse_all(np.array([1]), Reason.TOO_LARGE, "c")
    assert refusals.settled(np.array([True, False])) == [Rejection(1, Reason.NO_READING, "b")]
    assert refusals.whole.tolist() == [False, True]


def test_readings_are_counted_by_what_is_wrong() -> None:
    """Equal refusals of one uplink are one rejection with their number."""
    refusals = Refusals(1)
    fault = Fault(np.array([True, False, True]), Reason.UNKNOWN_STATE, "s", [7, 0, 7])
    refusals.refuse_rows(fault, np.array([0, 0, 0]))
    refusals.refuse_readings(0, Reason.NOT_FINITE, "x", 3)
    assert refusals.settled(np.array([True])) == [
        Rejection(0, Reason.UNKNOWN_STATE, "s: 7", readings=2),
        Rejection(0, Reason.NOT_FINITE, "x", readings=3),
    ]


def test_nothing_kept_is_refused_whole() -> None:
    """Where no reading is left, the uplink is refused whole, with every detail."""
    refusals = Refusals(1)
    refusals.refuse_readings(0, Reason.NOT_FINITE, "x")
    refusals.refuse_readings(0, Reason.WRONG_TYPE, "y")
    assert refusals.settled(np.array([False])) == [Rejection(0, Reason.NOT_FINITE, "x; y")]


def test_details_are_short() -> None:
    """A detail cannot fill the quarantine."""
    refusals = Refusals(1)
    refusals.refuse(0, Reason.NOT_JSON, "x" * 10_000)
    assert len(refusals.settled(np.array([False]))[0].detail) == 300
