"""Prometheus scrapes a gateway that runs: what an operator's dashboards and alarms stand on."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.brokers import mosquitto
from tests.databases import fetch, prometheus
from tests.integration.city import city, fleet, scale_from
from tests.integration.gateway_process import gateway
from tests.processes import binary, wait_until

if TYPE_CHECKING:
    from pathlib import Path

MESSAGES = 1_000
SETTINGS = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: ecluse
    static_configs: [{{targets: ["{target}"]}}]
"""


@pytest.mark.mosquitto
@pytest.mark.prometheus
def test_prometheus_scrapes_a_running_gateway(tmp_path: Path) -> None:
    """The target is up, its figures are those of the status, and promtool finds no fault with them."""
    promtool = binary("promtool", "prometheus")
    fleet(tmp_path / "devices.csv", 60)
    scale = scale_from("2026-06-15T06:00:00+00:00", speed=3_000)
    with mosquitto(tmp_path) as broker, gateway(tmp_path, broker, scale=scale) as running:
        settings = SETTINGS.format(target=running.url.removeprefix("http://"))
        with prometheus(tmp_path / "prometheus", settings=settings) as watching:

            def value(expression: str) -> float:
                result = watching.query(expression)
                return float(result[0]["value"][1]) if result else -1.0

            with city(tmp_path, broker, scale=scale, devices=60, messages=MESSAGES, faults=0.1) as people:
                wait_until(lambda: value("up{job='ecluse'}") == 1, within_s=20, what="the target is up")
                people.wait(within_s=90)
            status = running.drained(uplinks=MESSAGES)
            wait_until(
                lambda: value('ecluse_uplinks_total{column="journalled"}') == MESSAGES,
                within_s=20,
                what="all uplinks are seen",
            )
            assert len(status["reasons"]) > 5
            for reason, count in status["reasons"].items():
                assert value(f'ecluse_rejections_total{{reason="{reason}"}}') == count
            assert value('ecluse_points_total{sink="embedded",column="stored"}') > MESSAGES
            assert value("ecluse_durable_latency_seconds_count") == MESSAGES
            assert value('ecluse_stored_latency_seconds_count{sink="embedded"}') > MESSAGES
            assert value("sum(abs(ecluse_book_difference))") == 0
            assert value("min(ecluse_component_ok)") == 1
            assert value("ecluse_series") > 60
        checked = subprocess.run(
            [promtool, "check", "metrics"],
            input=fetch(f"{running.url}/metrics"),
            capture_output=True,
            check=False,
            timeout=30,
        )
        assert checked.returncode == 0, checked.stderr.decode() + checked.stdout.decode()
        assert not checked.stderr.strip(), checked.stderr.decode()
