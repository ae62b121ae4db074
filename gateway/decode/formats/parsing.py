"""What every payload format gives: payloads in, objects of the profile's shape and failures out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.decode.records import Columns
    from gateway.decode.shape import Leaf
    from gateway.model import Reason


@dataclass(frozen=True, slots=True)
class Failure:
    """A payload that was refused, by its place among those parsed together."""

    index: int
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Parsed:
    """Objects of the good payloads, in order, and the failures, ascending by index."""

    objects: list[Any]
    failures: list[Failure]


class ColumnParser(Protocol):
    """Parses the usual payloads straight into columns."""

    leaves: list[Leaf]

    def parse(self, payloads: list[bytes]) -> tuple[Columns, list[int]]:
        """Return columns with a row a payload, and the places, ascending, of those that are left.

        What is left is not judged; its rows are undefined.
        """
        ...


class Parser(Protocol):
    """Parses payloads one by one: what one of them holds never touches another."""

    def parse(self, payloads: Sequence[bytes]) -> Parsed:
        """Return the objects and the failures. Never raises on bad data."""
        ...


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
