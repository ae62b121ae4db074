"""The generator without a broker, into a socket that throws all away: to show that it is not the limit."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from typing import TYPE_CHECKING

from firmware_sim.clock import Scale
from tests.benchmarks.headline import EVENT_ORIGIN_NS, Workload
from tests.benchmarks.load import load

if TYPE_CHECKING:
    from pathlib import Path

_ACCEPTED = b"\x20\x02\x00\x00"


def generator_alone(folder: Path, *, messages: int = 1_000_000, devices: int = 10_000) -> float:
    """Return how many messages/s the generator makes and sends at QoS 0."""
    home = folder / "alone"
    home.mkdir(parents=True)
    Scale.starting_now(1_000.0, event_origin_ns=EVENT_ORIGIN_NS).write(home / "clock.json")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_swallow, args=(listening,), daemon=True).start()
        port = listening.getsockname()[1]
        workload = Workload(devices=devices, qos=0)
        with load(home, port, workload, messages=messages) as sending:
            out, _ = sending.communicate(timeout=120)
    said = json.loads(out)
    assert said["messages"] == messages
    return messages / float(said["seconds"])


def _swallow(listening: socket.socket) -> None:
    """Welcome every connection, and throw away what comes on it."""
    with contextlib.suppress(OSError):  # the listening socket was closed
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=_empty, args=(connection,), daemon=True).start()


def _empty(connection: socket.socket) -> None:
    with connection, contextlib.suppress(OSError):
        connection.recv(1_024)
        connection.sendall(_ACCEPTED)
        buffer = bytearray(1 << 20)
        while connection.recv_into(buffer):
            pass
