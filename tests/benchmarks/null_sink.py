"""A database that keeps nothing: InfluxDB's write paths, answered with 204 as soon as the body is read.

    python -m tests.benchmarks.null_sink --port 8086 --counters sink.bin

What it costs is one read and two counts a request, so that a round into it shows the gateway and the broker
alone.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.benchmarks.counters import Counters

if TYPE_CHECKING:
    from collections.abc import Callable

RAW_LINES, WINDOW_LINES, BYTES, REQUESTS, READY = range(5)
"""Slots of its counters."""
_ANSWER: Final = b"HTTP/1.1 204 No Content\r\nX-Influxdb-Version: null\r\nContent-Length: 0\r\n\r\n"
_WINDOW: Final = b"waste_"


class Http(asyncio.Protocol):
    """HTTP/1.1 as far as clients of InfluxDB use it: Content-Length, keep-alive."""

    def __init__(self, took: Callable[[bytes], None]) -> None:
        self._took = took
        self._data = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin: asyncio calls this."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Take whole requests out of the stream: asyncio calls this."""
        self._data += data
        while (head_end := self._data.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._data[:head_end]).lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0] or b"0")
            end = head_end + 4 + length
            if len(self._data) < end:
                return
            body = bytes(self._data[head_end + 4 : end])
            del self._data[:end]
            if body:
                self._took(body)
            assert self._transport is not None
            self._transport.write(_ANSWER)


def counting(counters: Counters) -> Callable[[bytes], None]:
    """Return what counts a body."""

    def took(body: bytes) -> None:
        windows = body.count(b"\n" + _WINDOW) + body.startswith(_WINDOW)
        counters[RAW_LINES] += body.count(b"\n") + (not body.endswith(b"\n")) - windows
        counters[WINDOW_LINES] += windows
        counters[BYTES] += len(body)
        counters[REQUESTS] += 1

    return took


async def serve(port: int, counters: Counters) -> None:
    """Answer until SIGTERM."""
    stopping, loop, took = asyncio.Event(), asyncio.get_running_loop(), counting(counters)
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    server = await loop.create_server(lambda: Http(took), "127.0.0.1", port)
    counters[READY] = 1
    await stopping.wait()
    server.close()


def main() -> None:
    """Serve on the port that the command line names."""
    parser = argparse.ArgumentParser(description="Take points and keep none.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--counters", type=Path, required=True)
    asked = parser.parse_args()
    asyncio.run(serve(asked.port, Counters(asked.counters)))


if __name__ == "__main__":
    main()
