"""From rounds to figures: medians of paired ratios with their spread, and the dictionary that is written."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.benchmarks import headline, requirements
from tests.benchmarks.measure import in_window
from tests.benchmarks.reference import LACKS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tests.benchmarks.measure import Round
    from tests.benchmarks.stages import Stages
    from tests.benchmarks.truth import Verdict


@dataclass(frozen=True, slots=True)
class Spread:
    """A median, with the least and the greatest of `count` values."""

    median: float
    least: float
    most: float
    count: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread | None:
        """Return None of nothing."""
        known = list(values)
        return cls(statistics.median(known), min(known), max(known), len(known)) if known else None

    def __str__(self) -> str:
        if self.count == 1:
            return _written(self.median)
        return f"{_written(self.median)} ({_written(self.least)}–{_written(self.most)})"


@dataclass(frozen=True, slots=True)
class Turn:
    """Rounds that ran one after the other, so that what the machine did meanwhile befell all of them."""

    rounds: dict[str, Round]

    def ratio(self, above: str, below: str, value: Callable[[Round], float]) -> float | None:
        """Return a value of one system over that of another; None where one has no round."""
        if above not in self.rounds or below not in self.rounds:
            return None
        return value(self.rounds[above]) / value(self.rounds[below])


@dataclass(slots=True)
class Findings:
    """What is found beside the rounds; None: not in this run."""

    generator_rate: float | None = None
    stages: Stages | None = None
    verdict: Verdict | None = None
    idle_cores: float | None = None
    extras: dict[str, dict[str, Any]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    """What did not come to figures."""
    again: int = 0
    """Rounds that were run again."""
    seconds: float = 0.0


def cpu(found: Round) -> float:
    """CPU of the system itself, µs a message."""
    return found.cpu_us["system"]


def rate(found: Round) -> float:
    """Messages/s."""
    return found.rate


def paired(turns: Sequence[Turn], above: str, below: str, value: Callable[[Round], float]) -> Spread | None:
    """Return the spread of the ratios, turn by turn."""
    ratios = (turn.ratio(above, below, value) for turn in turns)
    return Spread.of(ratio for ratio in ratios if ratio is not None)


def of_system(turns: Sequence[Turn], system: str, value: Callable[[Round], float]) -> Spread | None:
    """Return the spread of one system's values."""
    return Spread.of(value(turn.rounds[system]) for turn in turns if system in turn.rounds)


def of_process(turns: Sequence[Turn], system: str, role: str) -> Spread | None:
    """Return the spread of the CPU of a process beside a system, µs a message; None where there is none."""
    rounds = (turn.rounds[system].cpu_us for turn in turns if system in turn.rounds)
    return Spread.of(used[role] for used in rounds if role in used)


def document(
    main: Sequence[Turn], qos0: Sequence[Turn], others: Sequence[Sequence[Turn]], found: Findings
) -> dict[str, Any]:
    """Return everything, as it is written to latest.json. The keys at the top are the headline."""
    spreads = _headline(main, qos0)
    turns = [*main, *qos0, *(turn for group in others for turn in group)]
    rounds = [one for turn in turns for one in turn.rounds.values()]
    told = {name: None if spread is None else spread.median for name, spread in spreads.items()}
    written = told | {
        "spread": {name: asdict(spread) for name, spread in spreads.items() if spread is not None},
        "growth_1k_to_100k": _growth(others),
        "varied": [_varied(group) for group in (qos0, *others) if group],
        "problems": [f"{r.system}, {r.workload.named()}: {p}" for r in rounds for p in r.problems]
        + found.failures,
        "rounds_outside_readings_per_window": sum(
            not in_window(r) for r in rounds if r.system == "ecluse" and not r.workload.rate
        ),
        "rounds_run_again": found.again,
        "oracle": asdict(found.verdict) if found.verdict else None,
        "generator_alone_messages_per_s": found.generator_rate,
        "idle_cores": found.idle_cores,
        "stages_us_per_msg": found.stages.by_stage_us if found.stages else None,
        "stages_total_us_per_msg": found.stages.total_us if found.stages else None,
        "extras": found.extras,
        "reference_lacks": list(LACKS),
        "workload_version": headline.VERSION,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": found.seconds,
        "machine": machine(),
        "rounds": [one.plain() for one in rounds],
    }
    return written | {"requirements": [asdict(one) for one in requirements.judged(written)]}


