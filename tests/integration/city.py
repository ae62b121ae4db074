"""The simulated city as a process of its own, and the time that it shares with a gateway."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from firmware_sim import ledger
from firmware_sim.clock import Scale
from firmware_sim.fleet import Fleet, write_devices
from tests.processes import stop

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from firmware_sim.model import Spec
    from tests.brokers import Broker


def scale_from(begins: str, *, speed: float) -> Scale:
    """Return a scale on which it is now that moment (RFC 3339)."""
    origin = int(datetime.fromisoformat(begins).timestamp()) * 10**9
    return Scale.starting_now(speed, event_origin_ns=origin)


def fleet(path: Path, devices: int, *, seed: int = 1) -> list[Spec]:
    """Write devices.csv; return the devices."""
    specs = Fleet.of(devices).specs(seed)
    write_devices(path, specs)
    return specs


@dataclass
class City:
    """A running simulator."""

    process: subprocess.Popen[bytes]
    log: Path
    path: Path

    def wait(self, *, within_s: float) -> ledger.Contents:
        """Return the ledger once the city has ended and the broker has acknowledged everything."""
        try:
            code = self.process.wait(timeout=within_s)
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"the city goes on: {self.log.read_text()[-1000:]}") from error
        assert code == 0, self.log.read_text()[-2000:]
        contents = self.read()
        assert contents.ended
        assert len(contents.acknowledged) == len(contents.entries)
        return contents

    def end(self, *, within_s: float = 60) -> ledger.Contents:
        """Let the city end now; return the ledger as `wait` does."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait(within_s=within_s)

    @property
    def published(self) -> int:
        """How many messages the ledger has so far, without reading them."""
        return self.path.read_bytes().count(b'{"kind":"message"') if self.path.exists() else 0

    def read(self) -> ledger.Contents:
        """Return the ledger as it stands."""
        return ledger.read(self.path)


@contextlib.contextmanager
def city(
    folder: Path,
    broker: Broker,
    *,
    scale: Scale,
    devices: int,
    messages: int | None = None,
    faults: float = 0.02,
    seed: int = 1,
    more: Sequence[str] = (),
) -> Iterator[City]:
    """Let a city publish, so many messages or until it is ended; its ledger and its log are in the folder."""
    scale_file = folder / "scale.json"
    if not scale_file.exists():
        scale.write(scale_file)
    command = [sys.executable, "-m", "firmware_sim", "run", "--host", broker.host, "--port", str(broker.port)]
    command += ["--devices", str(devices), "--seed", str(seed)]
    command += ["--messages", str(messages)] if messages else []
    command += ["--faults", str(faults), "--scale-file", str(scale_file), "--drain", "60", *more]
    command += ["--ledger", str(folder / "ledger.jsonl")]
    log = folder / "city.log"
    with log.open("ab") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    try:
        yield City(process, log, folder / "ledger.jsonl")
    finally:
        stop(process)


def event_ns(scale: Scale) -> int:
    """Return the event time now."""
    return scale.event_ns(time.time_ns())
