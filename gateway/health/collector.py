"""The metrics, rendered from one snapshot at each scrape: counting costs the river plain integers.

Label sets are bounded: by reason, by sink, by queue, by profile, by component; never by device.
Every metric is listed in `docs/health.md`.
"""

from __future__ import annotations

import platform
from math import inf
from typing import TYPE_CHECKING

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.registry import Collector

from gateway.health.snapshot import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from prometheus_client.metrics_core import Metric

    from gateway.health.snapshot import Snapshot


class SnapshotCollector(Collector):
    """Asks for a snapshot at each scrape."""

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot

    def describe(self) -> Iterable[Metric]:
        """Nothing before the first scrape: registering must not take a snapshot."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        now = self._snapshot()
        yield InfoMetricFamily("ecluse_build", "Version of Écluse and of Python.", value=_build(now.version))
        yield from _books(now)
        yield from _sinks(now)
        yield from _connection(now)
        yield from _queues(now)
        yield from _state(now)
        yield from _latencies(now)


def _build(version: str) -> dict[str, str]:
    return {"version": version, "python": platform.python_version()}


def _labelled(
    kind: type[CounterMetricFamily | GaugeMetricFamily],
    name: str,
    text: str,
    label: str,
    values: Iterable[tuple[str, float]],
) -> Metric:
    family = kind(name, text, labels=[label])
    for value, amount in values:
        family.add_metric([value], amount)
    return family


def _books(now: Snapshot) -> Iterator[Metric]:
    uplinks = {k: v for k, v in now.uplinks.items() if k not in ("difference", "pending")}
    readings = {k: v for k, v in now.readings.items() if k != "difference"}
    yield _labelled(
        CounterMetricFamily,
        "ecluse_uplinks",
        "Uplinks by column of the first book.",
        "column",
        uplinks.items(),
    )
    yield GaugeMetricFamily(
        "ecluse_uplinks_pending", "Uplinks journalled and not yet decoded.", value=now.uplinks["pending"]
    )
    yield _labelled(
        CounterMetricFamily,
        "ecluse_readings",
        "Readings by column of the second book.",
        "column",
        readings.items(),
    )
    differences = [("uplinks", now.uplinks["difference"]), ("readings", now.readings["difference"])]
    differences += [(f"sink {name}", book.difference()) for name, book in now.sinks.items()]
    yield _labelled(
        GaugeMetricFamily,
        "ecluse_book_difference",
        "Left side minus right side of a book.",
        "book",
        differences,
    )
    yield _labelled(
        CounterMetricFamily, "ecluse_rejections", "Rejections by reason.", "reason", now.reasons.items()
    )
    yield CounterMetricFamily(
        "ecluse_quarantine_evicted",
        "Quarantined rows that gave way to newer ones.",
        value=now.quarantine_evicted,
    )
    yield CounterMetricFamily(
        "ecluse_quarantine_replayed",
        "Uplinks that were let in again from quarantine.",
        value=now.quarantine_replayed,
    )
    yield CounterMetricFamily(
        "ecluse_quarantine_dropped",
        "Quarantined rows that a person deleted.",
        value=now.quarantine_dropped,
    )
    yield CounterMetricFamily(
        "ecluse_late_readings", "Readings behind their window's lateness.", value=now.late
    )
    yield CounterMetricFamily("ecluse_windows", "Windows written, corrections included.", value=now.windows)
    yield CounterMetricFamily("ecluse_window_corrections", "Windows written again.", value=now.corrections)


def _sinks(now: Snapshot) -> Iterator[Metric]:
    points = CounterMetricFamily(
        "ecluse_points", "Points by sink and column of the third book.", labels=["sink", "column"]
    )
    for name, book in now.sinks.items():
        for column in ("made", "stored", "refused", "dropped", "superseded", "replayed", "not_delivered"):
            points.add_metric([name, column], getattr(book, column))
    yield points
    sinks = now.sinks.items()
    yield _labelled(
        CounterMetricFamily,
        "ecluse_sink_retries",
        "Writes tried again.",
        "sink",
        ((n, b.retries) for n, b in sinks),
    )
    yield _labelled(
        GaugeMetricFamily,
        "ecluse_sink_last_success_timestamp_seconds",
        "When a sink last stored points (gateway time).",
        "sink",
        ((name, book.last_success_ns / 1e9) for name, book in sinks),
    )


def _connection(now: Snapshot) -> Iterator[Metric]:
    link = now.connection
    yield CounterMetricFamily("ecluse_received_uplinks", "Uplinks read from the broker.", value=link.uplinks)
    yield CounterMetricFamily("ecluse_received_bytes", "Bytes read from the broker.", value=link.bytes)
    yield CounterMetricFamily(
        "ecluse_oversize_packets", "Packets over broker.max_packet.", value=link.oversize
    )
    yield CounterMetricFamily(
        "ecluse_qos0_refused", "Uplinks at QoS 0 refused while the river was held.", value=link.refused_qos0
    )
    yield GaugeMetricFamily(
        "ecluse_broker_unreleased",
        "QoS 2 deliveries that are journalled and not released by the broker.",
        value=link.unreleased,
    )
    yield GaugeMetricFamily(
        "ecluse_broker_connected", "1 where the session is up.", value=link.state == "connected"
    )
    yield CounterMetricFamily(
        "ecluse_broker_connects", "Connections made to the broker.", value=link.connects
    )
    yield CounterMetricFamily(
        "ecluse_broker_sessions_lost",
        "Connections where the broker had forgotten our session.",
        value=link.sessions_lost,
    )
    yield CounterMetricFamily(
        "ecluse_broker_silences", "Reconnects because nothing was heard for too long.", value=link.silences
    )
    yield GaugeMetricFamily(
        "ecluse_last_uplink_timestamp_seconds",
        "When an uplink was last heard (gateway time).",
        value=link.last_heard_ns / 1e9,
    )


def _queues(now: Snapshot) -> Iterator[Metric]:
    for name, unit, text in (
        ("items", "items", "Entries waiting."),
        ("bytes", "bytes", "Bytes waiting."),
        ("seconds", "seconds", "Age of the oldest entry."),
    ):
        values = ((queue, getattr(depth, name)) for queue, depth in now.queues.items())
        yield _labelled(GaugeMetricFamily, f"ecluse_queue_{unit}", text, "queue", values)
    for unit, text in (
        ("items", "Entries that may wait."),
        ("bytes", "Bytes that may wait."),
    ):
        limits = ((queue, getattr(depth, f"limit_{unit}")) for queue, depth in now.queues.items())
        bounded = ((queue, limit) for queue, limit in limits if limit)
        yield _labelled(GaugeMetricFamily, f"ecluse_queue_limit_{unit}", text, "queue", bounded)
    outboxes = [
        (name.removeprefix("outbox "), depth)
        for name, depth in now.queues.items()
        if name.startswith("outbox ")
    ]
    for name, text, figures in (
        ("entries", "Entries waiting.", [(sink, depth.entries) for sink, depth in outboxes]),
        ("behind_points", "Points that newer ones go before.", [(s, d.behind) for s, d in outboxes]),
        (
            "empty_seconds",
            "When nothing will wait, at the present pace.",
            [(s, inf if d.empty_s is None else d.empty_s) for s, d in outboxes],
        ),
    ):
        yield _labelled(GaugeMetricFamily, f"ecluse_outbox_{name}", text, "sink", figures)


def _state(now: Snapshot) -> Iterator[Metric]:
    fleet = now.fleet
    devices = (
        ("known", fleet.known),
        ("heard", fleet.heard),
        ("silent", fleet.silent),
        ("unknown", fleet.unknown),
    )
    yield _labelled(GaugeMetricFamily, "ecluse_devices", "Devices by state.", "state", devices)
    marks = ((profile, at / 1e9) for profile, at in now.watermarks.items())
    yield _labelled(
        GaugeMetricFamily,
        "ecluse_watermark_timestamp_seconds",
        "Windows before this are final.",
        "profile",
        marks,
    )
    yield GaugeMetricFamily("ecluse_series", "Series known.", value=now.series)
    yield GaugeMetricFamily("ecluse_hot_blocks", "Blocks of readings in memory.", value=now.hot_blocks)
    yield GaugeMetricFamily("ecluse_hot_bytes", "Bytes of readings in memory.", value=now.hot_bytes)
    yield GaugeMetricFamily(
        "ecluse_clock_suspect", "1 while decoding waits for the clock to be settled.", value=now.clock.suspect
    )
    yield GaugeMetricFamily("ecluse_loop_lag_seconds", "How late the event loop runs.", value=now.loop_lag_s)
    ready = ((component.name, float(component.state is State.OK)) for component in now.components)
    yield _labelled(
        GaugeMetricFamily, "ecluse_component_ok", "1 where a component is well.", "component", ready
    )


def _latencies(now: Snapshot) -> Iterator[Metric]:
    durable = HistogramMetricFamily(
        "ecluse_durable_latency_seconds", "Received to durable in the journal.", labels=[]
    )
    durable.add_metric([], now.durable.cumulative(), sum_value=now.durable.total)
    yield durable
    stored = HistogramMetricFamily(
        "ecluse_stored_latency_seconds", "Received to stored by a sink.", labels=["sink"]
    )
    for name, histogram in now.stored.items():
        stored.add_metric([name], histogram.cumulative(), sum_value=histogram.total)
    yield stored
