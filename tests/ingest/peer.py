"""Helpers of this room's tests: PUBLISH frames made by hand, and paho on the other end of a socket."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import paho.mqtt.client as paho
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion

from gateway.clock import SystemClock
from gateway.ingest.mqtt import MqttSource
from gateway.ingest.settings import MqttSettings
from gateway.ingest.wire import MQTT_5, packet, text, varint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from gateway.model import RawBatch
    from tests.brokers import Broker

LEVELS = st.sampled_from((4, 5))


@dataclass(frozen=True)
class Message:
    """One PUBLISH, as a test means it."""

    topic: str
    payload: bytes
    qos: int = 1
    packet_id: int = 1
    retain: bool = False
    dup: bool = False
    properties: int = 0
    padding: int = 0

    def frame(self, level: int) -> bytes:
        """Write it by the letter of the specification (section 3.3)."""
        first = 0x30 | (self.dup << 3) | (self.qos << 1) | self.retain
        body = text(self.topic) + (struct.pack(">H", self.packet_id) if self.qos else b"")
        if level == MQTT_5:
            properties = user_properties(self.properties)
            body += varint(len(properties)) + properties
        return packet(first, body + self.content)

    @property
    def content(self) -> bytes:
        """Return the payload; large ones are padded, so that a test's report stays short."""
        return self.payload + b"x" * self.padding


def user_properties(size: int) -> bytes:
    """Return valid MQTT 5 properties of about that many bytes."""
    one = b"\x26" + text("k" * 20) + text("v" * 20)
    return one * (size // len(one))


def pubrel(packet_id: int) -> bytes:
    """Write a PUBREL in its short form, the same at both levels."""
    return b"\x62\x02" + packet_id.to_bytes(2, "big")


def messages(max_size: int = 30, *, qos: Sequence[int] = (0, 1)) -> st.SearchStrategy[list[Message]]:
    """Return valid PUBLISH packets of every shape, payloads and properties past 127 bytes included."""
    topics = st.text(
        st.characters(exclude_characters="+#\0", exclude_categories=["Cs"]), min_size=1, max_size=40
    )
    return st.lists(
        st.builds(
            Message,
            topic=topics,
            payload=st.binary(max_size=200),
            padding=st.sampled_from((0, 0, 20_000)),
            qos=st.sampled_from(qos),
            packet_id=st.integers(1, 0xFFFF),
            retain=st.booleans(),
            properties=st.sampled_from((0, 90, 300, 20_000)),
        ),
        max_size=max_size,
    )


def pieces(data: bytes, cuts: Sequence[float]) -> list[bytes]:
    """Cut a stream at these fractions of its length."""
    places = sorted({int(cut * len(data)) for cut in cuts} | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


@contextlib.contextmanager
def paho_against_us(level: int, **options: Any) -> Iterator[tuple[paho.Client, socket.socket]]:
    """Yield a paho client and the broker's end of its socket; CONNECT is still unread in it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id="oracle", protocol=level, **options)
        client.connect("127.0.0.1", listener.getsockname()[1], keepalive=30)
        ours, _ = listener.accept()
        with ours:
            ours.settimeout(10)
            yield client, ours
            client.disconnect()
            client.loop_read()


def welcome(client: paho.Client, ours: socket.socket, level: int) -> None:
    """Read paho's CONNECT and accept it."""
    read_packet(ours)
    ours.sendall(b"\x20\x03\x00\x00\x00" if level == MQTT_5 else b"\x20\x02\x00\x00")
    client.loop_read()


def read_packet(ours: socket.socket) -> bytes:
    """Return the next packet, of at most 127 bytes of remaining length."""
    head = ours.recv(2, socket.MSG_WAITALL)
    return head + ours.recv(head[1], socket.MSG_WAITALL)


def read_to_goodbye(client: paho.Client, ours: socket.socket) -> bytes:
    """Let paho say good-bye; return all that it has sent before that."""
    client.disconnect()
    while client.want_write():
        client.loop_write()
    out = bytearray()
    while part := ours.recv(1 << 20):
        out += part
    return bytes(out).removesuffix(b"\xe0\x00")


def settings(broker: Broker, name: str = "ecluse-test", **changes: Any) -> MqttSettings:
    """Return settings for that broker that lose no time between attempts."""
    values: dict[str, Any] = {
        "host": broker.host,
        "port": broker.port,
        "client_id": name,
        "username": broker.username,
        "password": broker.password,
        "filters": [("city/+/bin/+/up", 1)],
        "retry_first_s": 0.05,
        "retry_max_s": 0.3,
        "refused_retry_s": 0.1,
    }
    return MqttSettings(**{**values, **changes})


@contextlib.asynccontextmanager
async def running(wanted: MqttSettings, **options: Any) -> AsyncIterator[tuple[MqttSource, Reader]]:
    """Yield a connected source and a reader of its batches; close it afterwards."""
    source = MqttSource(settings=wanted, clock=SystemClock(), **options)
    reader = Reader(source)
    try:
        yield source, reader
    finally:
        await source.close()
        await reader.stop()


class Reader:
    """Reads a source in the background and keeps what came."""

    def __init__(self, source: MqttSource, *, acknowledge: bool = False) -> None:
        self.source = source
        self.got: list[RawBatch] = []
        self.acknowledge = acknowledge
        self.task = asyncio.create_task(self._read())

    @property
    def payloads(self) -> list[bytes]:
        """Return every payload so far, in order."""
        return [payload for batch in self.got for payload in batch.payloads]

    async def until(self, condition: Callable[[], bool], what: str, within_s: float = 20) -> None:
        """Wait until the condition holds; raise what the source raised, AssertionError when time is up."""
        try:
            async with asyncio.timeout(within_s):
                while not condition():
                    if self.task.done():
                        self.task.result()
                        assert condition(), f"{what}: the source ended before"
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"{what}: not within {within_s} s; {self.source.status}") from None

    async def connected(self) -> None:
        """Wait until the broker has accepted the source."""
        await self.until(lambda: self.source.status.state == "connected", "connected")

    async def stop(self) -> None:
        """End the reading task."""
        self.task.cancel()
        await asyncio.wait({self.task})

    async def _read(self) -> None:
        async for batch in self.source.batches():
            self.got.append(batch)
            if self.acknowledge:
                await self.source.acknowledge(batch)


async def eventually(condition: Callable[[], bool], what: str, within_s: float = 10) -> None:
    """Let the loop run until the condition holds; AssertionError naming `what` when time is up."""
    try:
        async with asyncio.timeout(within_s):
            while not condition():  # noqa: ASYNC110 - polls what the tested code knows nothing of
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"{what}: not within {within_s} s") from None


