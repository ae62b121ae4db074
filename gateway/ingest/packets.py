"""Bulk MQTT framing: bytes in, whole batches of uplinks out. Pure: no socket, no clock, no loop.

One pass over what a read brought finds the PUBLISH packets and cuts topics and payloads out of it, and
the PUBREL packets of QoS 2 between them; everything else in the stream is rare and parsed into values by
`answers`. Each frame stands alone (Topic Alias Maximum is 0 in our CONNECT), so journalled frames go
through the same pass on replay.

Every length is bounded before it is used: a remaining length by the maximum packet size, a topic
and its properties by their frame. What breaks MQTT's rules is a `ProtocolError`; it is raised after
everything that stood before it has been given out, so that it cannot hold that back. Topics and
payloads stay bytes: whether they are UTF-8 is for decoding to judge.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from gateway.ingest.answers import Answer, Head, Oversize, PubRel, parse_answer
from gateway.ingest.wire import MAX_REMAINING, MQTT_5, ProtocolError, binary, packet, varint
from gateway.kernel import compiled
from gateway.model import Frames, Origin, RawBatch, Readmitted, Releases

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

PUBLISH: Final = 3
DUP: Final = 0x08
QOS: Final = 0x06
QOS_1: Final = 0x02
QOS_2: Final = 0x04
RETAIN: Final = 0x01
MAX_COUNT: Final = 20_000
"""Packets in one scan, at most: bounds a batch by count."""

_FRAMING: Final = compiled("framing")
_LARGEST: Final = MAX_REMAINING + 5
QUARANTINE: Final = "quarantine"
"""In place of a source: uplinks that were let in again."""
KEPT: Final = 4_096
"""Bytes of its payload that are kept of a packet over the maximum."""
_SKIMMED: Final = 65_535 + 16 + KEPT
"""As much of a packet over the maximum as holds its topic, its identifier and the bytes to keep."""


@dataclass(frozen=True, slots=True)
class Scan:
    """What one pass found: the columns of a batch (see `RawBatch`) and the broker's other packets.

    `topics` and `payloads` are slices; `headers` is uint8[n], `packet_ids` uint16[n] (0 at QoS 0);
    `frames` holds the n PUBLISH frames end to end, with the PUBRELs among them, of which `releases`
    tells; `answers` keeps the order of the stream.
    """

    topics: list[bytes]
    payloads: list[bytes]
    headers: NDArray[np.uint8]
    packet_ids: NDArray[np.uint16]
    frames: bytes
    answers: list[Answer]
    releases: Releases | None = None

    def __len__(self) -> int:
        return len(self.topics)


@dataclass(slots=True)
class Scanner:
    """Turns the stream of one connection into scans; keeps the packet that is not yet whole.

    `level` is the protocol level (4 or 5). A PUBLISH of more than `max_packet` bytes is passed by, and
    given out as `Oversize` once its end has come, with its first bytes: where the next packet begins is
    known. Under 3.1.1 the broker cannot know the maximum; under MQTT 5 it was told and does not keep to
    it. Either would deliver that packet at every connection, for ever, if it were an error. Any other
    packet over the maximum is one. At most `_SKIMMED` bytes and a read are kept, however much passes.
    """

    level: int
    max_packet: int = _LARGEST
    max_count: int = MAX_COUNT
    _parts: list[bytes] = field(default_factory=list)
    _size: int = 0
    _needed: int = 2
    _over: int = 0
    _skip: int = 0
    _passing: Head | None = None
    finished: int = 0
    """Changes whenever a packet has come to its end."""
    broken: bool = False
    """Whether it stopped at a packet that breaks MQTT's rules: `standing` is that packet."""

    def feed(self, data: bytes) -> Iterator[Scan]:
        """Yield what is whole now. Raises `ProtocolError` behind the last good packet.

        After an error the scanner must not be used again: where the next packet begins is unknown.
        """
        if self._passing is not None:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            if self._skip:
                return
            passed, self._passing, data = self._passing, None, data[skipped:]
            self.finished += 1
            yield _no_uplinks([Oversize(passed)])
        self._parts.append(data)
        self._size += len(data)
        while self._size >= self._needed:
            # Parts are joined once the packet that they begin is whole, not once a read.
            buffer = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
            if self._over:
                scan, used, needed, error = self._skim(buffer)
            else:
                scan, used, needed, error = _scan(buffer, self.level, self.max_packet, self.max_count)
            if needed > self.max_packet and buffer[used] >> 4 == PUBLISH:
                self._over, needed, error = needed, min(needed, _SKIMMED), None
            rest = buffer[used:]
            self._parts, self._size, self._needed = [rest], len(rest), needed
            self.finished += used > 0
            if scan.frames or scan.answers:
                yield scan
            if error is not None:
                self.broken = True
                raise error

    def pending(self) -> int:
        """Return how many bytes wait for the rest of their packet."""
        return self._size

    def awaits(self) -> int:
        """Return the size of the packet whose rest is awaited, 1 where it is not known; 0 between packets."""
        if self._passing is not None:
            return self._passing.size
        return max(1, self._over or self._needed) if self._size else 0

    def standing(self) -> Head | None:
        """Return the beginning of the packet that is not whole yet, or broken; None between packets."""
        if self._passing is not None or not self._size:
            return self._passing
        data = b"".join(self._parts)[:_SKIMMED]
        size = self._over or (self._needed if self._needed > 2 else 0)
        try:
            length, start = _varint(data, 1)
            data = data[: start + length]  # what follows a broken packet is not of it
            return _head(data, size, self.level)
        except (ProtocolError, IndexError):
            return Head(b"", data[0] & ~DUP, 0, size, data[:KEPT])

    def _skim(self, buffer: bytes) -> _Found:
        """Pass by the over-long PUBLISH at the head of `buffer`."""
        whole = self._over
        try:
            head = _head(buffer[: min(whole, _SKIMMED)], whole, self.level)
        except ProtocolError as error:
            return _no_uplinks([]), 0, 2, error
        self._over, self._skip = 0, whole - len(buffer)
        if self._skip <= 0:
            return _no_uplinks([Oversize(head)]), whole, 2, None
        self._passing = head
        return _no_uplinks([]), len(buffer), 2, None


