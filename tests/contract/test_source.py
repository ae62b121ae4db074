"""What every `Source` does: the MQTT source on each broker and level, and the double."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from gateway.clock import SystemClock
from gateway.ingest.mqtt import MqttSource
from gateway.ingest.packets import batch_of
from gateway.model import Frames
from gateway.testing import MemoryBroker, MemorySource
from tests.brokers import mosquitto, nats, publish
from tests.ingest.peer import Reader, settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from gateway.ports import Source
    from tests.brokers import Broker


class MemoryRig:
    """The double: a broker in memory, and gateways that come and go."""

    def __init__(self) -> None:
        self.broker = MemoryBroker()
        self.connections = 0

    def gateway(self) -> Source:
        """Return the source of a gateway that starts now."""
        source = MemorySource(self.broker, clock=SystemClock(), last_connection=self.connections)
        self.connections += 1
        return source

    async def devices_send(self, payloads: range) -> None:
        """Publish."""
        for i in payloads:
            self.broker.publish(f"city/paris/bin/{i % 10}/up", b"%d" % i)


class Rig:
    """A broker, and gateways that come and go with one name."""

    def __init__(self, broker: Broker, protocol: str) -> None:
        self.broker = broker
        self.protocol = protocol
        self.connections = 0

    def gateway(self) -> Source:
        """Return the source of a gateway that starts now."""
        source = MqttSource(
            settings=settings(self.broker, protocol=self.protocol),
            clock=SystemClock(),
            source="main",
            last_connection=self.connections,
        )
        self.connections += 1
        return source

    async def devices_send(self, payloads: range) -> None:
        """Publish at QoS 1; return once the broker has taken all."""
        messages = [(f"city/paris/bin/{i % 10}/up", b"%d" % i) for i in payloads]
        await asyncio.to_thread(publish, self.broker, messages)


@pytest.fixture(params=["mosquitto 5", "mosquitto 3.1.1", "nats-server 3.1.1", "memory 5"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig | MemoryRig]:
    if request.param == "memory 5":
        yield MemoryRig()
        return
    server, protocol = request.param.split()
    with mosquitto(tmp_path) if server == "mosquitto" else nats(tmp_path, ack_wait="2s") as broker:
        yield Rig(broker, protocol)


def payloads(numbers: range) -> list[bytes]:
    return [b"%d" % i for i in numbers]


async def first_connection(rig: Rig) -> None:
    """Begin the session: from here on the broker keeps what is published."""
    async with reading(rig.gateway(), acknowledge=True) as reader:
        await reader.connected()
        await rig.devices_send(range(1))
        await reader.until(lambda: reader.payloads == [b"0"], "the first uplink")


@contextlib.asynccontextmanager
async def reading(source: Source, *, acknowledge: bool) -> AsyncIterator[Reader]:
    reader = Reader(source, acknowledge=acknowledge)
    try:
        yield reader
    finally:
        await source.close()
        await reader.stop()


async def test_batches_are_whole_and_in_order(rig: Rig) -> None:
    """Columns of one length; the frames, scanned again, give the same batch."""
    await first_connection(rig)
    await rig.devices_send(range(300))
    async with reading(rig.gateway(), acknowledge=True) as reader:
        await reader.until(lambda: len(reader.payloads) >= 300, "all of them")
        assert reader.payloads == payloads(range(300))
        for batch in reader.got:
            record = Frames(
                batch.source,
                batch.connection,
                batch.session,
                batch.protocol,
                batch.received_ns,
                len(batch),
                batch.frames,
            )
            again = batch_of(record, position=7)
            assert (again.topics, again.payloads) == (batch.topics, batch.payloads)
            assert again.headers.tolist() == batch.headers.tolist()
            assert again.packet_ids.tolist() == batch.packet_ids.tolist()
            assert (batch.source, batch.session, batch.connection) == ("main", "ecluse-test", 2)
            assert len(batch) == len(batch.topics) == len(batch.headers) == len(batch.packet_ids)


async def test_nothing_is_answered_before_acknowledge(rig: Rig) -> None:
    """What was given out and not acknowledged is given out again to the next gateway."""
    await first_connection(rig)
    await rig.devices_send(range(20))
    for _ in range(2):
        async with reading(rig.gateway(), acknowledge=False) as reader:
            await reader.until(lambda r=reader: len(set(r.payloads)) >= 20, "all of them")
            assert set(reader.payloads) == set(payloads(range(20)))


async def test_what_was_acknowledged_does_not_come_again(rig: Rig) -> None:
    """Acknowledged after `stop_reading`, even."""
    await first_connection(rig)
    await rig.devices_send(range(20))
    async with reading(rig.gateway(), acknowledge=False) as reader:
        await reader.until(lambda: len(reader.payloads) >= 20, "all of them")
        await reader.source.stop_reading()
        await asyncio.wait_for(reader.task, 5)
        for batch in reader.got:
            await reader.source.acknowledge(batch)
    await rig.devices_send(range(20, 25))
    async with reading(rig.gateway(), acknowledge=True) as reader:
        await reader.until(lambda: len(reader.payloads) >= 5, "the later ones")
        assert reader.payloads == payloads(range(20, 25))


async def test_acknowledging_for_a_gone_connection_does_nothing(rig: Rig) -> None:
    """Identifiers of an older connection may belong to other uplinks by now."""
    await first_connection(rig)
    await rig.devices_send(range(5))
    async with reading(rig.gateway(), acknowledge=False) as older:
        await older.until(lambda: len(older.payloads) >= 5, "all of them")
    for batch in older.got:
        await older.source.acknowledge(batch)
    async with reading(rig.gateway(), acknowledge=False) as reader:
        await reader.connected()
        for batch in older.got:
            await reader.source.acknowledge(batch)
        await reader.until(lambda: len(reader.payloads) >= 5, "all of them again")
    async with reading(rig.gateway(), acknowledge=True) as reader:
        await reader.until(lambda: len(reader.payloads) >= 5, "and again")


async def test_close_ends_batches(rig: Rig) -> None:
    """Whether it was connected or not; twice is no harm."""
    source = rig.gateway()
    reader = Reader(source)
    await reader.connected()
    await source.close()
    await asyncio.wait_for(reader.task, 5)
    await source.close()
    never = rig.gateway()
    await never.close()
    assert [batch async for batch in never.batches()] == []
