"""Applied to real databases: they have what new rules from the start would have given them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from gateway.clock import ManualClock
from gateway.errors import PointsRejected
from gateway.reprocess import leftover
from gateway.sinks import line_protocol
from gateway.sinks.embedded import EmbeddedSettings, EmbeddedSink
from gateway.sinks.influx import Api
from tests.databases import influxdb, victoria_metrics
from tests.processes import wait_until
from tests.reprocess.past import Past, live
from tests.reprocess.test_dry_run import changed
from tests.reprocess.worlds import WEEK, Recorder, apply, reopened
from tests.river import DEVICES, START_NS
from tests.sinks.test_influx import sink

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.reprocess.spans import Span
    from tests.databases import Influx, VictoriaMetrics

PLANS = changed(
    ("quantities:", "tags: [street]\n\nquantities:"),
    ("  temperature:\n", "  warmth:\n"),
    ("  battery:", '  free: {unit: mm, from: "distance - full"}\n  battery:'),
)
"""One bin gets a tag, so that its series are others; the other one loses a field, and both get two."""
STREET = {
    key: replace(device, place={"street": "Rue Mercière"}) if device.id == "bin-1" else device
    for key, device in DEVICES.items()
}


@dataclass
class Worlds:
    """What each kind of sink was given: as it was, then by applying; and in a world of the new rules."""

    old: dict[str, list[bytes]]
    applied: dict[str, list[bytes]]
    new: dict[str, list[bytes]]
    span: Span
    listed: list[bytes]

    def is_in(self, time_ns: int) -> bool:
        """Tell whether a time lies in the span."""
        return self.span.start <= time_ns < self.span.end


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Worlds:
    """Six days, every two hours."""
    return asyncio.run(_worlds(tmp_path_factory.mktemp("worlds")))


async def _worlds(folder: Path) -> Worlds:
    old, applied, new = Recorder(), Recorder(), Recorder()
    steps = WEEK
    past = await live(folder / "old", steps, around=old.around)
    await live(
        folder / "new", [replace(steps[0], plans=PLANS, devices=STREET), *steps[1:]], around=new.around
    )
    dry_run = past.dry_run(0, plans=PLANS, devices=STREET)
    (span,) = dry_run.spans.by_zone.values()
    listed = await asyncio.to_thread(_listed, past)
    await asyncio.to_thread(apply, past, dry_run)
    await reopened(past.folder, around=applied.around)
    return Worlds(old.bodies, applied.bodies, new.bodies, span, listed)


def _listed(past: Past) -> list[bytes]:
    with past.dry_run(0, plans=PLANS, devices=STREET).compared(lambda _: None) as compared:
        return list(leftover.lines("victoriametrics", compared.before, compared.after))


@pytest.mark.influxdb
async def test_influxdb(worlds: Worlds, tmp_path: Path) -> None:
    """Point by point; outside the span nothing has changed. Sent twice, as after a crash: the same."""
    with influxdb(tmp_path) as server:
        for name, bodies in (
            ("a", [*worlds.old["lines"], *worlds.applied["lines"], *worlds.applied["lines"]]),
            ("b", worlds.new["lines"]),
            ("c", worlds.old["lines"]),
        ):
            server.create(name)
            async with sink(url=server.url, bucket=name) as db:
                await db.write(bodies)
        a, b, c = (_influx_points(server, name) for name in "abc")
    assert {key: a[key] for key in a if worlds.is_in(key[2])} == {k: b[k] for k in b if worlds.is_in(k[2])}
    assert {key: a[key] for key in a if not worlds.is_in(key[2])} == {
        key: c[key] for key in c if not worlds.is_in(key[2])
    }
    assert a != c
    assert len(a) > 100


def _influx_points(server: Influx, database: str) -> dict[Any, dict[str, object]]:
    found = {}
    for row in server.query("SELECT * FROM /.*/ GROUP BY *", database):
        tags = tuple(sorted((k, row.pop(k)) for k in ("device", "profile", "site", "street") if k in row))
        fields = {name: value for name, value in row.items() if value is not None}
        time, name = int(str(fields.pop("time"))), fields.pop("name")
        found[name, tuple((k, v) for k, v in tags if v), time] = fields
    return found


async def test_the_embedded_store(worlds: Worlds, tmp_path: Path) -> None:
    """The same."""
    a, b, c = [
        await _embedded_points(tmp_path / f"{name}.duckdb", bodies)
        for name, bodies in (
            ("a", [*worlds.old["columns"], *worlds.applied["columns"], *worlds.applied["columns"]]),
            ("b", worlds.new["columns"]),
            ("c", worlds.old["columns"]),
        )
    ]
    assert {key: a[key] for key in a if worlds.is_in(key[2])} == {k: b[k] for k in b if worlds.is_in(k[2])}
    assert {key: a[key] for key in a if not worlds.is_in(key[2])} == {
        key: c[key] for key in c if not worlds.is_in(key[2])
    }
    assert len(a) > 100


async def _embedded_points(path: Path, bodies: list[bytes]) -> dict[Any, dict[str, object]]:
    store = EmbeddedSink(
        EmbeddedSettings(path, retention_ns=0, window_retention_ns=0), clock=ManualClock(START_NS)
    )
    try:
        await store.write(bodies)
        await store.maintain()
        found = {}
        for measurement in await store.measurements():
            for row in (await store.query(measurement.name, limit=None)).to_pylist():
                tags = tuple((tag, row.pop(tag)) for tag in measurement.tags)
                time = row.pop("time").value
                fields = {name: value for name, value in row.items() if value is not None}
                found[measurement.name, tuple((k, v) for k, v in tags if v), time] = fields
        return found
    finally:
        await store.close()


@pytest.mark.victoriametrics
async def test_victoria_metrics(worlds: Worlds, tmp_path: Path) -> None:
    """All of the new world is there; what is there besides is what was listed, or refused with the reason."""
    with victoria_metrics(tmp_path / "a") as first, victoria_metrics(tmp_path / "b") as second:
        async with sink(api=Api.VICTORIAMETRICS, url=first.url) as db:
            await db.write(worlds.old["once"])
            wait_until(lambda: _samples(first, worlds), within_s=10, what="samples")
            with pytest.raises(PointsRejected, match="series whole") as refused:
                await db.write(worlds.applied["once"])
        async with sink(api=Api.VICTORIAMETRICS, url=second.url) as db:
            await db.write(worlds.new["once"])
        wanted = 0
        while not wanted or wanted != len(_samples(second, worlds)):
            wanted = len(_samples(second, worlds))
            await asyncio.sleep(0.6)  # new series are seen half a second later
        a, b = _samples(first, worlds), _samples(second, worlds)
    listed = [line_protocol.decode(line.partition(b" ")[2]) for line in worlds.listed]
    told = {(line.measurement, line.tags, (line.time or 0) // 10**6) for line in listed}
    assert a.keys() >= b.keys()
    others = {
        (_measurement(metric), *point) for metric, *point in b if a[metric, *point] != b[metric, *point]
    }
    assert others <= told  # it keeps the first
    series = {(line.measurement, line.tags) for line in _decoded(refused.value)}
    besides = {(_measurement(metric), labels, at_ms) for metric, labels, at_ms in a.keys() - b.keys()}
    assert {point for point in besides if point[:2] not in series} <= told
    assert {point[:2] for point in besides} >= series
    assert not {point[:2] for point in told} & series


def _samples(server: VictoriaMetrics, worlds: Worlds) -> dict[Any, float]:
    found = {}
    for one in server.export('{__name__=~"waste.*"}'):
        labels: dict[str, str] = dict(one["metric"])  # type: ignore[call-overload]
        name = labels.pop("__name__")
        pairs = zip(one["timestamps"], one["values"], strict=True)  # type: ignore[call-overload]
        for at_ms, value in pairs:
            if worlds.is_in(at_ms * 10**6):
                found[name, tuple(sorted(labels.items())), at_ms] = value
    return found


def _decoded(refused: PointsRejected) -> list[line_protocol.Line]:
    return [line_protocol.decode(line) for line, _ in refused.lines]


def _measurement(metric: str) -> str:
    return next(
        name for name in ("waste_15m", "waste_1h", "waste_1d", "waste") if metric.startswith(f"{name}_")
    )
