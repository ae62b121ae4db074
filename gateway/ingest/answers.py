"""What a broker sends beside PUBLISH, as values. Pure.

Sources: MQTT 3.1.1, section 3; MQTT 5.0, section 3. Reason codes as in MQTT 5.0, section 2.4.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gateway.ingest.wire import MQTT_5, REASON_STRING, Property, ProtocolError, Reader

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class ConnAck:
    """The broker's answer to CONNECT. `code` 0 is success; below 0x80 else, one of MQTT 3.1.1."""

    session_present: bool
    code: int
    properties: Mapping[int, Property] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SubAck:
    """One code a filter, in the order of the SUBSCRIBE: the granted QoS, or 0x80 and above."""

    packet_id: int
    codes: bytes


@dataclass(frozen=True, slots=True)
class Grant:
    """What the broker said of one filter: the QoS granted, None where it refused it."""

    filter: str
    asked: int
    granted: int | None

    @property
    def is_lower(self) -> bool:
        """Whether it was granted, but at a lower QoS than was asked for."""
        return self.granted is not None and self.granted < self.asked


@dataclass(frozen=True, slots=True)
class UnsubAck:
    """The answer to UNSUBSCRIBE; without codes under MQTT 3.1.1."""

    packet_id: int
    codes: bytes


@dataclass(frozen=True, slots=True)
class PingResp:
    """The broker is there."""


@dataclass(frozen=True, slots=True)
class PubRel:
    """Second step of a QoS 2 delivery: the broker wants a PUBCOMP. `packets` makes `Releases` of them."""

    packet_id: int
    code: int


@dataclass(frozen=True, slots=True)
class Disconnect:
    """The broker ends the connection (MQTT 5 only)."""

    code: int
    text: str


@dataclass(frozen=True, slots=True)
class Head:
    """The beginning of a packet that is not taken whole.

    `payload` holds the first bytes of a PUBLISH's payload, none where its properties go on beyond what
    was kept; where no topic could be read, `topic` is empty and `payload` holds the packet's own first
    bytes. `header` is its first byte without DUP, `packet_id` 0 at QoS 0, `size` 0 where it is unknown.
    """

    topic: bytes
    header: int
    packet_id: int
    size: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Oversize:
    """A PUBLISH over the maximum packet size, passed by to its end."""

    head: Head


Answer = ConnAck | SubAck | UnsubAck | PingResp | PubRel | Disconnect | Oversize

# First bytes that a broker may send to us; the low half is fixed by the specification.
_CONNACK: Final = 0x20
_PUBREL: Final = 0x62
_SUBACK: Final = 0x90
_UNSUBACK: Final = 0xB0
_PINGRESP: Final = 0xD0
_DISCONNECT: Final = 0xE0


def parse_answer(first: int, body: bytes, level: int) -> Answer:
    """Return the packet as a value. Raises `ProtocolError` where it may not come, or is not whole."""
    reader = Reader(body)
    five = level == MQTT_5
    answer: Answer
    if first == _PINGRESP:
        answer = PingResp()
    elif first == _SUBACK:
        answer = SubAck(*_codes(reader, with_properties=five))
        if not answer.codes:
            raise ProtocolError("a SUBACK without a code")
    elif first == _UNSUBACK:
        answer = UnsubAck(*_codes(reader, with_properties=five))
    elif first == _CONNACK:
        answer = _connack(reader)
    elif first == _PUBREL:
        answer = _pubrel(reader)
    elif first == _DISCONNECT and five:
        answer = _disconnect(reader)
    else:
        raise ProtocolError(f"a packet that begins with 0x{first:02x} cannot come from a broker here")
    if reader.left():
        raise ProtocolError(
            f"{reader.left()} bytes behind the end of a packet that begins with 0x{first:02x}"
        )
    return answer


def _connack(reader: Reader) -> ConnAck:
    flags, code = reader.number(1), reader.number(1)
    if flags > 1 or (flags and code):
        raise ProtocolError(f"CONNACK with flags 0x{flags:02x} and code 0x{code:02x}")
    # A broker that knows only 3.1.1 refuses MQTT 5 in its own words: two bytes, without properties.
    return ConnAck(bool(flags), code, reader.properties() if reader.left() else {})


def _codes(reader: Reader, *, with_properties: bool) -> tuple[int, bytes]:
    packet_id = _packet_id(reader)
    if with_properties:
        reader.properties()
    return packet_id, reader.take(reader.left())


def _pubrel(reader: Reader) -> PubRel:
    packet_id = _packet_id(reader)
    code = reader.number(1) if reader.left() else 0
    if reader.left():
        reader.properties()
    return PubRel(packet_id, code)


def _disconnect(reader: Reader) -> Disconnect:
    code = reader.number(1) if reader.left() else 0
    properties = reader.properties() if reader.left() else {}
    return Disconnect(code, str(properties.get(REASON_STRING, "")))


def _packet_id(reader: Reader) -> int:
    packet_id = reader.number(2)
    if not packet_id:
        raise ProtocolError("packet identifier 0")
    return packet_id
