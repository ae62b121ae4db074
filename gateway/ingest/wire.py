"""MQTT's own data types, read with every length bounded and written.

Sources: MQTT 3.1.1, section 1.5 and 2.2.3; MQTT 5.0, section 1.5 and 2.2.2 (table 2-4).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from gateway.errors import EcluseError

if TYPE_CHECKING:
    from collections.abc import Mapping

MQTT_3_1_1: Final = 4
MQTT_5: Final = 5
MAX_REMAINING: Final = 268_435_455
"""The largest remaining length that four bytes can say."""

Property = int | str | bytes | tuple[tuple[str, str], ...]
"""A property's value: a number, a text, bytes, or all the user properties as pairs."""


class ProtocolError(EcluseError):
    """The peer (or a damaged journal record) broke MQTT's rules. Nothing behind it can be trusted."""


class Reader:
    """Walks through one packet's body; what would lie past its end is a `ProtocolError`."""

    __slots__ = ("at", "body", "end")

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.at = 0
        self.end = len(body)

    def left(self) -> int:
        """Return how many bytes are still unread."""
        return self.end - self.at

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes."""
        if count > self.end - self.at:
            raise ProtocolError(f"a length of {count} bytes where {self.end - self.at} are left")
        self.at += count
        return self.body[self.at - count : self.at]

    def number(self, size: int) -> int:
        """Return a big-endian integer of `size` bytes."""
        return int.from_bytes(self.take(size), "big")

    def varint(self) -> int:
        """Return a variable byte integer: seven bits a byte, at most four bytes."""
        value = 0
        for shift in (0, 7, 14, 21):
            byte = self.number(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise ProtocolError("a variable byte integer of more than four bytes")

    def binary(self) -> bytes:
        """Return bytes with a two-byte length before them."""
        return self.take(self.number(2))

    def text(self) -> str:
        """Return a UTF-8 text with a two-byte length before it."""
        try:
            return self.binary().decode("utf-8")
        except UnicodeDecodeError as error:
            raise ProtocolError("a text that is not UTF-8") from error

    def properties(self) -> dict[int, Property]:
        """Return the properties that come next, by identifier; user properties (0x26) as pairs."""
        inner = Reader(self.take(self.varint()))
        found: dict[int, Property] = {}
        pairs: list[tuple[str, str]] = []
        while inner.left():
            identifier = inner.varint()
            if identifier == USER_PROPERTY:
                pairs.append((inner.text(), inner.text()))
            elif identifier in found:
                raise ProtocolError(f"property 0x{identifier:02x} twice")
            else:
                found[identifier] = _value(inner, identifier)
        if pairs:
            found[USER_PROPERTY] = tuple(pairs)
        return found


def _value(reader: Reader, identifier: int) -> Property:
    kind = KINDS.get(identifier)
    if kind is None:
        raise ProtocolError(f"property 0x{identifier:02x} does not exist")
    if kind == "varint":
        return reader.varint()
    if kind == "text":
        return reader.text()
    if kind == "binary":
        return reader.binary()
    return reader.number(SIZES[kind])


# Identifiers of MQTT 5.0 that we name (table 2-4).
SESSION_EXPIRY: Final = 0x11
SERVER_KEEP_ALIVE: Final = 0x13
REASON_STRING: Final = 0x1F
RECEIVE_MAXIMUM: Final = 0x21
TOPIC_ALIAS_MAXIMUM: Final = 0x22
USER_PROPERTY: Final = 0x26
MAXIMUM_PACKET_SIZE: Final = 0x27

SIZES: Final[Mapping[str, int]] = {"byte": 1, "two": 2, "four": 4}
KINDS: Final[Mapping[int, str]] = {
    **dict.fromkeys((0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2A), "byte"),
    **dict.fromkeys((SERVER_KEEP_ALIVE, RECEIVE_MAXIMUM, TOPIC_ALIAS_MAXIMUM, 0x23), "two"),
    **dict.fromkeys((0x02, SESSION_EXPIRY, 0x18, MAXIMUM_PACKET_SIZE), "four"),
    **dict.fromkeys((0x03, 0x08, 0x12, 0x15, 0x1A, 0x1C, REASON_STRING), "text"),
    **dict.fromkeys((0x09, 0x16), "binary"),
    0x0B: "varint",
}


def varint(value: int) -> bytes:
    """Return a variable byte integer. Raises ValueError outside 0 to `MAX_REMAINING`."""
    if not 0 <= value <= MAX_REMAINING:
        raise ValueError(f"{value} does not fit into a variable byte integer")
    out = bytearray()
    while True:
        value, low = divmod(value, 0x80)
        out.append(low | (0x80 if value else 0))
        if not value:
            return bytes(out)


def binary(value: bytes) -> bytes:
    """Return the bytes with their two-byte length before them. Raises ValueError past 65,535 bytes."""
    if len(value) > 0xFFFF:
        raise ValueError(f"{len(value)} bytes do not fit behind a two-byte length")
    return struct.pack(">H", len(value)) + value


def text(value: str) -> bytes:
    """Return a UTF-8 text with its two-byte length before it."""
    return binary(value.encode("utf-8"))


def packet(first: int, body: bytes) -> bytes:
    """Return a whole control packet: first byte, remaining length, body."""
    return bytes((first,)) + varint(len(body)) + body
