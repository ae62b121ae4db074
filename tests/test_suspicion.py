"""What the journal says of a suspect clock: beginnings, an end, and shifts between them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import orjson
import pytest

from gateway import suspicion
from gateway.model import ControlKind, RawBatch
from gateway.ports import ClockFace
from gateway.suspicion import Corrections, Segment, Span

S = 10**9
NOW_NS = 1_795_342_500 * S
FACE = ClockFace(
    given_ns=NOW_NS, wall_ns=NOW_NS + 3_600 * S, steady_ns=500 * S, boot="b", factor=1.0, level_s=60.0
)


def batch(received_ns: int) -> RawBatch:
    return RawBatch("s", 1, "c", 5, received_ns, b"", [], [], np.empty(0, np.uint8), np.empty(0, np.uint16))


def test_a_beginning_tells_what_its_end_will_need() -> None:
    """The time given, the steady clock, by how much the wall clock is off, the newest record before."""
    record = suspicion.suspect(FACE, NOW_NS - S)
    assert (record.kind, record.at_ns) == (ControlKind.CLOCK_SUSPECT, NOW_NS)
    span = suspicion.begun(None, 7, record)
    assert span.newest_ns == NOW_NS - S
    assert span.segments == [Segment(7, NOW_NS, 500 * S, "b", 3_600 * S)]
    again = suspicion.begun(span, 9, suspicion.suspect(replace(FACE, boot="c"), span.newest_ns))
    assert [segment.position for segment in again.segments] == [7, 9]


def test_an_end_shifts_what_lies_within() -> None:
    """By its segment; nothing before the first beginning, nothing behind the end."""
    span = Span(NOW_NS, [Segment(7, NOW_NS, 100 * S, "b", 0), Segment(9, NOW_NS + 5 * S, 400 * S, "b", 0)])
    record = suspicion.settled(FACE, span, confirmed=True)
    assert record.at_ns == FACE.wall_ns
    assert orjson.loads(record.body)["confirmed"] is True
    found = suspicion.corrections(12, record)
    # The first began 400 s of the steady clock before the end, the second 100 s.
    assert found == Corrections(((7, 3_200 * S), (9, 3_495 * S)), 12)
    shifts = [found.corrected(position, batch(0)).received_ns // S for position in (6, 7, 8, 9, 10, 11, 13)]
    assert shifts == [0, 0, 3_200, 3_200, 3_495, 3_495, 0]
    assert Corrections.restored(found.dump()) == found
    assert Corrections.restored(None) == Corrections()


def test_a_clock_that_came_back_shifts_nothing() -> None:
    """The two clocks are not read at the same instant: a microsecond is none."""
    face = replace(FACE, wall_ns=NOW_NS + 1_500)
    assert suspicion.shifts([Segment(7, NOW_NS - 50 * S, 450 * S, "b", 0)], face, 0) == [(7, 0)]


def test_a_scaled_span_is_shifted_in_event_time() -> None:
    """The steady clock counts real seconds, a hundred of event time each."""
    face = replace(FACE, factor=100.0)
    assert suspicion.shifts([Segment(7, NOW_NS, 490 * S, "b", 0)], face, 0) == [(7, 2_600 * S)]


@pytest.mark.parametrize(
    ("step", "newest", "shift"),
    [
        (1_800, -60, 1_800),  # as the wall clock said
        (-1_800, -60, -60),  # not before the newest record
        (9_000, -60, 3_490),  # not after the segment behind it, which began 110 s before the end
    ],
)
def test_of_an_earlier_boot_the_wall_clock_is_asked(step: int, newest: int, shift: int) -> None:
    """The steady clock began anew: what the wall clock said then is all there is, within what is possible."""
    segments = [Segment(7, NOW_NS, 9, "a", step * S), Segment(9, 0, 390 * S, "b", 0)]
    found = suspicion.shifts(segments, FACE, NOW_NS + newest * S)
    assert found[0] == (7, shift * S)
    assert found[1] == (9, NOW_NS + 3_490 * S)
