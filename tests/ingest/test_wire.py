"""MQTT's data types: what is written is read back, what lies past the end is an error."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties, VariableByteIntegers

from gateway.ingest.wire import MAX_REMAINING, ProtocolError, Reader, binary, packet, text, varint


@settings(deadline=None)
@given(st.integers(0, MAX_REMAINING))
def test_a_variable_byte_integer_is_as_paho_writes_it(value: int) -> None:
    """Written as paho does, and read back."""
    assert varint(value) == bytes(VariableByteIntegers.encode(value))
    assert Reader(varint(value)).varint() == value


@pytest.mark.parametrize("value", [-1, MAX_REMAINING + 1])
def test_what_does_not_fit_is_refused(value: int) -> None:
    """A variable byte integer has at most four bytes."""
    with pytest.raises(ValueError, match="does not fit"):
        varint(value)


def test_a_text_over_65535_bytes_is_refused() -> None:
    """Its length has two bytes."""
    with pytest.raises(ValueError, match="do not fit"):
        text("x" * 65_536)


def test_properties_are_read_as_paho_writes_them() -> None:
    """Every type of property, and user properties as pairs in their order."""
    wanted = Properties(PacketTypes.CONNACK)
    wanted.SessionExpiryInterval = 3_600
    wanted.ReceiveMaximum = 100
    wanted.RetainAvailable = 1
    wanted.ReasonString = "d'accord"
    wanted.AuthenticationData = b"\x00\x01"
    wanted.UserProperty = [("a", "1"), ("a", "2")]
    found = Reader(wanted.pack()).properties()
    assert found == {
        0x11: 3_600,
        0x21: 100,
        0x25: 1,
        0x1F: "d'accord",
        0x16: b"\x00\x01",
        0x26: (("a", "1"), ("a", "2")),
    }


@pytest.mark.parametrize(
    "inner",
    [
        pytest.param(b"\x04\x00", id="does not exist"),
        pytest.param(b"\x24\x01\x24\x01", id="twice"),
        pytest.param(b"\x11\x00\x00", id="cut short"),
        pytest.param(b"\x1f\x00\x05ab", id="text past the end"),
        pytest.param(b"\x1f\x00\x02\xff\xff", id="not UTF-8"),
    ],
)
def test_bad_properties_are_an_error(inner: bytes) -> None:
    """Each of them, and nothing but a ProtocolError."""
    with pytest.raises(ProtocolError):
        Reader(varint(len(inner)) + inner).properties()


def test_properties_cannot_reach_past_their_length() -> None:
    """A text inside them that would run into the rest of the packet is an error."""
    with pytest.raises(ProtocolError):
        Reader(b"\x03\x1f\x00\x05hello").properties()


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_noise_raises_nothing_but_protocol_errors(noise: bytes) -> None:
    """Whatever stands there."""
    try:
        found = Reader(noise).properties()
    except ProtocolError:
        return
    assert isinstance(found, dict)


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_a_packet_holds_its_body(body: bytes) -> None:
    """First byte, remaining length, body."""
    reader = Reader(packet(0x30, binary(body)))
    assert reader.number(1) == 0x30
    assert reader.varint() == len(body) + 2
    assert reader.binary() == body
    assert reader.left() == 0
