"""A proxy in front of a real InfluxDB that fails as told: in HTTP, or as a listener that is not there."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
from dataclasses import dataclass
from enum import Enum
from http.server import ThreadingHTTPServer
from typing import TYPE_CHECKING

from tests.databases import Handler, forwarded
from tests.processes import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.databases import Influx

ANSWERS = {
    "429": (429, {"Retry-After": "1"}, '{"error": "slow down"}'),
    "500": (500, {}, '{"error": "timeout"}'),
    "503": (503, {"Retry-After": "1"}, '{"error": "overloaded"}'),
    "507": (507, {}, '{"error": "insufficient storage"}'),
    # What InfluxDB 1 says where its disk is full.
    "full": (500, {}, '{"error": "engine: error writing WAL entry: no space left on device"}'),
    "401": (401, {}, '{"error": "unable to parse authentication credentials"}'),
}
"""Answers that a healthy database does not give; nothing is stored."""


class Ill(Enum):
    """Ways to fail that are more than an answer."""

    SLOW = "stores, and answers in time, but late"
    TOO_SLOW = "stores, and answers when nobody waits any more"
    DEAF = "reads the request and never answers; nothing is stored"
    CUT = "reads the request and cuts the connection; nothing is stored"
    CUT_ANSWER = "stores, and cuts the connection in the middle of the answer"
    PARTLY = "stores all lines but a few, which it refuses now and for ever: 400"


Fault = Ill | str
"""A string is one of ANSWERS."""


@dataclass(frozen=True, slots=True)
class Point:
    """What a line is about: its measurement with the tags, and its time, as they stand in it."""

    series: bytes
    time: bytes

    @classmethod
    def of(cls, line: bytes) -> Point:
        """Return the point of a line; no tag of the simulated city holds a space."""
        return cls(line.split(b" ", 1)[0], line.rsplit(b" ", 1)[1])


class _Server(ThreadingHTTPServer):
    """Connections that break are what it is for."""

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a client that has gone."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class DatabaseProxy:
    """Forwards to a database; `todo` is what becomes of the next writes, one after the other.

    `slow_s` and `too_slow_s` are how long answers are held back. `partly` decides which of a body's lines are
    refused; `refused` are the points that were.
    """

    def __init__(self, influx: Influx, *, slow_s: float, too_slow_s: float) -> None:
        self.influx = influx
        self.port = free_port()
        self.todo: list[Fault] = []
        self.refused: set[Point] = set()
        self.writes = 0
        self._slow_s, self._too_slow_s = slow_s, too_slow_s
        self._httpd: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        self._connections: set[socket.socket] = set()
        self._over = threading.Event()

    @property
    def url(self) -> str:
        """Where it listens, when it does."""
        return f"http://127.0.0.1:{self.port}"

    def up(self) -> None:
        """Listen."""
        proxy = self

        class Proxied(Handler):
            def setup(self) -> None:
                proxy._connections.add(self.request)
                super().setup()

            def finish(self) -> None:
                with contextlib.suppress(OSError):
                    super().finish()
                proxy._connections.discard(self.request)

            def do_POST(self) -> None:  # noqa: N802 - the base class names it so
                body = self.body()
                with contextlib.suppress(OSError):  # nobody waits any more
                    proxy._answer(self, body)

        self._httpd = _Server(("127.0.0.1", self.port), Proxied)
        self._httpd.daemon_threads = True
        self._thread = threading.Thread(
            target=self._httpd.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        self._thread.start()

    def down(self) -> None:
        """Listen no more, and cut all connections: whoever connects is refused."""
        assert self._httpd is not None
        assert self._thread is not None
        self._httpd.shutdown()
        self._httpd.server_close()
        self._thread.join()
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._httpd = None

    def fail(self, *faults: Fault, within_s: float = 90) -> None:
        """Let the next writes fail so; return once they have."""
        self.todo += faults
        wait_until(lambda: not self.todo, within_s=within_s, what=f"written to: {faults}")

    @contextlib.contextmanager
    def running(self) -> Iterator[DatabaseProxy]:
        """Listen until the block ends."""
        self.up()
        try:
            yield self
        finally:
            self._over.set()
            if self._httpd is not None:
                self.down()

    def _answer(self, handler: Handler, body: bytes) -> None:
        writes = handler.path.startswith("/write") and bool(body)
        fault = self.todo.pop(0) if writes and self.todo else None
        self.writes += writes
        if isinstance(fault, str):
            status, headers, text = ANSWERS[fault]
            handler.reply(status, text.encode(), headers)
            return
        if fault in (Ill.DEAF, Ill.CUT):
            handler.close_connection = True
            if fault is Ill.DEAF:
                self._over.wait(self._too_slow_s)
            return
        status, answer = self._forward(handler, body.split(b"\n") if writes else [body], fault)
        if fault in (Ill.SLOW, Ill.TOO_SLOW):
            self._over.wait(self._slow_s if fault is Ill.SLOW else self._too_slow_s)
        if fault is Ill.CUT_ANSWER:
            handler.close_connection = True
            handler.wfile.write(b"HTTP/1.1 204 No Con")
            handler.wfile.flush()
            return
        handler.reply(status, answer)

    def _forward(self, handler: Handler, lines: Sequence[bytes], fault: Fault | None) -> tuple[int, bytes]:
        """Pass on what is not refused; answer as InfluxDB does where something is."""
        if fault is Ill.PARTLY:
            # Every tenth point: told from the others by what it is, so that it is refused for ever.
            self.refused |= {Point.of(line) for line in lines[::10]}
        guilty = [line for line in lines if self.refused and line and Point.of(line) in self.refused]
        innocent = [line for line in lines if line not in guilty] if guilty else lines
        status, answer = forwarded(self.influx.url + handler.path, b"\n".join(innocent))
        if not guilty or status >= 300:
            return status, answer
        told = "\n".join(f"unable to parse '{line.decode()}': as the test asked" for line in guilty)
        return 400, json.dumps({"error": f"partial write: {told} dropped={len(guilty)}"}).encode()
