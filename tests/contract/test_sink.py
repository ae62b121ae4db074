"""The contract of every sink, held by each of them against its real database."""

# ruff: noqa: D102, ARG002 - Rig says what the methods of each rig do, and what they are given

from __future__ import annotations

import contextlib
import subprocess
import sys
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pytest

from gateway.clock import ManualClock
from gateway.errors import PointsRejected, SinkUnavailable
from gateway.model import Column, FieldType, Points
from gateway.sinks import columns, line_protocol
from gateway.sinks.embedded import EmbeddedSettings, EmbeddedSink
from gateway.sinks.influx import Api, InfluxSettings, InfluxSink
from tests.databases import Influx, VictoriaMetrics, influx_v2_stand_in, influxdb, victoria_metrics
from tests.processes import free_port, stop, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.ports import Sink

    Rows = dict[tuple[tuple[tuple[str, str], ...], int], dict[str, object]]

TOKEN = str(uuid.uuid4())
START = 1_795_000_000_000_000_000  # a whole ms: VictoriaMetrics keeps no more
BINS = [(("device", f"bin {i}, é=1"), ("profile", "bin-level"), ("site", "paris")) for i in range(5)]


class Rig(Protocol):
    """A sink in front of its database, which can be stopped and read."""

    sink: Sink

    def encode(self, points: Points) -> bytes:
        """Encode as the gateway does for this sink."""

    async def read(self, measurement: str, *, rows: int) -> Rows:
        """Return what is stored, once that is so many rows where the database takes its time to show them."""

    def down(self) -> None:
        """Take the database away."""

    def up(self) -> None:
        """Bring it back with what it had."""


@dataclass
class InfluxRig:
    """InfluxDB 1.6, written directly or through the stand-in for InfluxDB 2's paths."""

    folder: Path
    port: int
    sink: InfluxSink = field(init=False)
    running: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    influx: Influx | None = None

    def encode(self, points: Points) -> bytes:
        return line_protocol.encode(points)

    async def read(self, measurement: str, *, rows: int) -> Rows:
        assert self.influx is not None
        found: Rows = {}
        for row in self.influx.query(f'SELECT * FROM "{measurement}" GROUP BY *'):  # noqa: S608 - our own name
            tags = tuple(sorted((key, str(row.pop(key))) for key in ("device", "profile", "site")))
            time = int(str(row.pop("time")))
            row.pop("name")
            found[tags, time] = {name: value for name, value in row.items() if value is not None}
        return found

    def down(self) -> None:
        self.running.close()

    def up(self) -> None:
        self.influx = self.running.enter_context(influxdb(self.folder, port=self.port))


@dataclass
class VictoriaRig:
    """VictoriaMetrics, written through influxdb-client."""

    sink: InfluxSink
    folder: Path
    port: int
    running: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    store: VictoriaMetrics | None = None

    def encode(self, points: Points) -> bytes:
        return line_protocol.encode(points, strings=False)

    async def read(self, measurement: str, *, rows: int) -> Rows:
        wait_until(lambda: len(self.seen(measurement)) >= rows, within_s=10, what=f"{rows} rows seen")
        return self.seen(measurement)

    def seen(self, measurement: str) -> Rows:
        assert self.store is not None
        found: Rows = {}
        for series in self.store.export(f'{{__name__=~"{measurement}_[a-z_]+"}}'):
            labels = dict(series["metric"])
            name = labels.pop("__name__").removeprefix(f"{measurement}_")
            for time, value in zip(series["timestamps"], series["values"], strict=True):
                found.setdefault((tuple(sorted(labels.items())), time * 1_000_000), {})[name] = value
        return found

    def down(self) -> None:
        self.running.close()

    def up(self) -> None:
        self.store = self.running.enter_context(victoria_metrics(self.folder, port=self.port))


