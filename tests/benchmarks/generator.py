"""The load generator: one process, packets made in advance, raw sockets, PUBACKs counted.

    python -m tests.benchmarks.generator --port 1883 --scale scale.json --counters sent.bin …

Every device stays on one connection, so that its messages keep their order. At QoS 1 each connection has at
most `window` messages unanswered. `--behind` and `--ahead` hold it back while a receiver (its counters' file)
is more than so many messages behind: a broker keeps what a slow receiver has not taken, and a longer queue
would measure the broker's memory. Device times are those of the scaled clock, shared as a file.

Ends after `--messages`, or when slot 3 of its counters is set. Prints its account as JSON.
"""

from __future__ import annotations

import argparse
import json
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from gateway.clock import Scale
from tests.benchmarks.counters import Counters
from tests.benchmarks.messages import Packets

SENT, ACKNOWLEDGED, HELD, STOP = range(4)
"""Slots of its counters; HELD: milliseconds in which a receiver held it back."""
_CONNECT: Final = b"\x00\x04MQTT\x04\x02\x00\x00"
"""MQTT 3.1.1, clean session, no keep-alive: its PUBACKs are four bytes, always."""
_PUBACK: Final = 4
_RECEIVE: Final = 1 << 18
_PAUSE_S: Final = 0.002
"""Never blocks on a PUBACK: a reader that sleeps costs the broker a wake-up for each."""


@dataclass(slots=True)
class Connection:
    """A connection to the broker and what is on its way."""

    sock: socket.socket
    sent: int = 0
    answered: int = 0
    _rest: int = 0

    @classmethod
    def open(cls, port: int, name: str) -> Connection:
        """Connect; return once the broker has accepted it."""
        sock = socket.create_connection(("127.0.0.1", port), timeout=60)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        body = _CONNECT + len(name).to_bytes(2, "big") + name.encode()
        sock.sendall(bytes((0x10, len(body))) + body)
        answer = sock.recv(4, socket.MSG_WAITALL)
        if answer != b"\x20\x02\x00\x00":
            raise SystemExit(f"the broker did not accept the generator: {answer!r}")
        sock.settimeout(None)  # with a time-out, Python would wait even where it is told not to
        return cls(sock)

    def send(self, block: memoryview, count: int) -> None:
        """Send packets, waiting while the broker does not read."""
        self.sock.sendall(block)
        self.sent += count

    def answers(self) -> None:
        """Count the PUBACKs that are there."""
        try:
            while True:
                data = self.sock.recv(_RECEIVE, socket.MSG_DONTWAIT)
                if not data:
                    raise SystemExit("the broker closed the generator's connection")
                self._rest += len(data)
                if len(data) < _RECEIVE:
                    break
        except BlockingIOError:
            pass
        self.answered, self._rest = self.answered + self._rest // _PUBACK, self._rest % _PUBACK


@dataclass(frozen=True, slots=True)
class Load:
    """What is to be sent."""

    port: int
    devices: int
    qos: int
    messages: int
    rate: int
    connections: int
    window: int
    block: int
    ahead: int
    root: str


@dataclass(slots=True)
class Generator:
    """Sends a load; `ledger` keeps (first message, messages, device time in ms) of every block."""

    load: Load
    scale: Scale
    counters: Counters
    behind: Counters | None = None
    ledger: list[tuple[int, int, int]] = field(default_factory=list)

    def run(self) -> dict[str, float]:
        """Send everything; return once the broker has answered for it, with the account."""
        load = self.load
        packets = Packets(load.devices, qos=load.qos, root=load.root)
        names = (f"load-{load.root}-{number}" for number in range(load.connections))
        links = [Connection.open(load.port, name) for name in names]
        began, cpu, message = time.perf_counter(), time.process_time(), 0
        while message < load.messages and not self.counters[STOP]:
            turn, first = divmod(message, load.devices)
            end = min(first + load.block, load.devices, first + load.messages - message)
            self._wait(message, began)
            link = links[first // load.block % len(links)]
            self._make_room(link, end - first)
            ts_ms = self.scale.event_ns(time.time_ns()) // 1_000_000
            link.send(packets.block(turn, first, end, ts_ms=ts_ms, sent=link.sent), end - first)
            self.ledger.append((message, end - first, ts_ms))
            message += end - first
            self._count(links, message)
        sent = time.perf_counter() - began
        for link in links:
            while load.qos and link.answered < link.sent:
                time.sleep(_PAUSE_S)
                link.answers()
        self._count(links, message)
        return {
            "messages": message,
            "seconds": sent,
            "cpu_s": time.process_time() - cpu,
            "bytes": packets.length,
            "held_s": self.counters[HELD] / 1_000,
        }

    def _wait(self, message: int, began: float) -> None:
        """Keep the rate; let the receiver catch up."""
        if self.load.rate:
            due = began + message / self.load.rate - time.perf_counter()
            if due > 0:
                time.sleep(due)
        if self.behind is not None and message - self.behind[0] > self.load.ahead:
            stopped = time.perf_counter()
            while message - self.behind[0] > self.load.ahead and not self.counters[STOP]:
                time.sleep(_PAUSE_S)
            self.counters[HELD] += round((time.perf_counter() - stopped) * 1_000)

    def _make_room(self, link: Connection, count: int) -> None:
        if not self.load.qos:
            return
        link.answers()
        while link.sent + count - link.answered > self.load.window:
            time.sleep(_PAUSE_S)
            link.answers()

    def _count(self, links: list[Connection], message: int) -> None:
        self.counters[SENT] = message
        self.counters[ACKNOWLEDGED] = sum(link.answered for link in links)


def main() -> None:
    """Send what the command line says."""
    arguments = _arguments()
    load = Load(
        port=arguments.port,
        devices=arguments.devices,
        qos=arguments.qos,
        messages=arguments.messages,
        rate=arguments.rate,
        connections=arguments.connections,
        window=arguments.window,
        # At a set rate small blocks: 5 ms of it, so that messages flow and do not come in bursts.
        block=min(arguments.block, max(1, arguments.rate // 200) if arguments.rate else arguments.block),
        ahead=arguments.ahead,
        root=arguments.root,
    )
    generator = Generator(
        load,
        Scale.read(arguments.scale),
        Counters(arguments.counters),
        Counters(arguments.behind) if arguments.behind else None,
    )
    account = generator.run()
    if arguments.ledger:
        np.save(arguments.ledger, np.array(generator.ledger, dtype=np.int64).reshape(-1, 3))
    print(json.dumps(account))  # noqa: T201 - its account is its output


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Publish bin levels as fast as a broker takes them.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--scale", type=Path, required=True, help="the clock, as JSON")
    parser.add_argument("--counters", type=Path, required=True, help="where it counts")
    parser.add_argument("--messages", type=int, default=1 << 40)
    parser.add_argument("--devices", type=int, default=10_000)
    parser.add_argument("--qos", type=int, choices=(0, 1), default=1)
    parser.add_argument("--rate", type=int, default=0, help="messages/s; 0: as fast as it goes")
    parser.add_argument("--root", default="city", help="what topics begin with")
    parser.add_argument("--connections", type=int, default=2)
    parser.add_argument("--window", type=int, default=2_000, help="unanswered messages a connection")
    parser.add_argument("--block", type=int, default=500, help="messages a write")
    parser.add_argument("--behind", type=Path, help="counters of the receiver that it waits for")
    parser.add_argument("--ahead", type=int, default=50_000, help="how far the receiver may be behind")
    parser.add_argument("--ledger", type=Path, help="where to save the times of the blocks (.npy)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
