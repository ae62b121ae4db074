"""Binary payloads of a fixed layout straight to columns: no Python object a message.

It takes payloads that fit one variant and have its size, and leaves the rest to `binary`, which alone
judges. Profiles with tags, repetitions, texts or another encoding go through `binary` altogether.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from gateway.decode.records import Columns
from gateway.decode.scalars import ABSENT, FLOAT, WHOLE
from gateway.decode.shape import MAX_WHOLE, Want
from gateway.profiles.layout import Coding, Field, Run, size_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.decode.frames import Frames
    from gateway.decode.shape import Flat, Leaf, Shape
    from gateway.model import Bool, Float64, Int64, UInt8
    from gateway.profiles.layout import Item, VariantPlan
    from gateway.profiles.plan import ProfilePlan

_NUMBERS: Final = frozenset({Want.NUMBER, Want.WHOLE, Want.TIME, Want.SCALAR})
_CODINGS: Final = frozenset({Coding.UNSIGNED, Coding.SIGNED, Coding.UNIX, Coding.FLOAT})
_VIEWED: Final = (1, 2, 4, 8)
"""Sizes that numpy has a type of; others are put together byte by byte."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a leaf's value stands: bytes from `at` on, and in them the bits above `shift`."""

    leaf: int
    field: Field
    at: int
    size: int
    shift: int
    little: bool


@dataclass(frozen=True, slots=True)
class Fixed:
    """A variant of a known size, and the leaves that it has."""

    variant: VariantPlan
    size: int
    sources: tuple[Source, ...]


class BinaryColumns:
    """Reads the payloads of one profile that are as they are laid out."""

    def __init__(self, leaves: list[Leaf], variants: list[Fixed]) -> None:
        self.leaves = leaves
        self._variants = variants

    def parse(self, frames: Frames) -> tuple[Columns, list[int]]:
        """Return columns with a row a payload, and the places, ascending, of those that are left."""
        size = (len(self.leaves), len(frames))
        columns = Columns(
            types=np.full(size, ABSENT, dtype=np.uint8),
            numbers=np.full(size, np.nan),
            wholes=np.zeros(size, dtype=np.int64),
            others=[[] for _ in self.leaves],
        )
        lengths = np.fromiter(map(len, frames.payloads), dtype=np.int64, count=len(frames))
        fits = [self._fits(one.variant, frames, lengths) for one in self._variants]
        alone = np.sum(fits, axis=0) == 1
        well = np.zeros(len(frames), dtype=np.bool_)
        for one, fit in zip(self._variants, fits, strict=True):
            rows = np.flatnonzero(fit & alone & (lengths == one.size))
            if len(rows):
                well[rows] = _read(one, frames, rows, columns)
        return columns, np.flatnonzero(~well).tolist()

    def _fits(self, variant: VariantPlan, frames: Frames, lengths: Int64) -> Bool:
        """Tell which payloads meet a variant's conditions, bool[n], as `binary.fits` does."""
        met: Bool = np.ones(len(frames), dtype=np.bool_)
        if variant.port is not None:
            met &= (frames.ports >= variant.port.low) & (frames.ports <= variant.port.high)
        if variant.length is not None:
            met &= (lengths >= variant.length.low) & (lengths <= variant.length.high)
        if variant.prefix:
            start = variant.prefix
            met &= np.fromiter((one.startswith(start) for one in frames.payloads), np.bool_, len(frames))
        return met


def _read(fixed: Fixed, frames: Frames, rows: Int64, columns: Columns) -> Bool:
    """Fill the rows of payloads of one size; return which of them are well, bool[m]."""
    payloads = frames.payloads
    chosen = payloads if len(rows) == len(payloads) else [payloads[row] for row in rows.tolist()]
    matrix = np.frombuffer(b"".join(chosen), dtype=np.uint8).reshape(len(rows), fixed.size)
    well = np.ones(len(rows), dtype=np.bool_)
    for source in fixed.sources:
        raw = np.ascontiguousarray(matrix[:, source.at : source.at + source.size])
        if source.field.coding is Coding.FLOAT:
            well &= _floats(source, raw, rows, columns)
        else:
            well &= _wholes(source, raw, rows, columns)
    return well


