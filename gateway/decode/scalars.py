"""What stands at one path in many payloads, as columns: numbers that need no Python object a row.

Two ways lead here: Python values that a parser made (`of_values`, `of_numbers`), and columns that a
compiled parser filled. Whoever reads them need not know which.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.model import Bool, Float64, Int64, UInt8

ABSENT: Final = 0
FLOAT: Final = 1
WHOLE: Final = 2
TRUTH: Final = 3
OTHER: Final = 4
"""What a row holds. The order counts: what is up to WHOLE is a number or nothing."""

_TYPES: Final = {type(None): ABSENT, float: FLOAT, int: WHOLE, bool: TRUTH}


@dataclass(frozen=True, slots=True)
class Scalars:
    """n values of one path: `types` uint8[n] (ABSENT where there is none, or null).

    `numbers` float64[n] is NaN where the row holds no number; `wholes` int64[n] is a WHOLE exactly, a
    TRUTH as 0 or 1, the place of OTHER values (texts, moments) in `others`, and undefined elsewhere.
    """

    types: UInt8
    numbers: Float64
    wholes: Int64
    others: list[Any]

    def __len__(self) -> int:
        return len(self.types)

    @property
    def absent(self) -> Bool:
        """Return where there is nothing, bool[n]."""
        nothing: Bool = self.types == ABSENT
        return nothing

    def take(self, rows: Int64) -> Scalars:
        """Return some of the rows."""
        return Scalars(self.types[rows], self.numbers[rows], self.wholes[rows], self.others)

    def values(self) -> list[Any]:
        """Return the Python value of each row, None where absent."""
        return list(self._values())

    def _values(self) -> Iterator[Any]:
        columns = (self.types.tolist(), self.numbers.tolist(), self.wholes.tolist())
        for held, number, whole in zip(*columns, strict=True):
            if held == FLOAT:
                yield number
            elif held == WHOLE:
                yield whole
            elif held == TRUTH:
                yield whole == 1
            else:
                yield self.others[whole] if held == OTHER else None


def of_values(values: Sequence[Any]) -> Scalars:
    """Make columns of any scalars and None; integers must fit int64."""
    if set(map(type, values)) == {int}:
        return _of_wholes(np.array(values, dtype=np.int64))
    held = [_TYPES.get(type(value), OTHER) for value in values]
    types = np.array(held, dtype=np.uint8)
    numbers = [value if FLOAT <= kind <= WHOLE else None for kind, value in zip(held, values, strict=True)]
    wholes = np.zeros(len(values), dtype=np.int64)
    exact = (types == WHOLE) | (types == TRUTH)
    wholes[exact] = [value for kind, value in zip(held, values, strict=True) if WHOLE <= kind <= TRUTH]
    others = [value for kind, value in zip(held, values, strict=True) if kind == OTHER]
    wholes[types == OTHER] = np.arange(len(others))
    return Scalars(types, np.array(numbers, dtype=np.float64), wholes, others)


def of_numbers(values: Sequence[float | None], *, exact: bool) -> Scalars:
    """Make columns of numbers and None. Unless `exact`, whole numbers become FLOAT."""
    if exact:
        wholes = np.array(values)
        return _of_wholes(wholes) if wholes.dtype == np.int64 else of_values(values)
    return of_floats(np.array(values, dtype=np.float64))  # None becomes NaN


def of_floats(numbers: Float64) -> Scalars:
    """Take a column as it is; NaN is absent: no payload can hold one."""
    types = np.where(np.isnan(numbers), np.uint8(ABSENT), np.uint8(FLOAT))
    return Scalars(types, numbers, np.zeros(len(numbers), dtype=np.int64), [])


def _of_wholes(wholes: Int64) -> Scalars:
    return Scalars(np.full(len(wholes), WHOLE, dtype=np.uint8), wholes.astype(np.float64), wholes, [])
