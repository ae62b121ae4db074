"""What a batch is answered with, at QoS 1 and 2."""

from __future__ import annotations

import pytest

from gateway.ingest.packets import batch_of
from gateway.ingest.requests import puback, pubcomp, pubrec
from gateway.ingest.unreleased import Unreleased
from gateway.model import Frames, RawBatch
from tests.ingest.peer import Message, pubrel

NOT_FOUND = 0x92
LEVEL = pytest.mark.parametrize("level", [4, 5])


def publish(packet_id: int, level: int, *, qos: int = 2, dup: bool = False) -> bytes:
    return Message("t", b"p", qos=qos, packet_id=packet_id, dup=dup).frame(level)


def batch(*frames: bytes, level: int, connection: int = 1) -> RawBatch:
    count = sum(frame[0] >> 4 == 3 for frame in frames)
    return batch_of(Frames("main", connection, "ecluse", level, 1, count, b"".join(frames)), position=0)


@LEVEL
def test_an_exchange(level: int) -> None:
    """PUBREC for a PUBLISH, again where it comes again, PUBCOMP for its PUBREL; what is open is counted."""
    deliveries = Unreleased()
    assert deliveries.answers(batch(publish(7, level), publish(8, level, qos=1), level=level)) == (
        pubrec(7) + puback(8)
    )
    assert deliveries.answers(batch(publish(7, level, dup=True), level=level)) == pubrec(7)
    assert len(deliveries) == 1
    assert deliveries.answers(batch(pubrel(7), level=level)) == pubcomp(7)
    assert len(deliveries) == 0


@pytest.mark.parametrize(("level", "code"), [(4, 0), (5, NOT_FOUND)])
def test_a_release_of_nothing(level: int, code: int) -> None:
    """Is answered all the same, so that the broker can free the identifier; MQTT 5 has a word for it."""
    deliveries = Unreleased()
    assert deliveries.answers(batch(pubrel(7), level=level)) == pubcomp(7, code)
    deliveries.answers(batch(publish(9, level), level=level))
    assert deliveries.answers(batch(pubrel(9), pubrel(9), level=level)) == pubcomp(9) + pubcomp(9, code)


def test_the_order_of_the_stream_counts() -> None:
    """A PUBREL that was sent twice stands before the PUBLISH that uses its identifier again."""
    deliveries = Unreleased([7])
    assert deliveries.answers(batch(pubrel(7), pubrel(7), publish(7, 5), level=5)) == (
        pubcomp(7) + pubcomp(7, NOT_FOUND) + pubrec(7)
    )
    mixed = batch(pubrel(7), publish(1, 5, qos=1), publish(2, 5, qos=0), pubrel(9), publish(8, 5), level=5)
    assert Unreleased([7, 9]).answers(mixed) == pubcomp(7) + puback(1) + pubcomp(9) + pubrec(8)
    assert deliveries.answers(batch(pubrel(7), level=5)) == pubcomp(7)


def test_a_lost_session_takes_its_deliveries_with_it() -> None:
    """Those of earlier connections too that become durable only now."""
    deliveries = Unreleased([7, 8])
    assert deliveries.begin_anew(connection=3) == 2
    deliveries.answers(batch(publish(9, 5), level=5, connection=2))
    assert len(deliveries) == 0
    deliveries.answers(batch(publish(9, 5), level=5, connection=3))
    assert len(deliveries) == 1


def test_a_packet_that_was_passed_by() -> None:
    """Its exchange goes on like any other."""
    deliveries = Unreleased()
    deliveries.add(5)
    assert deliveries.answers(batch(pubrel(5), level=5)) == pubcomp(5)
