"""Items of a binary layout, compiled to functions that read one payload. Pure."""

from __future__ import annotations

import struct
from functools import partial
from typing import TYPE_CHECKING, Any

from gateway.decode.formats.parsing import Refused
from gateway.model import Reason
from gateway.profiles.layout import Coding, Field, Repeat, Run, key_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.profiles.layout import Item, VariantPlan

    Read = Callable[[bytes, int, "Out"], int]
    """Reads from a place on, and returns the place behind."""

_FLOATS = {16: "e", 32: "f", 64: "d"}


class Unreadable(Refused):
    """A payload that is not as it is laid out."""

    def __init__(self, detail: str, reason: Reason = Reason.UNREADABLE) -> None:
        super().__init__(reason, detail)


class Out:
    """What is read of one payload: an object, and the labels of the row that is being read."""

    __slots__ = ("found", "labels")

    def __init__(self, labels: Mapping[str, str]) -> None:
        self.found: dict[str, Any] = {}
        self.labels = dict(labels)

    def row(self, dimensions: tuple[str, ...]) -> dict[str, Any]:
        """Return the object of the fields with these dimensions."""
        if not dimensions:
            return self.found
        node: dict[str, Any] = self.found.setdefault(key_of(dimensions), {})
        for one in dimensions:
            node = node.setdefault(self.labels[one], {})
        return node


def compile_variant(variant: VariantPlan, *, little: bool) -> Callable[[bytes, Out], str]:
    """Return what reads a payload of a variant and tells what of it could not be read.

    It raises Unreadable.
    """
    own = tuple(sorted(variant.set))
    if not variant.tags:
        return partial(_whole, _sequence(variant.items, own, little=little))
    tags = {tag: _sequence(items, own, little=little) for tag, items in variant.tags.items()}
    sizes = sorted({len(tag) for tag in tags}, reverse=True)
    return partial(_measured, tags, sizes) if variant.tag_length else partial(_tagged, tags, sizes)


def _whole(read: Read, payload: bytes, out: Out) -> str:
    at = read(payload, 0, out)
    if at != len(payload):
        raise Unreadable(f"{len(payload)} bytes, and {at} are laid out")
    return ""


def _tagged(tags: Mapping[bytes, Read], sizes: list[int], payload: bytes, out: Out) -> str:
    """Read values behind tags, until one is unknown: how long its value is, nobody knows."""
    at = 0
    while at < len(payload):
        for size in sizes:
            read = tags.get(payload[at : at + size])
            if read is not None:
                at = read(payload, at + size, out)
                break
        else:
            tag = payload[at : at + sizes[-1]].hex()
            return f"the tag {tag} at byte {at} is unknown: {len(payload) - at} bytes not read"
    return ""


def _measured(tags: Mapping[bytes, Read], sizes: list[int], payload: bytes, out: Out) -> str:
    """Read values behind tags and lengths; pass over unknown ones."""
    at, unknown = 0, list[str]()
    while at < len(payload):
        tag = next((payload[at : at + size] for size in sizes if payload[at : at + size] in tags), b"")
        behind = at + (len(tag) or sizes[-1])
        end = behind + 1 + (payload[behind] if behind < len(payload) else 0)
        if end > len(payload):
            raise Unreadable(f"ends within what the tag at byte {at} announces")
        if tag:
            tags[tag](payload[:end], behind + 1, out)
        else:
            unknown.append(f"{payload[at:behind].hex()} at byte {at}")
        at = end
    return f"unknown tags, not read: {', '.join(unknown)}" if unknown else ""


def _sequence(
    items: tuple[Item, ...], dimensions: tuple[str, ...], *, little: bool, listed: bool = False
) -> Read:
    reads = [_compiled(item, dimensions, little=little, listed=listed) for item in items]

    def read(payload: bytes, at: int, out: Out) -> int:
        for one in reads:
            at = one(payload, at, out)
        return at

    return reads[0] if len(reads) == 1 else read


def _compiled(item: Item, dimensions: tuple[str, ...], *, little: bool, listed: bool) -> Read:
    if isinstance(item, Field):
        return _field(item, dimensions, little=little, listed=listed)
    if isinstance(item, Run):
        return _run(item, dimensions, little=little, listed=listed)
    assert isinstance(item, Repeat), "references are resolved by the compiler of profiles"
    if not item.dimension:
        inner = _sequence(item.items, dimensions, little=little, listed=True)
        return partial(_times, inner, item.times)
    own = tuple(sorted({*dimensions, item.dimension}))
    return _labelled(item, _sequence(item.items, own, little=little, listed=listed))


