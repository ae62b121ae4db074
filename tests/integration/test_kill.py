"""`kill -9` under load, ten times, at seeded instants: at QoS 1 nothing is lost and nothing counted twice."""

from __future__ import annotations

import random
import threading
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from firmware_sim.model import HOUR
from tests.brokers import mosquitto
from tests.databases import influxdb
from tests.integration import stored
from tests.integration.city import city, fleet, scale_from
from tests.integration.gateway_process import gateway
from tests.integration.oracle import Truth, bounds
from tests.integration.quarantined import quarantined
from tests.integration.recount import recount

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.gateway_process import GatewayProcess

MESSAGES = 10_000
"""At the least: the city goes on until the last kill."""
DEVICES = 150
SPEED = 2_000.0
KILLS = 10
SEED = 20261122
WORKING = 0.8
"""The share of kills that wait until it has journalled something anew."""
BEGINS = "2026-03-28T21:30:00+00:00"
"""Shortly before the civil day on which summer time begins: it has 23 hours."""
ENDS = datetime.fromisoformat("2026-03-29T23:00:00+00:00")


@pytest.mark.mosquitto
@pytest.mark.influxdb
@pytest.mark.timeout(300)
async def test_ten_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    """Raw points, windows of a quarter to a civil day, quarantine and books are those of a calm run."""
    specs = fleet(tmp_path / "devices.csv", DEVICES)
    with mosquitto(tmp_path) as broker, influxdb(tmp_path / "influx") as influx:
        sinks = (
            {"name": "influx", "kind": "influxdb1", "url": influx.url},
            {"name": "embedded", "kind": "embedded"},
        )
        scale = scale_from(BEGINS, speed=SPEED)
        more = {"broker": {"silence": "10min"}, "checkpoint": {"every": "1s"}}
        with gateway(tmp_path, broker, *sinks, scale=scale, more=more) as running:
            with city(tmp_path, broker, scale=scale, devices=DEVICES) as people:
                _kill_again_and_again(running)
                ended = int(ENDS.timestamp()) * 10**9
                running.wait(
                    lambda now: now["now_ns"] > ended and now["uplinks"]["journalled"] > MESSAGES,
                    "a whole civil day",
                    within_s=120,
                )
                ledger = people.end()
            over = running.drained(uplinks=len(ledger.entries))["now_ns"]
            running.wait(lambda now: now["now_ns"] > over + 3 * HOUR, "what has ended is written")
            status = running.drained()
            assert running.stop() == 0
        had = stored.from_influx(influx)
    again = await recount(running.state, ledger, specs)
    truth = Truth.of(ledger, specs)

    assert stored.assert_same(truth.raw(), had, where="InfluxDB") > MESSAGES
    windows = stored.ended(truth.windows(), had, by=over)
    assert stored.assert_same(windows, had, where="InfluxDB") > MESSAGES
    assert 23 * HOUR in {end - start for start, end in (bounds("1d", key[2]) for key in windows["waste_1d"])}
    stored.check_quality(truth, had)
    embedded = stored.from_embedded(running.state / "embedded.duckdb")
    stored.assert_same(had, embedded, where="embedded store beside InfluxDB", without=())

    # What was journalled and not acknowledged came again: it counts as what it is, each time.
    assert again.heard == {(entry.topic.encode(), entry.payload) for entry in ledger.entries}
    came_again = again.uplinks["journalled"] - len(ledger.entries)
    assert came_again + sum(sink["replayed"] for sink in status["sinks"].values()) > 0
    refused = quarantined(running.state)
    assert refused == again.refused
    assert refused.keys() == {
        (entry.topic.encode(), entry.payload, entry.expect.partition(":")[2])
        for entry in ledger.entries
        if entry.expect.startswith("quarantined:")
    }
    assert status["balanced"]
    for book, counted in (("uplinks", again.uplinks), ("readings", again.readings)):
        told = {name: count for name, count in status[book].items() if count}
        assert told == {name: count for name, count in counted.items() if count}, book
    assert status["reasons"] == dict(again.reasons)
    for name, sink in status["sinks"].items():
        assert sink["made"] == sink["stored"], name


def _kill_again_and_again(running: GatewayProcess) -> None:
    """Kill it, mostly while it works, sometimes while it wakes or replays."""
    rng = random.Random(SEED)
    seen = 0
    for _ in range(KILLS):
        if rng.random() < WORKING:
            before = seen
            now = running.wait(lambda now, before=before: now["uplinks"]["journalled"] > before, "it works")
            seen = now["uplinks"]["journalled"]
        threading.Event().wait(rng.uniform(0.0, 2.0))
        running.kill()
        running.start(ready=False)
    running.wait(lambda now: now["connection"]["state"] == "connected", "connected after the last kill")
