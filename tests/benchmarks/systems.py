"""What is measured, as processes of their own: null subscriber, usual gateway, Écluse."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from tests.benchmarks import null_subscriber, reference
from tests.benchmarks.counters import Counters
from tests.benchmarks.headline import GRACE_S, SITE, ZONE, Workload, write_devices, write_profile
from tests.benchmarks.load import AHEAD, AHEAD_GATHERED
from tests.benchmarks.sinks import all_of, module, ready
from tests.integration.gateway_process import PROJECT, START_S, GatewayProcess, gateway
from tests.processes import stop

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from firmware_sim.clock import Scale
    from tests.benchmarks.sinks import Sink
    from tests.brokers import Broker

DRAIN_S = 180.0
DEVICES_A_SECOND = 2_000
"""How fast a gateway must take in its registry at the start, at least."""


@dataclass(frozen=True)
class Account:
    """What a system says it did with what it was sent."""

    received: int
    """Messages."""
    points: int
    """Raw points that its sink has, as the sink itself says."""
    windows: int = 0
    """Points of windows that were made."""
    problems: tuple[str, ...] = ()
    """What does not add up: empty where counts in are counts out."""


@dataclass(frozen=True)
class Place:
    """Where a system runs: its files, the broker that it sees, its sink."""

    folder: Path
    broker: Broker
    sink: Sink


class System(Protocol):
    """A system under measurement."""

    counters: Path | None
    """Where it or its sink counts what it dealt with (slot 0), for the generator to wait for it."""
    ahead: int
    """How far that count may be behind the generator."""

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """Its process."""
        ...

    def dealt(self) -> tuple[int, int]:
        """Return how many messages it has dealt with, and how many points of windows it has made."""
        ...

    def stored(self) -> int:
        """Return how many raw points its sink has."""
        ...

    def account(self, sent: int) -> Account:
        """Wait until it has dealt with everything or gets no further, and end it; return its account."""
        ...


def system(
    name: str, place: Place, workload: Workload, scale: Scale, grace_s: float
) -> contextlib.AbstractContextManager[System]:
    """Run a system by its name: null, usual, ecluse."""
    if name == "null":
        return null(place, workload)
    if name == "usual":
        return usual(place)
    return ecluse(place, workload, scale, grace_s=grace_s)


@dataclass
class NullSubscriber:
    """The packet core alone."""

    process: subprocess.Popen[bytes]
    counters: Path | None
    counted: Counters
    ahead: int = AHEAD_GATHERED

    def dealt(self) -> tuple[int, int]:
        """Return how many messages it has dealt with."""
        return self.counted[null_subscriber.RECEIVED], 0

    def stored(self) -> int:
        """Return 0: it stores nothing."""
        return 0

    def account(self, sent: int) -> Account:
        """Wait until it has dealt with everything, and end it."""
        all_of(lambda: self.dealt()[0], sent)
        stop(self.process)
        received, _ = self.dealt()
        return Account(received, 0, problems=_equal(received=received, sent=sent))


@contextlib.contextmanager
def null(place: Place, workload: Workload) -> Iterator[System]:
    """Run the null subscriber."""
    path, log = place.folder / "received.bin", place.folder / "null.log"
    counted = Counters(path)
    protocol = "3.1.1" if workload.broker == "nats" else "auto"
    arguments = ("--port", place.broker.port, "--counters", path, "--protocol", protocol)
    with module("null_subscriber", *arguments, log=log) as process:
        ready(process, lambda: bool(counted[null_subscriber.READY]), "null subscriber", log)
        yield NullSubscriber(process, path, counted)


@dataclass
class UsualGateway:
    """The reference."""

    process: subprocess.Popen[bytes]
    counters: Path | None
    counted: Counters
    sink: Sink
    ahead: int = AHEAD

    def dealt(self) -> tuple[int, int]:
        """Return how many messages became a point."""
        return self.counted[reference.DEALT], 0

    def stored(self) -> int:
        """Return how many points its sink has taken."""
        return self.counted[reference.WRITTEN]

    def account(self, sent: int) -> Account:
        """Wait until it has dealt with everything, and end it."""
        # What is less than a batch is written when it ends; `dealt` is exact but for the last 49.
        all_of(lambda: self.dealt()[0], sent - 49)
        before = -1
        while before != (before := self.dealt()[0]):
            time.sleep(0.3)
        stop(self.process)
        written = self.stored()
        points = self.sink.count()
        return Account(written, points, problems=_equal(written=written, points=points, sent=sent))


@contextlib.contextmanager
def usual(place: Place) -> Iterator[System]:
    """Run the usual gateway."""
    path, log = place.folder / "reference.bin", place.folder / "reference.log"
    counted = Counters(path)
    arguments = ("--port", place.broker.port, "--url", place.sink.url, "--counters", path)
    with module("reference", *arguments, log=log) as process:
        ready(process, lambda: bool(counted[reference.READY]), "usual gateway", log)
        yield UsualGateway(process, path, counted, place.sink)


@dataclass
class Ecluse:
    """The product, as an operator runs it."""

    running: GatewayProcess
    sink: Sink
    counters: Path | None = None
    ahead: int = AHEAD_GATHERED

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """Return the process that runs."""
        assert self.running.process is not None
        return self.running.process

    def dealt(self) -> tuple[int, int]:
        """Return how many messages it has decoded, as its status says at that moment."""
        status = self.running.status()
        assert status is not None, f"the gateway does not answer: {self.running.log[-2000:]}"
        return int(status["uplinks"]["decoded"]), int(status["windows"])

    def account(self, sent: int) -> Account:
        """Wait until it has dealt with everything, and end it.

        Windows whose time has not come need not be waited for, but where they are compared afterwards.
        """
        if self.sink.settings["kind"] == "embedded":
            self.running.drained(uplinks=sent, within_s=DRAIN_S)
        else:
            all_of(self.stored, sent)
        status = self.running.status()
        assert status is not None
        code = self.running.stop()
        uplinks = status["uplinks"]
        problems = _equal(journalled=uplinks["journalled"], decoded=uplinks["decoded"], sent=sent)
        if not status["balanced"]:
            problems += ("the books do not balance",)
        if code:
            problems += (f"ended with {code}",)
        all_of(self.sink.count, sent)
        points = self.sink.count()
        problems += _equal(points=points, sent=sent)
        return Account(uplinks["journalled"], points, int(status["windows"]), problems)

    def stored(self) -> int:
        """Return how many raw points its sink has: too few while some are waiting, exact once none is."""
        if self.sink.counters is not None:
            return self.sink.count()
        status = self.running.status()
        if status is None:
            return 0
        waiting = sum(int(book["waiting"]) for book in status["sinks"].values())
        return int(status["uplinks"]["decoded"]) - waiting


@contextlib.contextmanager
def ecluse(
    place: Place,
    workload: Workload,
    scale: Scale,
    *,
    grace_s: float = GRACE_S,
    settings: Mapping[str, Any] | None = None,
) -> Iterator[Ecluse]:
    """Run the gateway with settings of its own, its files under the place's folder; `settings` are more."""
    folder, sink = place.folder, place.sink
    write_devices(folder / "devices.csv", workload.devices)
    profiles = write_profile(PROJECT / "device_profiles", folder, scale.factor, workload.root)
    more = {
        "sites": {SITE: {"zone": ZONE}},
        "windows": {"grace": f"{round(grace_s * scale.factor)}s"},
        "broker": {"silence": "10min", "client_id": f"ecluse-{workload.root}"},
        **(settings or {}),
    }
    with gateway(
        folder, place.broker, sink.settings, scale=scale, profiles=profiles, more=more, start=False
    ) as running:
        running.start(ready=False)
        running.wait(
            lambda now: bool(now["connection"]["state"] == "connected"),
            "connected to the broker",
            within_s=START_S + workload.devices / DEVICES_A_SECOND,
        )
        yield Ecluse(running, sink, sink.counters)


def _equal(**counts: int) -> tuple[str, ...]:
    """Return a sentence where the counts are not all the same."""
    told = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    return () if len(set(counts.values())) == 1 else (told,)
