"""One round: a fresh broker, sink and system; a load; what every process used while it flowed steadily."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psutil

from firmware_sim.clock import Scale
from tests.benchmarks import generator, systems
from tests.benchmarks.counters import Counters
from tests.benchmarks.headline import (
    EVENT_ORIGIN_NS,
    GRACE_S,
    READINGS_A_WINDOW,
    READINGS_TOLERANCE,
    WINDOW_S,
    Workload,
)
from tests.brokers import client, mosquitto, nats
from tests.integration.gateway_process import PROJECT
from tests.processes import stop, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import paho.mqtt.client as paho

    from tests.benchmarks.systems import Account, Sink, System
    from tests.brokers import Broker

    Beside = Callable[[Sink, Scale], dict[str, Any] | None]

AHEAD = 20_000
"""How far a system that counts may be behind the generator."""
AHEAD_AT_LEAST, AHEAD_S = 200_000, 2.0
"""The same where the broker says once a second what it has delivered: seconds of the expected rate."""
_DELIVERED = "$SYS/broker/publish/messages/sent"
RATE_MIN = 1_000.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How long a round takes: seconds before measuring, and measured."""

    warm_s: float
    span_s: float
    grace_s: float = GRACE_S


@dataclass(frozen=True, slots=True)
class Round:
    """What one round showed. CPU is user + system of all threads, in µs a message of the measured span."""

    system: str
    workload: Workload
    factor: float
    messages: int
    """In the measured span."""
    rate: float
    """Messages/s that the system dealt with in the span."""
    cpu_us: dict[str, float]
    """By process: system, broker, sink, generator."""
    cores: dict[str, float]
    """Share of a core, by process."""
    peak_mb: dict[str, float]
    readings_a_window: float
    sent: int
    """In the whole round."""
    held_s: float
    """How long the generator waited for the system."""
    account: Account
    folder: Path
    """Its files: settings, state, logs, `ledger.npy`."""
    latency: dict[str, Any] = field(default_factory=dict)

    @property
    def problems(self) -> tuple[str, ...]:
        """What makes the round void."""
        return self.account.problems

    def plain(self) -> dict[str, Any]:
        """Return values for JSON."""
        return {
            "system": self.system,
            "workload": self.workload.named(),
            "rate": self.rate,
            "cpu_us_per_msg": self.cpu_us,
            "cores": self.cores,
            "peak_mb": self.peak_mb,
            "readings_a_window": self.readings_a_window,
            "factor": self.factor,
            "messages": self.messages,
            "sent": self.sent,
            "windows_written": self.account.windows,
            "latency": self.latency,
            "problems": list(self.problems),
        }


@dataclass(frozen=True, slots=True)
class _Sample:
    at_s: float
    dealt: int
    cpu_s: dict[str, float]


def round_of(
    name: str, workload: Workload, folder: Path, plan: Plan, *, rate: float, beside: Beside | None = None
) -> Round:
    """Run one round of a system (null, usual, ecluse); `rate` is what is expected: it makes the clock.

    `beside` runs during the measured span, and takes as long: what it returns is the round's `latency`.
    """
    folder.mkdir(parents=True)
    factor = workload.factor(max(rate, RATE_MIN))
    clock = folder / "clock.json"
    scale = Scale.starting_now(factor, event_origin_ns=EVENT_ORIGIN_NS)
    scale.write(clock)
    with (
        _broker(folder, workload.broker) as broker,
        systems.sink(folder, workload.sink) as sink,
        _system(name, (folder, broker, sink), workload, scale, plan) as system,
    ):
        stage = _Stage(
            name=name,
            system=system,
            workload=workload,
            broker=broker,
            sink=sink,
            folder=folder,
            plan=plan,
            scale=scale,
        )
        return _measured(stage, beside or (lambda _sink, _scale: time.sleep(plan.span_s)))


@dataclass(frozen=True, slots=True)
class _Stage:
    """Everything that stands ready for one round."""

    name: str
    system: System
    workload: Workload
    broker: Broker
    sink: Sink
    folder: Path
    plan: Plan
    scale: Scale


