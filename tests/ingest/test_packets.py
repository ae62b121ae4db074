"""The packet core against the specification, against paho, and against noise."""

from __future__ import annotations

import itertools
import time
import tracemalloc
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.ingest import packets, requests
from gateway.ingest.answers import Head, Oversize, PingResp
from gateway.ingest.packets import Scan, Scanner, acknowledgements, batch_of, frame_of, promised
from gateway.ingest.wire import ProtocolError, packet, varint
from gateway.model import Frames, Readmitted
from tests.ingest.peer import (
    LEVELS,
    Message,
    messages,
    paho_against_us,
    pieces,
    pubrel,
    read_to_goodbye,
    welcome,
)

if TYPE_CHECKING:
    from gateway.model import RawBatch

CUTS = st.lists(st.floats(0, 1), max_size=8)
PINGRESP = b"\xd0\x00"


def scan_all(parts: list[bytes], level: int, **options: int) -> list[Scan]:
    scanner = Scanner(level, **options)
    return [scan for part in parts for scan in scanner.feed(part)]


def scan_until_error(
    parts: list[bytes], level: int, max_packet: int = 1 << 28
) -> tuple[list[Scan], ProtocolError | None]:
    scanner, scans = Scanner(level, max_packet=max_packet), []
    try:
        for part in parts:
            for scan in scanner.feed(part):
                scans.append(scan)  # noqa: PERF402 - kept although the generator may raise
    except ProtocolError as error:
        return scans, error
    return scans, None


def columns(scans: list[Scan]) -> list[tuple[bytes, bytes, int, int]]:
    return [
        row
        for scan in scans
        for row in zip(
            scan.topics, scan.payloads, scan.headers.tolist(), scan.packet_ids.tolist(), strict=True
        )
    ]


def test_a_frame_becomes_one_row() -> None:
    """Topic, payload, first byte, packet identifier, and the frame as received."""
    frame = Message("city/paris/bin/7/up", b"{}", qos=1, packet_id=0x1234, retain=True).frame(4)
    (scan,) = scan_all([frame], 4)
    assert columns([scan]) == [(b"city/paris/bin/7/up", b"{}", 0x33, 0x1234)]
    assert scan.frames == frame
    assert scan.headers.dtype == np.uint8
    assert scan.packet_ids.dtype == np.uint16


@settings(deadline=None)
@given(messages(), LEVELS, CUTS, st.booleans())
def test_any_split_gives_the_same(sent: list[Message], level: int, cuts: list[float], pings: bool) -> None:  # noqa: FBT001 - hypothesis gives it
    """Where reads begin and end does not matter; other packets between do not either."""
    between = PINGRESP if pings else b""
    frames = [message.frame(level) for message in sent]
    stream = between + between.join(frames) + between
    scans = scan_all(pieces(stream, cuts), level)
    assert columns(scans) == [
        (
            message.topic.encode(),
            message.content,
            0x30 | message.qos << 1 | message.retain,
            message.packet_id if message.qos else 0,
        )
        for message in sent
    ]
    assert b"".join(scan.frames for scan in scans) == b"".join(frames)
    answers = [answer for scan in scans for answer in scan.answers]
    assert answers == [PingResp()] * (stream.count(between) and len(sent) + 1 + (not sent)) * pings


@settings(max_examples=40, deadline=None)
@given(messages(8), LEVELS, CUTS)
def test_it_agrees_with_pahos_decoder(sent: list[Message], level: int, cuts: list[float]) -> None:
    """Paho reads the same topics, payloads, QoS, retain, identifiers; its PUBACKs are ours."""
    stream = b"".join(message.frame(level) for message in sent)
    heard: list[tuple[bytes, bytes, int, int]] = []
    with paho_against_us(level) as (client, ours):
        client.on_message = lambda _c, _u, m: heard.append(
            (m.topic.encode(), m.payload, 0x30 | m.dup << 3 | m.qos << 1 | m.retain, m.mid)
        )
        welcome(client, ours, level)
        for part in pieces(stream, cuts):
            ours.sendall(part)
            client.loop_read()
        deadline = time.monotonic() + 10
        while len(heard) < len(sent) and time.monotonic() < deadline:
            client.loop_read()
        acknowledged = read_to_goodbye(client, ours)
    scans = scan_all(pieces(stream, cuts), level)
    assert columns(scans) == heard
    assert b"".join(acknowledgements(scan.packet_ids, scan.headers) for scan in scans) == acknowledged


