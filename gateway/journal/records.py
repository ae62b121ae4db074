"""What a journal record looks like as bytes. Pure: values in, bytes out.

A blob is, little-endian: CRC-32 (u32) of all that follows and of the record's position; kind (u8);
then for frames: receive time (i64, ns UTC), connection (u64), protocol (u8), count (u32), the
lengths of source and session (u16 each), source, session, the PUBLISH frames as received (`count` of
them), with the PUBREL frames of QoS 2 that came among them; for
control: time (i64, ns UTC), the length of its kind (u16), its kind, its body.

The position is part of the checksum, so a sound blob that turns up in another place is refused too.
"""

from __future__ import annotations

import struct
from zlib import crc32

from gateway.model import Control, ControlKind, Frames

FRAMES = 1
CONTROL = 2

_CRC = struct.Struct("<I")
_POSITION = struct.Struct("<q")
_FRAMES = struct.Struct("<BqQBIHH")
_CONTROL = struct.Struct("<BqH")


class Damaged(ValueError):  # noqa: N818 - says what the blob is
    """A blob that is not what was written at that position. Never leaves the journal."""


def encode(position: int, record: Frames | Control) -> bytes:
    """Return the blob of a record at a position. Raises struct.error where a field is out of its range."""
    if isinstance(record, Frames):
        parts = _frames_parts(record)
    else:
        kind = record.kind.value.encode()
        parts = (_CONTROL.pack(CONTROL, record.at_ns, len(kind)), kind, record.body)
    return b"".join((_CRC.pack(_checksum(position, parts)), *parts))


def decode(position: int, blob: bytes) -> Frames | Control:
    """Return the record that was encoded at that position. Raises Damaged, saying why."""
    if len(blob) <= _CRC.size:
        raise Damaged(f"{len(blob)} bytes are no record")
    body = memoryview(blob)[_CRC.size :]
    if _CRC.unpack_from(blob)[0] != _checksum(position, (body,)):
        raise Damaged("checksum does not match")
    if body[0] == FRAMES:
        return _decode_frames(blob)
    if body[0] == CONTROL:
        return _decode_control(blob)
    raise Damaged(f"kind {body[0]} is unknown")


def time_ns(record: Frames | Control) -> int:
    """Return when a record was made: the receive time of frames, ns UTC."""
    return record.received_ns if isinstance(record, Frames) else record.at_ns


def uplinks(record: Frames | Control) -> int:
    """Return how many uplinks a record holds: 0 for control."""
    return record.count if isinstance(record, Frames) else 0


def _frames_parts(record: Frames) -> tuple[bytes, ...]:
    source, session = record.source.encode(), record.session.encode()
    head = _FRAMES.pack(
        FRAMES,
        record.received_ns,
        record.connection,
        record.protocol,
        record.count,
        len(source),
        len(session),
    )
    return head, source, session, record.frames


def _checksum(position: int, parts: tuple[bytes | memoryview, ...]) -> int:
    value = crc32(_POSITION.pack(position))
    for part in parts:
        value = crc32(part, value)
    return value


# The checksum matched: what follows was written by `encode`, so its lengths need no second check.


def _decode_frames(blob: bytes) -> Frames:
    _, received_ns, connection, protocol, count, source, session = _FRAMES.unpack_from(blob, _CRC.size)
    at = _CRC.size + _FRAMES.size
    return Frames(
        source=blob[at : at + source].decode(),
        connection=connection,
        session=blob[at + source : at + source + session].decode(),
        protocol=protocol,
        received_ns=received_ns,
        count=count,
        frames=blob[at + source + session :],
    )


def _decode_control(blob: bytes) -> Control:
    _, at_ns, length = _CONTROL.unpack_from(blob, _CRC.size)
    at = _CRC.size + _CONTROL.size
    try:
        kind = ControlKind(blob[at : at + length].decode())
    except ValueError as unknown:
        raise Damaged(str(unknown)) from unknown
    return Control(kind, at_ns, blob[at + length :])
