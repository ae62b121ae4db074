"""Raw values become columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gateway.decode.columns import labels, read_column, settle, want_of
from gateway.decode.scalars import of_values
from gateway.decode.shape import Want
from gateway.model import Reason, SeriesTable
from gateway.profiles.plan import Bits, Kind, QuantityPlan


def quantity(kind: Kind = Kind.GAUGE, **how: Any) -> QuantityPlan:
    """Make a quantity named q."""
    return QuantityPlan(name="q", unit="1", kind=kind, path="q", **how)


def read(plan: QuantityPlan, *values: Any, max_texts: int = 10) -> tuple[list[Any], list[Any]]:
    """Return the column, None where absent, and the faults as (rows, reason)."""
    column, faults = read_column(plan, of_values(values), texts=SeriesTable(), max_texts=max_texts)
    told = [(np.flatnonzero(fault.rows).tolist(), fault.reason) for fault in faults]
    return [None if np.isnan(value) else value for value in column.tolist()], told


def test_gauge() -> None:
    """Numbers, null where absent."""
    assert read(quantity(), 1, 2.5, None) == ([1, 2.5, None], [])


def test_missing_values_come_before_the_scale() -> None:
    """What means «no reading» is told in raw values; the rest is scaled, then moved."""
    assert read(quantity(missing=(0.0, 65535.0), scale=0.1, offset=-40), 0, 65535, 500) == (
        [None, None, 10],
        [],
    )


def test_a_scale_may_overflow() -> None:
    """A product that is not finite is refused, without a warning."""
    assert read(quantity(scale=1e10), 1e300, 1) == ([None, 1e10], [([0], Reason.NOT_FINITE)])


@pytest.mark.parametrize("kind", [Kind.COUNTER, Kind.EVENT])
def test_whole_numbers(kind: Kind) -> None:
    """4.0 is whole, 4.5 is not, and beyond 2^53 nothing is certain; a scale keeps numbers whole."""
    assert read(quantity(kind), 4, 4.0, 2**53, None) == ([4, 4, 2**53, None], [])
    assert read(quantity(kind, scale=10), 4, 4.5) == ([40, None], [([1], Reason.WRONG_TYPE)])
    assert read(quantity(kind), 1e17, -1e17, 3) == ([None, None, 3], [([0, 1], Reason.NOT_REPRESENTABLE)])
    assert read(quantity(kind, scale=10), 2**53) == ([None], [([0], Reason.NOT_REPRESENTABLE)])


def test_states() -> None:
    """A raw value gives its state's index; 1.0 and true are 1; another is told."""
    plan = quantity(Kind.STATE, states=("off", "on"), state_values={0: 0, 1: 1, "open": 1}, missing=(255.0,))
    assert read(plan, *[0, 1, 1.0, True, "open", None, 255]) == ([0, 1, 1, 1, 1, None, None], [])
    column, (fault,) = read_column(plan, of_values([7, "shut"]), texts=SeriesTable(), max_texts=1)
    assert np.isnan(column).all()
    assert (fault.reason, fault.sentence(0)[-1], fault.sentence(1)[-6:]) == (
        Reason.UNKNOWN_STATE,
        "7",
        "'shut'",
    )


def test_bits() -> None:
    """Bits are on where they equal their value."""
    leak = quantity(Kind.STATE, states=("off", "on"), bits=Bits(shift=5, mask=7, value=1))
    assert read(leak, 32, 96, 32 + 4, 0, None) == ([1, 0, 1, 0, None], [])
    assert read(leak, 1.5) == ([None], [([0], Reason.WRONG_TYPE)])
    low = quantity(Kind.STATE, states=("off", "on"), bits=Bits(shift=2, mask=1, value=1), missing=(255.0,))
    assert read(low, 4, 3, 255) == ([1, 0, None], [])


def test_texts() -> None:
    """Texts get codes, up to a number of them."""
    plan = quantity(Kind.TEXT)
    assert read(plan, "a", "b", None, "a", max_texts=2) == ([0, 1, None, 0], [])
    assert read(plan, "a", "b", "a", max_texts=1) == ([0, None, 0], [([1], Reason.TOO_MANY_SERIES)])
    assert read(plan, "a", 5) == ([0, None], [([1], Reason.WRONG_TYPE)])


def test_a_shared_field() -> None:
    """Where the payload's type was widened, texts and truths are no numbers."""
    assert read(quantity(), *[1, "2", True, None]) == (
        [1, None, None, None],
        [([1, 2], Reason.WRONG_TYPE)],
    )


def test_settling() -> None:
    """Infinities are refused; almost whole numbers of a product become whole."""
    column = np.array([np.inf, 3 * 0.1 * 10, np.nan])
    faults = settle(quantity(Kind.EVENT), column)
    assert [fault.reason for fault in faults] == [Reason.NOT_FINITE]
    assert column[1] == 3


def test_labels() -> None:
    """A dimension's value is a text; what cannot be one is empty."""
    assert labels(["a", 1, True, False, None, 1.5, "", "x" * 65]) == [
        "a",
        "1",
        "true",
        "false",
        "",
        "",
        "",
        "",
    ]


def test_wants() -> None:
    """What stands at a path follows from kind and bits."""
    assert want_of(quantity()) is Want.NUMBER
    assert want_of(quantity(Kind.EVENT)) is Want.WHOLE
    assert want_of(quantity(Kind.STATE)) is Want.SCALAR
    assert want_of(quantity(Kind.STATE, bits=Bits(0, 1, 1))) is Want.WHOLE
    assert want_of(quantity(Kind.TEXT)) is Want.TEXT
