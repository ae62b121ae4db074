"""A database that comes back after an outage: what is new first, what waited between, nothing overtaken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from firmware_sim.model import HOUR
from tests.brokers import mosquitto
from tests.databases import influxdb
from tests.integration import stored
from tests.integration.city import city, fleet, scale_from
from tests.integration.gateway_process import gateway, write_settings
from tests.integration.oracle import Truth
from tests.processes import free_port

if TYPE_CHECKING:
    from pathlib import Path

DEVICES = 150
SPEED = 2_000.0
BEGINS = "2026-06-15T06:00:00+00:00"


@pytest.mark.mosquitto
@pytest.mark.influxdb
@pytest.mark.timeout(300)
def test_what_is_new_goes_first_and_the_last_writings_stand(tmp_path: Path) -> None:
    """Over two outages and two kills; beside it a sink of the same bytes is away for the whole run."""
    specs = fleet(tmp_path / "devices.csv", DEVICES)
    port = free_port()
    influx_sink: dict[str, Any] = {
        "name": "influx",
        "kind": "influxdb1",
        "url": f"http://127.0.0.1:{port}",
        "create": True,
        "order": "live",
        "backlog_after": "2s",
        "drain_rate": "1000/s",
        "batch": 500,
    }
    away = {"name": "away", "kind": "influxdb1", "url": f"http://127.0.0.1:{free_port()}"}
    sinks = (influx_sink, away, {"name": "embedded", "kind": "embedded"})
    scale = scale_from(BEGINS, speed=SPEED)
    more = {"broker": {"silence": "10min"}, "checkpoint": {"every": "1s"}}
    with (
        mosquitto(tmp_path / "broker") as broker,
        gateway(tmp_path, broker, *sinks, scale=scale, more=more) as running,
        city(tmp_path, broker, scale=scale, devices=DEVICES) as people,
    ):
        for _ in range(2):
            with influxdb(tmp_path / "influx", port=port) as influx:
                before = running.wait(lambda now: now["sinks"]["influx"]["stored"] > 500, "it flows")
                influx.process.kill()
            running.wait(
                lambda now, at=before: (
                    now["sinks"]["influx"]["waiting"] > 5_000
                    and now["sinks"]["influx"]["made"] > at["sinks"]["influx"]["made"] + 5_000
                ),
                "an outage",
                within_s=90,
            )
        with influxdb(tmp_path / "influx", port=port) as influx:
            seen = [running.wait(lambda now: _behind(now) > 0, "stepped over", within_s=60)]
            running.wait(
                lambda now: _is_filled_in(seen, now), "new ones are there, old ones follow", within_s=60
            )
            for _ in range(2):
                running.kill()
                running.start()
                running.wait(lambda now: _behind(now) > 0, "it is known what is behind")
            ledger = people.end()
            running.drained(uplinks=len(ledger.entries), of=("embedded",))
            assert running.stop() == 0
            write_settings(
                tmp_path, broker, influx_sink | {"drain_rate": "off"}, *sinks[1:], scaled=True, more=more
            )
            running.start()
            over = running.drained(of=("influx", "embedded"))["now_ns"]
            running.wait(lambda now: now["now_ns"] > over + 3 * HOUR, "what has ended is written")
            status = running.drained(of=("influx", "embedded"))
            had = stored.from_influx(influx)
        assert running.stop() == 0
    book, other = status["sinks"]["influx"], status["sinks"]["away"]
    assert status["balanced"]
    assert book["superseded"] > 0
    assert book["made"] == book["stored"] + book["superseded"]
    assert (other["stored"], other["waiting"]) == (0, other["made"])
    assert other["made"] == book["made"]
    truth = Truth.of(ledger, specs)
    assert stored.assert_same(truth.raw(), had, where="InfluxDB") > 5_000
    windows = stored.ended(truth.windows(), had, by=over)
    assert stored.assert_same(windows, had, where="InfluxDB") > 1_000
    stored.check_quality(truth, had)
    embedded = stored.from_embedded(running.state / "embedded.duckdb")
    stored.assert_same(had, embedded, where="embedded store beside InfluxDB", without=())


def _is_filled_in(seen: list[dict[str, Any]], now: dict[str, Any]) -> bool:
    """Tell whether fewer are behind than there were, while hardly any new ones wait."""
    seen.append(now)
    live = now["queues"]["outbox influx"]["items"] - _behind(now)
    return 0 < _behind(now) < max(map(_behind, seen)) and live < 2_000


def _behind(now: dict[str, Any]) -> int:
    behind: int = now["queues"]["outbox influx"]["behind"]
    return behind
