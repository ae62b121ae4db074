"""What every payload format gives: payloads in, objects of the profile's shape and failures out.

A format that gives plain values first (dicts, lists, numbers, texts) turns them into such objects with
`converting`: they are judged as JSON's are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from gateway.model import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.decode.frames import Frames
    from gateway.decode.records import Columns
    from gateway.decode.shape import Leaf


_DETAIL = 200


@dataclass(frozen=True, slots=True)
class Failure:
    """A payload that was refused, by its place among those parsed together."""

    index: int
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Parsed:
    """Objects of the good payloads, in order, and the failures, ascending by index.

    `remarks` say what was left out of good payloads; each costs one reading.
    """

    objects: list[Any]
    failures: list[Failure]
    remarks: list[Failure] = field(default_factory=list)


class ColumnParser(Protocol):
    """Parses the usual payloads straight into columns."""

    leaves: list[Leaf]

    def parse(self, frames: Frames) -> tuple[Columns, list[int]]:
        """Return columns with a row a payload, and the places, ascending, of those that are left.

        What is left is not judged; its rows are undefined.
        """
        ...


class Parser(Protocol):
    """Parses payloads one by one: what one of them holds never touches another."""

    def parse(self, frames: Frames) -> Parsed:
        """Return the objects and the failures. Never raises on bad data."""
        ...


def converting(kind: Any) -> Callable[[Any], Any]:  # noqa: ANN401 - a type made at run time
    """Return what makes an object of a shape's type from plain values; it raises msgspec.ValidationError."""
    return partial(msgspec.convert, type=kind)


def reason_of(message: str) -> Reason | None:
    """Tell msgspec's refusals of a value apart by their text, which a test pins; None: of none."""
    if message.startswith("Number out of range"):
        return Reason.NOT_FINITE
    if message.startswith(("Expected `int` >=", "Expected `int` <=", "Integer value out of range")):
        return Reason.NOT_REPRESENTABLE
    if message.startswith("Expected `str` of length"):
        return Reason.NOT_REPRESENTABLE
    if message.startswith(("Expected", "Invalid RFC3339")):
        return Reason.WRONG_TYPE
    return None


class Refused(Exception):  # noqa: N818 - a value on its way to a Failure; it never leaves the formats
    """A payload that a format refuses."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def parse_values(
    payloads: Sequence[bytes], read: Callable[[bytes], Any], convert: Callable[[Any], Any]
) -> Parsed:
    """Read each payload to plain values and convert them; `read` raises Refused, and costs only itself."""
    objects: list[Any] = []
    failures: list[Failure] = []
    for index, payload in enumerate(payloads):
        try:
            objects.append(convert(read(payload)))
        except Refused as refused:
            failures.append(Failure(index, refused.reason, str(refused)[:_DETAIL]))
        except msgspec.ValidationError as error:
            reason = reason_of(str(error)) or Reason.UNREADABLE
            failures.append(Failure(index, reason, str(error)[:_DETAIL]))
    return Parsed(objects, failures)


def parse_each(
    payloads: Sequence[bytes],
    decode: Callable[[bytes], Any],
    errors: tuple[type[Exception], ...],
    explain: Callable[[bytes, Exception], tuple[Reason, str]],
) -> Parsed:
    """Decode each payload; one that raises any of `errors` costs only itself.

    One iterator is shared by all attempts: after an error it stands behind the bad payload, and
    `extend` has kept what came before. Good payloads pay nothing for the handling of bad ones.
    """
    objects: list[Any] = []
    failures: list[Failure] = []
    payload = iter(payloads)
    while True:
        try:
            objects.extend(map(decode, payload))
        except errors as error:
            index = len(objects) + len(failures)
            reason, detail = explain(payloads[index], error)
            failures.append(Failure(index, reason, detail))
        else:
            return Parsed(objects, failures)
