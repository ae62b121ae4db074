"""A TCP proxy in front of a real broker: it stalls, cuts, or answers CONNECT in the broker's place."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

from tests.brokers import Broker
from tests.processes import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PIECE = 1 << 16


class _Path:
    """One client's way to the broker and back. Stalled, it takes nothing more, and closes nothing."""

    def __init__(self, client: socket.socket, broker: socket.socket) -> None:
        self.ends = (client, broker)
        self.stalled = threading.Event()
        self.over = threading.Event()

    def run(self) -> None:
        """Carry both ways until one end closes."""
        back = threading.Thread(target=self._carry, args=self.ends, daemon=True)
        back.start()
        self._carry(*reversed(self.ends))
        back.join()

    def cut(self) -> None:
        """Close both ends."""
        self.over.set()
        for end in self.ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(PIECE):
                if self.stalled.is_set():
                    self.over.wait()
                    return
                target.sendall(piece)
        if not self.stalled.is_set():
            self.cut()


class BrokerProxy:
    """Listens in a broker's place. What it does to connections, new ones or not, is set from outside."""

    def __init__(self, broker: Broker) -> None:
        self.port = free_port()
        self.connections = 0
        self.refused = 0
        self._broker = broker
        self._reason: int | None = None
        self._paths: set[_Path] = set()
        self._listener = socket.create_server(("127.0.0.1", self.port))

    def as_broker(self, folder: Path) -> Broker:
        """Return what a client needs to know."""
        return Broker("127.0.0.1", self.port, (), folder / "none")

    def stall(self) -> None:
        """Half open: nothing passes on the connections that stand, and nothing closes. New ones pass."""
        for path in list(self._paths):
            path.stalled.set()

    def cut(self) -> None:
        """Close the connections that stand."""
        for path in list(self._paths):
            path.cut()

    def refuse(self, reason: int | None) -> None:
        """Answer CONNECT with that reason (of MQTT 5) from now on, and cut; None: pass it on again."""
        self._reason = reason
        if reason is not None:
            self.cut()

    @contextlib.contextmanager
    def running(self) -> Iterator[BrokerProxy]:
        """Listen until the block ends."""
        threading.Thread(target=self._accept, daemon=True).start()
        try:
            yield self
        finally:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        self.connections += 1
        with client, contextlib.suppress(OSError):
            if self._reason is not None:
                self._turn_away(client, self._reason)
                return
            with socket.create_connection((self._broker.host, self._broker.port), timeout=5) as broker:
                broker.settimeout(None)
                for end in (client, broker):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                path = _Path(client, broker)
                self._paths.add(path)
                try:
                    path.run()
                finally:
                    self._paths.discard(path)

    def _turn_away(self, client: socket.socket, reason: int) -> None:
        """Read CONNECT, which names its level behind the protocol's name, and answer it."""
        connect = client.recv(PIECE)
        level = connect[connect.index(b"MQTT") + 4]
        client.sendall(bytes([0x20, 3, 0, reason, 0]) if level == 5 else b"\x20\x02\x00\x03")
        self.refused += 1
        client.recv(PIECE)  # until it goes
