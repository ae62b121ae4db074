"""How a profile writes a binary layout: `temperature:i16/10`, `skip:3`, `{each: 15, of: [delta:u16]}`.

Each reader takes what the YAML holds and returns an item, or raises ValueError with a sentence for the
profile's author.
"""

from __future__ import annotations

import re
from typing import Any

from gateway.profiles.layout import Coding, Field, Item, Range, Reference, Repeat, Run

MAX_TIMES = 10_000
MAX_NESTED = 4

_NAME = r"[a-z][a-z0-9_]{0,63}"
_FIELD = re.compile(
    rf"(?P<name>{_NAME}(?:\.{_NAME})?):(?P<coding>[a-z]+?)(?P<size>\d{{1,4}})?(?P<endian>le|be)?"
    r"(?P<scale>[*/]\d{1,9}(?:\.\d{1,9})?)?(?P<offset>[+-]\d{1,9}(?:\.\d{1,9})?)?",
    re.ASCII,
)
_SKIP = re.compile(r"skip:(?P<size>\d{1,4}|rest)", re.ASCII)
_RANGE = re.compile(r"(\d{1,5})(?:\.\.(\d{1,5}))?", re.ASCII)
_HEX = re.compile(r"(?:[0-9a-fA-F]{2})+", re.ASCII)
_USAGE = "write name:u16, name:i16/10, name:u8-40, name:f32, name:hex8 or skip:3"
_BYTES = frozenset({Coding.BCD, Coding.ASCII, Coding.HEX})
_SIZES = {Coding.FLOAT: (16, 32, 64), Coding.UNIX: (32, 64)}


def item(value: Any) -> Item:  # noqa: ANN401 - whatever the YAML holds
    """Return one item of a layout."""
    return _item(value, 0)


def _item(value: Any, depth: int) -> Item:  # noqa: ANN401 - whatever the YAML holds
    if depth > MAX_NESTED:
        raise ValueError(f"repeated within each other more than {MAX_NESTED} times")
    if isinstance(value, str):
        return Reference(value) if re.fullmatch(_NAME, value) else field(value)
    if isinstance(value, dict) and value.keys() == {"each", "of"}:
        return _repeat(value["each"], value["of"], depth)
    if isinstance(value, dict) and value.keys() == {"bits", "of"}:
        return _run(value["bits"], value["of"])
    raise ValueError(f"{value!r:.60} is no item: {_USAGE}, {{each: 15, of: […]}} or {{bits: 8, of: […]}}")


def field(text: str) -> Field:
    """Return a field that takes whole bytes."""
    found = _field(text)
    if found.bits % 8 or (found.coding in (Coding.UNSIGNED, Coding.SIGNED) and found.bits > 64):
        raise ValueError(f"«{text}» takes 8, 16, 24 … 64 bits; smaller ones stand in {{bits: 8, of: […]}}")
    return found


def _field(text: str) -> Field:
    if skip := _SKIP.fullmatch(text):
        return Field("", Coding.SKIP, 0 if skip["size"] == "rest" else 8 * int(skip["size"]))
    match = _FIELD.fullmatch(text)
    if match is None or match["coding"] not in set(Coding) - {Coding.SKIP}:
        raise ValueError(f"«{text:.60}» is no field: {_USAGE}")
    coding, size = Coding(match["coding"]), int(match["size"] or 0)
    bits = size * 8 if coding in _BYTES else size
    if not size or bits not in _SIZES.get(coding, (bits,)):
        sizes = " or ".join(map(str, _SIZES.get(coding, ("a size",))))
        raise ValueError(f"«{text}»: {coding} needs {sizes}, such as {coding}{_SIZES.get(coding, (16,))[0]}")
    scale = match["scale"] or "*1"
    number = float(scale[1:])
    if not number:
        raise ValueError(f"«{text}»: a scale of 0 leaves nothing")
    if coding in (Coding.ASCII, Coding.HEX) and (match["scale"] or match["offset"]):
        raise ValueError(f"«{text}»: a text has no scale")
    return Field(
        match["name"],
        coding,
        bits,
        little=None if match["endian"] is None else match["endian"] == "le",
        factor=number if scale[0] == "*" else 1.0,
        divisor=number if scale[0] == "/" else 1.0,
        offset=float(match["offset"] or 0),
    )


