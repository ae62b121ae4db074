"""What was sent again at QoS 2 is found, and nothing else is taken for it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from gateway.decode import exchanges
from gateway.decode.decoder import decode_together
from gateway.decode.exchanges import Exchanges
from gateway.decode.identity import Identities
from gateway.model import Releases
from tests.decode.plans import payloads, profile, routes

if TYPE_CHECKING:
    from gateway.model import RawBatch

FIRST, AGAIN = 0x34, 0x3C
QOS_1, QOS_1_AGAIN = 0x32, 0x3A
TIMED = "time: {path: ts, unit: s}\nquantities: {distance: {path: d, unit: mm}}\n"
UNTIMED = "quantities: {distance: {path: d, unit: mm}}\n"
NAME = "broker\0gateway"


def sent(*uplinks: tuple[int, int, object], released: tuple[tuple[int, int], ...] = ()) -> RawBatch:
    """Make a batch of (header, identifier, payload), with releases (identifier, place)."""
    batch = payloads(
        *(body for _, _, body in uplinks),
        headers=[header for header, _, _ in uplinks],
        packet_ids=[packet_id for _, packet_id, _ in uplinks],
    )
    if not released:
        return batch
    packet_ids, places = zip(*released, strict=True)
    return replace(batch, releases=Releases(np.array(packet_ids, np.uint16), np.array(places, np.int64)))


def judge(known: Exchanges, batch: RawBatch) -> list[bool]:
    again = known.repeated(NAME, batch)
    return [] if again is None else again.tolist()


def test_an_exchange() -> None:
    """The same under the same identifier until its release; then what looks the same is new."""
    known = Exchanges()
    assert judge(known, sent((FIRST, 7, 1), (FIRST, 8, 1))) == [False, False]
    assert judge(known, sent((AGAIN, 7, 1), (AGAIN, 8, 1))) == [True, True]
    assert known.unreleased(NAME) == [7, 8]
    assert judge(known, sent(released=((7, 0),))) == []
    assert judge(known, sent((AGAIN, 7, 1), (AGAIN, 8, 1))) == [False, True]
    assert sorted(known.unreleased(NAME)) == [7, 8]


def test_what_cannot_be_the_one_journalled_is_new() -> None:
    """Without DUP, another payload, another topic: a broker that lost track, and nothing is lost by it."""
    known = Exchanges()
    assert judge(known, sent((FIRST, 7, 1))) == [False]
    assert judge(known, sent((FIRST, 7, 1))) == [False]
    assert judge(known, sent((AGAIN, 7, 2))) == [False]
    assert judge(known, sent((AGAIN, 7, 2))) == [True]
    assert judge(known, replace(sent((AGAIN, 7, 2)), topics=[b"t/s/e"])) == [False]


def test_the_order_within_a_read_counts() -> None:
    """A release between two that look the same; one sent twice, before its identifier is used again."""
    known = Exchanges()
    assert judge(known, sent((FIRST, 7, 1), (AGAIN, 7, 1), (AGAIN, 7, 1), released=((7, 2),))) == [
        False,
        True,
        False,
    ]
    assert judge(known, sent((FIRST, 7, 1), (AGAIN, 7, 1), released=((7, 0), (7, 0)))) == [False, True]
    assert known.unreleased(NAME) == [7]


def test_an_identifier_that_is_used_at_qos_1_is_over() -> None:
    """The broker cannot have it in use twice."""
    known = Exchanges()
    judge(known, sent((FIRST, 7, 1), (FIRST, 8, 1)))
    judge(known, sent((QOS_1, 7, 5)))
    assert known.unreleased(NAME) == [8]
    assert judge(known, sent((AGAIN, 7, 1))) == [False]


def test_qos_1_costs_nothing_here() -> None:
    """Nothing is remembered of it."""
    known = Exchanges()
    assert known.repeated(NAME, sent((QOS_1, 7, 1))) is None
    assert known.saved() == {}


def test_only_so_many_sessions_are_remembered() -> None:
    """The one used longest ago goes."""
    known = Exchanges()
    for number in range(exchanges.MAX_SESSIONS + 1):
        known.repeated(f"session {number}", sent((FIRST, 7, 1)))
    assert known.unreleased("session 0") == []
    assert known.unreleased("session 1") == [7]


def test_what_is_sent_again_is_not_decoded_again() -> None:
    """It is a duplicate in the book of uplinks, timed or not, sound or refused; in one read or in two."""
    for body, plan in ((1, UNTIMED), ({"ts": 1_763_769_000, "d": 5}, TIMED), (b"{", TIMED)):
        identities, where = Identities(), routes(profile(plan))
        value = {"d": body} if body == 1 else body
        first, second = sent((FIRST, 7, value), (AGAIN, 7, value)), sent((AGAIN, 7, value))
        found = decode_together([first, sent(), second], where, identities)
        assert found.duplicates.tolist() == [1, 2], plan
        assert sum(map(len, found.readings)) + len(found.rejections) == 1


def test_a_batch_of_releases_alone_counts() -> None:
    """Though it gives nothing to decode."""
    identities, where = Identities(), routes(profile(UNTIMED))
    decode_together([sent((FIRST, 7, {"d": 1}))], where, identities)
    decode_together([sent(released=((7, 0),))], where, identities)
    found = decode_together([sent((AGAIN, 7, {"d": 1}))], where, identities)
    assert (len(found.duplicates), sum(map(len, found.readings))) == (0, 1)


def test_the_rule_of_qos_1_leaves_qos_2_alone() -> None:
    """At QoS 1 DUP, identifier and content suffice; at QoS 2 not any more once it was released."""
    for first, again, doubled in ((QOS_1, QOS_1_AGAIN, 1), (FIRST, AGAIN, 0)):
        identities, where = Identities(), routes(profile(UNTIMED))
        decode_together([sent((first, 7, {"d": 1}))], where, identities)
        decode_together([sent(released=((7, 0),))], where, identities)
        found = decode_together([sent((again, 7, {"d": 1}))], where, identities)
        assert len(found.duplicates) == doubled


def test_the_state_of_an_older_version_is_read() -> None:
    """It knew no exchanges."""
    older = msgspec.msgpack.encode({"sessions": {}, "devices": [("s", "d", [5])]})
    identities = Identities()
    identities.restore(older)
    assert identities.unreleased("broker", "gateway") == []
    assert msgspec.msgpack.decode(identities.state())["devices"] == [["s", "d", [5]]]


def test_a_lost_session_is_not_compared_with_the_next_one() -> None:
    """From the connection on that began it; what came before it and is journalled only now still is."""
    for first, again in ((QOS_1, QOS_1_AGAIN), (FIRST, AGAIN)):
        identities, where = Identities(), routes(profile(UNTIMED))

        def taken(
            header: int, connection: int, identities: Identities = identities, where: object = where
        ) -> bool:
            batch = replace(sent((header, 7, {"d": 1})), connection=connection)
            return not len(decode_together([batch], where, identities).duplicates)

        assert taken(first, 1)
        identities.lost("broker", "gateway", 3)
        assert identities.unreleased("broker", "gateway") == []
        restored = Identities()
        restored.restore(identities.state())
        for one in (identities, restored):
            assert not taken(again, 2, one)
            assert taken(again, 3, one)
            assert not taken(again, 3, one)
