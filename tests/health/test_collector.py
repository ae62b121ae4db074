from __future__ import annotations

import subprocess
from math import inf
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from gateway.health.collector import SnapshotCollector
from tests.databases import fetch, prometheus
from tests.pages import NOW_NS, site, snapshot
from tests.processes import binary, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.health.snapshot import Snapshot


def scraped(now: Snapshot) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(SnapshotCollector(lambda: now))
    return generate_latest(registry)


def values(now: Snapshot) -> dict[tuple[str, ...], float]:
    """Return each sample by its name and its labels' values."""
    families = text_string_to_metric_families(scraped(now).decode())
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def test_it_tells_what_the_snapshot_says() -> None:
    """Books by column, points by sink, queues, latencies, components."""
    told = values(snapshot(ready=False, missing=3))
    assert told["ecluse_uplinks_total", "journalled"] == 1_204_570
    assert told["ecluse_uplinks_pending",] == 42
    assert told["ecluse_readings_total", "aggregated"] == 7_190_000
    assert told["ecluse_book_difference", "uplinks"] == 3
    assert told["ecluse_book_difference", "sink influx"] == 0
    assert told["ecluse_rejections_total", "not json"] == 900
    assert told["ecluse_points_total", "stored", "influx"] == 1_500_000
    assert told["ecluse_sink_retries_total", "influx"] == 7
    assert told["ecluse_queue_bytes", "outbox influx"] == 140_000
    assert told["ecluse_queue_limit_bytes", "outbox influx"] == 10**10
    assert told["ecluse_queue_limit_items", "journal"] == 1
    assert ("ecluse_queue_limit_bytes", "quarantine") not in told
    assert told["ecluse_outbox_entries", "influx"] == 3
    assert told["ecluse_outbox_behind_points", "influx"] == 400
    assert told["ecluse_outbox_empty_seconds", "influx"] == 9_000
    assert told["ecluse_outbox_empty_seconds", "embedded"] == inf
    assert told["ecluse_last_uplink_timestamp_seconds",] == NOW_NS / 1e9
    assert told["ecluse_durable_latency_seconds_bucket", "0.005"] == 1_203_000
    assert told["ecluse_durable_latency_seconds_count",] == 1_204_567
    assert told["ecluse_stored_latency_seconds_count", "influx"] == 1_500_000
    assert told["ecluse_component_ok", "sink influx"] == 0
    assert told["ecluse_component_ok", "broker"] == 1


def test_registering_takes_no_snapshot() -> None:
    """Before the first scrape nothing is asked: the gateway may not be up yet."""

    def never() -> Snapshot:
        raise AssertionError("asked")

    CollectorRegistry(auto_describe=False).register(SnapshotCollector(never))


def test_labels_are_bounded() -> None:
    """No label names a device: ten thousand of them would make a million series."""
    allowed = {
        *("column", "book", "reason", "sink", "queue", "state", "profile", "component", "le"),
        *("version", "python"),
    }
    families = text_string_to_metric_families(scraped(snapshot()).decode())
    assert {label for family in families for sample in family.samples for label in sample.labels} <= allowed


@pytest.mark.prometheus
def test_promtool_has_nothing_to_say() -> None:
    """Names, units, types and help texts as Prometheus wants them."""
    checked = subprocess.run(
        [binary("promtool", "prometheus"), "check", "metrics"],
        input=scraped(snapshot()),
        capture_output=True,
        check=False,
        timeout=30,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


@pytest.mark.prometheus
def test_a_real_prometheus_scrapes_it(tmp_path: Path) -> None:
    """Through HTTP, with the token, and finds the figures."""
    token = tmp_path / "token"
    token.write_text("of-the-city", encoding="utf-8")
    with site(tmp_path, token="of-the-city", with_store=False) as served:  # noqa: S106 - made up
        settings = f"""
global: {{scrape_interval: 1s}}
scrape_configs:
  - job_name: ecluse
    authorization: {{credentials_file: {token}}}
    static_configs: [{{targets: ["{served.url.removeprefix("http://")}"]}}]
"""
        with prometheus(tmp_path / "prometheus", settings=settings) as running:
            wait_until(
                lambda: bool(running.query("ecluse_uplinks_total")),
                within_s=20,
                what="a scrape of the gateway",
            )
            (up,) = running.query("up")
            assert up["value"][1] == "1"
            (pending,) = running.query("ecluse_uplinks_pending")
            assert pending["value"][1] == "42"
            worst = running.query("histogram_quantile(0.99, ecluse_durable_latency_seconds_bucket)")
            assert 0 < float(worst[0]["value"][1]) < 0.01
            targets = fetch(f"{running.url}/api/v1/targets").decode()
            assert '"lastError":""' in targets