@settings(max_examples=40, deadline=None)
@given(messages(8), LEVELS, CUTS)
def test_it_reads_what_paho_encodes(sent: list[Message], level: int, cuts: list[float]) -> None:
    """Frames as another implementation writes them."""
    with paho_against_us(level) as (client, ours):
        welcome(client, ours, level)
        numbers = [
            client.publish(message.topic, message.content, qos=message.qos, retain=message.retain).mid
            for message in sent
        ]
        stream = read_to_goodbye(client, ours)
    scans = scan_all(pieces(stream, cuts), level)
    assert columns(scans) == [
        (m.topic.encode(), m.content, 0x30 | m.qos << 1 | m.retain, mid if m.qos else 0)
        for m, mid in zip(sent, numbers, strict=True)
    ]


def test_a_scan_is_bounded_by_count() -> None:
    """More packets than the maximum come as several scans of one read, in order."""
    stream = b"".join(Message("t", str(i).encode(), qos=0).frame(4) for i in range(25))
    scans = scan_all([stream], 4, max_count=10)
    assert [len(scan) for scan in scans] == [10, 10, 5]
    assert b"".join(scan.frames for scan in scans) == stream


@pytest.mark.parametrize(
    ("level", "stream"),
    [
        pytest.param(4, packet(0x36, b"\x00\x01t\x00\x01"), id="QoS 3"),
        pytest.param(4, packet(0x32, b"\x00\x01t\x00\x00"), id="packet identifier 0"),
        pytest.param(4, packet(0x30, b"\x00\x05t"), id="topic past its frame"),
        pytest.param(4, packet(0x30, b"\x00\x05t") + b"x" * 9, id="topic into the next packet"),
        pytest.param(4, packet(0x30, b"\x00\x00x"), id="empty topic"),
        pytest.param(4, packet(0x30, b""), id="nothing in it"),
        pytest.param(4, packet(0x32, b"\x00\x01t\x00"), id="half an identifier"),
        pytest.param(5, packet(0x30, b"\x00\x01t"), id="no properties"),
        pytest.param(5, packet(0x30, b"\x00\x01t\x05x"), id="properties past the frame"),
        pytest.param(5, packet(0x30, b"\x00\x01t\x80\x01" + b"x" * 127), id="long properties past the frame"),
        pytest.param(5, packet(0x30, b"\x00\x01t\xff\xff\xff\xff\x01"), id="property length of five bytes"),
        pytest.param(4, b"\x30\xff\xff\xff\xff", id="remaining length of five bytes"),
        pytest.param(4, b"\x00\x00", id="type 0"),
        pytest.param(4, b"\xf0\x00", id="AUTH under 3.1.1"),
        pytest.param(4, b"\xe0\x00", id="DISCONNECT under 3.1.1"),
        pytest.param(5, b"\xc0\x00", id="PINGREQ from a broker"),
        pytest.param(5, b"\xd1\x00", id="PINGRESP with flags"),
        pytest.param(5, b"\xd0\x01x", id="PINGRESP with a body"),
        pytest.param(5, packet(0x90, b"\x00\x01\x00"), id="SUBACK without codes"),
    ],
)
def test_what_breaks_the_rules_is_an_error(level: int, stream: bytes) -> None:
    """Each broken packet raises, after the good one before it was given out."""
    good = Message("t", b"p", qos=0).frame(level)
    found, error = scan_until_error([good + stream + b"\x00" * 4], level)
    assert error is not None
    assert [scan.frames for scan in found] == [good]


@settings(deadline=None)
@given(CUTS, st.integers(100, 200_000), st.sampled_from((0, 1)), LEVELS, st.sampled_from((0, 90, 80_000)))
@example(cuts=[], size=200_000, qos=1, level=4, properties=0)
@example(cuts=[], size=200_000, qos=1, level=5, properties=0)
def test_an_overlong_uplink_is_passed_by(
    cuts: list[float], size: int, qos: int, level: int, properties: int
) -> None:
    """Its topic, identifier and first bytes are given out once its end has come; its neighbours are whole."""
    before, after = Message("a", b"1").frame(level), Message("b", b"2").frame(level)
    sent = Message(
        "long", b"first", qos=qos, packet_id=77, padding=size, dup=bool(qos), properties=properties
    )
    long = sent.frame(level)
    scanner = Scanner(level, max_packet=100)
    scans, fed = [], 0
    for part in pieces(before + long + after, cuts):
        fed += len(part)
        scans += list(scanner.feed(part))
        assert scanner.pending() <= 65_535 + 16 + packets.KEPT
        assert fed >= len(before + long) or not any(scan.answers for scan in scans)
    assert columns(scans) == [(b"a", b"1", 0x32, 1), (b"b", b"2", 0x32, 1)]
    (oversize,) = (answer for scan in scans for answer in scan.answers)
    kept = b"" if level == 5 and properties > packets.KEPT + 65_535 else sent.content[: packets.KEPT]
    head = Head(b"long", 0x30 | qos << 1, 77 if qos else 0, len(long), kept)
    assert oversize == Oversize(head)