def _system(
    name: str, place: tuple[Path, Broker, Sink], workload: Workload, scale: Scale, plan: Plan
) -> contextlib.AbstractContextManager[System]:
    if name == "null":
        return systems.null(*place, workload)
    if name == "usual":
        return systems.usual(*place)
    return systems.ecluse(*place, workload, scale, grace_s=plan.grace_s)


def _measured(stage: _Stage, beside: Beside) -> Round:
    system, workload, folder = stage.system, stage.workload, stage.folder
    counters = Counters(folder / "sent.bin")
    # The factor is that of the rate that is expected.
    rate = stage.scale.factor / workload.factor(1.0)
    with (
        _delivered(stage.broker, folder) as delivered,
        load(
            folder,
            stage.broker.port,
            workload,
            behind=system.counters or delivered,
            ahead=AHEAD if system.counters else max(AHEAD_AT_LEAST, round(AHEAD_S * rate)),
        ) as sending,
    ):
        processes = _processes(stage, sending)
        watched = {role: psutil.Process(process.pid) for role, process in processes.items()}
        wait_until(
            lambda: counters[generator.SENT] > 0 or sending.poll() is not None, within_s=30, what="the load"
        )
        time.sleep(stage.plan.warm_s)
        begin = _sample(watched, system.dealt)
        latency = beside(stage.sink, stage.scale)
        end = _sample(watched, system.dealt)
        counters[generator.STOP] = 1
        out, _ = sending.communicate(timeout=systems.DRAIN_S)
        assert sending.returncode == 0, (folder / "generator.log").read_text()[-2000:]
        said = json.loads(out)
        peak = {role: _peak_mb(process.pid) for role, process in processes.items() if role != "generator"}
        account = system.account(int(said["messages"]))
    seconds, messages = end.at_s - begin.at_s, max(1, end.dealt - begin.dealt)
    used = {role: end.cpu_s[role] - begin.cpu_s[role] for role in watched}
    return Round(
        system=stage.name,
        workload=workload,
        factor=stage.scale.factor,
        messages=messages,
        rate=messages / seconds,
        cpu_us={role: cpu / messages * 1e6 for role, cpu in used.items()},
        cores={role: cpu / seconds for role, cpu in used.items()},
        peak_mb=peak,
        readings_a_window=messages / workload.devices / (seconds * stage.scale.factor / WINDOW_S),
        sent=int(said["messages"]),
        held_s=float(said["held_s"]),
        account=account,
        folder=folder,
        latency=latency or {},
    )


def _processes(stage: _Stage, sending: subprocess.Popen[bytes]) -> dict[str, subprocess.Popen[bytes]]:
    assert stage.broker._process is not None
    found = {"system": stage.system.process, "broker": stage.broker._process, "generator": sending}
    return found if stage.sink.process is None else found | {"sink": stage.sink.process}


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
def _delivered(broker: Broker, folder: Path) -> Iterator[Path | None]:
    """Keep a count of what the broker has delivered, where it says so: none of nats-server."""
    if "mosquitto" not in str(broker.command[0]):
        yield None
        return
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


def in_window(found: Round) -> bool:
    """Tell whether a round had the readings a window that the workload asks for, within a tenth."""
    return abs(found.readings_a_window / READINGS_A_WINDOW - 1) <= READINGS_TOLERANCE


def _broker(folder: Path, kind: str) -> contextlib.AbstractContextManager[Broker]:
    return nats(folder) if kind == "nats" else mosquitto(folder, extra="sys_interval 1")


def _sample(watched: dict[str, psutil.Process], dealt: Callable[[], int]) -> _Sample:
    count, at_s = dealt(), time.perf_counter()
    times = {role: process.cpu_times() for role, process in watched.items()}
    return _Sample(at_s, count, {role: one.user + one.system for role, one in times.items()})


def _peak_mb(pid: int) -> float:
    """Return the most memory that a process ever had resident, MB."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:  # noqa: PTH123 - of the kernel
        line = next(line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1_000
