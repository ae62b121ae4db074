"""A city's day through a gateway that is hurt again and again, into real InfluxDB, held against the ledger.

The scenarios differ in what hurts: they are given a `Victim`, and do to it what they are about.
"""

from __future__ import annotations

import contextlib
import gc
import subprocess
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from firmware_sim.model import HOUR
from tests.brokers import mosquitto
from tests.chaos.gateway_with_crash_points import CRASH_AT, KEEP_TRIMMED, PASSING
from tests.chaos.outcome import Outcome
from tests.chaos.recorder import Recorder
from tests.chaos.verdict import Evidence, judge
from tests.databases import influxdb
from tests.integration import stored
from tests.integration.city import city, fleet, scale_from
from tests.integration.gateway_process import START_S, gateway
from tests.processes import wait_until

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from tests.chaos.crash_points import Point
    from tests.integration.city import City
    from tests.integration.gateway_process import GatewayProcess

LAUNCHER = "tests.chaos.gateway_with_crash_points"
BEGINS = "2026-03-28T21:30:00+00:00"
"""Shortly before the civil day on which summer time begins: it has 23 hours …"""
ENDS_NS = int(datetime.fromisoformat("2026-03-29T22:00:00+00:00").timestamp()) * 10**9 + HOUR
"""… and has ended here, with an hour to spare."""
MORE = {
    "broker": {"silence": "10min"},
    "checkpoint": {"every": "1s"},
    # Small, so that files are begun and trimmed all the time; copies of them are kept for the recount.
    "journal": {"segment": "500kB", "retention": "1h"},
}
KILLED = -9
REACH_S = 10.0
"""How long a gateway may work before it passes the point at which it is to die; then it is killed anyhow."""


@dataclass(frozen=True, slots=True)
class Size:
    """How large an ordeal is. `speed`: event seconds a second; `messages`: at the least."""

    devices: int
    speed: float
    messages: int


@dataclass
class Victim:
    """A gateway to be hurt. Every instant comes from `rng`; every fault is counted."""

    running: GatewayProcess
    rng: random.Random
    say: Callable[[str], None]
    recorder: Recorder | None = None
    faults: int = 0
    recoveries_s: list[float] = field(default_factory=list)
    reached: set[Point] = field(default_factory=set)
    _seen: int = 0

    def live(self) -> None:
        """Start it, and see that it is connected again, which is a recovery."""
        began = time.monotonic()
        self.running.start()
        self.recoveries_s.append(time.monotonic() - began)

    def kill(self) -> None:
        """Start it; `kill -9` at an instant: mostly while it works, sometimes while it wakes or replays."""
        if self.rng.random() < 0.75:
            self.live()
            self._work()
            self._pass(self.rng.uniform(0.0, 1.0))
        else:
            self.running.start(ready=False)
            self._pass(self.rng.uniform(0.0, 2.0))
        self.running.kill()
        self._count("killed")

    def kill_at(self, point: Point) -> None:
        """Start it; it dies at a crash point, or is killed where it does not come by."""
        passing = self.rng.randint(1, point.most)
        self.running.start(ready=False, also={CRASH_AT: str(point), PASSING: str(passing)})
        if point.ending:
            self._end()
        if self._dies():
            self.reached.add(point)
        self._count(f"killed {point}")

    def cut_power(self, point: Point | None = None) -> None:
        """Kill it, at a crash point or any instant, and leave its folder as a power cut would."""
        assert self.recorder is not None
        if point is None:
            self.kill()
        else:
            self.kill_at(point)
        self.recorder.power_cut(self.rng)
        self.say("… and its power was cut")

    def _end(self) -> None:
        """Tell it to stop once it works; after a power cut it may die before: damaged files are closed."""
        process = self.running.process
        assert process is not None

        def works() -> bool:
            now = self.running.status()
            return process.poll() is not None or (
                now is not None and now["connection"]["state"] == "connected"
            )

        wait_until(works, within_s=START_S, what="it works")
        self._pass(self.rng.uniform(0.0, 0.5))
        process.terminate()

    def _dies(self) -> bool:
        """Return whether it was killed at its point; kill it where it works and does not come by."""
        process = self.running.process
        assert process is not None
        try:
            code = process.wait(timeout=REACH_S)
        except subprocess.TimeoutExpired:
            self.running.kill()
            return False
        assert code == KILLED, f"it ended by itself with {code}:\n{self.running.log[-3000:]}"
        return True

    def _work(self) -> None:
        """Return once it has journalled something anew."""
        now = self.running.wait(lambda now: now["uplinks"]["journalled"] > self._seen, "it works")
        self._seen = now["uplinks"]["journalled"]

    def _pass(self, seconds: float) -> None:
        threading.Event().wait(seconds)

    def _count(self, what: str) -> None:
        if self.recorder is not None:
            self.recorder.killed()
        self.faults += 1
        self.say(f"{self.faults}: {what}")


