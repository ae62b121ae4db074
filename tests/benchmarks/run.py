"""`make bench`: the headline in interleaved rounds, then one factor varied at a time.

    python -m tests.benchmarks.run            # half an hour
    python -m tests.benchmarks.run --quick    # under two minutes: the headline and QoS 0

Every round starts a fresh broker, sink and system, so nothing is left of the one before; rounds of a turn
run one after the other and are compared with each other only. The clock's factor comes from rounds that only
calibrate, then from the rounds before. A round whose readings a window are more than a tenth from five is run
once more while there is time; how many are outside then is shown. Counts that do not add up are a finding.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psutil
import pytest

from firmware_sim.clock import Scale
from tests.benchmarks import chart, measure, report, sinks, stages, systems
from tests.benchmarks.drain import generator_alone
from tests.benchmarks.extras import EXTRAS
from tests.benchmarks.figures import Findings, Turn, document
from tests.benchmarks.headline import EVENT_ORIGIN_NS, GROWTH, HEADLINE, STEADY, VARIED, Workload
from tests.benchmarks.measure import Plan
from tests.benchmarks.rounds import Rounds
from tests.brokers import mosquitto
from tests.integration.gateway_process import PROJECT

if TYPE_CHECKING:
    from collections.abc import Callable

BUILD: Final = PROJECT / "build" / "bench"
_CATCH_UP_S: Final = 66
"""Windows that a database cannot overwrite are kept back for a minute after a connection."""


@dataclass(frozen=True, slots=True)
class Depth:
    """How much is run."""

    plans: dict[str, Plan]
    calibrating: Plan
    calibrations: int
    """At most, for a workload whose rate is not known."""
    turns: int
    qos0_turns: int
    varied_turns: int
    """At most; after the first of each only while there is time."""
    within_s: float
    """The time for that, from the start."""
    repeat_within_s: float
    """The time for running a void round again, from the start."""
    stage_messages: int
    whole: bool
    """Everything, and not the headline and QoS 0 alone."""


FULL: Final = Depth(
    plans={
        "null": Plan(2, 5),
        "usual": Plan(3, 6),
        "ecluse": Plan(14, 10),
    },
    calibrating=Plan(6, 5, grace_s=3),
    calibrations=5,
    turns=12,
    qos0_turns=3,
    varied_turns=3,
    within_s=22 * 60,
    repeat_within_s=22 * 60,
    stage_messages=1_000_000,
    whole=True,
)
QUICK: Final = Depth(
    plans={"null": Plan(1, 2.5), "usual": Plan(2, 3), "ecluse": Plan(5.5, 5, grace_s=3)},
    calibrating=Plan(5.5, 5, grace_s=3),  # a checkpoint is in every five seconds
    calibrations=1,
    turns=2,
    qos0_turns=1,
    varied_turns=0,
    within_s=0,
    repeat_within_s=33,
    stage_messages=100_000,
    whole=False,
)


def bench(depth: Depth, folder: Path) -> dict[str, Any]:
    """Run everything; return the figures."""
    began = time.monotonic()
    rounds = Rounds(
        folder,
        plans=depth.plans,
        calibrating=depth.calibrating,
        repeat_until_s=began + depth.repeat_within_s,
        say=_say,
    )
    found = Findings(generator_rate=generator_alone(folder))
    _say(f"the generator alone: {found.generator_rate:,.0f} messages/s")
    rounds.calibrate(HEADLINE, depth.calibrations)
    main = rounds.turns(HEADLINE, depth.turns, "null", "ecluse", "usual")
    no_answers = replace(HEADLINE, qos=0)
    rounds.calibrate(no_answers, depth.calibrations)
    qos0 = rounds.turns(no_answers, depth.qos0_turns, "null", "ecluse")
    others = _others(rounds, depth, began, found) if depth.whole else []
    (folder / "stages").mkdir()
    found.stages = stages.measure(folder / "stages", messages=depth.stage_messages)
    if depth.whole:
        found.idle_cores = idle(folder / "idle", 10)
        for number, (name, extra) in enumerate(EXTRAS):
            _try(found, name, partial(_extra, found, folder, number, name, extra))
    found.again, found.verdict, found.seconds = rounds.again, rounds.verdict, time.monotonic() - began
    return document(main, qos0, others, found)


def _extra(
    found: Findings, folder: Path, number: int, name: str, extra: Callable[[Path], dict[str, Any]]
) -> None:
    """Measure what goes beside the rounds, in a folder of its own that is gone afterwards."""
    home = folder / f"extra-{number}"
    home.mkdir()
    found.extras[name] = extra(home)
    shutil.rmtree(home)


def _others(rounds: Rounds, depth: Depth, began: float, found: Findings) -> list[list[Turn]]:
    """Vary one factor at a time: each once, then again while there is time; in any case what shows growth."""
    groups: dict[Workload, list[Turn]] = {}
    for turn in range(depth.varied_turns):
        for workload, names, plan in _variations(depth):
            late = plan is not None or time.monotonic() - began > depth.within_s
            if turn and late and workload not in GROWTH:
                continue

            def run(
                workload: Workload = workload, names: tuple[str, ...] = names, plan: Plan | None = plan
            ) -> None:
                if plan is None:
                    rounds.calibrate(workload, 2)
                elif workload.sink == "victoriametrics":
                    rounds.calibrate(workload, 1, plan)
                groups.setdefault(workload, []).append(rounds.turn(workload, *names, plan=plan))

            _try(found, workload.named(), run)
    return list(groups.values())


def _variations(depth: Depth) -> list[tuple[Workload, tuple[str, ...], Plan | None]]:
    """Return workloads with their systems; those with a plan of their own are long, and run once."""
    usual = depth.plans["ecluse"]
    latency = replace(STEADY, sink="influxdb"), ("ecluse",), replace(usual, span_s=30)
    found: list[tuple[Workload, tuple[str, ...], Plan | None]] = [
        (STEADY, ("ecluse", "usual"), None),
        latency,
    ]
    for workload in VARIED:
        names = ("null", "ecluse") if workload.broker != HEADLINE.broker else ("ecluse",)
        plan = None
        if workload.sink == "victoriametrics":
            plan = replace(usual, warm_s=_CATCH_UP_S)
        if workload.devices == 1_000_000:
            plan = usual  # made longer by its windows, of a minute each
        found.append((workload, names, plan))
    return found


def _try(found: Findings, what: str, run: Callable[[], None]) -> None:
    """Run what the headline does not need: its failure is told, and ends nothing else."""
    try:
        run()
    except (Exception, pytest.skip.Exception) as failed:  # noqa: BLE001 - half an hour of figures stands beside it
        found.failures.append(f"{what}: {type(failed).__name__}: {str(failed)[:2000]}")
        _say(f"failed: {found.failures[-1]}")


def idle(folder: Path, seconds: float) -> float:
    """Return the share of a core that the gateway uses when nothing comes."""
    folder.mkdir(parents=True)
    scale = Scale.starting_now(1.0, event_origin_ns=EVENT_ORIGIN_NS)
    with mosquitto(folder) as broker, sinks.sink(folder, "null") as sink:
        place = systems.Place(folder, broker, sink)
        with systems.ecluse(place, HEADLINE, scale) as system:
            process = psutil.Process(system.process.pid)
            time.sleep(5)
            before = measure.cpu_s(process)
            time.sleep(seconds)
            return (measure.cpu_s(process) - before) / seconds


def write(found: dict[str, Any], build: Path) -> None:
    """Write latest.json, latest.md and latest.svg."""
    build.mkdir(parents=True, exist_ok=True)
    (build / "latest.json").write_text(json.dumps(found, indent=2, default=str) + "\n", encoding="utf-8")
    (build / "latest.md").write_text(report.markdown(found), encoding="utf-8")
    (build / "latest.svg").write_text(chart.chart(found), encoding="utf-8")


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
