"""Profiles that are added, changed and removed under a steady load: what is lost, and how long does it take?

    python -m tests.benchmarks.reloading        # a minute at 10,000 messages/s, a change every two seconds

Each change is written to the folder and asked for with SIGHUP. The gateway says how long each took from its
being appended to the journal until it was in force, with everything that was queued before it: uplinks in the
queue are treated by the old rules, those behind it by the new ones.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from firmware_sim.clock import Scale
from tests.benchmarks import generator, sinks, systems
from tests.benchmarks.counters import Counters
from tests.benchmarks.headline import EVENT_ORIGIN_NS, STEADY
from tests.benchmarks.load import held_back
from tests.brokers import mosquitto
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.gateway_process import GatewayProcess

EVERY_S: Final = 2.0
OTHER: Final = """profile: other
version: {version}
family: other
topics: ["other/{{device}}/up"]
quantities: {{a: {{path: a}}, b{version}: {{path: b}}}}
"""


def measure(folder: Path, *, seconds: float = 60.0, every_s: float = EVERY_S) -> dict[str, Any]:
    """Load a gateway at a steady rate, change its profiles all the while; return what was seen."""
    folder.mkdir(parents=True, exist_ok=True)
    scale = Scale.starting_now(STEADY.factor(STEADY.rate), event_origin_ns=EVENT_ORIGIN_NS)
    scale.write(folder / "clock.json")
    with contextlib.ExitStack() as standing:
        broker = standing.enter_context(mosquitto(folder))
        sink = standing.enter_context(sinks.sink(folder, STEADY.sink))
        place = systems.Place(folder, broker, sink)
        ecluse = standing.enter_context(systems.ecluse(place, STEADY, scale))
        sent = Counters(folder / "sent.bin")
        with held_back(folder, broker, STEADY, ecluse, STEADY.rate) as sending:
            wait_until(lambda: sent[generator.SENT] > 0, within_s=60, what="the load")
            began, first = time.monotonic(), sent[generator.SENT]
            changes = sum(1 for _ in _changes(ecluse.running, folder, seconds, every_s))
            rate = (sent[generator.SENT] - first) / (time.monotonic() - began)
            sent[generator.STOP] = 1
            said, _ = sending.communicate(timeout=systems.DRAIN_S)
        status = ecluse.running.status()
        account = ecluse.account(int(json.loads(said)["messages"]))
        took_ms = _took_ms(ecluse.running.log)[-changes:]
    assert status is not None
    return {
        "messages": account.received,
        "rate": round(rate),
        "changes": changes,
        "in force": len(took_ms),
        "took_ms, median": sorted(took_ms)[len(took_ms) // 2],
        "took_ms, longest": max(took_ms),
        "connections": status["connection"]["connects"],
        "problems": list(account.problems),
    }


def _changes(running: GatewayProcess, folder: Path, seconds: float, every_s: float) -> Iterator[None]:
    """Add, change and remove a profile, in turns, and yield after each."""
    file = Path(folder) / "profiles" / "other" / "profile.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    deadline, number = time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        number += 1
        if number % 3:
            file.write_text(OTHER.format(version=number), encoding="utf-8")
        else:
            file.unlink()
        assert running.process is not None
        os.kill(running.process.pid, signal.SIGHUP)
        time.sleep(every_s)
        yield


def _took_ms(log: str) -> list[int]:
    """Return how long each change took, by the gateway's log."""
    events = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return [event["took_ms"] for event in events if event.get("event") == "changes are in force"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Profiles changed under 10,000 messages a second.")
    parser.add_argument("--seconds", type=float, default=60.0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(Path(folder), seconds=asked.seconds), indent=2))  # noqa: T201 - its answer


if __name__ == "__main__":
    main()
