"""When a clock is suspect, and when it is believed again."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.clock import ManualClock
from gateway.clock_watch import ClockWatch
from gateway.model import ControlKind, RawBatch

NOW_NS = 1_795_342_500 * 10**9
SUSPECT, SETTLED = ControlKind.CLOCK_SUSPECT, ControlKind.CLOCK_SETTLED


class Watched:
    """A watch whose records are taken at once, as the river does."""

    def __init__(self) -> None:
        self.clock = ManualClock(NOW_NS)
        self.watch = ClockWatch(self.clock)
        self.newest_ns = NOW_NS
        self.end = 0

    def look(self) -> ControlKind | None:
        """Return what a look brought."""
        record = self.watch.record(self.newest_ns)
        if record is None:
            return None
        self.end += 1
        self.watch.take(self.end, record)
        self.newest_ns = record.at_ns
        return record.kind


def test_a_step_forward_is_believed_after_a_minute() -> None:
    """Level for a minute, and past the newest record."""
    seen = Watched()
    assert seen.look() is None
    seen.clock.step(3_600)
    assert not seen.watch.has_turned, "nobody has looked"
    seen.clock.now_ns()
    assert seen.watch.has_turned
    assert seen.look() is SUSPECT
    assert not seen.watch.has_turned
    assert seen.look() is None, "said once"
    seen.clock.advance(59)
    assert seen.look() is None
    seen.clock.advance(1)
    assert seen.look() is SETTLED
    assert seen.watch.span is None
    assert seen.clock.now_ns() == NOW_NS + 3_660 * 10**9
    assert seen.look() is None


def test_a_step_back_waits_for_the_newest_record() -> None:
    """However long it is level before."""
    seen = Watched()
    seen.clock.step(-3_600)
    assert seen.look() is SUSPECT
    seen.clock.advance(3_600)
    assert seen.look() is None
    seen.clock.advance(0.001)
    assert seen.look() is SETTLED
    assert seen.clock.now_ns() == NOW_NS + 10**6


def test_every_step_begins_the_minute_anew() -> None:
    """A clock that is set again and again is not believed."""
    seen = Watched()
    seen.clock.step(3_600)
    seen.look()
    for step in (7_200, -9_000, 300):
        seen.clock.advance(50)
        seen.clock.step(step)
        assert seen.look() is None
    seen.clock.advance(60)
    assert seen.look() is SETTLED


def test_a_person_is_believed_at_once() -> None:
    """And only where there is something to confirm."""
    seen = Watched()
    assert not seen.watch.confirm()
    seen.clock.step(-3_600)
    seen.look()
    assert seen.watch.confirm()
    assert seen.look() is SETTLED
    assert seen.clock.now_ns() == NOW_NS - 3_600 * 10**9
    seen.clock.step(-3_600)
    assert seen.look() is SUSPECT, "the next step is not confirmed by that"
    assert seen.look() is None


@pytest.mark.parametrize(("ahead", "kind"), [(0, None), (-1, None), (1, SUSPECT), (10**12, SUSPECT)])
def test_a_start_before_the_newest_record(ahead: int, kind: ControlKind | None) -> None:
    """Is suspect, by a nanosecond or by more; an empty journal has none."""
    seen = Watched()
    seen.watch.start(NOW_NS + ahead)
    seen.newest_ns = NOW_NS + ahead
    assert seen.look() is kind
    fresh = Watched()
    fresh.watch.start(0)
    assert fresh.look() is None


def test_a_span_goes_on_in_the_next_process() -> None:
    """As another segment, judged by the record before the first."""
    first = Watched()
    first.clock.step(-3_600)
    record = first.watch.record(NOW_NS)
    assert record is not None
    second = Watched()
    second.clock.step(-3_600)
    second.clock.restart()
    assert not second.watch.replay(1, record)
    second.watch.start(record.at_ns)
    second.newest_ns = record.at_ns + 5 * 10**9
    assert second.look() is SUSPECT
    assert second.watch.span is not None
    assert len(second.watch.span.segments) == 2
    assert second.watch.span.newest_ns == NOW_NS
    second.clock.advance(3_599)
    assert second.look() is None
    second.clock.advance(2)
    assert second.look() is SETTLED


def test_an_end_without_a_beginning_ends_nothing() -> None:
    """The beginning was damaged: what it spans was treated as it was."""
    seen = Watched()
    seen.clock.step(3_600)
    begin = seen.watch.record(NOW_NS)
    assert begin is not None
    seen.watch.take(1, begin)
    seen.clock.advance(61)
    end = seen.watch.record(NOW_NS)
    assert end is not None
    other = ClockWatch(ManualClock(NOW_NS))
    assert not other.replay(2, end)
    assert not other.replay(1, begin)
    assert other.replay(2, end)
    assert other.span is None


def test_what_was_timed_before_is_dated_anew() -> None:
    """A batch that waited while the clock was set right has its receive time in the new time."""
    seen = Watched()
    nothing = np.empty(0, np.uint8), np.empty(0, np.uint16)
    waits = RawBatch("s", 1, "c", 5, seen.clock.now_ns(), b"", [], [], *nothing, era=seen.clock.era)
    assert seen.watch.dated(waits) is waits
    seen.clock.step(3_600)
    seen.look()
    seen.watch.confirm()
    seen.look()
    dated = seen.watch.dated(waits)
    assert (dated.received_ns, dated.era) == (NOW_NS + 3_600 * 10**9, 1)
    assert seen.watch.dated(dated) is dated
