"""A city that lives on while something is hurt, then calms down; what is left is held against its ledger."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from firmware_sim.fleet import Fleet
from firmware_sim.model import HOUR
from tests.integration import stored
from tests.integration.city import city, fleet, scale_from
from tests.integration.gateway_process import gateway
from tests.integration.quarantined import quarantined
from tests.integration.recount import recount

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from firmware_sim.clock import Scale
    from firmware_sim.ledger import Contents
    from firmware_sim.model import Spec
    from tests.brokers import Broker
    from tests.integration.city import City
    from tests.integration.gateway_process import GatewayProcess
    from tests.integration.oracle import Key, Tables, Truth
    from tests.integration.recount import Recount

BEGINS = "2026-06-15T06:00:00+00:00"
SPEED = 3_000.0
BY_SINK = "refused by sink"
MORE: Mapping[str, Any] = {"broker": {"silence": "10min"}, "checkpoint": {"every": "1s"}}


@dataclass
class Life:
    """A gateway and a city beside it, on one scale of time."""

    running: GatewayProcess
    people: City
    scale: Scale
    specs: Sequence[Spec]
    idle: Sequence[Spec] = ()

    def one(self, family: str) -> Spec:
        """Return a device that says nothing by itself."""
        return next(spec for spec in self.idle if spec.family == family)

    def now_ns(self) -> int:
        """Return the gateway's time."""
        return int(self.running.wait(lambda _: True, "it answers")["now_ns"])

    def flows(self, more: int = 50, *, within_s: float = 60) -> None:
        """Return once so many uplinks more are in the journal."""
        before = (self.running.status() or {"uplinks": {"journalled": 0}})["uplinks"]["journalled"]
        self.running.wait(
            lambda now: now["uplinks"]["journalled"] >= before + more, "it flows", within_s=within_s
        )

    def calm(self, *, within_s: float = 120, missing: bool = False) -> tuple[Contents, dict[str, Any]]:
        """End the city; return its ledger, and the status once all that has ended by then is written.

        `missing`: the broker may have lost some of what it had acknowledged.
        """
        ledger = self.people.end(within_s=within_s)
        uplinks = 0 if missing else len(ledger.entries)
        over = self.running.drained(uplinks=uplinks, within_s=within_s)["now_ns"]
        self.running.wait(lambda now: now["now_ns"] > over + 3 * HOUR, "what has ended is written")
        return ledger, self.running.drained(within_s=within_s) | {"over_ns": over}


@contextlib.contextmanager
def living(
    folder: Path,
    broker: Broker,
    *sinks: Mapping[str, Any],
    devices: int = 60,
    idle: int = 0,
    begins: str = BEGINS,
    speed: float = SPEED,
    through: Broker | None = None,
    faults: float = 0.02,
    more: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    seed: int = 1,
) -> Iterator[Life]:
    """Let a city of so many devices publish into a gateway.

    `idle`: devices more that are registered and say nothing; `through`: what the gateway takes for the
    broker; `environment`: what it is given beside the test's own.
    """
    specs = fleet(folder / "devices.csv", devices + idle, seed=seed)
    busy = {spec.id for spec in Fleet.of(devices).specs(seed)}
    scale = scale_from(begins, speed=speed)
    settings = {**MORE, **(more or {})}
    with gateway(folder, through or broker, *sinks, scale=scale, more=settings, start=False) as running:
        running.environment.update(environment or {})
        running.start()  # before the city: what is published before the first subscription is nobody's
        with city(folder, broker, scale=scale, devices=devices, faults=faults, seed=seed) as people:
            yield Life(running, people, scale, specs, [spec for spec in specs if spec.id not in busy])


def rest(seconds: float) -> None:
    """Let that time pass: an instant that the seed has chosen."""
    threading.Event().wait(seconds)


@dataclass
class Cost:
    """What differs between what must be stored and what is."""

    lost: int = 0
    doubled: int = 0
    problems: list[str] = field(default_factory=list)


def weigh(
    truth: Truth, had: Tables, *, by: int, refused: Collection[tuple[str, Key]] = (), where: str = "InfluxDB"
) -> Cost:
    """Hold raw points, and the windows that had ended by then, to what is stored, both ways.

    `refused`: points that the database refused for good. Says what differs. Raises AssertionError where
    nothing is lost or doubled and a flag is wrong.
    """
    expected: Tables = truth.raw() | stored.ended(truth.windows(), had, by=by)
    cost = Cost()
    for measurement, points in expected.items():
        there = had[measurement]
        for key, fields in points.items():
            if (measurement, key) in refused:
                continue
            if key not in there:
                cost.lost += 1
                cost.problems.append(f"{measurement} {key}: not stored")
                continue
            found = {name: value for name, value in there[key].items() if name not in stored.JUDGED}
            if not stored.same(fields, found):
                cost.lost += 1
                cost.problems.append(f"{measurement} {key}: {stored.difference(fields, found)}")
        nobodys = there.keys() - points.keys()
        cost.doubled += len(nobodys)
        cost.problems += [f"{measurement} {key}: of nobody" for key in nobodys]
    if cost.problems:
        print(f"{where}: {len(cost.problems)} differ", *sorted(cost.problems)[:10], sep="\n  ")  # noqa: T201
    elif not refused:
        stored.check_quality(truth, had)
    return cost


def check_books(state: Path, ledger: Contents, specs: Sequence[Spec], status: Mapping[str, Any]) -> Recount:
    """Count everything again from the journal of a gateway that has ended. Raises AssertionError.

    Books, reasons and the quarantine (but for what a sink refused) must be what that gives.
    """
    again = asyncio.run(recount(state, ledger, specs))
    assert status["balanced"]
    for book, counted in (("uplinks", again.uplinks), ("readings", again.readings)):
        told = {name: count for name, count in status[book].items() if count}
        assert told == {name: count for name, count in counted.items() if count}, book
    assert status["reasons"] == dict(again.reasons)
    rows = Counter({row: times for row, times in quarantined(state).items() if row[2] != BY_SINK})
    assert rows == again.refused
    for name, sink in status["sinks"].items():
        assert sink["made"] == sink["stored"] + sink["refused"], name
    return again