def _labelled(repeat: Repeat, inner: Read) -> Read:
    dimension, labels = repeat.dimension, repeat.labels

    def read(payload: bytes, at: int, out: Out) -> int:
        for label in labels:
            out.labels[dimension] = label
            at = inner(payload, at, out)
        return at

    return read


def _times(inner: Read, times: int, payload: bytes, at: int, out: Out) -> int:
    left = times
    while left > 0 or (not times and at < len(payload)):
        at = inner(payload, at, out)
        left -= 1
    return at


def _field(field: Field, dimensions: tuple[str, ...], *, little: bool, listed: bool) -> Read:
    size = field.bits // 8
    order = little if field.little is None else field.little
    value = _value(field, little=order)
    put = _putting(field.name, dimensions, listed=listed)

    def read(payload: bytes, at: int, out: Out) -> int:
        end = at + size if size else len(payload)
        if end > len(payload):
            raise Unreadable(f"ends at byte {len(payload)}, within {field.name or 'what is skipped'}")
        if field.name:
            put(out, value(payload[at:end]))
        return end

    return read


def _run(run: Run, dimensions: tuple[str, ...], *, little: bool, listed: bool) -> Read:
    size = run.bits // 8
    order = "little" if (little if run.little is None else run.little) else "big"
    parts, shift = [], run.bits
    for field in run.fields:
        shift -= field.bits
        if field.name:
            parts.append((shift, field, _putting(field.name, dimensions, listed=listed)))

    def read(payload: bytes, at: int, out: Out) -> int:
        end = at + size
        if end > len(payload):
            raise Unreadable(f"ends at byte {len(payload)}, within bit fields of {size} bytes")
        whole = int.from_bytes(payload[at:end], order)  # type: ignore[arg-type] # one of two literals
        for down, field, put in parts:
            put(out, scaled(field, signed(field, (whole >> down) & ((1 << field.bits) - 1))))
        return end

    return read


def _putting(name: str, dimensions: tuple[str, ...], *, listed: bool) -> Callable[[Out, Any], None]:
    section, _, key = name.rpartition(".")
    if not (section or dimensions or listed):
        return partial(_put_plainly, name)

    def put(out: Out, value: Any) -> None:  # noqa: ANN401 - a number, a text or nothing
        row = out.row(dimensions)
        if section:
            row = row.setdefault(section, {})
        if listed:
            row.setdefault(key, []).append(value)
        else:
            row[key] = value

    return put


def _put_plainly(name: str, out: Out, value: Any) -> None:  # noqa: ANN401 - as above
    out.found[name] = value


def _value(field: Field, *, little: bool) -> Callable[[bytes], Any]:
    """Return what makes a field's value of its bytes."""
    if field.coding is Coding.HEX:
        return bytes.hex
    if field.coding is Coding.ASCII:
        return partial(_text, field.name)
    if field.coding is Coding.FLOAT:
        return partial(_float, field, struct.Struct(("<" if little else ">") + _FLOATS[field.bits]))
    if field.coding is Coding.BCD:
        return partial(_bcd, field, little)
    whole = partial(
        int.from_bytes, byteorder="little" if little else "big", signed=field.coding is Coding.SIGNED
    )
    return (lambda raw: scaled(field, whole(raw))) if field.scaled else whole


def signed(field: Field, raw: int) -> int:
    """Return a field's whole number: two's complement where it is signed."""
    negative = field.coding is Coding.SIGNED and raw >> (field.bits - 1)
    return raw - (1 << field.bits) if negative else raw


def scaled(field: Field, raw: float) -> float:
    """Return a field's value; a whole number stays one where nothing scales it."""
    return raw * field.factor / field.divisor + field.offset if field.scaled else raw


def _float(field: Field, layout: struct.Struct, raw: bytes) -> float | None:
    value: float = layout.unpack(raw)[0]
    if value != value:  # noqa: PLR0124 - not a number
        return None
    if value in (float("inf"), float("-inf")):
        raise Unreadable(f"{field.name} is infinite", Reason.NOT_FINITE)
    return scaled(field, value)


def _bcd(field: Field, little: bool, raw: bytes) -> float:  # noqa: FBT001 - bound once, by position
    digits = (raw[::-1] if little else raw).hex()
    if not digits.isdecimal():
        raise Unreadable(f"{field.name}: {digits} are no decimal digits")
    return scaled(field, int(digits))


def _text(name: str, raw: bytes) -> str:
    try:
        return raw.rstrip(b"\0 ").decode("ascii")
    except UnicodeDecodeError as error:
        raise Unreadable(f"{name}: {raw.hex():.40} is no ASCII text") from error