@dataclass
class EmbeddedRig:
    """The embedded store; it is away while another process has its file open."""

    sink: EmbeddedSink
    path: Path
    intruder: subprocess.Popen[bytes] | None = None

    def encode(self, points: Points) -> bytes:
        return columns.encode(points)

    async def read(self, measurement: str, *, rows: int) -> Rows:
        found: Rows = {}
        for row in (await self.sink.query(measurement)).to_pylist():
            tags = tuple(sorted((key, row.pop(key)) for key in ("device", "profile", "site")))
            time = row.pop("time").value
            found[tags, time] = {name: value for name, value in row.items() if value is not None}
        return found

    def down(self) -> None:
        code = "import sys, duckdb; c = duckdb.connect(sys.argv[1]); print(flush=True); sys.stdin.read()"
        self.intruder = subprocess.Popen(
            [sys.executable, "-c", code, str(self.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self.intruder.stdout is not None
        self.intruder.stdout.readline()

    def up(self) -> None:
        if self.intruder is not None:
            stop(self.intruder)
            for pipe in (self.intruder.stdin, self.intruder.stdout):
                assert pipe is not None
                pipe.close()
            self.intruder = None


@contextlib.contextmanager
def influx1_rig(folder: Path) -> Iterator[InfluxRig]:
    port = free_port()
    settings = InfluxSettings(name="influx", api=Api.INFLUXDB1, url=f"http://127.0.0.1:{port}")
    rig = InfluxRig(folder=folder, port=port)
    rig.sink = InfluxSink(settings)
    with rig.running:
        rig.up()
        yield rig


@contextlib.contextmanager
def influx2_rig(folder: Path) -> Iterator[InfluxRig]:
    rig = InfluxRig(folder=folder, port=free_port())
    with rig.running:
        rig.up()
        assert rig.influx is not None
        with influx_v2_stand_in(rig.influx, token=TOKEN) as url:
            settings = InfluxSettings(name="two", api=Api.INFLUXDB2, url=url, org="city", token=TOKEN)
            rig.sink = InfluxSink(settings)
            yield rig


@contextlib.contextmanager
def victoria_rig(folder: Path) -> Iterator[VictoriaRig]:
    port = free_port()
    settings = InfluxSettings(name="vm", api=Api.VICTORIAMETRICS, url=f"http://127.0.0.1:{port}")
    rig = VictoriaRig(sink=InfluxSink(settings), folder=folder, port=port)
    with rig.running:
        rig.up()
        yield rig


@contextlib.contextmanager
def embedded_rig(folder: Path) -> Iterator[EmbeddedRig]:
    path = folder / "points.duckdb"
    rig = EmbeddedRig(sink=EmbeddedSink(EmbeddedSettings(path=path), clock=ManualClock(START)), path=path)
    try:
        yield rig
    finally:
        rig.up()


@pytest.fixture(
    params=[
        pytest.param(influx1_rig, id="influxdb1", marks=pytest.mark.influxdb),
        pytest.param(influx2_rig, id="influxdb2-stand-in", marks=pytest.mark.influxdb),
        pytest.param(victoria_rig, id="victoriametrics", marks=pytest.mark.victoriametrics),
        pytest.param(embedded_rig, id="embedded"),
    ]
)
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    with request.param(tmp_path) as running:
        yield running
        await running.sink.close()


def readings(*, kind: FieldType = FieldType.FLOAT, times: int = 40, first: int = 0) -> Points:
    """Raw points of five bins with a float, a sparse integer, a text and a quality."""
    n = times * len(BINS)
    numbers = np.arange(n)
    level = {
        FieldType.FLOAT: numbers / 8,
        FieldType.INTEGER: numbers,
        FieldType.STRING: np.array([f'"{i}\\' for i in numbers], dtype=object),
    }[kind]
    state = np.array(["upright", "tilted"], dtype=object)[numbers % 2]
    return Points(
        measurement="waste",
        tags=BINS,
        series=(numbers % len(BINS)).astype(np.int32),
        time=START + (first + numbers // len(BINS)) * 1_000_000_000,
        fields={
            "level": Column(kind, level),
            "count": Column(FieldType.INTEGER, numbers, numbers % 3 == 0),
            "tilt": Column(FieldType.STRING, state),
            "quality": Column(FieldType.INTEGER, np.ones(n, dtype=np.int64)),
        },
    )


def windows(revision: int) -> Points:
    """A window of each bin, as written for the n-th time."""
    n = len(BINS)
    return Points(
        measurement="waste_15m",
        tags=BINS,
        series=np.arange(n, dtype=np.int32),
        time=np.full(n, START),
        fields={
            "level_mean": Column(FieldType.FLOAT, np.full(n, 50.5 - revision)),
            "level_count": Column(FieldType.INTEGER, np.full(n, 3 + revision)),
        },
        window_end=np.full(n, START + 900_000_000_000),
        revision=np.full(n, revision, dtype=np.int32),
    )


def expected(points: Points, *, strings: bool = True) -> Rows:
    """Return the rows that the points must give."""
    rows: Rows = {}
    for row, (series, time) in enumerate(zip(points.series.tolist(), points.time.tolist(), strict=True)):
        rows[points.tags[series], time] = {
            name: column.values[row]
            for name, column in points.fields.items()
            if (column.present is None or column.present[row])
            and (strings or column.type is not FieldType.STRING)
        }
    return rows


def has_strings(rig: Rig) -> bool:
    """Whether the store takes text."""
    return not isinstance(rig, VictoriaRig)


async def assert_stored(rig: Rig, rows: Rows, measurement: str = "waste") -> None:
    """Compare what is stored with what must be."""
    assert await rig.read(measurement, rows=len(rows)) == rows


async def test_every_point_written_twice_is_stored_once(rig: Rig) -> None:
    """Writing is idempotent on series and time, and every value reads back as it was."""
    body = rig.encode(readings())
    await rig.sink.write([body])
    await rig.sink.write([body])
    await assert_stored(rig, expected(readings(), strings=has_strings(rig)))


async def test_several_entries_are_stored_by_one_write(rig: Rig) -> None:
    """Entries of several measurements go together."""
    await rig.sink.write([rig.encode(readings(first=k * 40)) for k in range(3)] + [rig.encode(windows(0))])
    assert len(await rig.read("waste", rows=600)) == 600
    await assert_stored(rig, expected(windows(0)), "waste_15m")


async def test_the_last_writing_of_a_window_stays(rig: Rig) -> None:
    """Three writings, two of them in one write, where the sink overwrites; one where it does not."""
    if not rig.sink.overwrites:
        await rig.sink.write([rig.encode(windows(0))])
        await assert_stored(rig, expected(windows(0)), "waste_15m")
        return
    await rig.sink.write([rig.encode(windows(0))])
    await rig.sink.write([rig.encode(windows(1)), rig.encode(windows(2))])
    await assert_stored(rig, expected(windows(2)), "waste_15m")


async def test_an_overwrite_is_a_union_of_fields(rig: Rig) -> None:
    """A field that the second writing lacks keeps its value."""
    first, second = readings(times=1), readings(times=1)
    del second.fields["count"]
    await rig.sink.write([rig.encode(first)])
    await rig.sink.write([rig.encode(second)])
    await assert_stored(rig, expected(first, strings=has_strings(rig)))


async def test_points_refused_for_their_type_are_named_and_the_others_stored(rig: Rig) -> None:
    """A field whose type conflicts costs its points alone; they are named with the reason."""
    await rig.sink.write([rig.encode(readings(times=10))])
    mixed = [rig.encode(readings(times=10, first=10))]
    mixed += [rig.encode(readings(kind=FieldType.STRING, times=2, first=20))]
    mixed += [rig.encode(readings(times=10, first=30))]
    if isinstance(rig, VictoriaRig):
        await rig.sink.write(mixed)  # text is left out, so nothing conflicts
        return
    with pytest.raises(PointsRejected) as refused:
        await rig.sink.write(mixed)
    guilty = [line_protocol.decode(line) for line, _ in refused.value.lines]
    assert len(guilty) == 10
    assert {line.fields["level"] for line in guilty} == {f'"{i}\\' for i in range(10)}
    assert all("level" in reason for _, reason in refused.value.lines)
    stored = [expected(readings(times=10, first=first)) for first in (0, 10, 30)]
    await assert_stored(rig, stored[0] | stored[1] | stored[2])


async def test_a_database_that_is_away_is_waited_for(rig: Rig) -> None:
    """While it is away a write says so, at once; the same write is stored when it is back."""
    rig.down()
    body = rig.encode(readings())
    with pytest.raises(SinkUnavailable) as away:
        await rig.sink.write([body])
    assert str(away.value)
    with pytest.raises(SinkUnavailable):
        await rig.sink.check()
    rig.up()
    await rig.sink.write([body])
    await assert_stored(rig, expected(readings(), strings=has_strings(rig)))


async def test_what_was_stored_is_there_after_a_restart(rig: Rig) -> None:
    """Stored means on disk: the database may be stopped."""
    await rig.sink.write([rig.encode(readings())])
    await rig.sink.close() if isinstance(rig, EmbeddedRig) else None
    rig.down()
    rig.up()
    if isinstance(rig, EmbeddedRig):
        rig.sink = EmbeddedSink(EmbeddedSettings(path=rig.path), clock=ManualClock(START))
    await assert_stored(rig, expected(readings(), strings=has_strings(rig)))


async def test_check_names_the_database(rig: Rig) -> None:
    """One line says what answers."""
    said = await rig.sink.check()
    assert said
    assert "\n" not in said


async def test_nothing_to_write_is_no_error(rig: Rig) -> None:
    """An empty list, and an entry without a line, are stored at once."""
    await rig.sink.write([])
    if not isinstance(rig, EmbeddedRig):
        await rig.sink.write([b""])
