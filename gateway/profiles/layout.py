"""What a binary payload holds: plain frozen data that `decode.formats.binary` reads.

A payload is laid out as items, one behind the other: fields, runs of bit fields, repetitions. Sizes are
bits where they are called so, else bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.profiles.expression import Expression


class Coding(StrEnum):
    """How the bytes of a field become a value."""

    UNSIGNED = "u"
    SIGNED = "i"
    FLOAT = "f"
    UNIX = "unix"
    """Unsigned, seconds since 1970 UTC."""
    BCD = "bcd"
    """Decimal digits, two a byte."""
    ASCII = "ascii"
    HEX = "hex"
    SKIP = "skip"


WHOLES = frozenset({Coding.UNSIGNED, Coding.SIGNED, Coding.UNIX, Coding.BCD})
"""Codings whose raw value is a whole number."""


@dataclass(frozen=True, slots=True)
class Field:
    """One value: raw · `factor` / `divisor` + `offset`. `bits` is 0 where it takes the rest."""

    name: str
    coding: Coding
    bits: int
    little: bool | None = None
    """None: as the profile says."""
    factor: float = 1.0
    divisor: float = 1.0
    offset: float = 0.0

    @property
    def scaled(self) -> bool:
        """Whether the value is another than the raw one."""
        return (self.factor, self.divisor, self.offset) != (1.0, 1.0, 0.0)


@dataclass(frozen=True, slots=True)
class Run:
    """Bit fields that share a whole number of bytes, the highest bits first."""

    bits: int
    fields: tuple[Field, ...]
    little: bool | None = None


@dataclass(frozen=True, slots=True)
class Reference:
    """A block by its name; none is left once the profile is compiled."""

    name: str


@dataclass(frozen=True, slots=True)
class Repeat:
    """Items that stand several times: once for each of `labels` of `dimension`, else `times`.

    Without a dimension each field gives a list; `times` 0 means up to the end of the payload.
    """

    items: tuple[Item, ...]
    dimension: str = ""
    labels: tuple[str, ...] = ()
    times: int = 0


Item = Field | Run | Repeat | Reference


@dataclass(frozen=True, slots=True)
class Range:
    """Whole numbers from `low` to `high`, both included."""

    low: int
    high: int

    def __contains__(self, number: object) -> bool:
        return isinstance(number, int) and self.low <= number <= self.high

    def __str__(self) -> str:
        return str(self.low) if self.low == self.high else f"{self.low}..{self.high}"


@dataclass(frozen=True, slots=True)
class VariantPlan:
    """One layout, and when it holds: every condition that is given must. `number` counts from 1.

    `set` gives dimensions to all of its fields: a formula over `port`. `tags` is a table of tagged items;
    else `items` stand one behind the other.
    """

    number: int
    items: tuple[Item, ...] = ()
    tags: Mapping[bytes, tuple[Item, ...]] = field(default_factory=dict)
    tag_length: bool = False
    """Whether a byte behind each tag says how many bytes follow."""
    port: Range | None = None
    prefix: bytes = b""
    length: Range | None = None
    set: Mapping[str, Expression] = field(default_factory=dict)

    def __str__(self) -> str:
        told = [
            f"port {self.port}" if self.port else "",
            f"prefix {self.prefix.hex()}" if self.prefix else "",
            f"length {self.length}" if self.length else "",
        ]
        return f"{self.number} ({', '.join(filter(None, told)) or 'any'})"


@dataclass(frozen=True, slots=True)
class BinaryPlan:
    """How the bytes of a profile's payloads are read. `encoding` is `bytes`, `hex` or `base64`."""

    variants: tuple[VariantPlan, ...]
    little: bool = False
    encoding: str = "bytes"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a field's value stands in what is decoded: below its dimensions, sorted, or in a list."""

    name: str
    dimensions: tuple[str, ...] = ()
    listed: bool = False

    @property
    def path(self) -> str:
        """Its path, as other formats write one."""
        bound = "".join(f"{{{one}}}." for one in self.dimensions)
        return f"{key_of(self.dimensions)}.{bound}{self.name}" if self.dimensions else self.name


def key_of(dimensions: tuple[str, ...]) -> str:
    """Return the key below which the fields with these dimensions stand: no field has such a name."""
    return f"by {','.join(dimensions)}"


def places(variant: VariantPlan) -> Iterator[Place]:
    """Yield the place of every field of a variant that has a name."""
    for items in (variant.items, *variant.tags.values()):
        yield from _places(items, frozenset(variant.set), listed=False)


def _places(items: tuple[Item, ...], dimensions: frozenset[str], *, listed: bool) -> Iterator[Place]:
    for item in items:
        if isinstance(item, Field) and item.coding is not Coding.SKIP:
            yield Place(item.name, tuple(sorted(dimensions)), listed)
        elif isinstance(item, Run):
            yield from _places(item.fields, dimensions, listed=listed)
        elif isinstance(item, Repeat):
            own = {item.dimension} if item.dimension else set[str]()
            yield from _places(item.items, dimensions | own, listed=listed or not own)


def size_of(items: tuple[Item, ...]) -> int:
    """Return how many bytes items take; -1 where that depends on the payload."""
    total = 0
    for item in items:
        if isinstance(item, Repeat):
            inner, times = size_of(item.items), len(item.labels) or item.times
            size = inner * times if inner > 0 and times else -1
        else:
            size = item.bits // 8 if not isinstance(item, Reference) and item.bits else -1
        if size < 0:
            return -1
        total += size
    return total