@pytest.mark.parametrize("level", [4, 5])
def test_a_packet_of_256_mb_takes_no_memory(level: int) -> None:
    """However much of it passes, and whether it ends or not; what stands there can be told meanwhile."""
    size = 268_435_455
    begin = b"\x32" + varint(size) + b"\x00\x04long\x00\x07" + (b"\x00" if level == 5 else b"")
    scanner, chunk = Scanner(level, max_packet=256_000), b"x" * (1 << 20)
    tracemalloc.start()
    try:
        list(scanner.feed(begin))
        left = size + 5 - len(begin)
        for _ in range(left // len(chunk)):
            assert not list(scanner.feed(chunk))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4_000_000
    assert scanner.standing() == Head(b"long", 0x32, 7, size + 5, chunk[: packets.KEPT])
    assert scanner.awaits() == size + 5
    (scan,) = scanner.feed(chunk[: left % len(chunk)])
    assert scan.answers == [Oversize(Head(b"long", 0x32, 7, size + 5, chunk[: packets.KEPT]))]
    assert (scanner.standing(), scanner.awaits()) == (None, 0)


@pytest.mark.parametrize("level", [4, 5])
def test_an_overlong_packet_that_lies_is_an_error(level: int) -> None:
    """A topic past the frame of an over-long uplink raises, too; so does any other over-long packet."""
    with pytest.raises(ProtocolError):
        scan_all([packet(0x30, b"\x00\xff" + b"t" * 150)], level, max_packet=100)
    with pytest.raises(ProtocolError):
        scan_all([packet(0x90, b"\x00\x01" + b"\x00" * 150)], level, max_packet=100)


@settings(deadline=None)
@given(CUTS, LEVELS)
def test_it_tells_at_which_packet_it_stopped(cuts: list[float], level: int) -> None:
    """Where it can: topic and payload; else the packet's own first bytes. DUP is no difference."""
    good = Message("a", b"1").frame(level)
    for broken, topic, payload in (
        (packet(0x3E, b"\x00\x01t\x00\x01" + b"\x00xyz"), b"t", b"xyz" if level == 5 else b"\x00xyz"),
        (packet(0x3A, b"\x00\xfft"), b"", packet(0x3A, b"\x00\xfft")),
        (b"\xc8\x00", b"", b"\xc8\x00"),
    ):
        scanner = Scanner(level)
        with pytest.raises(ProtocolError):
            [list(scanner.feed(part)) for part in pieces(good + broken, cuts)]
        head = scanner.standing()
        assert head is not None
        assert scanner.broken
        assert (head.topic, head.payload, head.header & 0x08) == (topic, payload, 0)


def test_it_tells_how_many_packets_have_ended() -> None:
    """Whatever they were; so that one that never does can be seen."""
    scanner, ends = Scanner(4, max_packet=100), []
    uplink, long = Message("a", b"1").frame(4), Message("a", b"1", padding=500).frame(4)
    for part in (uplink[:5], uplink[5:], PINGRESP, long[:200], long[200:300], long[300:], b"\x30"):
        list(scanner.feed(part))
        ends.append((scanner.finished, scanner.awaits()))
    numbers = [number for number, _ in ends]
    assert numbers[0] < numbers[1] < numbers[2] == numbers[3] == numbers[4] < numbers[5] == numbers[6]
    assert [awaits > 0 for _, awaits in ends] == [True, False, False, True, True, False, True]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400), LEVELS, st.sampled_from((50, 1 << 28)), CUTS)
def test_noise_raises_nothing_but_protocol_errors(
    noise: bytes, level: int, max_packet: int, cuts: list[float]
) -> None:
    """And what is given out is consistent: its frames, scanned again, are the same rows."""
    check_consistent(pieces(noise, cuts), level, max_packet)


