"""What goes between the gateway and the process of the codecs: MessagePack, behind its length."""

from __future__ import annotations

import struct
from typing import IO, Final

import msgspec

_LENGTH: Final = struct.Struct("<I")
MAX_FRAME: Final = 256 * 1024 * 1024


class Open(msgspec.Struct, frozen=True, tag=True):
    """Make an engine for a codec; it is answered by one `Answers` of one text, "" where all is well."""

    number: int
    script: str
    normalize: bool
    variables: str


class Message(msgspec.Struct, frozen=True, array_like=True):
    """One payload for a codec; `time_ms` is its receive time, ms since 1970 UTC."""

    payload: bytes
    port: int | None
    time_ms: int


class Run(msgspec.Struct, frozen=True, tag=True):
    """Decode messages with an engine. `whole` asks for all that the codec returns."""

    number: int
    messages: list[Message]
    whole: bool = False


class Answers(msgspec.Struct, frozen=True, array_like=True):
    """Answers to some messages, in order: JSON behind a `+`, or why there is none behind a `-`."""

    texts: list[str]


Request = Open | Run
_requests = msgspec.msgpack.Decoder(Request)
_answers = msgspec.msgpack.Decoder(Answers)
_encoder = msgspec.msgpack.Encoder()


def write(stream: IO[bytes], message: Request | Answers) -> None:
    """Write one frame. Raises OSError."""
    body = _encoder.encode(message)
    left = memoryview(_LENGTH.pack(len(body)) + body)
    while left:
        left = left[stream.write(left) :]
    stream.flush()


def read_request(stream: IO[bytes]) -> Request | None:
    """Return the next request, None at the end."""
    body = _body(stream)
    return None if body is None else _requests.decode(body)


def read_answers(stream: IO[bytes]) -> Answers | None:
    """Return the next answers, None at the end. Raises ValueError for what is none."""
    body = _body(stream)
    return None if body is None else _answers.decode(body)


def _body(stream: IO[bytes]) -> bytes | None:
    head = _exactly(stream, _LENGTH.size)
    if head is None:
        return None
    (length,) = _LENGTH.unpack(head)
    if length > MAX_FRAME:
        raise ValueError(f"a frame of {length} bytes")
    return _exactly(stream, length)


def _exactly(stream: IO[bytes], size: int) -> bytes | None:
    """Return so many bytes, None where the stream ends before: one read of a pipe may give fewer."""
    parts: list[bytes] = []
    while size > 0:
        part = stream.read(size)
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