_Found = tuple[Scan, int, int, ProtocolError | None]
"""What a pass found, bytes used, bytes needed to go on, and what stopped it."""


def _scan(  # noqa: C901, PLR0912, PLR0915 - one flat loop: a call a message would double its cost
    data: bytes, level: int, max_packet: int, max_count: int
) -> _Found:
    """Make one pass over `data`, over at most `max_count` packets.

    Flat, with local names and few checks: the body runs once a message, and its budget is half a
    microsecond. Every index only grows, so that one comparison with the frame's end at the last
    one bounds them all; an IndexError means that it ran past the buffer, and so past the frame.
    """
    topics: list[bytes] = []
    payloads: list[bytes] = []
    headers = bytearray()
    packet_ids: list[int] = []
    answers: list[Answer] = []
    frames: list[bytes] = []
    released: list[int] = []
    release_places: list[int] = []
    add_topic, add_payload = topics.append, payloads.append
    add_header, add_id = headers.append, packet_ids.append
    five = level == MQTT_5
    size = len(data)
    at = run = 0  # `run` is where the PUBLISH and PUBREL frames since the last other packet begin
    needed = 2
    error: ProtocolError | None = None
    if _FRAMING is not None:  # it takes what is usual: all of a read but its end, nearly always
        at = _FRAMING.deliveries(
            data,
            level,
            max_packet,
            max_count,
            topics,
            payloads,
            headers,
            packet_ids,
            released,
            release_places,
        )
    try:
        for _ in range(max_count - len(topics) - len(released)):
            start = at + 2
            if start > size:
                break
            first = data[at]
            length = data[at + 1]
            if length > 127:
                # Nearly all uplinks have two bytes of length: a call would cost a fifth of the loop.
                if start < size and data[start] < 128:
                    length += (data[start] << 7) - 128
                    start += 1
                else:
                    try:
                        length, start = _varint(data, at + 1)
                    except IndexError:
                        needed = size - at + 1
                        break
            end = start + length
            if end > size or end - at > max_packet:
                if end - at > max_packet and (five or first >> 4 != PUBLISH):
                    error = ProtocolError(f"a packet of {end - at} bytes; the maximum is {max_packet}")
                needed = end - at
                break
            if first >> 4 != PUBLISH:
                answer = parse_answer(first, data[start:end], level)
                if isinstance(answer, PubRel):
                    released.append(answer.packet_id)
                    release_places.append(len(topics))
                    at = end
                    continue
                answers.append(answer)
                frames.append(data[run:at])
                at = run = end
                continue
            name = start + 2
            body = topic_end = name + (data[start] << 8 | data[start + 1])
            packet_id = 0
            qos = first & QOS
            if qos:
                packet_id = data[body] << 8 | data[body + 1]
                body += 2
                if not packet_id or qos == QOS:
                    error = ProtocolError(f"a PUBLISH at QoS {qos >> 1} with packet identifier {packet_id}")
                    break
            if five:
                skip = data[body]
                body += 1
                if skip:
                    if skip > 127:
                        skip, body = _varint(data, body - 1)
                    body += skip
            if body > end or topic_end == name:
                error = ProtocolError(
                    f"a PUBLISH of {end - at} bytes whose topic or properties do not fit it"
                )
                break
            add_topic(data[name:topic_end])
            add_payload(data[body:end])
            add_header(first)
            add_id(packet_id)
            at = end
    except IndexError:
        error = ProtocolError("a PUBLISH whose lengths point past its end")
    except ProtocolError as broken:
        error = broken
    frames.append(data[run:at])
    scan = Scan(
        topics,
        payloads,
        np.frombuffer(bytes(headers), dtype=np.uint8),
        np.array(packet_ids, dtype=np.uint16),
        b"".join(frames),
        answers,
        _releases(released, release_places) if released else None,
    )
    return scan, at, needed, error