@settings(max_examples=300, deadline=None)
@given(messages(6), LEVELS, st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=4), CUTS)
def test_damaged_streams_raise_nothing_but_protocol_errors(
    sent: list[Message], level: int, damage: list[tuple[float, int]], cuts: list[float]
) -> None:
    """Bytes changed anywhere in a valid stream."""
    stream = bytearray(b"".join(message.frame(level) for message in sent) + PINGRESP)
    for place, byte in damage:
        stream[int(place * (len(stream) - 1))] = byte
    check_consistent(pieces(bytes(stream), cuts), level, 1 << 28)


def check_consistent(parts: list[bytes], level: int, max_packet: int) -> None:
    scans, _error = scan_until_error(parts, level, max_packet)
    for scan in scans:
        if len(scan):
            assert columns(scan_all([scan.frames], level)) == columns([scan])


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.sampled_from((1, 2)), st.sampled_from((0, 9)))))
def test_acknowledgements_are_in_order(sent: list[tuple[int, int, int]]) -> None:
    """PUBACK, or PUBREC at QoS 2, without a reason; none for QoS 0 (identifier 0), whatever the flags."""
    numbers = np.array([number for number, _, _ in sent], dtype=np.uint16)
    headers = np.array([0x30 | qos << 1 | flags for _, qos, flags in sent], dtype=np.uint8)
    wanted = b"".join(
        (requests.puback, requests.pubrec)[qos - 1](number) for number, qos, _ in sent if number
    )
    assert acknowledgements(numbers, headers) == wanted


@settings(deadline=None)
@given(
    st.lists(messages(3, qos=(0, 1, 2)) | st.integers(1, 0xFFFF), max_size=12),
    LEVELS,
    CUTS,
    st.booleans(),
)
def test_releases_stand_among_the_uplinks(
    sent: list[list[Message] | int],
    level: int,
    cuts: list[float],
    pings: bool,  # noqa: FBT001 - hypothesis gives it
) -> None:
    """PUBRELs keep their place in stream and frames, however it is cut; the journal gives them back."""
    stream, packets_only, steps, count = b"", b"", list[tuple[int, int]](), 0
    for part in sent:
        frames = pubrel(part) if isinstance(part, int) else b"".join(m.frame(level) for m in part)
        stream, packets_only = stream + frames + PINGRESP * pings, packets_only + frames
        if isinstance(part, int):
            steps.append((part, -1))
            continue
        steps += [(m.packet_id, count + n) for n, m in enumerate(part) if m.qos == 2]
        count += len(part)
    scans = scan_all(pieces(stream, cuts), level)
    assert b"".join(scan.frames for scan in scans) == packets_only
    batch = batch_of(record(packets_only, count, level), position=1)
    assert list(batch.qos_2_steps()) == steps
    assert batch.has_qos_2 == bool(steps)
    found, before = list[tuple[int, int]](), 0
    for scan in scans:
        again = batch_of(record(scan.frames, len(scan), level), position=1)
        found += [(number, place + before if place >= 0 else -1) for number, place in again.qos_2_steps()]
        before += len(scan)
    assert found == steps


def test_a_release_with_a_reason_is_one() -> None:
    """MQTT 5 has longer forms of PUBREL: with a reason code, with properties; 3.1.1 has not."""
    with_reason, with_text = b"\x62\x03\x00\x07\x92", b"\x62\x07\x00\x08\x00\x03\x1f\x00\x00"
    (scan,) = scan_all([with_reason + pubrel(9) + with_text], 5)
    assert scan.releases is not None
    assert scan.releases.packet_ids.tolist() == [7, 9, 8]
    for broken in (b"\x62\x02\x00\x00", b"\x60\x02\x00\x01", b"\x62\x01\x00"):
        assert scan_until_error([broken + bytes(4)], 5)[1] is not None


def record(frames: bytes, count: int, level: int = 5) -> Frames:
    return Frames("main", 3, "ecluse", level, 1_763_769_600_000_000_000, count, frames)


