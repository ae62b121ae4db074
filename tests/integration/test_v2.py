"""InfluxDB 2's way of writing, through influxdb-client, into a stand-in in front of InfluxDB 1.6."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.brokers import mosquitto
from tests.databases import influx_v2_stand_in, influxdb
from tests.integration import stored
from tests.integration.city import city, fleet, scale_from
from tests.integration.gateway_process import gateway
from tests.integration.oracle import Truth, bounds

if TYPE_CHECKING:
    from pathlib import Path

MESSAGES = 1_500
TOKEN = "made-up-for-this-test"  # noqa: S105 - as it says


@pytest.mark.mosquitto
@pytest.mark.influxdb
def test_a_city_into_influxdb_2(tmp_path: Path) -> None:
    """Readings and windows arrive as in InfluxDB 1; the token comes from a file and is told nowhere."""
    specs = fleet(tmp_path / "devices.csv", 60)
    (tmp_path / "token").write_text(f"{TOKEN}\n", encoding="utf-8")
    scale = scale_from("2026-06-15T06:00:00+00:00", speed=3_000)
    with (
        mosquitto(tmp_path) as broker,
        influxdb(tmp_path / "influx") as influx,
        influx_v2_stand_in(influx, token=TOKEN, org="city", bucket="ecluse") as url,
    ):
        sink = {"name": "influx", "kind": "influxdb2", "url": url, "org": "city", "bucket": "ecluse"}
        with gateway(tmp_path, broker, sink | {"token_file": "token"}, scale=scale) as running:
            with city(tmp_path, broker, scale=scale, devices=60, messages=MESSAGES) as people:
                ledger = people.wait(within_s=90)
            truth = Truth.of(ledger, specs)
            over = bounds("1h", truth.newest)[1]
            running.wait(lambda now: now["now_ns"] > over + 3 * 3600 * 10**9, "the last hour is over")
            status = running.drained(uplinks=MESSAGES)
            assert status["balanced"]
            assert status["sinks"]["influx"]["stored"] == status["sinks"]["influx"]["made"]
            assert TOKEN not in running.log
            assert running.stop() == 0
        had = stored.from_influx(influx)
        stored.assert_same(truth.raw(), had, where="InfluxDB 2")
        windows = stored.ended(truth.windows(), had, by=over)
        assert stored.assert_same(windows, had, where="InfluxDB 2") > MESSAGES
        stored.check_types(truth.raw() | windows, stored.influx_types(influx))
