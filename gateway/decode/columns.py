"""Raw values of one quantity become a column: float64 with NaN where absent, and what was wrong.

NaN can stand for absent here because no payload can hold one: the parser refuses it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gateway.decode.amounts import amounts
from gateway.decode.fault import Fault
from gateway.decode.scalars import FLOAT, OTHER, TRUTH, WHOLE
from gateway.decode.shape import MAX_LABEL, MAX_WHOLE, Want
from gateway.model import Reason
from gateway.profiles.plan import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.decode.scalars import Scalars
    from gateway.model import Bool, Float64, SeriesTable
    from gateway.profiles.plan import QuantityPlan

_WHOLE_KINDS = (Kind.COUNTER, Kind.EVENT)
# What scaling by a decimal fraction may leave of a whole number (3 × 0.1 × 10).
_ROUNDING = 1e-6
_MAX_INT64 = 2**63 - 1
_MAX_FLOAT = 2**1023


def want_of(quantity: QuantityPlan) -> Want:
    """Return what a quantity needs to find at its path."""
    if quantity.in_text:
        return Want.SCALAR
    if quantity.bits is not None or quantity.kind in _WHOLE_KINDS:
        return Want.WHOLE
    if quantity.kind is Kind.STATE:
        return Want.SCALAR
    return Want.TEXT if quantity.kind is Kind.TEXT else Want.NUMBER


def texts_of(quantity: QuantityPlan) -> list[str]:
    """Return the texts that a quantity expects at its path."""
    return [raw for raw in quantity.state_values if isinstance(raw, str)]


def read_column(
    quantity: QuantityPlan, found: Scalars, *, texts: SeriesTable, max_texts: int
) -> tuple[Float64, list[Fault]]:
    """Return a quantity's column and faults; faulty rows are NaN.

    States come as indices into `quantity.states`, texts as codes of `texts`, of which `max_texts` are given.
    """
    if quantity.bits is None and quantity.kind is Kind.STATE:
        return state_column(quantity, found)
    if quantity.kind is Kind.TEXT:
        return _texts(quantity, found.values(), texts, max_texts)
    column, faults = amounts(quantity, found) if quantity.in_text else _numbers(quantity, found)
    for value in quantity.missing:
        column[column == value] = np.nan
    if quantity.bits is not None:
        faults += settle_whole(quantity, column)
        return _bits(quantity, column), faults
    if quantity.in_text:
        return column, faults + settle(quantity, column)
    if quantity.kind in _WHOLE_KINDS and not quantity.converted:
        # The raw value must be whole too: half an impulse is no impulse, whatever the scale.
        faults += settle_whole(quantity, column)
    if quantity.scale != 1.0 or quantity.offset != 0.0:
        with np.errstate(over="ignore"):
            column = column * quantity.scale + quantity.offset
        faults += settle(quantity, column)
    return column, faults


def settle(quantity: QuantityPlan, column: Float64) -> list[Fault]:
    """Refuse what is not finite and, in counters and events, what is not whole; set it to NaN.

    Writes into `column`, which the caller owns; whole numbers are rounded to themselves.
    """
    faults = []
    infinite = np.isinf(column)
    if infinite.any():
        column[infinite] = np.nan
        faults.append(Fault(infinite, Reason.NOT_FINITE, f"{quantity.name} is not finite"))
    return faults + settle_whole(quantity, column) if quantity.kind in _WHOLE_KINDS else faults


def settle_whole(quantity: QuantityPlan, column: Float64) -> list[Fault]:
    """Refuse what is no whole number, or beyond ±2^53, where float64 has gaps; writes into `column`."""
    faults = []
    beyond = np.abs(column) > MAX_WHOLE
    if beyond.any():
        column[beyond] = np.nan
        faults.append(Fault(beyond, Reason.NOT_REPRESENTABLE, f"{quantity.name} lies beyond ±2^53"))
    rounded = np.rint(column)
    broken = np.abs(column - rounded) > _ROUNDING
    if broken.any():
        rounded[broken] = np.nan
        faults.append(Fault(broken, Reason.WRONG_TYPE, f"{quantity.name} must be a whole number"))
    column[:] = rounded
    return faults


def labels(values: Sequence[Any]) -> list[str]:
    """Return a dimension's values as text; "" where absent or unusable (then the row is refused)."""
    return [value if type(value) is str and len(value) <= MAX_LABEL else _label(value) for value in values]


