"""The generator as a process of its own, and what holds it back."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from tests.benchmarks.counters import Counters
from tests.brokers import client
from tests.integration.gateway_process import PROJECT
from tests.processes import stop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import paho.mqtt.client as paho

    from tests.benchmarks.headline import Workload
    from tests.benchmarks.systems import System
    from tests.brokers import Broker

AHEAD: Final = 20_000
"""How far a system that counts each message may be behind the generator."""
AHEAD_GATHERED: Final = 150_000
"""The same where its sink counts: what it has in hand between socket and sink, and as much at the broker."""
AHEAD_AT_LEAST, AHEAD_S = 150_000, 1.5
"""The same where only the broker counts, once a second: seconds of the expected rate."""
_DELIVERED: Final = "$SYS/broker/publish/messages/sent"


@contextlib.contextmanager
def load(
    folder: Path,
    port: int,
    workload: Workload,
    *,
    behind: Path | None = None,
    ahead: int = AHEAD,
    messages: int = 1 << 40,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run the generator; it ends when its STOP is set, or after so many messages.

    It shares `clock.json`, and leaves its counters in `sent.bin`, its blocks in `ledger.npy`.
    """
    command = [sys.executable, "-m", "tests.benchmarks.generator"]
    asked: dict[str, object] = {
        "port": port,
        "scale": folder / "clock.json",
        "counters": folder / "sent.bin",
        "devices": workload.devices,
        "qos": workload.qos,
        "rate": workload.rate,
        "messages": messages,
        "ledger": folder / "ledger.npy",
    }
    if behind is not None:
        asked |= {"behind": behind, "ahead": ahead}
    for name, value in asked.items():
        command += [f"--{name}", str(value)]
    with (folder / "generator.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log
        )
    try:
        yield process
    finally:
        stop(process)


@contextlib.contextmanager
def held_back(
    folder: Path, broker: Broker, workload: Workload, system: System, rate: float
) -> Iterator[subprocess.Popen[bytes]]:
    """Run the generator, held back by what the system counts, or else by what its broker says."""
    if system.counters is not None:
        with load(folder, broker.port, workload, behind=system.counters, ahead=system.ahead) as sending:
            yield sending
        return
    ahead = max(AHEAD_AT_LEAST, round(AHEAD_S * rate))
    with (
        _delivered(broker, folder) as delivered,
        load(folder, broker.port, workload, behind=delivered, ahead=ahead) as sending,
    ):
        yield sending


@contextlib.contextmanager
def _delivered(broker: Broker, folder: Path) -> Iterator[Path]:
    """Keep a count of what Mosquitto has delivered."""
    path = folder / "delivered.bin"
    counters = Counters(path)
    watcher = client(broker, "ecluse-benchmark")

    def note(_client: object, _data: object, message: paho.MQTTMessage) -> None:
        counters[0] = int(message.payload)

    watcher.on_message = note
    watcher.connect(broker.host, broker.port)
    watcher.subscribe(_DELIVERED)
    watcher.loop_start()
    try:
        yield path
    finally:
        watcher.disconnect()
        watcher.loop_stop()
