"""A column that grows: one value for each code, codes being given from 0 upwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FIRST = 1024


class GrowingColumn:
    """A numpy array by code. Codes that were never set hold `default`."""

    __slots__ = ("_array", "_default")

    def __init__(self, default: float, dtype: type[np.generic]) -> None:
        self._default = default
        self._array: NDArray[Any] = np.full(_FIRST, default, dtype=dtype)

    def set(self, code: int, value: float) -> None:
        """Set the value of one code."""
        if code >= len(self._array):
            more = np.full(
                max(code + 1 - len(self._array), len(self._array)), self._default, self._array.dtype
            )
            self._array = np.concatenate((self._array, more))
        self._array[code] = value

    def take(self, codes: NDArray[Any]) -> NDArray[Any]:
        """Return the values of `codes`, as a new array. Every code must be below some code set."""
        values: NDArray[Any] = self._array[codes]
        return values

    def clear(self) -> None:
        """Forget every value."""
        self._array = np.full(_FIRST, self._default, dtype=self._array.dtype)
