"""Ten minutes at full load, the journal trimmed all the while: what grows, what becomes slow?

    python -m tests.benchmarks.endurance            # ten minutes, and one before and after

The headline workload at the broker's saturation, with a journal that may keep 1 GB and copies of the state
every minute, so that segments are removed from the second minute on. Each ten seconds it is asked what it has
done; at the end the counts must add up, and a segment that was removed is never one that was needed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psutil

from firmware_sim.clock import Scale
from gateway.health.histogram import Histogram
from tests.benchmarks import generator, sinks, systems
from tests.benchmarks.counters import Counters
from tests.benchmarks.headline import EVENT_ORIGIN_NS, HEADLINE
from tests.benchmarks.load import held_back
from tests.benchmarks.measure import cpu_s, own_peak_mb
from tests.brokers import mosquitto
from tests.processes import wait_until

if TYPE_CHECKING:
    from tests.benchmarks.systems import Ecluse

RATE: Final = 85_000
"""Expected, messages/s: it makes the clock."""
SETTINGS: Final = {"journal": {"retention_size": "1GB"}, "checkpoint": {"copy_every": "1min"}}
EVERY_S: Final = 10.0
WARM_S: Final = 10.0
MB: Final = 1e6


def measure(
    folder: Path, *, seconds: float = 600.0, every_s: float = EVERY_S, warm_s: float = WARM_S
) -> dict[str, Any]:
    """Load a gateway for so long; return its figures, and those of each ten seconds under `course`."""
    folder.mkdir(parents=True, exist_ok=True)
    scale = Scale.starting_now(HEADLINE.factor(RATE), event_origin_ns=EVENT_ORIGIN_NS)
    scale.write(folder / "clock.json")
    with contextlib.ExitStack() as standing:
        broker = standing.enter_context(mosquitto(folder))
        sink = standing.enter_context(sinks.sink(folder, HEADLINE.sink))
        place = systems.Place(folder, broker, sink)
        ecluse = standing.enter_context(systems.ecluse(place, HEADLINE, scale, settings=SETTINGS))
        sent = Counters(folder / "sent.bin")
        with held_back(folder, broker, HEADLINE, ecluse, RATE) as sending:
            wait_until(lambda: sent[generator.SENT] > 0, within_s=60, what="the load")
            time.sleep(warm_s)
            course = _watched(ecluse, folder / "state" / "journal", seconds, every_s)
            sent[generator.STOP] = 1
            said, _ = sending.communicate(timeout=systems.DRAIN_S)
        peak = own_peak_mb(ecluse.process.pid)
        account = ecluse.account(int(json.loads(said)["messages"]))
    return _figures(course, peak) | {
        "messages": account.received,
        "problems": list(account.problems),
        "course": course,
    }


def _watched(ecluse: Ecluse, journal: Path, seconds: float, every_s: float) -> list[dict[str, Any]]:
    """Return, for each ten seconds, what happened in them and what there was at their end."""
    course: list[dict[str, Any]] = []
    deadline, before = time.monotonic() + seconds, _now(ecluse, journal)
    while time.monotonic() < deadline:
        time.sleep(every_s)
        now = _now(ecluse, journal)
        span_s, journalled = now["at_s"] - before["at_s"], now["journalled"] - before["journalled"]
        durable = [a - b for a, b in zip(now["durable"], before["durable"], strict=True)]
        course.append(
            {
                "rate": round(journalled / span_s),
                "cpu_us_per_msg": round((now["cpu_s"] - before["cpu_s"]) / journalled * 1e6, 2),
                "durable_p99_at_most_s": Histogram(counts=durable).quantile(0.99),
                "journal_mb": now["journal_mb"],
                "first_segment": now["first_segment"],
                "memory_mb": now["memory_mb"],
            }
        )
        before = now
    return course


def _now(ecluse: Ecluse, journal: Path) -> dict[str, Any]:
    status, process = ecluse.running.status(), psutil.Process(ecluse.process.pid)
    assert status is not None, ecluse.running.log[-2000:]
    files = sorted(journal.iterdir())
    return {
        "at_s": time.monotonic(),
        "journalled": int(status["uplinks"]["journalled"]),
        "durable": Histogram(**status["durable"]).counts,
        "cpu_s": cpu_s(process),
        "memory_mb": round(process.memory_info().rss / MB),
        "journal_mb": round(sum(_size(file) for file in files) / MB),
        "first_segment": next((file.name for file in files if file.suffix == ".db"), ""),
    }


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:  # removed meanwhile: that is what is watched
        return 0


def _figures(course: list[dict[str, Any]], peak_mb: float) -> dict[str, Any]:
    """Return the first and the last minute beside each other, and the greatest of what is bounded."""
    minute = max(1, round(60 / EVERY_S))
    found: dict[str, Any] = {}
    for name, part in (("first minute", course[:minute]), ("last minute", course[-minute:])):
        for figure in ("rate", "cpu_us_per_msg", "memory_mb"):
            found[f"{figure}, {name}"] = round(sum(one[figure] for one in part) / len(part), 2)
    return found | {
        "journal_mb, most": max(one["journal_mb"] for one in course),
        "durable_p99_at_most_s, most": max(one["durable_p99_at_most_s"] or 0 for one in course),
        "segments removed": len({one["first_segment"] for one in course}) - 1,
        "peak_mb": round(peak_mb),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Ten minutes at full load, with a journal that is trimmed.")
    parser.add_argument("--minutes", type=float, default=10.0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(Path(folder), seconds=60 * asked.minutes), indent=2))  # noqa: T201 - its answer


if __name__ == "__main__":
    main()
