"""CBOR payloads (RFC 8949), through cbor2: plain values, which are judged as JSON's are.

Bounded in depth; nothing may stand behind the one value. A float that is not a number is no reading, an
infinite one is refused. Times under CBOR's own tags (0, 1) are read where the profile asks for `iso`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import cbor2

from gateway.decode.formats.parsing import Parsed, Refused, converting, parse_values
from gateway.model import Reason

if TYPE_CHECKING:
    from gateway.decode.frames import Frames
    from gateway.decode.shape import Shape
    from gateway.profiles.plan import ProfilePlan

_MARK = b"\xc5lu"
_PAIR, _END = b"\x82", bytes((0x40 + len(_MARK),)) + _MARK
"""cbor2 passes over what stands behind a value: in a list of two, the second tells where the first ended."""
_DEEP = "nesting depth"
"""What cbor2 says of it; a test pins it."""


class CborParser:
    """Parses CBOR into one type and bounds its depth."""

    def __init__(self, shape: Shape, max_depth: int) -> None:
        self._convert = converting(shape.type)
        self._max_depth = max_depth

    def parse(self, frames: Frames) -> Parsed:
        """Return the objects and the failures. Never raises on bad data."""
        return parse_values(frames.payloads, self._value, self._convert)

    def _value(self, payload: bytes) -> Any:  # noqa: ANN401 - any CBOR
        return _plain(cbor_value(payload, self._max_depth), self._max_depth)


def compile_cbor(shape: Shape, plan: ProfilePlan) -> CborParser:
    """Return a parser of CBOR payloads of that shape."""
    return CborParser(shape, plan.max_depth)


def cbor_value(payload: bytes, max_depth: int) -> Any:  # noqa: ANN401 - any CBOR
    """Return the one value that a payload holds, as CBOR has it. Raises Refused."""
    try:
        pair = cbor2.loads(_PAIR + payload + _END, max_depth=max_depth + 1)
    except cbor2.CBORDecodeError as error:
        deep = _DEEP in str(error)
        raise Refused(Reason.TOO_DEEP if deep else Reason.UNREADABLE, f"no CBOR: {error}") from error
    if pair[1] != _MARK:
        raise Refused(Reason.UNREADABLE, "more than one CBOR value")
    return pair[0]


def _plain(value: Any, depth: int) -> Any:  # noqa: ANN401 - any CBOR
    """Return a value without floats that are no numbers. Raises Refused."""
    if depth < 0:  # a value that holds itself, by CBOR's shared references
        raise Refused(Reason.TOO_DEEP, "nested deeper than the profile's limit")
    if isinstance(value, float):
        if math.isinf(value):
            raise Refused(Reason.NOT_FINITE, "an infinite number")
        return None if math.isnan(value) else value
    if isinstance(value, dict):
        return {str(key): _plain(inner, depth - 1) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner, depth - 1) for inner in value]
    return None if value is cbor2.undefined else value