class BadBroker:
    """A broker that misbehaves as no real one can be made to: every client gets the same bytes.

    `says` is sent once a client has subscribed, at each of its connections; `acknowledged` are the packet
    identifiers of its PUBACKs, `answers` its PUBREC and PUBCOMP packets: first byte, identifier, reason code.
    It answers pings unless it is in the middle of what it says.
    """

    def __init__(self, level: int, *says: bytes, trickle: bytes = b"") -> None:
        self.level = level
        self.says = says
        self.trickle = trickle
        self.acknowledged: list[int] = []
        self.answers: list[tuple[int, int, int]] = []
        self.connections = 0
        self.port = 0
        self._clients: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[BadBroker]:
        """Listen until the block ends."""
        async with await asyncio.start_server(self._serve, "127.0.0.1", 0) as server:
            self.port = server.sockets[0].getsockname()[1]
            yield self
        for task in self._clients:
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._client(reader, writer))
        self._clients.add(task)

    def settings(self, **changes: Any) -> MqttSettings:
        """Return settings of a source for it."""
        values = {"filters": [("#", 1)], "retry_first_s": 0.02, "retry_max_s": 0.05, "max_packet": 10_000}
        protocol = "5" if self.level == MQTT_5 else "3.1.1"
        return MqttSettings("127.0.0.1", self.port, "ecluse-test", protocol=protocol, **(values | changes))

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self._talk(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client has gone
        finally:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            first, body = await self._packet(reader)
            if first >> 4 == 1:
                writer.write(b"\x20\x03\x00\x00\x00" if self.level == MQTT_5 else b"\x20\x02\x00\x00")
            elif first >> 4 == 8:
                properties = b"\x00" if self.level == MQTT_5 else b""
                at, filters = 2 + len(properties), 0  # no client of ours has properties there
                while at < len(body):
                    at, filters = at + 3 + int.from_bytes(body[at : at + 2], "big"), filters + 1
                answer = body[:2] + properties + b"\x01" * filters
                writer.write(packet(0x90, answer))
                await self._say(writer)
            elif first >> 4 == 4:
                self.acknowledged.append(int.from_bytes(body[:2], "big"))
            elif first >> 4 in (5, 7):
                self.answers.append((first, int.from_bytes(body[:2], "big"), sum(body[2:3])))
            elif first >> 4 == 14:
                break

    async def _say(self, writer: asyncio.StreamWriter) -> None:
        for part in self.says:
            writer.write(part)
            await writer.drain()
        while self.trickle:
            writer.write(self.trickle)
            await writer.drain()
            await asyncio.sleep(0.05)

    async def _packet(self, reader: asyncio.StreamReader) -> tuple[int, bytes]:
        first = (await reader.readexactly(1))[0]
        length = shift = 0
        while True:
            byte = (await reader.readexactly(1))[0]
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return first, await reader.readexactly(length)
