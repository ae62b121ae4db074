"""Between a broker and its subscriber: passes bytes on, and sees how soon each message is acknowledged.

A device's time in a message is the moment of its publishing on the shared clock; the PUBACK leaves the
gateway once the journal has the message on disk. So publish → durable is seen whole, from outside, one value
a message, and what the tap itself costs (well under a millisecond) is in it.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from array import array
from typing import TYPE_CHECKING, Final

import numpy as np

from gateway.ingest.packets import Scanner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from firmware_sim.clock import Scale

_TS: Final = re.compile(rb'"ts":(\d+)')
_CHUNK: Final = 1 << 18
_PUBACK: Final = 0x40


class Tap:
    """Listens on `port`, and passes on to the broker's; one subscriber at a time, MQTT 5, QoS 1."""

    def __init__(self, broker_port: int, scale: Scale) -> None:
        self._broker_port = broker_port
        self._scale = scale
        self._published_ns = np.zeros(65_536, dtype=np.int64)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.late_s = array("d")
        """Publish → acknowledged of each message, in seconds of the machine's clock."""

    @contextlib.contextmanager
    def running(self) -> Iterator[Tap]:
        """Pass bytes on until the block ends."""
        threading.Thread(target=self._accept, daemon=True).start()
        try:
            yield self
        finally:
            self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the listening socket was closed
            while True:
                inner, _ = self._listening.accept()
                outer = socket.create_connection(("127.0.0.1", self._broker_port))
                for one in (inner, outer):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                ways = (outer, inner, self._delivered()), (inner, outer, self._answered())
                for way in ways:
                    threading.Thread(target=_pass_on, args=way, daemon=True).start()

    def _delivered(self) -> Callable[[bytes], None]:
        """Return what notes when the messages of a chunk were published."""
        scanner = Scanner(level=5)

        def note(data: bytes) -> None:
            for scan in scanner.feed(data):
                times = [int(found[1]) for found in map(_TS.search, scan.payloads) if found]
                assert len(times) == len(scan)
                self._published_ns[scan.packet_ids] = np.array(times, dtype=np.int64) * 1_000_000

        return note

    def _answered(self) -> Callable[[bytes], None]:
        """Return what notes how long ago the messages that a chunk acknowledges were published."""
        rest = b""

        def note(data: bytes) -> None:
            nonlocal rest
            now_ns = self._scale.event_ns(time.time_ns())
            ids, rest = acknowledged(rest + data)
            late = (now_ns - self._published_ns[ids]) / self._scale.factor / 1e9
            self.late_s.extend(late.tolist())

        return note


def acknowledged(data: bytes) -> tuple[list[int], bytes]:
    """Return the packet identifiers of all PUBACKs, and what is left of the last packet (MQTT 5, 2.1)."""
    ids: list[int] = []
    at = 0
    while True:
        begin, length, shift = at + 1, 0, 0
        while begin < len(data) and shift < 28:
            length |= (data[begin] & 0x7F) << shift
            shift, begin = shift + 7, begin + 1
            if data[begin - 1] < 0x80:
                break
        else:
            return ids, data[at:]
        if begin + length > len(data):
            return ids, data[at:]
        if data[at] == _PUBACK:
            ids.append(int.from_bytes(data[begin : begin + 2], "big"))
        at = begin + length


def _pass_on(source: socket.socket, target: socket.socket, note: Callable[[bytes], None]) -> None:
    """Pass on what comes until one side ends, then end both."""
    with source, target, contextlib.suppress(OSError):
        while data := source.recv(_CHUNK):
            note(data)
            target.sendall(data)
        target.shutdown(socket.SHUT_RDWR)
