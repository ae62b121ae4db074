"""Which uplinks without a device time came before."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from gateway.decode import identity
from gateway.decode.exchanges import mark
from gateway.decode.identity import Identities
from tests.decode.plans import payloads

DUP, FIRST = 0x3A, 0x32
DEVICE = ("s", "d")


def judge(
    identities: Identities, *bodies: object, sequences: list[object] | None = None, **how: object
) -> list[bool]:
    """Judge a batch none of whose uplinks has a device time."""
    batch = payloads(*bodies, **how)
    places = np.arange(len(batch))
    return identities.duplicates(
        batch, places, [DEVICE] * len(batch), sequences or [None] * len(batch)
    ).tolist()


def test_a_publish_sent_again_is_a_duplicate() -> None:
    """DUP, packet identifier, topic and payload as before: the same uplink."""
    identities = Identities()
    assert judge(identities, 1, 2, headers=[FIRST] * 2, packet_ids=[7, 8]) == [False, False]
    assert judge(identities, 1, 2, headers=[DUP] * 2, packet_ids=[7, 8]) == [True, True]


def test_within_one_batch() -> None:
    """The first and the second sending can be read together."""
    assert judge(Identities(), 1, 1, headers=[FIRST, DUP], packet_ids=[7, 7]) == [False, True]


def test_without_dup_an_equal_uplink_is_new() -> None:
    """A device may say the same thing twice, under the same packet identifier."""
    identities = Identities()
    judge(identities, 1, headers=[FIRST], packet_ids=[7])
    assert judge(identities, 1, headers=[FIRST], packet_ids=[7]) == [False]


def test_anything_different_makes_it_new() -> None:
    """Another payload, topic, packet identifier, session or broker: another uplink."""
    identities = Identities()
    judge(identities, 1, headers=[FIRST], packet_ids=[7])
    assert judge(identities, 2, headers=[DUP], packet_ids=[7]) == [False]
    judge(identities, 1, headers=[FIRST], packet_ids=[7])
    assert judge(identities, 1, headers=[DUP], packet_ids=[8]) == [False]
    assert judge(identities, 1, headers=[DUP], packet_ids=[7], topic="t/s/e") == [False]
    judge(identities, 1, headers=[FIRST], packet_ids=[7])
    assert judge(identities, 1, headers=[DUP], packet_ids=[7], session="other") == [False]


def test_a_packet_identifier_used_again_forgets() -> None:
    """Uplinks with a device time take packet identifiers over, so an old uplink is no longer the last."""
    identities = Identities()
    judge(identities, 1, headers=[FIRST], packet_ids=[7])
    timed = payloads(5, headers=[FIRST], packet_ids=[7])
    assert identities.duplicates(timed, np.zeros(0, dtype=np.int64), [], []).tolist() == []
    assert judge(identities, 1, headers=[DUP], packet_ids=[7]) == [False]


def test_qos_0_has_no_identifier() -> None:
    """At QoS 0 nothing is sent again."""
    assert judge(Identities(), 1, 1, headers=[0x38, 0x38], packet_ids=[0, 0]) == [False, False]


def test_sequences() -> None:
    """Same device, sequence and payload: a duplicate, until 16 others came between."""
    identities = Identities()
    assert judge(identities, 1, 1, sequences=[4, 4]) == [False, True]
    assert judge(identities, 2, sequences=[4]) == [False]  # began to count anew, says something else
    others = list(range(100, 100 + identity.REMEMBERED))
    judge(identities, *others, sequences=list(others))
    assert judge(identities, 1, sequences=[4]) == [False]


def test_only_what_has_a_sequence_is_compared_by_it() -> None:
    """In one batch, an uplink without a sequence is judged by DUP alone."""
    assert judge(Identities(), 1, 1, 1, sequences=[None, 4, None]) == [False, False, False]


def test_state_goes_through_a_checkpoint() -> None:
    """What was restored judges as what was saved, in any process."""
    identities = Identities()
    judge(identities, 1, headers=[FIRST], packet_ids=[65_535])
    judge(identities, 3, sequences=[9])
    restored = Identities()
    restored.restore(identities.state())
    assert restored.state() == identities.state()
    assert judge(restored, 1, headers=[DUP], packet_ids=[65_535]) == [True]
    assert judge(restored, 3, sequences=[9], packet_ids=[2]) == [True]
    code = "from gateway.decode.exchanges import mark; print(mark(b'a', b'b'))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(other.stdout) == mark(b"a", b"b")


def test_memory_is_bounded() -> None:
    """The session heard longest ago are forgotten first."""
    identities = Identities()
    for number in range(identity.MAX_SESSIONS + 5):
        judge(identities, 1, session=f"client {number}", headers=[FIRST], packet_ids=[1])
    assert len(identities._sessions) == identity.MAX_SESSIONS
    assert judge(identities, 1, session="client 20", headers=[DUP], packet_ids=[1]) == [True]
    assert judge(identities, 1, session="client 0", headers=[DUP], packet_ids=[1]) == [False]
