"""What identities know of an uplink is forgotten with it; its exchange with the broker goes on."""

from __future__ import annotations

import numpy as np

from gateway.decode.exchanges import mark
from gateway.decode.identity import Identities
from gateway.ingest.packets import batch_of
from gateway.model import Frames
from tests.ingest.peer import Message, pubrel


def record(*frames: bytes, count: int) -> Frames:
    return Frames("mqtt", 1, "ecluse", 5, 1, count, b"".join(frames))


MINE, OTHER = Message("a/mine", b"said", qos=2, packet_id=7), Message("a/other", b"said", qos=2, packet_id=8)


def again(message: Message) -> Frames:
    sent = Message(message.topic, message.payload, qos=2, packet_id=message.packet_id, dup=True)
    return record(sent.frame(5), count=1)


def test_an_exchange_goes_on_without_what_was_said() -> None:
    """The identifier waits for its PUBREL; others are found to be repetitions as before."""
    identities = Identities()
    identities.sent_again(batch_of(record(MINE.frame(5), OTHER.frame(5), count=2), 1))
    marks = {mark(b"a/mine", b"said")}
    identities.forget("lyon", "mine", marks)
    restored = Identities()
    restored.restore(identities.state())
    assert sorted(restored.unreleased("mqtt", "ecluse")) == [7, 8]
    found = restored.sent_again(batch_of(again(OTHER), 2))
    assert found is not None
    assert found.tolist() == [True]
    restored.sent_again(batch_of(record(pubrel(7), pubrel(8), count=0), 3))
    assert restored.unreleased("mqtt", "ecluse") == []


def test_marks_at_qos_1_are_forgotten() -> None:
    """Those of the device alone."""
    identities = Identities()
    sent = [Message("a/mine", b"said", packet_id=1), Message("a/other", b"said", packet_id=2)]
    batch = batch_of(record(*(each.frame(5) for each in sent), count=2), 1)
    keys = [("lyon", "mine"), ("lyon", "other")]
    identities.duplicates(batch, np.array([0, 1]), keys, [None, None])
    identities.forget("lyon", "mine", {mark(b"a/mine", b"said")})
    dup = [
        Message("a/mine", b"said", packet_id=1, dup=True),
        Message("a/other", b"said", packet_id=2, dup=True),
    ]
    batch = batch_of(record(*(each.frame(5) for each in dup), count=2), 2)
    assert identities.duplicates(batch, np.array([0, 1]), keys, [None, None]).tolist() == [False, True]


def test_sequences_of_the_device_are_forgotten() -> None:
    """What was remembered of it by its counter."""
    identities = Identities()
    sent = batch_of(record(Message("a/mine", b"said", packet_id=1).frame(5), count=1), 1)
    first = identities.duplicates(sent, np.array([0]), [("lyon", "mine")], [3])
    identities.forget("lyon", "mine", set())
    assert b"lyon" not in identities.state()
    other = batch_of(record(Message("a/mine", b"said", packet_id=2).frame(5), count=1), 2)
    assert first.tolist() == identities.duplicates(other, np.array([0]), [("lyon", "mine")], [3]).tolist()
