"""What one profile reads out of a payload: its type, its parser, its levels, compiled once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from gateway.decode.formats import COLUMNS, FORMATS
from gateway.decode.formats.codec import NOWHERE, CodecParser
from gateway.decode.formats.parsing import Failure
from gateway.decode.records import Objects
from gateway.decode.shape import Shape, Want
from gateway.errors import ConfigurationError, Problem
from gateway.model import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.decode.formats.parsing import Parser
    from gateway.decode.frames import Frames
    from gateway.decode.levels import Level
    from gateway.decode.records import Records
    from gateway.decode.shape import Leaf, Opening
    from gateway.model import Int64
    from gateway.ports import Codecs
    from gateway.profiles.plan import ProfilePlan


class Reader(Protocol):
    """Asks for fields of the payload, then learns how to read them."""

    def want(self, shape: Shape) -> None:
        """Ask for the fields needed."""
        ...

    def bind(self, shape: Shape) -> None:
        """Learn how to read them, once the shape is sealed."""
        ...


class Payload:
    """The payload of one profile; `openings` lead from level to level of its records.

    Raises ConfigurationError where the profile's paths contradict each other, or its format is none.
    """

    def __init__(self, plan: ProfilePlan, readers: Sequence[Reader], codecs: Codecs = NOWHERE) -> None:
        shape = Shape(plan.name)
        for reader in readers:
            reader.want(shape)
        if plan.sequence:
            shape.want(plan.sequence, Want.SCALAR)
        shape.seal()
        for reader in readers:
            reader.bind(shape)
        self._shape = shape
        self._sequence: Leaf | None = shape.leaf(plan.sequence) if plan.sequence else None
        self.openings: dict[Level, Opening] = {}
        self._max_payload = plan.max_payload
        self._parser = _parser(plan, shape, codecs)
        self._columns = COLUMNS[plan.format](shape, plan) if plan.format in COLUMNS else None

    def open(self, levels: Iterable[Level]) -> None:
        """Learn how to get to these levels."""
        for level in levels:
            inner = level
            while inner and inner not in self.openings:
                self.openings[inner] = self._shape.opening(inner)
                inner = self.openings[inner].parent

    def parse(self, frames: Frames) -> tuple[Records, list[Failure], list[Failure]]:
        """Return the good payloads as records, in order, the failures, and what was left out of good ones.

        Both ascend by index. The fast parser takes what is usual, if the profile has one; the rest is
        judged by the other.
        """
        if self._columns is None:
            return self._judge(frames)
        columns, left = self._columns.parse(frames)
        if not left:
            return columns, [], []
        if len(left) > len(frames) // 2:  # devices that write otherwise: rows one by one would cost more
            return self._judge(frames)
        rest, failures, remarks = self._judge(frames.take(left))
        failures, remarks = _placed(failures, left), _placed(remarks, left)
        bad = np.zeros(len(frames), dtype=np.bool_)
        bad[[failure.index for failure in failures]] = True
        places = np.array(left, dtype=np.int64)
        columns.fill(places[~bad[places]], rest.objects, self._columns.leaves)
        return (columns.select(~bad) if failures else columns), failures, remarks

    def _judge(self, frames: Frames) -> tuple[Objects, list[Failure], list[Failure]]:
        """Parse payloads one by one, but for those that are too large."""
        limit = self._max_payload
        small = [place for place, payload in enumerate(frames.payloads) if len(payload) <= limit]
        parsed = self._parser.parse(frames.take(small))
        failures = [
            *_placed(parsed.failures, small),
            *(
                Failure(place, Reason.TOO_LARGE, f"{len(payload)} bytes; the profile's limit is {limit}")
                for place, payload in enumerate(frames.payloads)
                if len(payload) > limit
            ),
        ]
        failures.sort(key=lambda failure: failure.index)
        return Objects(parsed.objects), failures, _placed(parsed.remarks, small)

    def sequences(self, records: Records, rows: Int64) -> list[Any]:
        """Return the uplinks' own numbers at some rows, None where there is none."""
        return records.values(self._sequence, rows) if self._sequence else [None] * len(rows)


def _placed(failures: Iterable[Failure], places: Sequence[int]) -> list[Failure]:
    """Return failures of some payloads with the places that these have among all."""
    return [Failure(places[failure.index], failure.reason, failure.detail) for failure in failures]


def _parser(plan: ProfilePlan, shape: Shape, codecs: Codecs) -> Parser:
    if plan.codec is not None:
        return CodecParser(shape, plan, plan.codec, codecs)
    compile_parser = FORMATS.get(plan.format)
    if compile_parser is None:
        what = f"there is no format «{plan.format}»; there are {', '.join(sorted(FORMATS))}"
        raise ConfigurationError([Problem(where=plan.name, what=what)])
    return compile_parser(shape, plan)
