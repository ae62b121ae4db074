"""Parsed payloads: as objects of the profile's type, or as columns. Readers ask either for a leaf."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import compress
from typing import TYPE_CHECKING, Any, Protocol

from gateway.decode.scalars import OTHER, Scalars

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.decode.shape import Leaf
    from gateway.model import Bool, Float64, Int64, UInt8


class Records(Protocol):
    """n parsed payloads, or n elements of lists inside them."""

    def __len__(self) -> int: ...

    def scalars(self, leaf: Leaf) -> Scalars:
        """Return what stands at a leaf."""
        ...

    def values(self, leaf: Leaf, rows: Int64 | None = None) -> list[Any]:
        """Return the Python values at a leaf, None where absent; of some rows, where told."""
        ...

    def select(self, kept: Bool) -> Records:
        """Return some of the records."""
        ...


@dataclass(frozen=True, slots=True)
class Objects:
    """Records as the objects that a parser made."""

    objects: list[Any]

    def __len__(self) -> int:
        return len(self.objects)

    def scalars(self, leaf: Leaf) -> Scalars:
        """Return what stands at a leaf."""
        return leaf.scalars(self.objects)

    def values(self, leaf: Leaf, rows: Int64 | None = None) -> list[Any]:
        """Return the Python values at a leaf, None where absent; of some rows, where told."""
        return leaf.values(self.objects if rows is None else [self.objects[row] for row in rows.tolist()])

    def select(self, kept: Bool) -> Objects:
        """Return some of the records."""
        return Objects(list(compress(self.objects, kept.tolist())))


@dataclass(frozen=True, slots=True)
class Columns:
    """Records as columns, one a leaf of the uplink itself, by the leaf's number.

    See `Scalars`: `types` uint8[f, n], `numbers` float64[f, n], `wholes` int64[f, n]; `others` has one list
    a leaf.
    """

    types: UInt8
    numbers: Float64
    wholes: Int64
    others: list[list[Any]]

    def __len__(self) -> int:
        return int(self.types.shape[1])

    def scalars(self, leaf: Leaf) -> Scalars:
        """Return what stands at a leaf."""
        at = leaf.number
        return Scalars(self.types[at], self.numbers[at], self.wholes[at], self.others[at])

    def values(self, leaf: Leaf, rows: Int64 | None = None) -> list[Any]:
        """Return the Python values at a leaf, None where absent; of some rows, where told."""
        found = self.scalars(leaf)
        return found.values() if rows is None else found.take(rows).values()

    def select(self, kept: Bool) -> Columns:
        """Return some of the records."""
        return Columns(self.types[:, kept], self.numbers[:, kept], self.wholes[:, kept], self.others)

    def fill(self, rows: Int64, objects: list[Any], leaves: Sequence[Leaf]) -> None:
        """Write what objects say into their rows; `leaves` are all, by number."""
        for number, leaf in enumerate(leaves):
            found = leaf.scalars(objects)
            self.types[number, rows] = found.types
            self.numbers[number, rows] = found.numbers
            places = found.wholes + len(self.others[number]) * (found.types == OTHER)
            self.wholes[number, rows] = places
            self.others[number].extend(found.others)
