"""What a broker sends beside PUBLISH, as values."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.ingest.answers import (
    Answer,
    ConnAck,
    Disconnect,
    PingResp,
    PubRel,
    SubAck,
    UnsubAck,
    parse_answer,
)
from gateway.ingest.wire import ProtocolError
from tests.ingest.peer import LEVELS


@pytest.mark.parametrize(
    ("level", "first", "body", "wanted"),
    [
        (4, 0x20, b"\x01\x00", ConnAck(session_present=True, code=0)),
        (4, 0x20, b"\x00\x05", ConnAck(session_present=False, code=5)),
        (5, 0x20, b"\x00\x00\x03\x21\x00\x14", ConnAck(session_present=False, code=0, properties={0x21: 20})),
        (5, 0x20, b"\x00\x01", ConnAck(session_present=False, code=1)),
        (4, 0x90, b"\x00\x07\x01\x80", SubAck(7, b"\x01\x80")),
        (5, 0x90, b"\x00\x07\x00\x01\x87", SubAck(7, b"\x01\x87")),
        (4, 0xB0, b"\x00\x07", UnsubAck(7, b"")),
        (5, 0xB0, b"\x00\x07\x00\x11", UnsubAck(7, b"\x11")),
        (4, 0xD0, b"", PingResp()),
        (4, 0x62, b"\x00\x09", PubRel(9, 0)),
        (5, 0x62, b"\x00\x09\x92\x00", PubRel(9, 0x92)),
        (5, 0xE0, b"", Disconnect(0, "")),
        (5, 0xE0, b"\x8e", Disconnect(0x8E, "")),
        (5, 0xE0, b"\x98\x06\x1f\x00\x03bye", Disconnect(0x98, "bye")),
    ],
)
def test_each_packet_is_a_value(level: int, first: int, body: bytes, wanted: Answer) -> None:
    """As both levels of the specification have it."""
    assert parse_answer(first, body, level) == wanted


@pytest.mark.parametrize(
    ("first", "body"),
    [
        pytest.param(0x20, b"\x01\x05", id="a session, yet refused"),
        pytest.param(0x20, b"\x02\x00", id="reserved flags"),
        pytest.param(0x20, b"\x00", id="no code"),
        pytest.param(0x90, b"\x00\x00\x00\x01", id="identifier 0"),
        pytest.param(0x40, b"\x00\x01", id="PUBACK: we publish nothing"),
        pytest.param(0x10, b"", id="CONNECT"),
        pytest.param(0xD0, b"\x00", id="more than its end"),
    ],
)
def test_what_may_not_come_is_an_error(first: int, body: bytes) -> None:
    """A broker that sends this cannot be followed."""
    with pytest.raises(ProtocolError):
        parse_answer(first, body, 5)


@settings(deadline=None)
@given(st.integers(0, 255), st.binary(max_size=40), LEVELS)
def test_noise_raises_nothing_but_protocol_errors(first: int, body: bytes, level: int) -> None:
    """Whatever stands there."""
    try:
        answer = parse_answer(first, body, level)
    except ProtocolError:
        return
    assert isinstance(answer, ConnAck | SubAck | UnsubAck | PingResp | PubRel | Disconnect)
