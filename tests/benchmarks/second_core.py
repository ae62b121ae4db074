"""What the second core pays: two gateways on disjoint devices of one broker, against one with all of them."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import psutil

from firmware_sim.clock import Scale
from tests.benchmarks import generator, sinks, systems
from tests.benchmarks.calibration import FIRST
from tests.benchmarks.counters import Counters
from tests.benchmarks.headline import EVENT_ORIGIN_NS, HEADLINE, Workload
from tests.benchmarks.load import held_back
from tests.benchmarks.measure import Plan, round_of, sample
from tests.brokers import mosquitto

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from tests.benchmarks.systems import System

_PLAN: Final = Plan(7, 8, grace_s=3)
_ROOTS: Final = "cit0", "cit1"


def measure(folder: Path, *, plan: Plan = _PLAN, devices: int = HEADLINE.devices) -> dict[str, Any]:
    """Return messages/s and CPU a message of one gateway and of two, at QoS 1 and 0, with the same clock.

    Raises AssertionError where counts do not add up.
    """
    found: dict[str, Any] = {}
    for qos, expected in FIRST.items():
        workload = replace(HEADLINE, qos=qos, devices=devices)
        one = round_of("ecluse", workload, folder / f"one-{qos}", plan, rate=expected)
        assert not one.problems, one.problems
        rate, cpu_us = two(folder / f"two-{qos}", workload, plan, expected)
        found[f"QoS {qos}"] = {
            "one, messages/s": one.rate,
            "two, messages/s": rate,
            "two ÷ one": rate / one.rate,
            "one, µs/msg": one.cpu_us["system"],
            "two, µs/msg": cpu_us,
        }
    return found


def two(folder: Path, workload: Workload, plan: Plan, expected: float) -> tuple[float, float]:
    """Return messages/s of two gateways together, and their CPU a message, µs."""
    scale = Scale.starting_now(workload.factor(expected), event_origin_ns=EVENT_ORIGIN_NS)
    plan = plan.with_windows(scale.factor)
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as standing:
        broker = standing.enter_context(mosquitto(folder))
        halves: list[tuple[Path, System, subprocess.Popen[bytes]]] = []
        for root in _ROOTS:
            half, home = replace(workload, root=root, devices=workload.devices // 2), folder / root
            home.mkdir()
            scale.write(home / "clock.json")
            place = systems.Place(home, broker, standing.enter_context(sinks.sink(home, "null")))
            system = standing.enter_context(systems.ecluse(place, half, scale, grace_s=plan.grace_s))
            load = held_back(home, broker, half, system, expected / 2)
            halves.append((home, system, standing.enter_context(load)))
        watched = [({"system": psutil.Process(system.process.pid)}, system) for _, system, _ in halves]
        time.sleep(plan.warm_s)
        begins = [sample(*one) for one in watched]
        time.sleep(plan.span_s)
        ends = [sample(*one) for one in watched]
        for stand in halves:
            _end(*stand)
    pairs = list(zip(begins, ends, strict=True))
    cpu_s = sum(end.cpu_s["system"] - begin.cpu_s["system"] for begin, end in pairs)
    rate = sum((end.dealt - begin.dealt) / (end.at_s - begin.at_s) for begin, end in pairs)
    return rate, cpu_s / sum(end.dealt - begin.dealt for begin, end in pairs) * 1e6


def _end(home: Path, system: System, sending: subprocess.Popen[bytes]) -> None:
    """Stop the load; hold what came of it against what was sent."""
    Counters(home / "sent.bin")[generator.STOP] = 1
    out, _ = sending.communicate(timeout=systems.DRAIN_S)
    account = system.account(int(json.loads(out)["messages"]))
    assert not account.problems, account.problems
