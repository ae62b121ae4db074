"""JSON payloads, through msgspec: one typed decoder a profile, one call a payload.

Measured against the alternatives, this is the fastest way that isolates a bad message; payloads are
never joined for parsing (`{},{}` would smuggle a record, and unbalanced neighbours would mix).
What is not looked at is not judged: text that is not UTF-8, or a number such as 1e999, in a field
that the profile does not read passes. A key that stands twice: the last one counts.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from gateway.decode.formats.parsing import Failure, Parsed, parse_each, reason_of
from gateway.model import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.decode.frames import Frames
    from gateway.decode.shape import Shape
    from gateway.model import Int64
    from gateway.profiles.plan import ProfilePlan

_ERRORS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_DETAIL = 200
_AT_BYTE = re.compile(r"\(byte (\d+)\)")
_LITERAL = re.compile(rb"(NaN|Infinity|nan|inf)")


class JsonParser:
    """Parses JSON into one type and bounds its depth."""

    def __init__(self, shape: Any, max_depth: int) -> None:  # noqa: ANN401 - a type made at run time
        self._decode = msgspec.json.Decoder(shape).decode
        self._max_depth = max_depth

    def parse(self, frames: Frames) -> Parsed:
        """Return the objects and the failures. Never raises on bad data."""
        payloads = frames.payloads
        parsed = parse_each(payloads, self._decode, _ERRORS, self._explain)
        return self._without_deep(payloads, parsed)

    def _without_deep(self, payloads: Sequence[bytes], parsed: Parsed) -> Parsed:
        """Refuse what is nested deeper than the limit in fields that msgspec skipped."""
        bad = {failure.index for failure in parsed.failures}
        good = [index for index in range(len(payloads)) if index not in bad] if bad else range(len(payloads))
        joined = b"".join([payloads[index] for index in good] if bad else payloads)
        # Each payload that was parsed opens at least one bracket: no more than that means depth 1.
        if joined.count(b"{") + joined.count(b"[") <= len(good):
            return parsed
        depths = _depths(joined, [len(payloads[index]) for index in good])
        deep = depths > self._max_depth
        if not deep.any():
            return parsed
        failures = [
            Failure(good[place], Reason.TOO_DEEP, self._deeper(int(depths[place])))
            for place in np.flatnonzero(deep).tolist()
        ]
        return Parsed(
            objects=[parsed.objects[place] for place in np.flatnonzero(~deep).tolist()],
            failures=sorted((*parsed.failures, *failures), key=lambda failure: failure.index),
        )

    def _deeper(self, depth: int) -> str:
        return f"nested {depth} deep; the profile's limit is {self._max_depth}"

    def _explain(self, payload: bytes, error: Exception) -> tuple[Reason, str]:
        """Say why a payload was refused. Off the hot path: here everything may be looked at."""
        try:
            payload.decode()
        except UnicodeDecodeError as invalid:
            return Reason.NOT_UTF8, f"byte {invalid.start} is not UTF-8: {invalid.reason}"
        if payload.count(b"{") + payload.count(b"[") > self._max_depth:
            depth = int(_depths(payload, [len(payload)])[0])
            if depth > self._max_depth:
                return Reason.TOO_DEEP, self._deeper(depth)
        if isinstance(error, RecursionError):
            return Reason.TOO_DEEP, f"nested too deep to be read; the profile's limit is {self._max_depth}"
        return _reason(payload, str(error)), str(error)[:_DETAIL]


def compile_json(shape: Shape, plan: ProfilePlan) -> JsonParser:
    """Return a parser of JSON payloads of that shape."""
    return JsonParser(shape.type, plan.max_depth)


def _reason(payload: bytes, message: str) -> Reason:
    if told := reason_of(message):
        return told
    place = _AT_BYTE.search(message)
    # msgspec stops at the N of NaN, and at the I of Infinity and of -Infinity.
    if place and _LITERAL.match(payload, int(place[1])):
        return Reason.NOT_FINITE
    return Reason.NOT_JSON


def _depths(joined: bytes, lengths: Sequence[int]) -> Int64:
    """Return the depth of each payload in `joined`, int64[n].

    Depth is the greatest surplus of opening brackets over closing ones; brackets inside texts count
    too, so that one pass over the bytes is enough. A text full of closing brackets can hide depth:
    then msgspec's own limit (Python's recursion limit) holds. Payloads are joined for counting only.
    """
    depths = np.zeros(len(lengths), dtype=np.int64)
    data = np.frombuffer(joined, dtype=np.uint8) | 0x20  # [ and { become 0x7B, ] and } become 0x7D
    places = np.flatnonzero((data == 0x7B) | (data == 0x7D))
    surplus = np.cumsum(np.where(data[places] == 0x7B, 1, -1))
    last = np.searchsorted(places, np.cumsum(np.array(lengths, dtype=np.int64)))
    first = np.concatenate(([0], last[:-1]))
    some = last > first  # reduceat gives a neighbour's element for an empty stretch
    if some.any():
        start = first[some]
        before = np.where(start > 0, surplus[start - 1], 0)
        depths[some] = np.maximum.reduceat(surplus, start) - before
    return depths