def _headline(main: Sequence[Turn], qos0: Sequence[Turn]) -> dict[str, Spread | None]:
    return {
        "gateway_cpu_us_per_msg": of_system(main, "ecluse", cpu),
        "reference_cpu_us_per_msg": of_system(main, "usual", cpu),
        "ratio_to_reference": paired(main, "usual", "ecluse", cpu),
        "share_of_broker_limit_qos0": paired(qos0, "ecluse", "null", rate),
        "share_of_broker_limit_qos1": paired(main, "ecluse", "null", rate),
        "gateway_messages_per_s": of_system(main, "ecluse", rate),
        "reference_messages_per_s": of_system(main, "usual", rate),
        "broker_limit_qos1_messages_per_s": of_system(main, "null", rate),
        "broker_limit_qos0_messages_per_s": of_system(qos0, "null", rate),
        "null_subscriber_cpu_us_per_msg": of_system(main, "null", cpu),
        "broker_cpu_us_per_msg": of_process(main, "ecluse", "broker"),
        "sink_cpu_us_per_msg": of_process(main, "ecluse", "sink"),
        "generator_cpu_us_per_msg": of_process(main, "ecluse", "generator"),
        "gateway_peak_mb": of_system(main, "ecluse", lambda one: one.peak_mb["system"]),
        "reference_peak_mb": of_system(main, "usual", lambda one: one.peak_mb["system"]),
        "readings_per_window": of_system(main, "ecluse", lambda one: one.readings_a_window),
        "window_lines_per_msg": of_system(main, "ecluse", lambda one: one.window_lines),
    }


def _varied(group: Sequence[Turn]) -> dict[str, Any]:
    """Return the figures of one workload beside the headline."""
    workload = next(iter(group[0].rounds.values())).workload
    values = {
        "gateway_cpu_us_per_msg": of_system(group, "ecluse", cpu),
        "messages_per_s": of_system(group, "ecluse", rate),
        "gateway_peak_mb": of_system(group, "ecluse", lambda one: one.peak_mb["system"]),
        "share_of_broker_limit": paired(group, "ecluse", "null", rate),
        "reference_cpu_us_per_msg": of_system(group, "usual", cpu),
        "reference_messages_per_s": of_system(group, "usual", rate),
        "ratio_to_reference": paired(group, "usual", "ecluse", cpu),
        "broker_cpu_us_per_msg": of_process(group, "ecluse", "broker"),
        "readings_per_window": of_system(group, "ecluse", lambda one: one.readings_a_window),
        "sink_cpu_us_per_msg": of_process(group, "ecluse", "sink"),
    }
    latency = next((one.latency for turn in group for one in turn.rounds.values() if one.latency), {})
    return {
        "workload": workload.named(),
        **asdict(workload),
        **{name: asdict(spread) for name, spread in values.items() if spread is not None},
        "latency": latency,
    }


def _growth(others: Sequence[Sequence[Turn]]) -> dict[str, Any] | None:
    """Return what 100,000 devices cost over 1,000, CPU a message, turn by turn; None without both."""
    few, many = (
        [turn for group in others for turn in group if turn.rounds["ecluse"].workload == workload]
        for workload in headline.GROWTH
    )
    pairs = zip(many, few, strict=False)
    spread = Spread.of(cpu(above.rounds["ecluse"]) / cpu(below.rounds["ecluse"]) for above, below in pairs)
    return None if spread is None else asdict(spread)


def machine() -> dict[str, Any]:
    """Return what it ran on."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = next((line.partition(":")[2].strip() for line in info.splitlines() if "model name" in line), "")
    broker = subprocess.run(["mosquitto", "-h"], capture_output=True, text=True, check=False, timeout=10)
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "kernel": platform.release().partition("-")[0],
        "python": platform.python_version(),
        "mosquitto": broker.stdout.partition("\n")[0],
        "load_average": os.getloadavg()[0],
    }


def _written(value: float) -> str:
    if abs(value) >= 1_000:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < 100 else f"{value:.1f}"
