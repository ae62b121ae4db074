"""Packets that no journal can take: what is kept of them, what is said, and when they are answered."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import psutil
import pytest
from structlog.testing import capture_logs

from gateway.errors import StateError
from gateway.ingest.packets import KEPT
from gateway.ingest.wire import MQTT_5, varint
from gateway.model import Reason
from tests.ingest.peer import BadBroker, Message, running

if TYPE_CHECKING:
    from gateway.model import Refused

LEVEL = pytest.mark.parametrize("level", [4, 5])
HUGE = 268_435_455
FATAL = b"\x33\x06\x00\x09topi"  # QoS 1, retained, a topic that goes on past its end


def huge(level: int, topic: bytes = b"city/lyon/bin/bin-1/up") -> bytes:
    """Return the beginning of a packet of 256 MB, up to its payload."""
    name = len(topic).to_bytes(2, "big") + topic
    return b"\x32" + varint(HUGE) + name + b"\x00\x07" + (b"\x00" if level == MQTT_5 else b"")


class Kept:
    """A quarantine of which a test holds the door."""

    def __init__(self) -> None:
        self.rows: list[Refused] = []
        self.door = asyncio.Event()
        self.door.set()

    async def __call__(self, row: Refused) -> None:
        """Keep a row, once the door is open."""
        await self.door.wait()
        self.rows.append(row)


@LEVEL
async def test_a_packet_of_256_mb_is_passed_by(level: int) -> None:
    """Its first bytes are kept, then it is acknowledged; memory and connection stay, its neighbours come."""
    before, after = (Message("a", text, packet_id=8 + n).frame(level) for n, text in enumerate((b"1", b"2")))
    begin, chunk = huge(level), b"y" * (1 << 20)
    left = HUGE + 5 - len(begin)
    says = (before, begin, *[chunk] * (left // len(chunk)), chunk[: left % len(chunk)], after)
    kept, process = Kept(), psutil.Process()
    kept.door.clear()
    async with BadBroker(level, *says).running() as broker:
        started = process.memory_info().rss
        async with running(broker.settings(), keep=kept) as (source, reader):
            await reader.until(lambda: reader.payloads == [b"1", b"2"], "the neighbours", within_s=60)
            assert process.memory_info().rss - started < 64_000_000
            assert (source.status.oversize, broker.acknowledged) == (1, [])
            assert source.status.unacknowledged_bytes > 0
            kept.door.set()
            await reader.until(lambda: broker.acknowledged == [7], "acknowledged")
            (row,) = kept.rows
            assert (row.reason, row.topic) == (Reason.TOO_LARGE, b"city/lyon/bin/bin-1/up")
            assert row.payload == chunk[:KEPT]
            assert f"{HUGE + 5} bytes" in row.detail
            assert broker.connections == 1


@LEVEL
async def test_the_same_packet_again_is_the_same_row(level: int) -> None:
    """Its key is what it is; another topic is another row."""
    long = [Message(topic, b"z" * 20_000, packet_id=n).frame(level) for n, topic in enumerate("aab", start=1)]
    kept = Kept()
    async with (
        BadBroker(level, *long).running() as broker,
        running(broker.settings(), keep=kept) as (_, reader),
    ):
        await reader.until(lambda: broker.acknowledged == [1, 2, 3], "all three")
    keys = [(row.position, row.index, row.payload) for row in kept.rows]
    assert keys[0] == keys[1]
    assert keys[1] != keys[2]


async def test_an_answer_belongs_to_its_connection() -> None:
    """What is kept after its connection is gone is not acknowledged on the next one."""
    kept, long = Kept(), Message("a", b"z" * 20_000, packet_id=5).frame(4)
    kept.door.clear()
    async with (
        BadBroker(4, long, FATAL).running() as broker,
        running(broker.settings(), keep=kept) as (source, reader),
    ):
        await reader.until(lambda: source.status.connects > 2, "the next connections")
        broker.says = ()
        await reader.until(lambda: broker.connections > source.status.protocol_errors, "one that lasts")
        kept.door.set()
        await reader.until(lambda: source.status.unacknowledged_bytes == 0, "kept")
        assert broker.acknowledged == []


async def test_a_quarantine_that_fails_ends_the_source() -> None:
    """It is not acknowledged: the broker keeps it."""

    async def fail(_: Refused) -> None:
        raise StateError("the disk is full")

    long = Message("a", b"z" * 20_000, packet_id=5).frame(4)
    async with BadBroker(4, long).running() as broker, running(broker.settings(), keep=fail) as (_, reader):
        with pytest.raises(StateError, match="the disk is full"):
            await asyncio.wait_for(reader.task, 10)
        assert broker.acknowledged == []


@LEVEL
@pytest.mark.parametrize("trickle", [b"", b"y"], ids=["silence", "drop by drop"])
async def test_a_packet_that_never_ends_is_given_up(
    level: int, trickle: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first bytes are kept; when it comes again the same way, the status says what to do."""
    monkeypatch.setattr("gateway.ingest.patience.SLOWEST_BYTES_S", 1 << 30)
    kept = Kept()
    async with (
        BadBroker(level, huge(level) + b"yyyy", trickle=trickle).running() as broker,
        running(broker.settings(keepalive_s=1), keep=kept) as (source, reader),
    ):
        await reader.until(lambda: bool(source.status.stuck), "said", within_s=30)
        assert "topic city/lyon/bin/bin-1/up" in source.status.stuck
        assert f"in the middle of a packet of {HUGE + 5} bytes" in source.status.last_error
        assert {(row.reason, row.topic) for row in kept.rows} == {
            (Reason.TOO_LARGE, b"city/lyon/bin/bin-1/up")
        }
        assert kept.rows[0].payload.startswith(b"yyyy")
        assert broker.acknowledged == []


async def test_a_fatal_packet_that_comes_again_is_said_once() -> None:
    """With what to do at the broker; its first bytes are kept, and what came before it is given out."""
    kept, good = Kept(), Message("a", b"1").frame(4)
    with capture_logs() as logs:
        async with (
            BadBroker(4, good + FATAL).running() as broker,
            running(broker.settings(), keep=kept) as (source, reader),
        ):
            await reader.until(lambda: source.status.protocol_errors > 4, "again and again")
            assert "client id 'ecluse-test'" in source.status.stuck
            assert set(reader.payloads) == {b"1"}
            broker.says = (Message("t", b"", qos=3).frame(4),)  # another error is another packet
            await reader.until(lambda: "QoS 3" in source.status.stuck, "the other one")
    said = [entry["error"] for entry in logs if entry["event"] == "stuck"]
    assert len(said) == 2
    assert ["QoS 3" in one for one in said] == [False, True]
    # Each is one row, however often it came: its digest stands in the place of an index.
    assert {row.reason for row in kept.rows} == {Reason.BROKEN_PACKET}
    assert {row.payload for row in kept.rows} == {FATAL, b""}
    assert len({row.index for row in kept.rows}) == 2


async def test_a_retained_one_is_cleared_by_its_topic() -> None:
    """The topic is known: the advice is the command."""
    broken = Message("city/x", b"p", packet_id=0, retain=True).frame(5)
    async with (
        BadBroker(5, broken).running() as broker,
        running(broker.settings(), keep=Kept()) as (source, reader),
    ):
        await reader.until(lambda: bool(source.status.stuck), "said")
        assert "mosquitto_pub -r -n -t 'city/x'" in source.status.stuck
