"""The generator as a process of its own, and what holds it back."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Final

from tests.benchmarks.counters import Counters
from tests.integration.gateway_process import PROJECT
from tests.processes import stop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.benchmarks.headline import Workload
    from tests.benchmarks.systems import System
    from tests.brokers import Broker

AHEAD: Final = 20_000
"""How far a system that counts each message may be behind the generator."""
AHEAD_GATHERED: Final = 150_000
"""The same where its sink counts: what it has in hand between socket and sink, and as much at the broker."""
AHEAD_S: Final = 2.0
"""The same, at least, where it must be asked: seconds of the expected rate."""
ASK_EVERY_S: Final = 1.0


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
        "root": workload.root,
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
    """Run the generator, held back by what the system or its sink counts, or else by what it says.

    At a set rate nothing that would have to be asked is asked.
    """
    behind, ahead = system.counters, system.ahead
    with contextlib.ExitStack() as asking:
        if behind is None and not workload.rate:
            behind, ahead = asking.enter_context(_asked(system, folder)), max(ahead, round(AHEAD_S * rate))
        with load(folder, broker.port, workload, behind=behind, ahead=ahead) as sending:
            yield sending


@contextlib.contextmanager
def _asked(system: System, folder: Path) -> Iterator[Path]:
    """Keep a count of what the system has stored, asking it once a second: a thousandth of a core."""
    counters, ended = Counters(folder / "stored.bin"), threading.Event()

    def ask() -> None:
        while not ended.wait(ASK_EVERY_S):
            counters[0] = max(counters[0], system.stored())

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield folder / "stored.bin"
    finally:
        ended.set()
        asking.join()