def undergo(
    folder: Path,
    rng: random.Random,
    *,
    size: Size,
    hurt: Callable[[Victim], None],
    say: Callable[[str], None],
    recorded: bool = False,
    embedded: bool = False,
    environment: Mapping[str, str] | None = None,
    patience_s: float = 120.0,
) -> Outcome:
    """Let a city publish while the gateway is hurt, then calm, then look at everything.

    `recorded`: so that power can be cut. `embedded`: into the embedded store as well. `environment`: for
    every life of the gateway. Raises AssertionError where anything but loss or doubling is wrong.
    """
    specs = fleet(folder / "devices.csv", size.devices)
    kept = folder / "kept"
    kept.mkdir()
    with mosquitto(folder) as broker, influxdb(folder / "influx") as influx:
        sinks = [{"name": "influx", "kind": "influxdb1", "url": influx.url}]
        sinks += [{"name": "embedded", "kind": "embedded"}] if embedded else []
        scale = scale_from(BEGINS, speed=size.speed)
        with gateway(folder, broker, *sinks, scale=scale, more=MORE, start=False) as running:
            running.program = ("-m", LAUNCHER)
            running.environment |= {KEEP_TRIMMED: str(kept), **(environment or {})}
            recorder = Recorder(folder / "recorder", running.state) if recorded else None
            running.environment |= recorder.environment if recorder else {}
            victim = Victim(running, rng, say, recorder)
            running.start()  # once in peace: from now on the broker keeps what is for us
            running.kill()
            with city(folder, broker, scale=scale, devices=size.devices) as people:
                hurt(victim)
                victim.live()
                say("calm")
                _a_whole_day(running, people, size.messages)
                ledger = people.end()
            with contextlib.suppress(AssertionError):  # what is lost never comes: the judge will say so
                running.wait(
                    lambda now: now["uplinks"]["journalled"] >= len(ledger.entries),
                    "everything has come",
                    within_s=patience_s,
                )
            over = running.drained()["now_ns"]
            running.wait(lambda now: now["now_ns"] > over + 2 * HOUR, "what has ended is written")
            status = running.drained()
            assert running.stop() == 0, running.log[-3000:]
        assert recorder is None or not recorder.missed()
        had = stored.from_influx(influx)
        say("judging")
        evidence = Evidence(ledger, specs, had, over, running.state, kept, status, embedded=embedded)
        with _no_search_for_cycles():
            lost, doubled = judge(evidence, say)
    return Outcome(victim.faults, len(ledger.entries), lost, doubled, tuple(victim.recoveries_s))


def _a_whole_day(running: GatewayProcess, people: City, messages: int) -> None:
    """Return once so many messages were published, and the civil day of 23 hours is over."""
    running.wait(lambda now: now["now_ns"] > ENDS_NS, "a whole civil day", within_s=300)
    wait_until(lambda: people.published >= messages, within_s=300, what="enough messages")


@contextlib.contextmanager
def _no_search_for_cycles() -> Iterator[None]:
    """Millions of values are made that all stay: the search for cycles would take longest."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