@settings(deadline=None)
@given(messages(), LEVELS)
def test_a_journalled_record_becomes_the_batch_that_it_was(sent: list[Message], level: int) -> None:
    """Replay gives the same columns as the reading did, and says where it stood."""
    stream = b"".join(message.frame(level) for message in sent)
    batch = batch_of(record(stream, len(sent), level), position=41)
    rows = zip(batch.topics, batch.payloads, batch.headers.tolist(), batch.packet_ids.tolist(), strict=True)
    assert list(rows) == columns(scan_all([stream], level))
    assert (batch.position, batch.connection, batch.session, batch.protocol) == (41, 3, "ecluse", level)
    assert batch.frames == stream


@settings(deadline=None)
@given(
    uplinks=st.lists(
        st.tuples(st.binary(min_size=1, max_size=300), st.binary(max_size=300), st.booleans()), max_size=9
    ),
    first=st.integers(0, 2**32 - 10),
)
def test_uplinks_let_in_again_are_what_they_were(
    uplinks: list[tuple[bytes, bytes, bool]], first: int
) -> None:
    """Topic, payload and RETAIN, any bytes; with the place and the time that they had at first."""
    frames = b"".join(frame_of(topic, payload, retained=kept) for topic, payload, kept in uplinks)
    places = tuple(range(first, first + len(uplinks)))
    batch = batch_of(Readmitted(9, 7, 8, places, frames), position=41)
    rows = list(zip(batch.topics, batch.payloads, (batch.headers & 1 == 1).tolist(), strict=True))
    assert rows == uplinks
    assert batch.origin is not None
    assert (batch.position, batch.origin.position, batch.received_ns, batch.at_ns) == (41, 7, 8, 9)
    assert tuple(batch.place(index) for index in range(len(batch))) == places
    assert not (batch.headers & 0x0E).any()
    assert not batch.packet_ids.any()


@pytest.mark.parametrize(
    ("frames", "count"),
    [
        pytest.param(Message("t", b"p").frame(5), 2, id="one is missing"),
        pytest.param(Message("t", b"p").frame(5) * 2, 1, id="one too many"),
        pytest.param(Message("t", b"p").frame(5)[:-1], 1, id="cut short"),
        pytest.param(Message("t", b"p").frame(5) + PINGRESP, 1, id="another packet"),
        pytest.param(pubrel(4), 1, id="a release in place of an uplink"),
        pytest.param(pubrel(0), 0, id="a release of nothing"),
        pytest.param(b"\xff" * 20, 1, id="noise"),
    ],
)
def test_a_damaged_record_is_an_error(frames: bytes, count: int) -> None:
    """The caller sets the record aside."""
    with pytest.raises(ProtocolError):
        batch_of(record(frames, count), position=1)


def test_properties_of_any_length_are_skipped() -> None:
    """Over 127 bytes the length itself takes two bytes, over 16,383 three."""
    for size in (0, 90, 127, 128, 300, 16_400, 70_000):
        message = Message("t", b"payload", properties=size)
        assert columns(scan_all([message.frame(5)], 5)) == [(b"t", b"payload", 0x32, 1)]


def test_the_default_maximum_is_mqtts_own() -> None:
    """Four bytes of remaining length and the first byte."""
    assert packets.Scanner(5).max_packet == 268_435_455 + 5


@given(
    sent=messages(qos=(0, 1, 2)),
    released=st.lists(st.integers(0, 0xFFFF), max_size=30),
    level=LEVELS,
)
def test_what_nobody_sends_again_can_be_left_out(
    sent: list[Message], released: list[int], level: int
) -> None:
    """QoS 0 goes, whole frames; what is left, PUBRELs too, is the batch that it would have been alone."""
    pairs = list(itertools.zip_longest(sent, released, fillvalue=0))
    parts: list[Message | int] = [part for pair in pairs for part in pair if part]
    kept = [part for part in parts if isinstance(part, int) or part.qos]

    def batch(parts: list[Message | int]) -> RawBatch:
        frames = (pubrel(part) if isinstance(part, int) else part.frame(level) for part in parts)
        count = sum(isinstance(part, Message) for part in parts)
        return batch_of(record(b"".join(frames), count, level), position=7)

    whole, alone = batch(parts), batch(kept)
    left = promised(whole)
    assert (left is whole) == (kept == parts)
    assert (left.frames, left.topics, left.payloads) == (alone.frames, alone.topics, alone.payloads)
    assert left.headers.tolist() == alone.headers.tolist()
    assert left.packet_ids.tolist() == alone.packet_ids.tolist()
    assert list(left.qos_2_steps()) == list(alone.qos_2_steps())
    assert left.is_empty == (not kept)
    assert left.position == 7
