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
from tests.benchmarks.load import AHEAD, AHEAD_GATHERED
from tests.databases import influxdb, victoria_metrics
from tests.integration.gateway_process import PROJECT, START_S, GatewayProcess, gateway
from tests.processes import free_port, stop, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from firmware_sim.clock import Scale
    from tests.brokers import Broker

DRAIN_S = 180.0
STILL_S = 15.0
POLL_S = 0.1
DEVICES_A_SECOND = 2_000
"""How fast a gateway must take in its registry at the start, at least."""


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


@dataclass(frozen=True)
class Place:
    """Where a system runs: its files, the broker that it sees, its sink."""

    folder: Path
    broker: Broker
    sink: Sink


class System(Protocol):
    """A system under measurement."""

    process: subprocess.Popen[bytes]
    counters: Path | None
    """Where it or its sink counts what it dealt with (slot 0), for the generator to wait for it."""
    ahead: int
    """How far that count may be behind the generator."""

    def dealt(self) -> tuple[int, int]:
        """Return how many messages it has dealt with, and how many points of windows it has made."""
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


def all_of(count: Callable[[], int], enough: int) -> None:
    """Wait until a count is enough, or until it has stood still for some seconds: then something is lost."""
    seen, since = count(), time.monotonic()
    while seen < enough and time.monotonic() - since < STILL_S:
        time.sleep(POLL_S)
        if (now := count()) != seen:
            seen, since = now, time.monotonic()


@dataclass
class NullSubscriber:
    """The packet core alone."""

    process: subprocess.Popen[bytes]
    counters: Path | None
    counted: Counters
    ahead: int = AHEAD

    def dealt(self) -> tuple[int, int]:
        """Return how many messages it has dealt with."""
        return self.counted[null_subscriber.RECEIVED], 0

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

    def account(self, sent: int) -> Account:
        """Wait until it has dealt with everything, and end it."""
        # What is less than a batch is written when it ends; `dealt` is exact but for the last 49.
        all_of(lambda: self.dealt()[0], sent - 49)
        before = -1
        while before != (before := self.dealt()[0]):
            time.sleep(0.3)
        stop(self.process)
        written = self.counted[reference.WRITTEN]
        points = _lines(self.sink)[0] if self.sink.counters is not None else written
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
            all_of(self._raw, sent)
        status = self.running.status()
        assert status is not None
        code = self.running.stop()
        uplinks = status["uplinks"]
        problems = _equal(journalled=uplinks["journalled"], decoded=uplinks["decoded"], sent=sent)
        if not status["balanced"]:
            problems += ("the books do not balance",)
        if code:
            problems += (f"ended with {code}",)
        points, windows = _stored(status), int(status["windows"])
        if self.sink.counters is not None:
            # What was written while it stopped is not in the last status.
            points, windows = _lines(self.sink)
        problems += _equal(points=points, sent=sent)
        return Account(uplinks["journalled"], points, windows, problems, status)

    def _raw(self) -> int:
        """Return how many raw points its sink has: exact once nothing waits."""
        if self.sink.counters is not None:
            return _lines(self.sink)[0]
        return _stored(self.running.status() or {"sinks": {}, "windows": 0})


@contextlib.contextmanager
def ecluse(place: Place, workload: Workload, scale: Scale, *, grace_s: float = GRACE_S) -> Iterator[System]:
    """Run the gateway with settings of its own, its files under the place's folder."""
    folder, sink = place.folder, place.sink
    write_devices(folder / "devices.csv", workload.devices)
    profiles = write_profile(PROJECT / "device_profiles", folder, scale.factor)
    more = {
        "sites": {SITE: {"zone": ZONE}},
        "windows": {"grace": f"{round(grace_s * scale.factor)}s"},
        "broker": {"silence": "10min"},
    }
    settings = {"scale": scale, "profiles": profiles, "more": more, "start": False}
    with gateway(folder, place.broker, sink.settings, **settings) as running:
        running.start(ready=False)
        running.wait(
            lambda now: bool(now["connection"]["state"] == "connected"),
            "connected to the broker",
            within_s=START_S + workload.devices / DEVICES_A_SECOND,
        )
        yield Ecluse(running, sink, None if sink.counters is None else folder / "sink.bin")


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
    return sink.counters[null_sink.RAW_LINES], sink.counters[null_sink.WINDOW_LINES]


def _stored(status: dict[str, Any]) -> int:
    """Return how many raw points the sink has: all but those of windows; too few while some are waiting."""
    return sum(int(book["stored"]) for book in status["sinks"].values()) - int(status["windows"])


def _equal(**counts: int) -> tuple[str, ...]:
    """Return a sentence where the counts are not all the same."""
    told = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    return () if len(set(counts.values())) == 1 else (told,)
