"""What the order-dependent tests remember of each series: its last readings and its flat line's anchor.

Per series and quantity: the last usable reading with its flag, the one before it (the spike test
looks two back), and the anchor of the flat line. Only quantities with an order-dependent test or a
counter are here (`GroupPlan.remembered` names them): p of a group's q.

The columns are interleaved, one record of `_WORDS` 8-byte words a series and quantity, because a
batch picks a few thousand series out of many: `take` of 5,000 out of 100,000 series with six
quantities costs 0.015 µs a series here, 0.27 µs with an array a column (nine gathers, each of which
misses the cache for itself).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from gateway.model import Bool, Float64, Int64, UInt8

_WORDS = 7
_LAST_TIME, _LAST_VALUE, _BEFORE_TIME, _BEFORE_VALUE, _ANCHOR_TIME, _ANCHOR_VALUE = range(6)
_LAST_KNOWN, _BEFORE_KNOWN, _LAST_FLAG = 48, 49, 50  # bytes: the seventh word holds the marks


class Neighbours:
    """State of k series × p quantities. Owns its arrays; the properties are writable views of them.

    All properties have shape [p, k]: times int64 in ns UTC, values float64 in the quantity's unit,
    `last_known` and `before_known` bool, `last_flag` uint8 (`Flag`, the flag before any revision by
    a later reading). A time or a value is undefined where its reading is not known; the anchor is
    known where the last reading is. `grow` replaces the arrays: views taken before it are stale.
    """

    __slots__ = ("_count", "_words")

    def __init__(self, words: Int64, count: int) -> None:
        self._words = words
        self._count = count

    @classmethod
    def empty(cls, p: int, k: int) -> Neighbours:
        """Return the state of `k` series of `p` quantities of which nothing is known yet."""
        return cls(np.zeros((k, p, _WORDS), dtype=np.int64), k)

    @property
    def words(self) -> Int64:
        """The records, int64[k, p, 7], as they lie in memory."""
        return self._words[: self._count]

    @property
    def last_time(self) -> Int64:
        """Event time of the last usable reading."""
        return self.words[:, :, _LAST_TIME].T

    @property
    def last_value(self) -> Float64:
        """Value of the last usable reading."""
        return self._floats(_LAST_VALUE)

    @property
    def last_known(self) -> Bool:
        """Whether there has been a usable reading."""
        return self._bytes(_LAST_KNOWN).view(np.bool_)

    @property
    def last_flag(self) -> UInt8:
        """Flag of the last usable reading, as far as it and those before it say."""
        return self._bytes(_LAST_FLAG)

    @property
    def before_time(self) -> Int64:
        """Event time of the usable reading before the last."""
        return self.words[:, :, _BEFORE_TIME].T

    @property
    def before_value(self) -> Float64:
        """Value of the usable reading before the last."""
        return self._floats(_BEFORE_VALUE)

    @property
    def before_known(self) -> Bool:
        """Whether there have been two usable readings."""
        return self._bytes(_BEFORE_KNOWN).view(np.bool_)

    @property
    def anchor_time(self) -> Int64:
        """Event time of the reading where the present flat line began."""
        return self.words[:, :, _ANCHOR_TIME].T

    @property
    def anchor_value(self) -> Float64:
        """Value of the reading where the present flat line began."""
        return self._floats(_ANCHOR_VALUE)

    def _floats(self, word: int) -> Float64:
        column: Float64 = self.words.view(np.float64)[:, :, word].T
        return column

    def _bytes(self, byte: int) -> UInt8:
        column: UInt8 = self.words.view(np.uint8)[:, :, byte].T
        return column

    def rows(self) -> int:
        """Return k, the number of series."""
        return self._count

    def copy(self) -> Neighbours:
        """Return an equal state with arrays of its own."""
        return Neighbours(self.words.copy(), self._count)

    def take(self, index: NDArray[np.integer]) -> Neighbours:
        """Return the state of the series `index`, an integer array, as a copy in that order."""
        return Neighbours(self.words.take(index, axis=0), len(index))

    def put(self, index: NDArray[np.integer], other: Neighbours) -> None:
        """Replace the state of the series `index` (each at most once) by that of `other`, row by row."""
        self.words[index] = other.words

    def take_quantity(self, quantity: int, index: NDArray[np.integer]) -> Neighbours:
        """Return what is known of one quantity of the series `index`: a copy of shape [1, len(index)]."""
        return Neighbours(self.words[index, quantity][:, None, :], len(index))

    def put_quantity(self, quantity: int, index: NDArray[np.integer], other: Neighbours) -> None:
        """Replace what is known of one quantity of the series `index` by `other` [1, len(index)]."""
        self.words[index, quantity] = other.words[:, 0]

    def grow(self, k: int) -> None:
        """Make room for `k` series; new ones are unknown. Amortised: capacity at least doubles."""
        if k > len(self._words):
            capacity = max(k, 2 * len(self._words))
            words = np.zeros((capacity, *self._words.shape[1:]), dtype=np.int64)
            words[: self._count] = self.words
            self._words = words
        self._count = max(self._count, k)

    def pack(self) -> dict[str, NDArray[np.generic]]:
        """Return the state as contiguous arrays to be stored: `unpack` turns them back.

        `shape` int64[2] (p, k); `quantities` int64[r], those of which anything is known; `words`
        int64[k, r, 7]. So a quantity of which nothing came costs nothing on disk.
        """
        words = self.words
        known = np.flatnonzero(self.last_known.any(axis=1))
        return {
            "shape": np.array([words.shape[1], self._count], dtype=np.int64),
            "quantities": known.astype(np.int64),
            "words": np.ascontiguousarray(words[:, known]),
        }

    @classmethod
    def unpack(cls, packed: Mapping[str, NDArray[np.generic]]) -> Neighbours:
        """Return the state that `pack` gave. Copies; `packed` may be read-only. Raises KeyError."""
        p, k = (int(length) for length in packed["shape"])
        state = cls.empty(p, k)
        columns = packed["quantities"].astype(np.int64)
        state.words[:, columns] = packed["words"].astype(np.int64).reshape(k, len(columns), _WORDS)
        return state

    def equals(self, other: Neighbours) -> Bool:
        """Return bool[k]: whether a series' state is the same in both, undefined values aside.

        Raises ValueError where the two have another shape.
        """
        if self.words.shape != other.words.shape:
            raise ValueError(
                f"states of shapes {self.words.shape} and {other.words.shape} cannot be compared"
            )
        same = (self.last_known == other.last_known) & (self.before_known == other.before_known)
        last = (
            (self.last_time == other.last_time)
            & (self.last_value == other.last_value)
            & (self.last_flag == other.last_flag)
            & (self.anchor_time == other.anchor_time)
            & (self.anchor_value == other.anchor_value)
        )
        before = (self.before_time == other.before_time) & (self.before_value == other.before_value)
        same &= (last | ~self.last_known) & (before | ~self.before_known)
        equal: Bool = same.all(axis=0)
        return equal