def _floats(source: Source, raw: UInt8, rows: Int64, columns: Columns) -> Bool:
    field = source.field
    kind = f"{'<' if source.little else '>'}f{source.size}"
    values = scaled(field, raw.view(kind).reshape(-1).astype(np.float64))
    columns.numbers[source.leaf, rows] = values
    columns.types[source.leaf, rows] = np.where(np.isnan(values), np.uint8(ABSENT), np.uint8(FLOAT))
    finite: Bool = ~np.isinf(values)
    return finite


def _wholes(source: Source, raw: UInt8, rows: Int64, columns: Columns) -> Bool:
    field = source.field
    whole = _unsigned(raw, little=source.little)
    if source.shift or field.bits < 8 * source.size:
        whole = (whole >> np.uint64(source.shift)) & np.uint64((1 << field.bits) - 1)
    exact = _signed(field, whole)
    columns.numbers[source.leaf, rows] = scaled(field, exact.astype(np.float64))
    columns.types[source.leaf, rows] = FLOAT if field.scaled else WHOLE
    columns.wholes[source.leaf, rows] = exact
    representable: Bool = (exact >= -MAX_WHOLE) & (exact <= MAX_WHOLE)
    return representable


def _unsigned(raw: UInt8, *, little: bool) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    """Return the whole number that each row's bytes are, uint64[m]."""
    size = raw.shape[1]
    if size in _VIEWED:
        return raw.view(f"{'<' if little else '>'}u{size}").reshape(-1).astype(np.uint64)
    whole = np.zeros(len(raw), dtype=np.uint64)
    for at in reversed(range(size)) if little else range(size):
        whole = (whole << np.uint64(8)) | raw[:, at]
    return whole


def _signed(field: Field, whole: np.ndarray[tuple[int], np.dtype[np.uint64]]) -> Int64:
    """Return whole numbers as int64; an unsigned one beyond it becomes negative, and far from 0."""
    exact: Int64 = whole.view(np.int64)
    if field.coding is not Coding.SIGNED:
        return np.where(exact < 0, np.int64(2**62), exact)
    spare = np.int64(64 - field.bits)
    return (exact << spare) >> spare


def scaled(field: Field, values: Float64) -> Float64:
    """Return a field's values, by the same operations as for one payload."""
    return values * field.factor / field.divisor + field.offset if field.scaled else values


def compile_binary_columns(shape: Shape, plan: ProfilePlan) -> BinaryColumns | None:
    """Return a reader of a profile's payloads; None where one of its layouts is not fixed."""
    flat, binary = shape.flat(), plan.binary
    if flat is None or binary is None or binary.encoding != "bytes":
        return None
    if len(flat.objects) > 1 or not all(leaf.want in _NUMBERS for leaf in flat.leaves):
        return None
    variants = []
    for variant in binary.variants:
        size = size_of(variant.items)
        if variant.tags or not 0 < size <= plan.max_payload:
            return None
        sources = tuple(_sources(variant.items, flat, little=binary.little))
        if any(source.field.coding not in _CODINGS for source in sources):
            return None
        variants.append(Fixed(variant, size, sources))
    return BinaryColumns(flat.leaves, variants)


def _sources(items: tuple[Item, ...], flat: Flat, *, little: bool) -> Iterator[Source]:
    """Yield where each leaf stands; what nobody reads is passed over."""
    numbers: Mapping[str, int] = flat.objects[0]
    at = 0
    for item in items:
        size = size_of((item,))
        if isinstance(item, Field | Run):
            order = little if item.little is None else item.little
            shift = 8 * size
            for field in item.fields if isinstance(item, Run) else (item,):
                shift -= field.bits
                if field.name in numbers:
                    yield Source(numbers[field.name], field, at, size, shift, order)
        at += size
