"""One connection as a state machine, without a socket."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.ingest import requests
from gateway.ingest.answers import Grant, Oversize
from gateway.ingest.packets import Scan
from gateway.ingest.requests import Connect
from gateway.ingest.session import Ended, Event, Granted, Opened, Refusal, Refused, Session
from gateway.ingest.wire import ProtocolError, packet
from tests.ingest.peer import LEVELS, Message, messages, pieces, pubrel

WELCOME = {4: b"\x20\x02\x00\x00", 5: b"\x20\x03\x00\x00\x00"}


def connect(level: int, max_packet: int = 100_000) -> Connect:
    return Connect(level=level, client_id="ecluse", keepalive_s=30, max_packet=max_packet)


def opened(level: int, **options: int) -> Session:
    session = Session.begin(connect(level, **options))
    session.take_output()
    assert [type(event) for event in session.receive(WELCOME[level])] == [Opened]
    return session


def test_it_begins_with_connect() -> None:
    """And says it once."""
    session = Session.begin(connect(5))
    assert session.take_output() == connect(5).encode()
    assert session.take_output() == b""


def test_the_brokers_wishes_are_told() -> None:
    """Server Keep Alive and Session Expiry Interval replace ours."""
    session = Session.begin(connect(5))
    body = b"\x01\x00\x08\x13\x00\x0a\x11\x00\x00\x00\x3c"
    assert list(session.receive(packet(0x20, body))) == [
        Opened(session_present=True, keepalive_s=10, session_expiry_s=60)
    ]


@pytest.mark.parametrize(
    ("level", "answer", "refusal"),
    [
        (5, b"\x20\x02\x00\x01", Refusal.PROTOCOL),
        (5, b"\x20\x03\x00\x84\x00", Refusal.PROTOCOL),
        (4, b"\x20\x02\x00\x05", Refusal.FOR_GOOD),
        (5, b"\x20\x03\x00\x86\x00", Refusal.FOR_GOOD),
        (4, b"\x20\x02\x00\x03", Refusal.FOR_NOW),
        (5, b"\x20\x03\x00\xf0\x00", Refusal.FOR_NOW),
    ],
)
def test_a_refusal_says_what_can_be_done(level: int, answer: bytes, refusal: Refusal) -> None:
    """Another level, a person, or patience."""
    session = Session.begin(connect(level))
    (event,) = session.receive(answer + Message("t", b"").frame(level))
    assert isinstance(event, Refused)
    assert event.refusal is refusal
    assert not session.is_open


def test_welcome_and_uplinks_in_one_read() -> None:
    """A broker sends what it kept right behind CONNACK."""
    session = Session.begin(connect(4))
    events = list(session.receive(b"\x20\x02\x01\x00" + Message("t", b"p").frame(4)))
    assert [type(event) for event in events] == [Opened, Scan]


def test_uplinks_stand_before_a_farewell() -> None:
    """What came before DISCONNECT is given out first."""
    session = opened(5)
    events = list(session.receive(Message("t", b"p").frame(5) + b"\xe0\x01\x8e"))
    assert [type(event) for event in events] == [Scan, Ended]
    assert isinstance(events[1], Ended)
    assert events[1].taken_over


def test_grants_are_matched_with_what_was_asked() -> None:
    """Each filter with the QoS granted; a failure is a refusal."""
    session = opened(5)
    session.subscribe([("a", 1), ("b", 2), ("c", 0)])
    assert session.take_output() == requests.subscribe(1, [("a", 1), ("b", 2), ("c", 0)], 5)
    events = list(session.receive(packet(0x90, b"\x00\x01\x00\x01\x00\x87")))
    assert events == [Granted((Grant("a", 1, 1), Grant("b", 2, 0), Grant("c", 0, None)))]
    assert [grant.is_lower for grant in events[0].grants] == [False, True, False]


@pytest.mark.parametrize("level", [4, 5])
def test_an_overlong_uplink_is_told_then_acknowledged(level: int) -> None:
    """It would come again at each connection; the answer waits until its first bytes are kept."""
    session = opened(level, max_packet=50)
    (event,) = session.receive(Message("t", b"x" * 100, packet_id=9).frame(level))
    assert isinstance(event, Oversize)
    assert session.take_output() == b""
    session.acknowledge(event)
    assert session.take_output() == requests.puback(9)


def test_an_overlong_uplink_at_qos_0_needs_no_answer() -> None:
    """Nor does one that breaks the rules by having no identifier. At QoS 2 it is a PUBREC."""
    session = opened(4, max_packet=50)
    for sent in (Message("t", b"x" * 100, qos=0), Message("t", b"x" * 100, packet_id=0)):
        (event,) = session.receive(sent.frame(4))
        assert isinstance(event, Oversize)
        session.acknowledge(event)
    assert session.take_output() == b""
    (event,) = session.receive(Message("t", b"x" * 100, qos=2, packet_id=6).frame(4))
    assert isinstance(event, Oversize)
    session.acknowledge(event)
    assert session.take_output() == requests.pubrec(6)


@pytest.mark.parametrize("level", [4, 5])
def test_qos_2_is_answered_by_nobody_but_the_caller(level: int) -> None:
    """Neither PUBLISH nor PUBREL is answered here: what they say must be durable first."""
    session = opened(level)
    (event,) = session.receive(Message("t", b"p", qos=2, packet_id=5).frame(level) + pubrel(5))
    assert isinstance(event, Scan)
    assert event.releases is not None
    assert event.releases.packet_ids.tolist() == [5]
    assert session.take_output() == b""


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(WELCOME[4], id="a second CONNACK"),
        pytest.param(b"\x90\x03\x00\x09\x01", id="an unasked SUBACK"),
        pytest.param(Message("t", b"", qos=3).frame(4), id="QoS 3"),
    ],
)
def test_what_does_not_belong_is_an_error(stream: bytes) -> None:
    """After the welcome."""
    with pytest.raises(ProtocolError):
        list(opened(4).receive(stream))


@pytest.mark.parametrize("stream", [Message("t", b"").frame(4), b"\xd0\x00"])
def test_the_first_packet_is_connack(stream: bytes) -> None:
    """Nothing else is believed before it."""
    with pytest.raises(ProtocolError, match="CONNACK"):
        list(Session.begin(connect(4)).receive(stream))


@settings(max_examples=200, deadline=None)
@given(messages(4), st.binary(max_size=200), LEVELS, st.lists(st.floats(0, 1), max_size=5))
def test_noise_raises_nothing_but_protocol_errors(
    sent: list[Message], noise: bytes, level: int, cuts: list[float]
) -> None:
    """And what stood before it is given out, whatever the splits."""
    good = b"".join(message.frame(level) for message in sent)
    session = opened(level)
    events: list[Event] = []
    try:
        for part in pieces(good + noise, cuts):
            for event in session.receive(part):
                events.append(event)  # noqa: PERF402 - kept although the generator may raise
    except ProtocolError:
        pass
    frames = b"".join(event.frames for event in events if isinstance(event, Scan))
    assert frames.startswith(good)
