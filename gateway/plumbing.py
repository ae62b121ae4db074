"""Builds the sinks from their settings, with the outbox logs in front of them."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import numpy as np
import structlog

from gateway import config
from gateway.config_types import address
from gateway.literals import rate
from gateway.model import Points
from gateway.outlets import APPEND_BYTES, LogOutlet, arrow, line_protocol
from gateway.pipeline import Pace
from gateway.sinks import column_keys, line_keys
from gateway.sinks.drain import Drain
from gateway.sinks.echo import MOST_BYTES as KEPT_BYTES
from gateway.sinks.echo import Echo
from gateway.sinks.embedded import EmbeddedSettings, EmbeddedSink
from gateway.sinks.influx import Api, InfluxSettings, InfluxSink
from gateway.sinks.mqtt import MqttSink, MqttSinkSettings
from gateway.sinks.outbox import MEMORY_BYTES, Order, Outbox
from gateway.sinks.outbox_newer import KEY_BYTES, MOST_POINTS
from gateway.sinks.writer import WRITE_BYTES, Writer
from gateway.upstream import trust

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from gateway.closing import Closing
    from gateway.health.meters import LatencyMeters
    from gateway.outlets import Encode
    from gateway.ports import Clock, Sink
    from gateway.sinks.outbox import Entry

REQUEST_BYTES = 1_000_000
"""A request is made of what is in hand, and is no larger (`InfluxSettings.max_body`)."""
_ONCE = frozenset({"victoriametrics"})
_NOTHING = Points("", (), np.zeros(0, np.int32), np.zeros(0, np.int64), {})
log = structlog.get_logger("ecluse")


def build_sinks(settings: config.Settings, clock: Clock) -> dict[str, Sink]:
    """Return the sinks by name. Raises ConfigurationError where a secret cannot be read."""
    client_id = settings.broker.client_id
    return {sink.name: _sink(sink, settings.state_dir, clock, client_id) for sink in settings.sinks}


def _mqtt_settings(sink: config.Sink, client_id: str) -> MqttSinkSettings:
    parts = address(sink.url)
    encrypted = parts.scheme == "mqtts"
    return MqttSinkSettings(
        name=sink.name,
        url=sink.url,
        host=parts.hostname or "",
        port=parts.port or (8883 if encrypted else 1883),
        client_id=f"{client_id}-{sink.name}",
        topic=sink.topic,
        retain=sink.retain,
        username=sink.username or "",
        password=config.secret(sink.token, sink.token_file) or "",
        tls=trust(sink.ca_file) if encrypted else None,
        timeout_s=sink.timeout / 1e9,
    )


def _sink(sink: config.Sink, folder: Path, clock: Clock, client_id: str) -> Sink:
    if sink.kind == "embedded":
        path = folder / f"{sink.name}.duckdb"
        return EmbeddedSink(
            EmbeddedSettings(
                path=path,
                name=sink.name,
                retention_ns=sink.retention,
                window_retention_ns=sink.window_retention,
                max_bytes=sink.size,
            ),
            clock=clock,
        )
    if sink.kind == "mqtt":
        return MqttSink(_mqtt_settings(sink, client_id))
    return InfluxSink(
        InfluxSettings(
            name=sink.name,
            api=Api(sink.kind),
            url=sink.url.rstrip("/"),
            bucket=sink.bucket,
            org=sink.org,
            username=sink.username or "",
            token=config.secret(sink.token, sink.token_file) or "",
            timeout_s=sink.timeout / 1e9,
            ca_file=str(sink.ca_file or ""),
            create=sink.create,
        )
    )


def writes_once(settings: config.Settings) -> bool:
    """Tell whether some sink cannot overwrite: windows then come to it once, when they have settled."""
    return any(sink.kind in _ONCE for sink in settings.sinks)


async def open_logs(settings: config.Settings, closing: Closing) -> list[LogOutlet]:
    """Open an outbox log for each kind of bytes, with a cursor for each sink that takes them.

    What waits for a sink that is no longer in the settings is given up. Raises StateError.
    """
    logs = []
    for name, encode, once, sinks in _kinds(settings.sinks):
        outbox = await Outbox.open(
            settings.state_dir / f"outbox-{name}.db",
            max_bytes=settings.outbox.size,
            bodies=column_keys if encode is arrow else line_keys,
        )
        closing.later(outbox.close)
        # pyarrow looks for pandas at its first array: seconds that the first batch should not pay.
        await asyncio.to_thread(encode, _NOTHING)
        for sink in sinks:
            await outbox.register(sink.name, sink.policy, sink.order)
        for gone in outbox.cursors().keys() - {sink.name for sink in sinks}:
            log.warning("a sink is gone from the settings", sink=gone, given_up=outbox.depth(gone).points)
            await outbox.unregister(gone)
        names = [sink.name for sink in sinks]
        apart = any(Order(sink.order) is Order.LIVE for sink in sinks)
        logs.append(LogOutlet(f"outbox-{name}", outbox, encode=encode, once=once, sinks=names, apart=apart))
    return logs


def _kinds(
    sinks: Sequence[config.Sink],
) -> list[tuple[str, Encode, bool, list[config.Sink]]]:
    """Group sinks by the bytes that they take: columns, line protocol, the same once and without text."""
    columns = [sink for sink in sinks if sink.kind == "embedded"]
    once = [sink for sink in sinks if sink.kind in _ONCE]
    lines = [sink for sink in sinks if sink not in columns and sink not in once]
    kinds = [
        ("columns", arrow, False, columns),
        ("lines", line_protocol(strings=True), False, lines),
        ("once", line_protocol(strings=False), True, once),
    ]
    return [kind for kind in kinds if kind[3]]


def memory_for_waiting(settings: config.Settings) -> int:
    """Return the bytes of memory that all queues together may take, whatever comes (docs/guarantees.md).

    Beside it there is what is known of devices and series, and the program.
    """
    pace, sinks = Pace(), settings.sinks
    logs = len(_kinds(sinks)) * (MEMORY_BYTES + APPEND_BYTES)
    in_hand = len(sinks) * (WRITE_BYTES + REQUEST_BYTES)
    echoes = sum(KEPT_BYTES + MOST_POINTS * KEY_BYTES for sink in sinks if _echoes(sink))
    newer = sum(MOST_POINTS * KEY_BYTES for sink in sinks if Order(sink.order) is Order.LIVE)
    river = settings.broker.memory + 2 * pace.queue_bytes + settings.windows.memory
    return river + logs + in_hand + echoes + newer


def _echoes(sink: config.Sink) -> bool:
    """Tell whether a sink may leave a write unanswered, and later writings can mend that."""
    return sink.kind != "embedded" and sink.kind not in _ONCE


def build_writers(
    settings: config.Settings,
    *,
    sinks: Mapping[str, Sink],
    logs: Sequence[LogOutlet],
    clock: Clock,
    meters: LatencyMeters,
    quarantine: Callable[[str, Sequence[tuple[bytes, str]]], Awaitable[None]],
) -> dict[str, Writer]:
    """Return a writer for each sink."""
    outbox_of = {name: log.outbox for log in logs for name in log.sinks}

    def writer(sink: config.Sink) -> Writer:
        async def refuse(lines: Sequence[tuple[bytes, str]]) -> None:
            await quarantine(sink.name, lines)

        def stored(entries: Sequence[Entry]) -> None:
            for entry in entries:
                if entry.oldest_ns:
                    meters.stored(sink.name, clock.since_s(entry.oldest_ns), entry.count)

        return Writer(
            sink=sinks[sink.name],
            outbox=outbox_of[sink.name],
            clock=clock,
            quarantine=refuse,
            random=random.random,
            stored=stored,
            max_points=sink.batch,
            live_first=Order(sink.order) is Order.LIVE,
            backlog_after_s=sink.backlog_after / 1e9,
            drain=Drain(rate(sink.drain_rate)),
            echo=Echo(line_keys) if _echoes(sink) else None,
        )

    return {sink.name: writer(sink) for sink in settings.sinks}
