"""One round: a fresh broker, sink and system; a load; what every process used while it flowed steadily."""

from __future__ import annotations

import contextlib
import json
import math
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import psutil

from firmware_sim.clock import Scale
from tests.benchmarks import generator, sinks, systems
from tests.benchmarks.counters import Counters
from tests.benchmarks.headline import (
    EVENT_ORIGIN_NS,
    GRACE_S,
    READINGS_A_WINDOW,
    READINGS_TOLERANCE,
    WINDOW_S,
    Workload,
)
from tests.benchmarks.latency import quantiles
from tests.benchmarks.load import held_back
from tests.benchmarks.tap import Tap
from tests.brokers import mosquitto, nats
from tests.processes import wait_until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from tests.benchmarks.sinks import Sink
    from tests.benchmarks.systems import Account, System
    from tests.brokers import Broker

    Beside = Callable[[Sink, Scale, float], dict[str, Any]]

RATE_MIN = 1_000.0
_SETTLED_S = 2.0
"""From the first windows that are written to their steady flow: a flush, and what it brings about."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long a round takes: seconds before measuring, and measured."""

    warm_s: float
    span_s: float
    grace_s: float = GRACE_S

    def with_windows(self, factor: float) -> Plan:
        """Return the plan at which windows are written before it is measured, and whole numbers of them."""
        window_s = WINDOW_S / factor
        return replace(
            self,
            warm_s=max(self.warm_s, window_s + self.grace_s + _SETTLED_S),
            span_s=math.ceil(self.span_s / window_s) * window_s if window_s > 1 else self.span_s,
        )


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
    """Cores that were busy, by process; `else`: with what is no part of the round."""
    peak_mb: dict[str, float]
    window_lines: float
    """Points of windows made, a message of the span."""
    sent: int
    """In the whole round."""
    held_s: float
    """How long the generator waited for the system."""
    account: Account | None
    """None: it was not asked."""
    folder: Path
    """Its files: settings, state, logs, `ledger.npy`."""
    seconds: dict[str, float]
    """What the round's time went to."""
    latency: dict[str, Any] = field(default_factory=dict)

    @property
    def readings_a_window(self) -> float:
        """Of a device, in the shortest window."""
        return self.rate / self.workload.devices * WINDOW_S / self.factor

    @property
    def problems(self) -> tuple[str, ...]:
        """What makes the round void."""
        return self.account.problems if self.account else ()

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
            "window_lines_per_msg": self.window_lines,
            "factor": self.factor,
            "messages": self.messages,
            "sent": self.sent,
            "windows_written": self.account.windows if self.account else 0,
            "held_s": self.held_s,
            "seconds": self.seconds,
            "latency": self.latency,
            "problems": list(self.problems),
        }


def in_window(found: Round) -> bool:
    """Tell whether a round had the readings a window that the workload asks for, within a tenth."""
    return abs(found.readings_a_window / READINGS_A_WINDOW - 1) <= READINGS_TOLERANCE


def round_of(
    name: str,
    workload: Workload,
    folder: Path,
    plan: Plan,
    *,
    rate: float,
    beside: Beside | None = None,
    accounted: bool = True,
) -> Round:
    """Run one round of a system (null, usual, ecluse); `rate` is what is expected: it makes the clock.

    `beside` runs during the measured span, and takes as long as it is told: what it returns is the round's
    `latency`, with publish → acknowledged beside it. Not `accounted`: ended at once after the span, as a
    round that only calibrates.
    """
    folder.mkdir(parents=True)
    began = time.perf_counter()
    scale = Scale.starting_now(workload.factor(max(rate, RATE_MIN)), event_origin_ns=EVENT_ORIGIN_NS)
    scale.write(folder / "clock.json")
    if name == "ecluse":
        plan = plan.with_windows(scale.factor)
    with contextlib.ExitStack() as standing:
        broker = standing.enter_context(_broker(folder, workload.broker))
        sink = standing.enter_context(sinks.sink(folder, workload.sink))
        tap = standing.enter_context(Tap(broker.port, scale).running()) if beside else None
        seen = broker if tap is None else replace(broker, port=tap.port)
        place = systems.Place(folder, seen, sink)
        system = standing.enter_context(systems.system(name, place, workload, scale, plan.grace_s))
        started = time.perf_counter() - began
        stage = _Stage(name, system, workload, broker, sink, folder, plan, scale, tap, rate)
        found = _measured(stage, beside, accounted=accounted)
        ended = time.perf_counter()
    found.seconds.update(start=started, end=time.perf_counter() - ended)
    return found


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
    tap: Tap | None
    rate: float


