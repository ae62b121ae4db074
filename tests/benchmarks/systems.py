"""What is measured, as processes of their own: null subscriber, usual gateway, Écluse; and their sinks."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from tests.benchmarks import null_sink, null_subscriber, reference
from tests.benchmarks.counters import Counters
from tests.benchmarks.headline import GRACE_S, SITE, ZONE, Workload, write_devices, write_profile
from tests.databases import influxdb, victoria_metrics
from tests.integration.gateway_process import PROJECT, GatewayProcess, gateway
from tests.processes import free_port, stop, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from firmware_sim.clock import Scale
    from tests.brokers import Broker

DRAIN_S = 180.0


@dataclass(frozen=True)
class Sink:
    """Where points go: how the gateway's settings name it, its process, how many points it has."""

    settings: dict[str, Any]
    url: str = ""
    process: subprocess.Popen[bytes] | None = None
    counters: Counters | None = None


@dataclass(frozen=True)
class Account:
    """What a system says it did with what it was sent."""

    received: int
    """Messages."""
    points: int
    """Raw points that its sink has (the null sink's own count where it is used)."""
    windows: int = 0
    """Points of windows that were written."""
    problems: tuple[str, ...] = ()
    """What does not add up: empty where counts in are counts out."""
    status: dict[str, Any] = field(default_factory=dict)


class System(Protocol):
    """A system under measurement."""

    process: subprocess.Popen[bytes]
    counters: Path | None
    """Where it counts what it dealt with, for the generator to wait for it."""

    def dealt(self) -> int:
        """Return how many messages it has dealt with."""
        ...

    def account(self, sent: int) -> Account:
        """Wait until it has dealt with everything, and end it; return its account."""
        ...


@contextlib.contextmanager
def module(name: str, *arguments: object, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a module of this folder until the block ends."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", f"tests.benchmarks.{name}", *map(str, arguments)],
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        stop(process)


def ready(process: subprocess.Popen[bytes], condition: Callable[[], bool], what: str, log: Path) -> None:
    """Wait until it is ready; say why where it ended instead."""
    wait_until(lambda: process.poll() is not None or condition(), within_s=30, what=what)
    assert process.poll() is None, f"{what} ended: {log.read_text(errors='replace')[-2000:]}"


@dataclass
class NullSubscriber:
    """The packet core alone."""

    process: subprocess.Popen[bytes]
    counters: Path
    counted: Counters

    def dealt(self) -> int:
        """Return how many messages it has dealt with."""
        return self.counted[null_subscriber.RECEIVED]

    def account(self, sent: int) -> Account:
        """Wait until it has dealt with everything, and end it."""
        wait_until(lambda: self.dealt() >= sent, within_s=DRAIN_S, what=f"{sent} messages received")
        stop(self.process)
        return Account(self.dealt(), 0, problems=_equal(received=self.dealt(), sent=sent))


@contextlib.contextmanager
def null(folder: Path, broker: Broker, _sink: Sink, workload: Workload) -> Iterator[System]:
    """Run the null subscriber."""
    path, log = folder / "received.bin", folder / "null.log"
    counted = Counters(path)
    protocol = "3.1.1" if workload.broker == "nats" else "auto"
    arguments = ("--port", broker.port, "--counters", path, "--protocol", protocol)
    with module("null_subscriber", *arguments, log=log) as process:
        ready(process, lambda: bool(counted[null_subscriber.READY]), "null subscriber", log)
        yield NullSubscriber(process, path, counted)


@dataclass
class UsualGateway:
    """The reference."""

    process: subprocess.Popen[bytes]
    counters: Path
    counted: Counters
    sink: Sink

    def dealt(self) -> int:
        """Return how many messages became a point."""
        return self.counted[reference.DEALT]

    def written(self) -> int:
        """Return how many points its sink has taken."""
        return self.counted[reference.WRITTEN]

    def account(self, sent: int) -> Account:
        """Wait until it has dealt with everything, and end it."""
        # What is less than a batch is written when it ends.
        most = sent - reference.BATCH
        wait_until(lambda: self.written() > most, within_s=DRAIN_S, what=f"{sent} messages written")
        before = -1
        while before != (before := self.dealt()):
            time.sleep(0.3)
        stop(self.process)
        written = self.written()
        points = _lines(self.sink)[0] if self.sink.counters is not None else written
        return Account(written, points, problems=_equal(written=written, points=points, sent=sent))


