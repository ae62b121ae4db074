"""The socket under a session, against a plain peer on loopback."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from gateway.clock import SystemClock
from gateway.ingest.connection import Connection
from tests.ingest.peer import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


@contextlib.asynccontextmanager
async def connected(
    on_data: Callable[[bytes], None], gather_s: float = 0.005
) -> AsyncIterator[tuple[Connection, asyncio.StreamWriter]]:
    """Yield our end, and the peer's."""
    peers: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
    server = await asyncio.start_server(lambda _reader, writer: peers.put_nowait(writer), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(
        lambda: Connection(gather_s=gather_s, clock=SystemClock(), on_data=on_data), "127.0.0.1", port
    )
    peer = await peers.get()
    try:
        yield connection, peer
    finally:
        connection.abort()
        peer.close()
        server.close()
        await server.wait_closed()


async def test_dense_traffic_is_gathered() -> None:
    """Many small writes are few reads; no byte is lost."""
    reads: list[bytes] = []
    async with connected(reads.append, gather_s=0.05) as (_connection, peer):
        for number in range(200):
            peer.write(b"%03d" % number)
            await asyncio.sleep(0)
        await eventually(lambda: sum(map(len, reads)) == 600, "everything")
    assert b"".join(reads) == b"".join(b"%03d" % number for number in range(200))
    assert len(reads) < 20


async def test_holding_stops_reading() -> None:
    """What comes meanwhile waits in the kernel, over a gathering pause, too."""
    reads: list[bytes] = []
    async with connected(reads.append) as (connection, peer):
        peer.write(b"a")
        await eventually(lambda: reads == [b"a"], "the first")
        connection.hold(held=True)
        peer.write(b"b")
        await peer.drain()
        await asyncio.sleep(0.02)  # longer than a gathering pause: nothing may come
        assert reads == [b"a"]
        connection.hold(held=False)
        await eventually(lambda: reads == [b"a", b"b"], "the second")


async def test_the_end_is_told() -> None:
    """A peer that closes ends it without an error."""
    async with connected(lambda _: None) as (connection, peer):
        peer.close()
        assert await asyncio.wait_for(connection.lost, 5) is None
        connection.write(b"nothing happens")
        await asyncio.wait_for(connection.drain(), 5)


async def test_a_bug_is_not_taken_for_a_lost_connection() -> None:
    """What the reader of the bytes raises is what ended the connection."""
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)

    def stumble(_data: bytes) -> None:
        raise KeyError("a bug")

    async with connected(stumble) as (connection, peer):
        peer.write(b"x")
        error = await asyncio.wait_for(connection.lost, 5)
        assert isinstance(error, KeyError)


async def test_drain_waits_for_a_slow_peer() -> None:
    """Until it reads again, or the connection is over."""
    async with connected(lambda _: None) as (connection, _peer):
        connection.write(b"x" * (64 << 20))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(connection.drain(), 0.05)
        connection.abort()
        await asyncio.wait_for(connection.drain(), 5)
