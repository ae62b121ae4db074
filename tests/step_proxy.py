"""A TCP proxy between gateway and broker that knows MQTT packets, and stops at one of them."""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

from tests.brokers import Broker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Kind(IntEnum):
    """Packets of a QoS 2 delivery, by the high half of their first byte."""

    PUBLISH = 3
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7


@dataclass
class Step:
    """Stop at the `nth` packet of a kind, before or after it has passed.

    `reached` is set at that place: nothing more passes that way. Then it is the test's turn to `go`, and to
    set `go_on`.
    """

    kind: Kind
    nth: int
    passes: bool
    reached: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)

    def __str__(self) -> str:
        return f"{'behind' if self.passes else 'before'} {self.kind.name} {self.nth}"


class StepProxy:
    """Listens in a broker's place. One step at a time can be armed."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._step: Step | None = None
        self._ends: set[socket.socket] = set()

    def as_broker(self, folder: Path) -> Broker:
        """Return what a client needs to know."""
        return Broker("127.0.0.1", self.port, (), folder / "none")

    def arm(self, step: Step) -> None:
        """Wait for a step."""
        with self._lock:
            self._step = step

    def go(self) -> None:
        """Close everything: until `come_back`, connections are refused."""
        with self._lock:
            ends = [self._listener, *self._ends]
        _close(*ends)
        self._listener.close()

    def come_back(self) -> None:
        """Listen again, on the same port."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    @contextlib.contextmanager
    def running(self) -> Iterator[StepProxy]:
        """Listen until the block ends."""
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()
        try:
            yield self
        finally:
            self.go()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as closing:
            closing.enter_context(client)
            broker = closing.enter_context(
                socket.create_connection((self._broker.host, self._broker.port), timeout=5)
            )
            broker.settimeout(None)
            with self._lock:
                self._ends |= {client, broker}
            back = threading.Thread(target=self._carry, args=(broker, client), daemon=True)
            back.start()
            self._carry(client, broker)
            back.join()
            with self._lock:
                self._ends -= {client, broker}

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        """Pass on whole packets, until an end closes or a step is reached."""
        buffer = b""
        with contextlib.suppress(OSError):
            while piece := source.recv(1 << 16):
                buffer += piece
                passing = 0
                for end in _ends(buffer):
                    step = self._reached(buffer[passing] >> 4)
                    if step is None:
                        target.sendall(buffer[passing:end])
                        passing = end
                        continue
                    if step.passes:
                        target.sendall(buffer[passing:end])
                    step.reached.set()
                    step.go_on.wait(20)
                    return
                buffer = buffer[passing:]
        _close(source, target)

    def _reached(self, kind: int) -> Step | None:
        with self._lock:
            step = self._step
            if step is None or step.kind != kind:
                return None
            step.nth -= 1
            if step.nth > 0:
                return None
            self._step = None
            return step


def _close(*ends: socket.socket) -> None:
    for end in ends:
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def _ends(buffer: bytes) -> Iterator[int]:
    """Yield where each whole packet ends."""
    begin = 0
    while True:
        length = shift = 0
        at = begin + 1
        while True:
            if at >= len(buffer):
                return
            byte = buffer[at]
            length |= (byte & 0x7F) << shift
            shift, at = shift + 7, at + 1
            if byte < 0x80:
                break
        if at + length > len(buffer):
            return
        begin = at + length
        yield begin