@dataclass(frozen=True, slots=True)
class Sample:
    """What a system had dealt with at a moment, and the CPU that processes had used."""

    at_s: float
    dealt: int
    windows: int
    cpu_s: dict[str, float]
    busy_s: float
    """CPU that the whole machine has used."""


def _measured(stage: _Stage, beside: Beside | None, *, accounted: bool) -> Round:
    system, workload, folder, plan = stage.system, stage.workload, stage.folder, stage.plan
    counters, began = Counters(folder / "sent.bin"), time.perf_counter()
    with held_back(folder, stage.broker, workload, system, stage.rate) as sending:
        watched = {role: psutil.Process(process.pid) for role, process in _processes(stage, sending).items()}
        wait_until(
            lambda: counters[generator.SENT] > 0 or sending.poll() is not None, within_s=60, what="the load"
        )
        time.sleep(plan.warm_s)
        begin, first = sample(watched, system), len(stage.tap.late_s) if stage.tap else 0
        late = dict((beside or _wait)(stage.sink, stage.scale, plan.span_s))
        end = sample(watched, system)
        if stage.tap:
            late["publish → durable"] = quantiles(stage.tap.late_s[first:])
        counters[generator.STOP] = 1
        out, _ = sending.communicate(timeout=systems.DRAIN_S)
        assert sending.returncode == 0, (folder / "generator.log").read_text()[-2000:]
        said = json.loads(out)
        peak = {role: peak_mb(process) for role, process in watched.items() if role != "generator"}
        if not accounted:
            system.process.kill()  # what it would still do is waited for by nobody
        account = system.account(int(said["messages"])) if accounted else None
    seconds, messages = end.at_s - begin.at_s, max(1, end.dealt - begin.dealt)
    used = {role: end.cpu_s[role] - begin.cpu_s[role] for role in watched}
    return Round(
        system=stage.name,
        workload=workload,
        factor=stage.scale.factor,
        messages=messages,
        rate=messages / seconds,
        cpu_us={role: cpu / messages * 1e6 for role, cpu in used.items()},
        cores={role: cpu / seconds for role, cpu in used.items()}
        | {"else": max(0.0, end.busy_s - begin.busy_s - sum(used.values())) / seconds},
        peak_mb=peak,
        window_lines=(end.windows - begin.windows) / messages,
        sent=int(said["messages"]),
        held_s=float(said["held_s"]),
        account=account,
        folder=folder,
        seconds={
            "before": begin.at_s - began,
            "span": seconds,
            "after": time.perf_counter() - end.at_s,
        },
        latency=late,
    )


def _wait(_sink: Sink, _scale: Scale, seconds: float) -> dict[str, Any]:
    time.sleep(seconds)
    return {}


def _processes(stage: _Stage, sending: subprocess.Popen[bytes]) -> dict[str, subprocess.Popen[bytes]]:
    assert stage.broker._process is not None
    found = {"system": stage.system.process, "broker": stage.broker._process, "generator": sending}
    return found if stage.sink.process is None else found | {"sink": stage.sink.process}


def _broker(folder: Path, kind: str) -> contextlib.AbstractContextManager[Broker]:
    return nats(folder) if kind == "nats" else mosquitto(folder)


def sample(watched: dict[str, psutil.Process], system: System) -> Sample:
    """Count, and read the processes' times at once after it."""
    dealt, windows = system.dealt()
    at_s = time.perf_counter()
    used = {role: cpu_s(process) for role, process in watched.items()}
    machine = psutil.cpu_times()
    return Sample(at_s, dealt, windows, used, sum(machine) - machine.idle - machine.iowait)


def cpu_s(process: psutil.Process) -> float:
    """Return the CPU that a process has used, user + system of all threads, its children's with it."""
    if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
        return 0.0
    times = process.cpu_times()
    own = times.user + times.system + times.children_user + times.children_system
    return own + sum(map(cpu_s, process.children()))


def peak_mb(process: psutil.Process) -> float:
    """Return the most memory that a process and each of its children ever had resident, MB."""
    return sum(own_peak_mb(one.pid) for one in (process, *process.children(recursive=True)))


def own_peak_mb(pid: int) -> float:
    """Return the most memory that a process ever had resident, MB.

    Not getrusage's ru_maxrss: that is inherited from whoever started the process, as it was then.
    """
    with open(f"/proc/{pid}/status", encoding="ascii") as status:  # noqa: PTH123 - of the kernel
        line = next(line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1_024 / 1e6
