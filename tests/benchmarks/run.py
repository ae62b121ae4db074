"""`make bench`: the headline in interleaved rounds, then one factor varied at a time.

    python -m tests.benchmarks.run            # half an hour
    python -m tests.benchmarks.run --quick    # under two minutes: the headline and QoS 0

Every round starts a fresh broker, sink and system, so nothing is left of the one before; rounds of a turn
run one after the other and are compared with each other only. The clock's factor comes from the rate of the
round before (the first one calibrates it). A round whose readings a window are more than a tenth from five,
or whose counts do not add up, is run once more; what is void then is shown as such.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psutil
import pytest

from firmware_sim.clock import Scale
from tests.benchmarks import latency, measure, report, stages, systems, truth
from tests.benchmarks.drain import generator_alone
from tests.benchmarks.figures import Extras, Turn, document
from tests.benchmarks.headline import EVENT_ORIGIN_NS, HEADLINE, STEADY, VARIED, Workload
from tests.benchmarks.measure import Plan, Round, round_of
from tests.brokers import mosquitto
from tests.integration.gateway_process import PROJECT

if TYPE_CHECKING:
    from tests.benchmarks.systems import Sink
    from tests.benchmarks.truth import Verdict

BUILD: Final = PROJECT / "build" / "bench"
_GUESS: Final = 50_000.0


@dataclass(frozen=True, slots=True)
class Depth:
    """How much is run."""

    plans: dict[str, Plan]
    turns: int
    qos0_turns: int
    varied_turns: int
    stage_messages: int
    steady_s: float


FULL: Final = Depth(
    plans={"null": Plan(2, 5), "usual": Plan(3, 6), "ecluse": Plan(14, 10)},
    turns=10,
    qos0_turns=3,
    varied_turns=3,
    stage_messages=1_000_000,
    steady_s=25,
)
QUICK: Final = Depth(
    plans={"null": Plan(1, 3), "usual": Plan(2, 4), "ecluse": Plan(5, 5, grace_s=3)},
    turns=2,
    qos0_turns=1,
    varied_turns=0,
    stage_messages=100_000,
    steady_s=0,
)


class Bench:
    """One run: its folder, the rates of the last rounds, what was void."""

    def __init__(self, folder: Path, depth: Depth) -> None:
        self.folder = folder
        self.depth = depth
        self.void = 0
        self.verdict: Verdict | None = None
        self._rates: dict[tuple[str, Workload], float] = {}
        self._number = 0

    def turns(self, workload: Workload, count: int, *names: str) -> list[Turn]:
        """Run turns of rounds of these systems."""
        return [Turn({name: self.round(name, workload) for name in names}) for _ in range(count)]

    def round(self, name: str, workload: Workload) -> Round:
        """Run one round, and once more where it is void."""
        found = self._round(name, workload)
        judged = name == "ecluse" and not workload.rate
        if found.problems or (judged and self.depth is FULL and not measure.in_window(found)):
            self.void += 1
            _say(f"void: {'; '.join(found.problems) or f'{found.readings_a_window:.1f} readings a window'}")
            found = self._round(name, workload)
        return found

    def _round(self, name: str, workload: Workload) -> Round:
        self._number += 1
        folder, began = self.folder / f"{self._number:03}-{name}", time.monotonic()
        plan, beside = self.depth.plans[name], None
        if name == "ecluse" and workload.rate and workload.sink == "influxdb":
            plan, beside = replace(plan, span_s=self.depth.steady_s), self._visible(workload)
        found = round_of(name, workload, folder, plan, rate=self._expected(name, workload), beside=beside)
        self._rates[name, workload] = found.rate
        if beside is not None:
            _with_receipt(found)
        if name == "ecluse" and workload.sink == "embedded":
            self.verdict = truth.check(
                folder / "ledger.npy", folder / "state" / "sink.duckdb", workload.devices
            )
        _say(_line(found, time.monotonic() - began))
        if not found.problems:
            shutil.rmtree(folder)
        return found

    def _expected(self, name: str, workload: Workload) -> float:
        """Return the rate that the clock is made for: that of the last round like this one."""
        if workload.rate:
            return workload.rate
        known = self._rates
        near = (name, workload), ("null", workload), (name, HEADLINE), ("null", HEADLINE)
        return next((known[key] for key in near if key in known), _GUESS)

    def _visible(self, workload: Workload) -> measure.Beside:
        def watch(sink: Sink, scale: Scale) -> dict[str, Any]:
            late = latency.visible(sink.url, scale, seconds=self.depth.steady_s, devices=workload.devices)
            return {"publish → visible": latency.quantiles(late)}

        return watch


def _with_receipt(found: Round) -> None:
    """Add publish → durable to a round's latency, from its journal and its last status."""
    scale = Scale.read(found.folder / "clock.json")
    late = latency.to_receipt(found.folder / "state" / "journal", scale, since_ns=EVENT_ORIGIN_NS)
    received = latency.quantiles(late)
    durable = latency.histogram_quantile(found.account.status["durable"], 0.99)
    found.latency["publish → receipt"] = received
    found.latency["receipt → durable, p99 at most"] = durable
    found.latency["publish → durable, p99 at most"] = received["p99_s"] + durable