@contextlib.contextmanager
def usual(folder: Path, broker: Broker, sink: Sink) -> Iterator[System]:
    """Run the usual gateway."""
    path, log = folder / "reference.bin", folder / "reference.log"
    counted = Counters(path)
    arguments = ("--port", broker.port, "--url", sink.url, "--counters", path)
    with module("reference", *arguments, log=log) as process:
        ready(process, lambda: bool(counted[reference.READY]), "usual gateway", log)
        yield UsualGateway(process, path, counted, sink)


@dataclass
class Ecluse:
    """The product, as an operator runs it."""

    running: GatewayProcess
    sink: Sink
    counters: Path | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """Return the process that runs."""
        assert self.running.process is not None
        return self.running.process

    def dealt(self) -> int:
        """Return how many messages it has dealt with."""
        return int((self.running.status() or {"uplinks": {"decoded": 0}})["uplinks"]["decoded"])

    def account(self, sent: int) -> Account:
        """Wait until it has dealt with everything, and end it."""
        status = self.running.drained(uplinks=sent, within_s=DRAIN_S)
        code = self.running.stop()
        uplinks, book = status["uplinks"], next(iter(status["sinks"].values()))
        problems = _equal(journalled=uplinks["journalled"], decoded=uplinks["decoded"], sent=sent)
        if not status["balanced"]:
            problems += ("the books do not balance",)
        if code:
            problems += (f"ended with {code}",)
        windows = int(status["windows"])
        points = int(book["stored"]) - windows
        if self.sink.counters is not None:
            # What was written while it stopped is not in the last status.
            points, windows = _lines(self.sink)
        problems += _equal(points=points, sent=sent)
        return Account(uplinks["journalled"], points, windows, problems, status)


@contextlib.contextmanager
def ecluse(
    folder: Path,
    broker: Broker,
    sink: Sink,
    workload: Workload,
    scale: Scale,
    *,
    grace_s: float = GRACE_S,
) -> Iterator[System]:
    """Run the gateway with settings of its own, its files under `folder`."""
    write_devices(folder / "devices.csv", workload.devices)
    profiles = write_profile(PROJECT / "device_profiles", folder, scale.factor)
    more = {
        "sites": {SITE: {"zone": ZONE}},
        "windows": {"grace": f"{round(grace_s * scale.factor)}s"},
        "broker": {"silence": "10min"},
    }
    with gateway(folder, broker, sink.settings, scale=scale, profiles=profiles, more=more) as running:
        yield Ecluse(running, sink)


@contextlib.contextmanager
def sink(folder: Path, kind: str) -> Iterator[Sink]:
    """Run the sink of that kind: null, influxdb, victoriametrics or embedded (which is the gateway's own)."""
    named = {"name": "sink", "policy": "hold"}
    if kind == "embedded":
        yield Sink(named | {"kind": "embedded"})
    elif kind == "influxdb":
        with influxdb(folder / "influx") as influx:
            yield Sink(named | {"kind": "influxdb1", "url": influx.url}, influx.url, influx.process)
    elif kind == "victoriametrics":
        with victoria_metrics(folder / "victoria") as victoria:
            settings = named | {"kind": "victoriametrics", "url": victoria.url}
            yield Sink(settings, victoria.url, victoria.process)
    else:
        port, path, log = free_port(), folder / "sink.bin", folder / "sink.log"
        counted, url = Counters(path), f"http://127.0.0.1:{port}"
        with module("null_sink", "--port", port, "--counters", path, log=log) as process:
            ready(process, lambda: bool(counted[null_sink.READY]), "null sink", log)
            yield Sink(named | {"kind": "influxdb1", "url": url}, url, process, counted)


def _lines(sink: Sink) -> tuple[int, int]:
    """Return (raw points, points of windows) that the null sink has."""
    assert sink.counters is not None
    windows = sink.counters[null_sink.WINDOW_LINES]
    return sink.counters[null_sink.LINES] - windows, windows


def _equal(**counts: int) -> tuple[str, ...]:
    """Return a sentence where the counts are not all the same."""
    told = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    return () if len(set(counts.values())) == 1 else (told,)
