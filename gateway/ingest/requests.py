"""What the gateway sends to a broker, as bytes. Pure.

Sources: MQTT 3.1.1, section 3; MQTT 5.0, section 3.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.ingest.wire import (
    MAXIMUM_PACKET_SIZE,
    MQTT_5,
    RECEIVE_MAXIMUM,
    SESSION_EXPIRY,
    TOPIC_ALIAS_MAXIMUM,
    binary,
    packet,
    text,
    varint,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

PACKET_ID_NOT_FOUND: Final = 0x92
"""MQTT 5: a PUBREL for a delivery that we do not know of. While a session recovers that is no error."""
PINGREQ: Final = b"\xc0\x00"
DISCONNECT: Final = b"\xe0\x00"
"""Normal disconnection; the session stays for its expiry interval. The same at both levels."""

_RETAIN_ONLY_IF_NEW: Final = 0x10
"""Retain Handling 1: retained messages come when a subscription is new, not when it is renewed."""


@dataclass(frozen=True, slots=True)
class Connect:
    """What CONNECT says. Never a clean start: what the broker kept for us is what we came for."""

    level: int
    client_id: str
    keepalive_s: int
    username: str | None = None
    password: str | None = None
    session_expiry_s: int = 7 * 86_400
    receive_maximum: int = 65_535
    max_packet: int = 0

    def encode(self) -> bytes:
        """Return the packet. Raises ValueError where a text is too long."""
        flags = (0x80 if self.username is not None else 0) | (0x40 if self.password is not None else 0)
        body = text("MQTT") + struct.pack(">BBH", self.level, flags, self.keepalive_s)
        if self.level == MQTT_5:
            body += self._properties()
        body += text(self.client_id)
        if self.username is not None:
            body += text(self.username)
        if self.password is not None:
            body += binary(self.password.encode("utf-8"))
        return packet(0x10, body)

    def _properties(self) -> bytes:
        inner = struct.pack(">BI", SESSION_EXPIRY, self.session_expiry_s)
        inner += struct.pack(">BH", RECEIVE_MAXIMUM, self.receive_maximum)
        inner += struct.pack(">BH", TOPIC_ALIAS_MAXIMUM, 0)  # so that each frame stands alone
        if self.max_packet:
            inner += struct.pack(">BI", MAXIMUM_PACKET_SIZE, self.max_packet)
        return varint(len(inner)) + inner


def subscribe(packet_id: int, filters: Sequence[tuple[str, int]], level: int) -> bytes:
    """Return SUBSCRIBE for (filter, QoS) pairs; at least one."""
    options = _RETAIN_ONLY_IF_NEW if level == MQTT_5 else 0
    body = b"".join(text(name) + bytes((options | qos,)) for name, qos in filters)
    return packet(0x82, _head(packet_id, level) + body)


def unsubscribe(packet_id: int, filters: Sequence[str], level: int) -> bytes:
    """Return UNSUBSCRIBE; at least one filter."""
    return packet(0xA2, _head(packet_id, level) + b"".join(map(text, filters)))


def puback(packet_id: int) -> bytes:
    """Return the acknowledgement of one QoS 1 delivery; batches use `packets.acknowledgements`."""
    return struct.pack(">BBH", 0x40, 2, packet_id)


def pubrec(packet_id: int) -> bytes:
    """Return the first answer to a QoS 2 delivery: it is stored, send it no more."""
    return struct.pack(">BBH", 0x50, 2, packet_id)


def pubcomp(packet_id: int, code: int = 0) -> bytes:
    """Return the last answer of a QoS 2 delivery: its identifier is free. Only MQTT 5 has codes but 0."""
    if code:
        return struct.pack(">BBHB", 0x70, 3, packet_id, code)
    return struct.pack(">BBH", 0x70, 2, packet_id)


def _head(packet_id: int, level: int) -> bytes:
    return struct.pack(">H", packet_id) + (b"\x00" if level == MQTT_5 else b"")
