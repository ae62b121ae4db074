"""Decides when the clock is suspect, and when it is to be believed again; writes neither file nor log.

It is suspect once the wall clock has stepped by more than a minute, or where it shows, at a start, a time
before the newest record of the journal. It is believed again once it has not stepped for a minute and lies
past that record, or as soon as a person has confirmed it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gateway import suspicion
from gateway.model import ControlKind

if TYPE_CHECKING:
    from gateway.model import Control, RawBatch
    from gateway.ports import ClockFace, SteppingClock
    from gateway.suspicion import Span

LEVEL_S = 60.0
"""For so long the wall clock must not have stepped. Real seconds, whatever the time scale."""


class ClockWatch:
    """What the river asks about its clock. `span` is the suspect span that lasts, None in good times."""

    def __init__(self, clock: SteppingClock, *, level_s: float = LEVEL_S) -> None:
        self.span: Span | None = None
        self._clock = clock
        self._level_s = level_s
        self._begun = False
        """Whether this process has its own segment of the span."""
        self._confirmed = False
        self._end: ClockFace | None = None

    def start(self, newest_ns: int) -> None:
        """Judge the clock at a start, by the time of the journal's newest record (0: there is none)."""
        if self.span is not None or self._clock.now_ns() < newest_ns:
            self._clock.hold()

    @property
    def has_turned(self) -> bool:
        """Whether the clock has become suspect since the last record about it."""
        return self._clock.suspect and not self._begun

    def record(self, newest_ns: int) -> Control | None:
        """Return the record that the journal must have before anything else; None where there is none.

        `newest_ns` is the time of its newest record. What is returned is to be appended, then `take`n.
        """
        face = self._clock.face()
        if self.has_turned:
            return suspicion.suspect(face, newest_ns if self.span is None else self.span.newest_ns)
        if self.span is not None and self._is_believable(face, self.span):
            self._end = face
            return suspicion.settled(face, self.span, confirmed=self._confirmed)
        return None

    def take(self, position: int, record: Control) -> None:
        """Let a record of this process take effect, which the journal has by now at that position."""
        if record.kind is ControlKind.CLOCK_SUSPECT:
            self.span, self._begun = suspicion.begun(self.span, position, record), True
        elif self._end is not None:
            self._clock.follow(self._end)
            self.span, self._begun, self._confirmed, self._end = None, False, False, None

    def replay(self, position: int, record: Control) -> bool:
        """Learn from a record of an earlier process; returns whether it ends the span that lasts.

        An end whose beginning is damaged ends nothing: what it would correct was treated as it was.
        """
        begins = record.kind is ControlKind.CLOCK_SUSPECT
        ends = not begins and self.span is not None
        self.span = suspicion.begun(self.span, position, record) if begins else None
        return ends

    def confirm(self) -> bool:
        """Believe the clock from the next look on; False where it is not suspect."""
        self._confirmed = self.span is not None
        return self._confirmed

    def dated(self, batch: RawBatch) -> RawBatch:
        """Return a batch with its receive time by the clock's present era."""
        if batch.era == self._clock.era:
            return batch
        received_ns = batch.received_ns + self._clock.moved_ns(batch.era)
        return replace(batch, received_ns=received_ns, era=self._clock.era)

    def face(self) -> ClockFace:
        """Look at the clock."""
        return self._clock.face()

    def _is_believable(self, face: ClockFace, span: Span) -> bool:
        return self._confirmed or (face.level_s >= self._level_s and face.wall_ns > span.newest_ns)