def _run(bits: Any, of: Any) -> Run:  # noqa: ANN401 - whatever the YAML holds
    if bits not in (8, 16, 24, 32, 40, 48, 56, 64) or isinstance(bits, bool):
        raise ValueError(f"bits: {bits!r:.20} must be 8, 16, 24 … 64")
    if not isinstance(of, list) or not of:
        raise ValueError("of: must be a list of bit fields, the highest first: [mode:u3, level:u5]")
    fields = tuple(_bit_field(one) for one in of)
    total = sum(one.bits for one in fields)
    if total != bits:
        raise ValueError(f"the bit fields take {total} bits, and there are {bits}: fill up with skip:N")
    return Run(bits, fields)


def _bit_field(value: Any) -> Field:  # noqa: ANN401 - whatever the YAML holds
    if not isinstance(value, str):
        raise ValueError(f"{value!r:.40} is no bit field: write mode:u3, level:i5 or skip:2")  # noqa: TRY004 - pydantic collects ValueError
    if skip := _SKIP.fullmatch(value):
        return Field("", Coding.SKIP, int(skip["size"]) if skip["size"] != "rest" else 0)
    found = _field(value)
    if found.coding not in (Coding.UNSIGNED, Coding.SIGNED) or found.little is not None:
        raise ValueError(f"«{value}» is no bit field: write mode:u3, level:i5 or skip:2")
    return found


def _repeat(each: Any, of: Any, depth: int) -> Repeat:  # noqa: ANN401 - whatever the YAML holds
    inner = tuple(_item(one, depth + 1) for one in (of if isinstance(of, list) else [of]))
    if not inner:
        raise ValueError("of: names what is repeated, such as [delta:u16]")
    if each == "rest":
        return Repeat(inner)
    if isinstance(each, int) and not isinstance(each, bool) and 0 < each <= MAX_TIMES:
        return Repeat(inner, times=each)
    if isinstance(each, dict) and len(each) == 1:
        dimension, labels = next(iter(each.items()))
        if isinstance(labels, list) and labels and re.fullmatch(_NAME, str(dimension)):
            texts = tuple(str(label) for label in labels)
            if len(set(texts)) == len(texts):
                return Repeat(inner, dimension=str(dimension), labels=texts)
    raise ValueError(
        f"each: {each!r:.40} must be a number, rest, or {{lane: [left, right]}} with each label once"
    )


def items(value: Any) -> tuple[Item, ...]:  # noqa: ANN401 - whatever the YAML holds
    """Return what a tag or a block holds: one item, or a list of them."""
    return tuple(item(one) for one in (value if isinstance(value, list) else [value]))


def tag(text: Any) -> tuple[bytes, ...]:  # noqa: ANN401 - whatever the YAML holds
    """Return the tags that a key names: `"0175"`, or several, `"ff01, ff0b"`."""
    found = [one.strip() for one in str(text).split(",")]
    if not isinstance(text, str) or not all(_HEX.fullmatch(one) and len(one) <= 8 for one in found):
        raise ValueError(f'{text!r:.40} is no tag: write its bytes in quotes, as in "0175"')
    return tuple(bytes.fromhex(one) for one in found)


def span(value: Any) -> Range:  # noqa: ANN401 - whatever the YAML holds
    """Return `15`, or `14..17`, as a range."""
    match = _RANGE.fullmatch(str(value))
    if match is None or isinstance(value, bool):
        raise ValueError(f"{value!r:.40} must be a number, or a range such as 14..17")
    low, high = int(match[1]), int(match[2] or match[1])
    if low > high:
        raise ValueError(f"{value} must be lowest..highest")
    return Range(low, high)


def prefix(value: Any) -> bytes:  # noqa: ANN401 - whatever the YAML holds
    """Return the bytes that a payload begins with, written in hexadecimal."""
    if not isinstance(value, str) or not _HEX.fullmatch(value):
        raise ValueError(f'{value!r:.40} must be bytes in quotes, such as "be0201"')
    return bytes.fromhex(value)
