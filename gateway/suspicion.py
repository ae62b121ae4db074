"""What the journal says of a clock that is not to be believed, and how receive times are set right.

A *suspect span* begins with a record CLOCK_SUSPECT and ends with a record CLOCK_SETTLED. The receive times
between them are by a time that went on steadily from the span's beginning, whatever the wall clock did; the
end says by how much they were wrong. What is behind a beginning waits for its end, so that everything
behind the journal remains a function of it.

A gateway that is started anew within the span begins another *segment* of it, with another CLOCK_SUSPECT: its
time goes on from what the wall clock showed then. The end has a shift for each segment.

CLOCK_SUSPECT: `{"steady_ns", "boot", "step_ns", "newest_ns"}`, and the time given as the record's own time;
`step_ns` is by how much the wall clock stood later. CLOCK_SETTLED: `{"shifts": [[position of the beginning,
ns], …], "confirmed"}`, and the time by the wall clock as its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import orjson

from gateway.model import Control, ControlKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.model import RawBatch
    from gateway.ports import ClockFace

KINDS = frozenset({ControlKind.CLOCK_SUSPECT, ControlKind.CLOCK_SETTLED})
SMALLEST_SHIFT_NS = 1_000_000
"""A wall clock that came back to within this stands where it stood: the two clocks are not read at once."""


@dataclass(frozen=True, slots=True)
class Segment:
    """The part of a suspect span that one life of a gateway wrote: see the module's text."""

    position: int
    at_ns: int
    steady_ns: int
    boot: str
    step_ns: int


@dataclass(slots=True)
class Span:
    """A suspect span that has not ended, and what waits in it: uplinks, and their bytes in the journal."""

    newest_ns: int
    """The time of the newest record before it."""
    segments: list[Segment] = field(default_factory=list)
    uplinks: int = 0
    bytes: int = 0

    def add(self, uplinks: int, size: int) -> None:
        """Count a record that waits."""
        self.uplinks += uplinks
        self.bytes += size


@dataclass(frozen=True, slots=True)
class Corrections:
    """What an ended span says: (position of a segment's beginning, shift in ns), ascending, and its end."""

    shifts: tuple[tuple[int, int], ...] = ()
    through: int = 0
    """The position of CLOCK_SETTLED: nothing behind it is shifted."""

    def corrected(self, position: int, batch: RawBatch) -> RawBatch:
        """Return a batch of the journal with its receive time set right."""
        if position > self.through:
            return batch
        shift_ns = next((ns for first, ns in reversed(self.shifts) if first < position), 0)
        return replace(batch, received_ns=batch.received_ns + shift_ns) if shift_ns else batch

    def dump(self) -> bytes:
        """Return it as JSON, for the checkpoint."""
        return orjson.dumps({"shifts": self.shifts, "through": self.through})

    @classmethod
    def restored(cls, body: bytes | None) -> Corrections:
        """Rebuild what `dump` gave; no corrections from None."""
        return cls() if body is None else _corrections(orjson.loads(body))


def suspect(face: ClockFace, newest_ns: int) -> Control:
    """Return the record that begins a span, or another segment of it."""
    body = {
        "steady_ns": face.steady_ns,
        "boot": face.boot,
        "step_ns": face.wall_ns - face.given_ns,
        "newest_ns": newest_ns,
    }
    return Control(ControlKind.CLOCK_SUSPECT, face.given_ns, orjson.dumps(body))


def settled(face: ClockFace, span: Span, *, confirmed: bool) -> Control:
    """Return the record that ends a span: the wall clock is believed."""
    body = {"shifts": shifts(span.segments, face, span.newest_ns), "confirmed": confirmed}
    return Control(ControlKind.CLOCK_SETTLED, face.wall_ns, orjson.dumps(body))


def begun(span: Span | None, position: int, record: Control) -> Span:
    """Return the span with the segment that a record CLOCK_SUSPECT begins."""
    body: dict[str, Any] = orjson.loads(record.body)
    span = span if span is not None else Span(newest_ns=body["newest_ns"])
    span.segments.append(Segment(position, record.at_ns, body["steady_ns"], body["boot"], body["step_ns"]))
    return span


def corrections(position: int, record: Control) -> Corrections:
    """Return what a record CLOCK_SETTLED at that position says."""
    return _corrections({**orjson.loads(record.body), "through": position})


def shifts(segments: Sequence[Segment], face: ClockFace, newest_ns: int) -> list[tuple[int, int]]:
    """Return by how much each segment's times are wrong, where the wall clock is right now.

    Of a segment since the machine's present start the steady clock tells it. Of one from before, nothing
    does: it is taken to have begun when the wall clock said so, but not before the newest record, nor
    after the segment behind it.
    """
    found: list[tuple[int, int]] = []
    began_ns = face.wall_ns
    for segment in reversed(segments):
        if segment.boot == face.boot:
            gone_ns = round((face.steady_ns - segment.steady_ns) * face.factor)
            began_ns = face.wall_ns - gone_ns
        else:
            began_ns = min(max(segment.at_ns + segment.step_ns, newest_ns), began_ns)
        shift_ns = began_ns - segment.at_ns
        found.append((segment.position, shift_ns if abs(shift_ns) >= SMALLEST_SHIFT_NS else 0))
    return found[::-1]


def _corrections(body: dict[str, Any]) -> Corrections:
    return Corrections(tuple((first, ns) for first, ns in body["shifts"]), body["through"])
