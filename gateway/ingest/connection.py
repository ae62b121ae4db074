"""The socket under a session: reads that gather, writes that wait. It knows nothing of MQTT.

Brokers write one packet at a time. A receiver that wakes for each spends microseconds a message on
waking, and what is done once a read (journal, queue) costs half a millisecond; so under load reading
pauses after each read, until about a quarter of a mebibyte has come or the longest pause is over, and
the next read takes everything. Sparse traffic is read at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.ports import Clock

READ_BYTES: Final = 1 << 20
"""One read, at most: bounds a batch by bytes."""
_ENOUGH: Final = 256 << 10
"""What a read should bring under load: more makes it no cheaper."""
_RECEIVE_BUFFER: Final = 4 << 20  # the kernel cuts it to net.core.rmem_max


class Connection(asyncio.BufferedProtocol):
    """One TCP or TLS connection. `lost` is done when it is over: with what ended it, or None.

    `gather_s` is the longest pause between two reads. Data that comes later than that after reading was
    resumed is sparse traffic.
    """

    def __init__(self, *, gather_s: float, clock: Clock, on_data: Callable[[bytes], None]) -> None:
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self._gather_s = gather_s
        self._clock = clock
        self._on_data = on_data
        self._buffer = memoryview(bytearray(READ_BYTES))
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._held = False
        self._last_read_ns = 0
        self._pause_s = 0.0
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin: asyncio calls this."""
        self._transport = cast("asyncio.Transport", transport)
        sock = transport.get_extra_info("socket")
        if sock is not None:
            with contextlib.suppress(OSError):  # a smaller buffer costs speed only
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where the next read goes: asyncio calls this."""
        del sizehint
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Hand a read on, and gather the next one if traffic is dense: asyncio calls this."""
        now = self._clock.monotonic_ns()
        since_s = (now - self._last_read_ns) / 1e9
        self._last_read_ns = now
        self._on_data(bytes(self._buffer[:nbytes]))
        dense = since_s - self._pause_s < self._gather_s or nbytes >= _ENOUGH
        # At this rate, when would enough have come? Not at all where a full buffer says that more is there.
        full = nbytes == len(self._buffer)
        self._pause_s = min(self._gather_s, _ENOUGH * since_s / nbytes) if dense and not full else 0.0
        if self._pause_s and self._timer is None and not self.lost.done():
            self._timer = asyncio.get_running_loop().call_later(self._pause_s, self._gathered)
            self._apply()

    def eof_received(self) -> None:
        """Close: asyncio calls this when the broker has closed its side."""

    def connection_lost(self, exc: Exception | None) -> None:
        """End: asyncio calls this once."""
        if self._timer is not None:
            self._timer.cancel()
        self._writable.set()
        if not self.lost.done():
            self.lost.set_result(exc)

    def pause_writing(self) -> None:
        """Note that the broker reads more slowly than we write: asyncio calls this."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Note that it has caught up: asyncio calls this."""
        self._writable.set()

    def hold(self, *, held: bool) -> None:
        """Stop reading, or go on."""
        self._held = held
        self._apply()

    def write(self, data: bytes) -> None:
        """Send, or do nothing on a connection that is over."""
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    async def drain(self) -> None:
        """Wait until the broker has taken enough of what was written, or the connection is over."""
        await self._writable.wait()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def _gathered(self) -> None:
        self._timer = None
        self._apply()

    def _apply(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if self._held or self._timer is not None:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()
