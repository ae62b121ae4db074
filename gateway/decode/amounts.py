"""Numbers sent as texts with their unit behind them, such as `2000 mm`: each in the quantity's unit."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from gateway.decode.fault import Fault
from gateway.model import Reason
from gateway.profiles.units import affine, ucum_of

if TYPE_CHECKING:
    from gateway.decode.scalars import Scalars
    from gateway.model import Float64
    from gateway.profiles.plan import QuantityPlan

_AMOUNT = re.compile(
    r"\s*(?P<number>[-+]?(?:\d{1,300}(?:[.,]\d{0,300})?|[.,]\d{1,300})(?:[eE][-+]?\d{1,3})?)\s*(?P<unit>.{0,64}?)\s*",
    re.ASCII,
)


def amounts(quantity: QuantityPlan, found: Scalars) -> tuple[Float64, list[Fault]]:
    """Return the amounts in the quantity's unit, and faults; a number without a unit is in it already."""
    column = np.full(len(found), np.nan)
    wrong: dict[str, list[int]] = {}
    for row, value in enumerate(found.values()):
        if value is None:
            continue
        amount = _amount(value, quantity.unit)
        if isinstance(amount, str):
            wrong.setdefault(amount, []).append(row)
        else:
            column[row] = amount
    faults = []
    for what, rows in wrong.items():
        mask = np.zeros(len(found), dtype=np.bool_)
        mask[rows] = True
        faults.append(Fault(mask, Reason.WRONG_TYPE, f"{quantity.name}{what}"))
    return column, faults


def _amount(value: Any, unit: str) -> float | str:  # noqa: ANN401 - any scalar
    """Return an amount, or what is wrong with it."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    match = _AMOUNT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return f" must be a number with its unit, and is {value!r:.40}"
    factor, shift, wrong = _conversion(match["unit"], unit)
    return wrong or float(match["number"].replace(",", ".")) * factor + shift


@lru_cache(maxsize=1_000)
def _conversion(source: str, target: str) -> tuple[float, float, str]:
    """Return factor and shift; or what is wrong."""
    if not source:
        return 1.0, 0.0, ""
    try:
        factor, shift = affine(ucum_of(source), target)
    except ValueError:
        return 1.0, 0.0, f" is in «{source:.20}», and {target} is wanted"
    return factor, shift, ""