def _releases(packet_ids: list[int], places: list[int]) -> Releases:
    return Releases(np.array(packet_ids, dtype=np.uint16), np.array(places, dtype=np.int64))


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return (value, index behind it). Raises IndexError past the buffer, `ProtocolError` past 4 bytes."""
    value = 0
    for shift in (0, 7, 14, 21):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 128:
            return value, at
    raise ProtocolError("a variable byte integer of more than four bytes")


def _head(data: bytes, size: int, level: int) -> Head:
    """Read the first bytes of a PUBLISH. Raises ProtocolError, IndexError: it is none, or too short."""
    _length, start = _varint(data, 1)
    topic_end = body = start + 2 + int.from_bytes(data[start : start + 2], "big")
    packet_id = 0
    if data[0] & QOS:
        packet_id = int.from_bytes(data[body : body + 2], "big")
        body += 2
    if data[0] >> 4 != PUBLISH or topic_end == start + 2 or body > min(size or len(data), len(data)):
        raise ProtocolError(f"a PUBLISH of {size} bytes whose topic does not fit it")
    payload = data[body : body + KEPT]
    if level == MQTT_5:
        try:
            skip, body = _varint(data, body)
            payload = data[body + skip : body + skip + KEPT]
        except IndexError:
            payload = b""
    return Head(data[start + 2 : topic_end], data[0] & ~DUP, packet_id, size, payload)


def _no_uplinks(answers: list[Answer]) -> Scan:
    return Scan([], [], np.empty(0, dtype=np.uint8), np.empty(0, dtype=np.uint16), b"", answers)


def acknowledgements(packet_ids: NDArray[np.uint16], headers: NDArray[np.uint8]) -> bytes:
    """Return PUBACK or PUBREC (QoS 2) for each uplink of a batch, in its order; none at QoS 0.

    The short form (reason code 0 left out) is the same under MQTT 3.1.1 and 5: what is durable is never
    answered with another code.
    """
    chosen = packet_ids != 0
    wanted = packet_ids[chosen]
    out = np.empty((len(wanted), 4), dtype=np.uint8)
    out[:, 0] = 0x40 + ((headers[chosen] & QOS_2) << 2)  # 0x40 is PUBACK, 0x50 PUBREC
    out[:, 1] = 2
    out[:, 2] = wanted >> 8
    out[:, 3] = wanted & 0xFF
    return out.tobytes()


def frame_of(topic: bytes, payload: bytes, *, retained: bool) -> bytes:
    """Return an uplink as a PUBLISH frame of MQTT 5 at QoS 0, without properties.

    Raises ValueError where the topic is longer than 65,535 bytes, or the whole than MQTT can say.
    """
    return packet(PUBLISH << 4 | (RETAIN if retained else 0), binary(topic) + varint(0) + payload)


def promised(batch: RawBatch) -> RawBatch:
    """Return what the broker would send again of a batch: all but QoS 0. Itself where that is all of it."""
    wanted = batch.headers & QOS != 0
    kept = np.flatnonzero(wanted)
    if len(kept) == len(batch):
        return batch
    releases = batch.releases
    if releases is not None:
        before = np.concatenate(([0], np.cumsum(wanted)))
        releases = replace(releases, places=before[releases.places])
    return replace(
        batch,
        frames=b"".join(
            frame for frame in frames_of(batch.frames) if frame[0] >> 4 != PUBLISH or frame[0] & QOS
        ),
        releases=releases,
        topics=[batch.topics[place] for place in kept.tolist()],
        payloads=[batch.payloads[place] for place in kept.tolist()],
        headers=batch.headers[kept],
        packet_ids=batch.packet_ids[kept],
    )


def batch_of(record: Frames | Readmitted, position: int) -> RawBatch:
    """Return a journalled record as the batch that it was, found by the same pass.

    Raises `ProtocolError` where the record is damaged: it does not hold as many whole PUBLISH frames as
    it says, and beside them nothing but PUBREL.
    """
    if isinstance(record, Readmitted):
        frames = Frames(QUARANTINE, 0, "", MQTT_5, record.received_ns, len(record.places), record.frames)
        origin = Origin(record.origin, np.array(record.places, dtype=np.int64), record.at_ns)
        return replace(batch_of(frames, position), origin=origin)
    data = record.frames
    scan, used, _needed, error = _scan(data, record.protocol, _LARGEST, len(data) + 1)
    if error is not None:
        raise error
    if used != len(data) or scan.answers or len(scan) != record.count:
        raise ProtocolError(
            f"a journal record of {record.count} frames holds {len(scan)} in {used} of {len(data)} bytes"
        )
    return RawBatch(
        source=record.source,
        connection=record.connection,
        session=record.session,
        protocol=record.protocol,
        received_ns=record.received_ns,
        frames=data,
        topics=scan.topics,
        payloads=scan.payloads,
        headers=scan.headers,
        packet_ids=scan.packet_ids,
        releases=scan.releases,
        position=position,
    )


def frames_of(data: bytes) -> list[bytes]:
    """Return the packets of a journalled record one by one: `batch_of` has found that they are whole.

    Raises IndexError, `ProtocolError` on anything else.
    """
    frames, at = [], 0
    while at < len(data):
        length, start = _varint(data, at + 1)
        frames.append(data[at : start + length])
        at = start + length
    return frames


def publish(first: int, topic: bytes, payload: bytes = b"", *, packet_id: int, level: int) -> bytes:
    """Return a PUBLISH without properties; `first` is its first byte, which says if it has an identifier."""
    head = binary(topic) + (packet_id.to_bytes(2, "big") if first & QOS else b"")
    return packet(first, head + (b"\0" if level == MQTT_5 else b"") + payload)