def idle(folder: Path, seconds: float) -> float:
    """Return the share of a core that the gateway uses when nothing comes."""
    folder.mkdir(parents=True)
    scale = Scale.starting_now(1.0, event_origin_ns=EVENT_ORIGIN_NS)
    with (
        mosquitto(folder) as broker,
        systems.sink(folder, "null") as sink,
        systems.ecluse(folder, broker, sink, HEADLINE, scale) as system,
    ):
        process = psutil.Process(system.process.pid)
        time.sleep(3)
        before = process.cpu_times()
        time.sleep(seconds)
        after = process.cpu_times()
    return (after.user + after.system - before.user - before.system) / seconds


def bench(depth: Depth, folder: Path) -> dict[str, Any]:
    """Run everything; return the figures."""
    run = Bench(folder, depth)
    alone = generator_alone(folder)
    _say(f"the generator alone: {alone:,.0f} messages/s")
    run.round("null", HEADLINE)  # calibrates the clock, and warms the machine
    main = run.turns(HEADLINE, depth.turns, "null", "ecluse", "usual")
    qos0 = run.turns(replace(HEADLINE, qos=0), depth.qos0_turns, "null", "ecluse")
    others = []
    if depth.varied_turns:
        others.append(run.turns(STEADY, depth.varied_turns, "ecluse"))
        others.append(run.turns(replace(STEADY, sink="influxdb"), 1, "ecluse"))
        for workload in VARIED[1:]:
            names = ("null", "ecluse") if workload.broker != HEADLINE.broker else ("ecluse",)
            others.append(run.turns(workload, depth.varied_turns, *names))
    (folder / "stages").mkdir()
    offline = stages.measure(folder / "stages", messages=depth.stage_messages)
    resting = idle(folder / "idle", 10) if depth.varied_turns else None
    extras = Extras(
        stages=offline, verdict=run.verdict, generator_rate=alone, idle_cores=resting, void=run.void
    )
    return document(main, qos0, others, extras)


def write(found: dict[str, Any], build: Path) -> None:
    """Write latest.json, latest.md and latest.svg."""
    build.mkdir(parents=True, exist_ok=True)
    (build / "latest.json").write_text(json.dumps(found, indent=2, default=str) + "\n", encoding="utf-8")
    (build / "latest.md").write_text(report.markdown(found), encoding="utf-8")
    (build / "latest.svg").write_text(report.chart(found), encoding="utf-8")


def _line(found: Round, seconds: float) -> str:
    used = ", ".join(f"{role} {us:.2f}" for role, us in found.cpu_us.items())
    return (
        f"{found.system:7} {found.workload.named()}: {found.rate:,.0f}/s; µs/msg: {used}; "
        f"{found.readings_a_window:.2f} a window; {seconds:.0f} s"
    )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - how it goes


def main() -> None:
    """Measure, print, write; exit with 1 where counts do not add up."""
    parser = argparse.ArgumentParser(description="Measure Écluse on this machine.")
    parser.add_argument("--quick", action="store_true", help="the headline alone, in under two minutes")
    parser.add_argument("--build", type=Path, default=BUILD, help="where the figures are written")
    asked = parser.parse_args()
    work = asked.build / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        found = bench(QUICK if asked.quick else FULL, work)
    except pytest.skip.Exception as missing:
        raise SystemExit(f"{missing}: make servers") from None
    write(found, asked.build)
    print(report.markdown(found))  # noqa: T201 - its answer
    if found["problems"] or (found["oracle"] and found["oracle"]["differences"]):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