def _label(value: Any) -> str:  # noqa: ANN401 - any scalar
    if type(value) is bool:
        return "true" if value else "false"
    return str(value) if type(value) is int else ""


def _numbers(quantity: QuantityPlan, found: Scalars) -> tuple[Float64, list[Fault]]:
    """Return the numbers as an own column; texts and truths, which a shared field can hold, are refused."""
    wrong = found.types > WHOLE
    faults = [Fault(wrong, Reason.WRONG_TYPE, f"{quantity.name} must be a number")] if wrong.any() else []
    return found.numbers.copy(), faults


def _bits(quantity: QuantityPlan, column: Float64) -> Float64:
    bits = quantity.bits
    assert bits is not None
    absent = np.isnan(column)
    raw = np.where(absent, 0.0, column).astype(np.int64)
    on = (raw >> bits.shift) & bits.mask == bits.value
    return np.where(absent, np.nan, on.astype(np.float64))


def state_column(quantity: QuantityPlan, found: Scalars) -> tuple[Float64, list[Fault]]:
    """Return the indices of the states whose raw values are found; absent and missing ones are NaN."""
    known: dict[Any, float] = {raw: float(index) for raw, index in quantity.state_values.items()}
    known.update(dict.fromkeys(quantity.missing, np.nan))
    column = np.full(len(found), -1.0)
    column[found.absent] = np.nan
    for raw, index in known.items():  # 1, 1.0 and true are one key
        if not isinstance(raw, str):
            column[_equal(found, raw)] = index
    other = found.types == OTHER
    if other.any():
        column[other] = np.array([known.get(text, -1.0) for text in found.others])[found.wholes[other]]
    unknown = column < 0
    if not unknown.any():
        return column, []
    column[unknown] = np.nan
    what = f"{quantity.name} is in a state without a name"
    return column, [Fault(unknown, Reason.UNKNOWN_STATE, what, found.values())]


def _equal(found: Scalars, raw: float) -> Bool:
    """Return which rows equal a number as Python compares: whole numbers exactly."""
    equal: Bool = np.zeros(len(found), dtype=np.bool_)
    if abs(raw) <= _MAX_INT64 and raw == int(raw):
        equal |= (found.wholes == int(raw)) & ((found.types == WHOLE) | (found.types == TRUTH))
    if abs(raw) <= _MAX_FLOAT and raw == float(raw):
        equal |= (found.numbers == float(raw)) & (found.types == FLOAT)
    return equal


def _texts(
    quantity: QuantityPlan, values: Sequence[Any], texts: SeriesTable, max_texts: int
) -> tuple[Float64, list[Fault]]:
    column = np.full(len(values), np.nan)
    wrong = np.zeros(len(values), dtype=np.bool_)
    full = np.zeros(len(values), dtype=np.bool_)
    for row, value in enumerate(values):
        if value is None:
            continue
        if type(value) is not str:
            wrong[row] = True
        elif (value,) in texts.codes or len(texts) < max_texts:
            column[row] = texts.code((value,))
        else:
            full[row] = True
    faults = []
    if wrong.any():
        faults.append(Fault(wrong, Reason.WRONG_TYPE, f"{quantity.name} must be a text"))
    if full.any():
        faults.append(
            Fault(full, Reason.TOO_MANY_SERIES, f"{quantity.name}: more than {max_texts} texts are known")
        )
    return column, faults
