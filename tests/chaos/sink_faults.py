"""Everything that a database can do to a gateway, and one of two that is away all the time.

A real InfluxDB 1.6 stands behind a proxy of ours that fails as told. At the end all is stored once in effect,
but for the points that it refused for good: those alone are in quarantine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.quarantine.reader import QuarantineReader
from tests.brokers import mosquitto
from tests.chaos.database_proxy import ANSWERS, DatabaseProxy, Ill, Point
from tests.chaos.life import BY_SINK, Life, check_books, living, rest, weigh
from tests.chaos.outcome import Outcome
from tests.databases import influxdb
from tests.integration import stored
from tests.integration.oracle import Truth
from tests.processes import free_port

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence
    from pathlib import Path

    from tests.chaos.database_proxy import Fault
    from tests.chaos.outcome import Scenario
    from tests.integration.oracle import Key

TIMEOUT_S = 2
"""The sink's own (`timeout`), 30 s unless set: a slow answer comes before it, a too slow one after it."""
DOWN = "down"
CREDENTIALS = "401"
"""After it the gateway asks again in a minute: only a person can mend that."""
ALL: tuple[Fault, ...] = (DOWN, *(name for name in ANSWERS if name != CREDENTIALS), *Ill)
LAG_S = 15.0
"""So old may the oldest point be that waits for a sound database beside one that is away."""


def every_fault(folder: Path, rng: random.Random, faults: Sequence[Fault]) -> Outcome:
    """Let a database fail in these ways, in an order of the seed's, while a city publishes."""
    order = rng.sample(faults, len(faults))
    with (
        mosquitto(folder) as broker,
        influxdb(folder / "influx") as influx,
        DatabaseProxy(influx, slow_s=TIMEOUT_S / 2, too_slow_s=2.0 * TIMEOUT_S).running() as proxy,
    ):
        sink = _sink("influx", proxy.url)
        # Refused points are of no device: all of them share one bound.
        more = {"quarantine": {"per_device": 100_000}}
        with living(folder, broker, sink, devices=60, more=more) as life:
            life.flows()
            recoveries = [_hurt(life, proxy, fault, rng) for fault in order]
            ledger, status = life.calm()
            assert status["ready"], status["components"]
            assert life.running.stop() == 0, life.running.log[-3000:]
        had = stored.from_influx(influx)
    refused = {_key(point) for point in proxy.refused}
    cost = weigh(Truth.of(ledger, life.specs), had, by=status["over_ns"], refused=refused)
    assert _quarantined(life.running.state) == proxy.refused
    assert bool(refused) == (Ill.PARTLY in order)
    assert status["sinks"]["influx"]["refused"] >= len(refused)
    check_books(life.running.state, ledger, life.specs, status)
    return Outcome(len(order), len(ledger.entries), cost.lost, cost.doubled, tuple(recoveries))


def _sink(name: str, url: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "kind": "influxdb1", "url": url, "timeout": f"{TIMEOUT_S}s", **more}


def _hurt(life: Life, proxy: DatabaseProxy, fault: Fault, rng: random.Random) -> float:
    """Let the next writes fail in one way; return after how many seconds a write was stored again."""
    rest(rng.uniform(0.0, 0.5))
    if fault == DOWN:
        proxy.down()
        rest(rng.uniform(0.5, 3.0))
        proxy.up()
    else:
        proxy.fail(*[fault] * (1 if fault == CREDENTIALS else rng.randint(1, 2)))
    before = life.running.wait(lambda _: True, "it answers")["now_ns"]
    after = life.running.wait(
        lambda now: now["sinks"]["influx"]["last_success_ns"] > before, "stored again", within_s=120
    )
    return float(after["now_ns"] - before) / 1e9 / life.scale.factor


def _quarantined(state: Path) -> set[Point]:
    """Return the points in quarantine."""
    reader = QuarantineReader.open(state / "quarantine.db")
    try:
        return {Point.of(row.payload) for row in reader.list(limit=1_000_000) if row.reason == BY_SINK}
    finally:
        reader.close()


def _key(point: Point) -> tuple[str, Key]:
    measurement, *pairs = point.series.decode().split(",")
    tags = dict(pair.split("=", 1) for pair in pairs)
    return measurement, (tags["device"], stored.dimensions_of(tags), int(point.time))


def one_of_two_is_away(folder: Path, rng: random.Random, *, messages: int) -> Outcome:
    """Let one of two databases be away for a whole run: the other has everything in time; then both have."""
    port = free_port()
    ages: list[float] = []
    with mosquitto(folder) as broker, influxdb(folder / "sound") as sound:
        sinks = (_sink("away", f"http://127.0.0.1:{port}", create=True), _sink("sound", sound.url))
        with living(folder, broker, *sinks, devices=60) as life:

            def has_come(now: dict[str, Any]) -> bool:
                ages.append(now["queues"]["outbox sound"]["seconds"])
                return bool(now["uplinks"]["journalled"] >= messages)

            life.running.wait(has_come, "so many messages", within_s=300)
            ledger = life.people.end()
            status = life.running.drained(uplinks=len(ledger.entries), of=["sound"])
            away, beside = status["sinks"]["away"], status["sinks"]["sound"]
            assert away["stored"] == 0
            assert away["waiting"] >= beside["stored"] > messages
            assert status["balanced"]
            assert life.running.component("sink away")["state"] == "down"
            assert life.running.component("sink sound")["state"] == "ok"
            assert max(ages) < LAG_S, f"the sound database waited up to {max(ages):.1f} s"
            rest(rng.uniform(0.0, 1.0))
            with influxdb(folder / "away", port=port) as away_no_more:
                ledger, status = life.calm()
                had = [stored.from_influx(influx) for influx in (sound, away_no_more)]
                assert life.running.stop() == 0, life.running.log[-3000:]
    check_books(life.running.state, ledger, life.specs, status)
    truth = Truth.of(ledger, life.specs)
    costs = [weigh(truth, each, by=status["over_ns"]) for each in had]
    return Outcome(
        1, len(ledger.entries), sum(cost.lost for cost in costs), sum(cost.doubled for cost in costs)
    )


def _all(folder: Path, rng: random.Random) -> Outcome:
    return every_fault(folder, rng, [*ALL, *ALL, *ALL, CREDENTIALS])


def _away(folder: Path, rng: random.Random) -> Outcome:
    return one_of_two_is_away(folder, rng, messages=6_000)


SCENARIOS: dict[str, Scenario] = {"a database that fails": _all, "one of two databases away": _away}
