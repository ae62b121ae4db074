"""Rounds after rounds: which clock each gets, which is run again, what is said of it."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING, Any, Final

from tests.benchmarks import latency, measure, truth
from tests.benchmarks.calibration import Rates
from tests.benchmarks.figures import Turn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from firmware_sim.clock import Scale
    from tests.benchmarks.headline import Workload
    from tests.benchmarks.measure import Plan, Round
    from tests.benchmarks.sinks import Sink
    from tests.benchmarks.truth import Verdict


_LONG_S: Final = 30.0
"""A round that warms up for longer is not run again."""


class Rounds:
    """The rounds of one run: their folder, what they have taught, how many were run again."""

    def __init__(
        self,
        folder: Path,
        *,
        plans: Mapping[str, Plan],
        calibrating: Plan,
        repeat_until_s: float,
        say: Callable[[str], None],
    ) -> None:
        self.again = 0
        self.verdict: Verdict | None = None
        self._folder = folder
        self._plans = plans
        self._calibrating = calibrating
        self._repeat_until_s = repeat_until_s
        self._say = say
        self._rates = Rates()
        self._number = 0

    def turns(self, workload: Workload, count: int, *names: str) -> list[Turn]:
        """Run turns of rounds of these systems."""
        return [self.turn(workload, *names) for _ in range(count)]

    def turn(self, workload: Workload, *names: str, plan: Plan | None = None) -> Turn:
        """Run one round of each of these systems."""
        return Turn({name: self._judged(name, workload, plan or self._plans[name]) for name in names})

    def calibrate(self, workload: Workload, most: int, plan: Plan | None = None) -> None:
        """Let Écluse run, unreported, until the clock's factor is right, or so many times."""
        for _ in range(most):
            if self._rates.settled(workload):
                return
            found = self._round("ecluse", workload, plan or self._calibrating, accounted=False)
            shutil.rmtree(found.folder)

    def _judged(self, name: str, workload: Workload, plan: Plan) -> Round:
        """Run one round, and once more where its clock was wrong and there is time.

        One whose counts do not add up is never run again: that is a finding.
        """
        found = self._round(name, workload, plan)
        outside = name == "ecluse" and not workload.rate and not measure.in_window(found)
        if (
            outside
            and not found.problems
            and found.seconds["before"] < _LONG_S
            and time.monotonic() < self._repeat_until_s
        ):
            self.again += 1
            self._say(f"void: {found.readings_a_window:.1f} readings a window")
            found = self._round(name, workload, plan)
        if workload.sink == "embedded":
            store = found.folder / "state" / "sink.duckdb"
            self.verdict = truth.check(found.folder / "ledger.npy", store, workload.devices)
        if not found.problems:
            shutil.rmtree(found.folder)
        return found

    def _round(self, name: str, workload: Workload, plan: Plan, *, accounted: bool = True) -> Round:
        self._number += 1
        folder, began = self._folder / f"{self._number:03}-{name}", time.monotonic()
        watched = name == "ecluse" and accounted and workload.rate and workload.sink == "influxdb"
        found = measure.round_of(
            name,
            workload,
            folder,
            plan,
            rate=self._rates.expected(workload),
            beside=_visible(workload) if watched else None,
            accounted=accounted,
        )
        if name == "ecluse":
            self._rates.learn(workload, found.rate)
        self._say(("" if accounted else "calibrating: ") + _line(found, time.monotonic() - began))
        return found


def _visible(workload: Workload) -> measure.Beside:
    def watch(sink: Sink, scale: Scale, seconds: float) -> dict[str, Any]:
        late = latency.visible(sink.url, scale, seconds=seconds, devices=workload.devices)
        return {"publish → visible": latency.quantiles(late)}

    return watch


def _line(found: Round, seconds: float) -> str:
    used = ", ".join(f"{role} {us:.2f}" for role, us in found.cpu_us.items())
    spent = ", ".join(f"{what} {s:.1f}" for what, s in found.seconds.items())
    told = f"{found.system:7} {found.workload.named()}: {found.rate:,.0f}/s; µs/msg: {used}; "
    if found.system == "ecluse":
        told += (
            f"{found.readings_a_window:.2f} readings a window, {found.window_lines:.3f} window lines/msg; "
        )
    return f"{told}{found.cores['else']:.2f} cores busy with else; {seconds:.0f} s ({spent})"
