"""The embedded store beyond the sinks' contract: questions, retention, merging, crashes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest

from gateway.clock import ManualClock
from gateway.errors import PointsRejected, QueryError
from gateway.model import Column, FieldType, Points
from gateway.sinks import columns
from gateway.sinks.embedded import EmbeddedSettings, EmbeddedSink

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HOUR = 3_600_000_000_000
NOW = 1_795_000_000_000_000_000


def readings(
    *, start: int = NOW - HOUR, n: int = 60, step: int = HOUR // 60, level: float = 1.0, name: str = "waste"
) -> Points:
    """A reading a minute, turn by turn of two bins of one site and one of another, levels ascending."""
    tags = [(("device", f"bin-{i}"), ("site", "paris" if i < 2 else "lyon")) for i in range(3)]
    return Points(
        measurement=name,
        tags=tags,
        series=(np.arange(n) % 3).astype(np.int32),
        time=start + np.arange(n) * step,
        fields={
            "level": Column(FieldType.FLOAT, level + np.arange(n)),
            "battery": Column(FieldType.FLOAT, np.full(n, 3.6), np.arange(n) % 2 == 0),
            "quality": Column(FieldType.INTEGER, np.ones(n, dtype=np.int64)),
        },
    )


def windows(*, n: int = 60, revision: int = 0) -> Points:
    """Windows of the same bins."""
    points = readings(n=n)
    return Points(
        measurement="waste_15m",
        tags=points.tags,
        series=points.series,
        time=points.time,
        fields={"level_mean": Column(FieldType.FLOAT, np.full(n, float(revision)))},
        window_end=points.time + HOUR,
        revision=np.full(n, revision, dtype=np.int32),
    )


@pytest.fixture
def clock() -> ManualClock:
    """Now."""
    return ManualClock(NOW)


@pytest.fixture
async def store(tmp_path: Path, clock: ManualClock) -> AsyncIterator[EmbeddedSink]:
    """A store that merges whatever came."""
    settings = EmbeddedSettings(path=tmp_path / "store.duckdb", merge_rows=1)
    sink = EmbeddedSink(settings, clock=clock)
    yield sink
    await sink.close()


async def test_a_query_is_bounded_by_time_place_fields_and_number(store: EmbeddedSink) -> None:
    """Start is included, end is not; the newest points come, oldest first; times are UTC."""
    await store.write([columns.encode(readings())])
    start = NOW - HOUR // 2
    answer = await store.query(
        "waste", site="paris", fields=["level"], start_ns=start, end_ns=NOW - HOUR // 4
    )
    assert answer.column_names == ["time", "device", "site", "level"]
    assert str(answer.schema.field("time").type) == "timestamp[ns, tz=UTC]"
    assert answer["level"].to_pylist() == [i + 1.0 for i in range(30, 45) if i % 3 < 2]
    newest = await store.query("waste", device="bin-1", last_ns=HOUR // 2, limit=3)
    assert newest["level"].to_pylist() == [53.0, 56.0, 59.0]
    assert (await store.query("waste", fields=["battery"]))["battery"].null_count == 0


async def test_a_question_about_what_is_not_there_names_what_is(store: EmbeddedSink) -> None:
    """No measurement or no field of that name: the hint lists the names."""
    with pytest.raises(QueryError) as empty:
        await store.query("waste")
    assert empty.value.hint == "there are: none yet"
    await store.write([columns.encode(readings()), columns.encode(windows())])
    with pytest.raises(QueryError) as measurement:
        await store.latest("wast")
    assert measurement.value.hint == "there are: waste, waste_15m"
    with pytest.raises(QueryError) as field:
        await store.query("waste", fields=["levl"])
    assert field.value.hint == "its fields: battery, level, quality"


async def test_latest_is_one_row_a_series_with_the_newest_of_each_field(store: EmbeddedSink) -> None:
    """A field that the newest reading lacks is taken from an older one; a rewriting wins."""
    await store.write([columns.encode(readings()), columns.encode(readings(level=101))])
    rows = (await store.latest("waste")).to_pylist()
    assert [(row["device"], row["level"], row["battery"]) for row in rows] == [
        ("bin-0", 158.0, 3.6),
        ("bin-1", 159.0, 3.6),
        ("bin-2", 160.0, 3.6),
    ]
    assert len(await store.latest("waste", last_ns=2 * HOUR // 60)) == 2


async def test_a_small_chart_of_one_device(store: EmbeddedSink) -> None:
    """One field of one device, oldest first."""
    await store.write([columns.encode(readings())])
    chart = await store.series("waste", "level", site="lyon", device="bin-2", last_ns=HOUR // 4)
    assert chart["level"].to_pylist() == [48.0, 51.0, 54.0, 57.0, 60.0]


async def test_measurements_are_described(store: EmbeddedSink) -> None:
    """Names, whether they are windows, tags, fields with types, rows and span."""
    await store.write([columns.encode(readings()), columns.encode(windows())])
    raw, window = await store.measurements()
    assert (raw.name, raw.window, raw.tags, raw.rows) == ("waste", False, ("device", "site"), 60)
    assert raw.fields == {
        "level": FieldType.FLOAT,
        "battery": FieldType.FLOAT,
        "quality": FieldType.INTEGER,
    }
    assert (raw.first_ns, raw.last_ns) == (NOW - HOUR, NOW - HOUR // 60)
    assert (window.name, window.window) == ("waste_15m", True)


async def test_merging_leaves_one_row_a_point_and_changes_no_answer(
    store: EmbeddedSink, clock: ManualClock
) -> None:
    """What was written again becomes one row; new fields, null tags and untouched points stay."""
    await store.write([columns.encode(readings()), columns.encode(windows(revision=0))])
    await store.maintain()
    partial = readings(n=9, level=101)
    del partial.fields["battery"]
    await store.write([columns.encode(partial), columns.encode(windows(revision=1))])
    new = {"new": Column(FieldType.INTEGER, np.ones(1, np.int64))}
    untagged = Points("waste", [()], np.zeros(1, np.int32), np.array([NOW]), new)
    await store.write([columns.encode(untagged), columns.encode(untagged)])
    order = [("time", "ascending"), ("device", "ascending")]
    names = ("waste", "waste_15m")
    before = [(await store.query(name)).sort_by(order) for name in names]
    assert [found.rows for found in await store.measurements()] == [71, 120]
    await store.maintain()
    assert [found.rows for found in await store.measurements()] == [61, 60]
    assert [(await store.query(name)).sort_by(order) for name in names] == before
    assert set((await store.query("waste_15m"))["level_mean"].to_pylist()) == {1.0}


async def test_maintenance_runs_with_the_writes_once_a_minute(
    store: EmbeddedSink, clock: ManualClock
) -> None:
    """No task of its own is needed."""
    await store.write([columns.encode(readings()), columns.encode(readings())])
    assert [found.rows for found in await store.measurements()] == [120]
    clock.advance(61)
    await store.write([columns.encode(readings())])
    assert [found.rows for found in await store.measurements()] == [60]


async def test_retention_drops_raw_readings_before_windows(tmp_path: Path, clock: ManualClock) -> None:
    """Each has an age of its own; 0 keeps for ever."""
    settings = EmbeddedSettings(path=tmp_path / "store.duckdb", retention_ns=HOUR // 2, window_retention_ns=0)
    store = EmbeddedSink(settings, clock=clock)
    await store.write([columns.encode(readings()), columns.encode(windows())])
    await store.maintain()
    assert [found.rows for found in await store.measurements()] == [30, 60]
    await store.close()


async def test_the_file_stays_within_its_size(tmp_path: Path, clock: ManualClock) -> None:
    """The oldest raw readings go first; the newest and the windows stay; freed space is used again."""
    path = tmp_path / "store.duckdb"
    limit = 4_000_000
    store = EmbeddedSink(EmbeddedSettings(path=path, max_bytes=limit, retention_ns=0), clock=clock)
    await store.write([columns.encode(windows())])
    noise = np.random.default_rng(1)
    for hour in range(8):
        points = readings(start=NOW + hour * HOUR, n=100_000, step=HOUR // 100_000)
        points.fields["level"] = Column(FieldType.FLOAT, noise.random(100_000))
        await store.write([columns.encode(points)])
        await store.maintain()
        assert path.stat().st_size < 2.5 * limit
    raw, window = await store.measurements()
    assert raw.rows > 100_000
    assert raw.last_ns == NOW + 8 * HOUR - HOUR // 100_000
    assert raw.first_ns > NOW
    assert window.rows == 60
    await store.close()


async def test_names_are_never_code_and_never_clash(store: EmbeddedSink) -> None:
    """Quotes, semicolons, capitals, and a tag, a field and our own columns of one name are all kept apart."""
    name = 'Wa"ste; DROP TABLE x --'
    column = Column(FieldType.FLOAT, np.ones(1))
    fields = {'a"b': column, "Level": column, "level": Column(FieldType.INTEGER, np.full(1, 2))}
    fields |= {"time": column, "seq": column, "lane": column, "^level": column}
    tags = [(("LANE", "'; --"), ("lane", "1"))]
    points = Points(name, tags, np.zeros(1, np.int32), np.array([NOW]), fields)
    other = Points(name.lower(), tags, np.zeros(1, np.int32), np.array([NOW]), {"x": column})
    await store.write([columns.encode(points), columns.encode(other)])
    (row,) = (await store.query(name)).to_pylist()
    row.pop("time")
    assert row == {
        "LANE": "'; --",
        "lane": "1",
        'a"b': 1.0,
        "Level": 1.0,
        "level": 2,
        "time_1": 1.0,
        "seq": 1.0,
        "lane_1": 1.0,
        "^level": 1.0,
    }
    assert (await store.query(name.lower())).num_rows == 1
    assert (await store.query(name, site="' OR 1=1 --")).num_rows == 0


async def test_a_field_of_another_type_costs_only_its_points(store: EmbeddedSink) -> None:
    """As in InfluxDB: the first type stands, points with another are named, within one write too."""
    first, second = readings(n=6), readings(n=6, start=NOW)
    second.fields["battery"] = Column(FieldType.INTEGER, np.ones(6, np.int64), np.arange(6) < 2)
    with pytest.raises(PointsRejected) as refused:
        await store.write([columns.encode(first), columns.encode(second)])
    assert [line.split(b",")[1] for line, _ in refused.value.lines] == [b"device=bin-0", b"device=bin-1"]
    assert "battery of waste is integer, the store has it as float" in refused.value.lines[0][1]
    assert (await store.query("waste")).num_rows == 10


async def test_parquet_holds_one_row_a_point(store: EmbeddedSink, tmp_path: Path) -> None:
    """An export of a span, merged, in UTC."""
    await store.write([columns.encode(readings()), columns.encode(readings(level=5))])
    path = tmp_path / "waste.parquet"
    assert await store.write_parquet(path, "waste", start_ns=NOW - HOUR // 2) == 30
    table = pq.read_table(path)
    assert table.equals((await store.query("waste", last_ns=HOUR // 2)).cast(table.schema))


async def test_another_program_sees_one_row_a_point_in_a_view(store: EmbeddedSink, tmp_path: Path) -> None:
    """The file, once closed, opens with duckdb and plain names."""
    await store.write([columns.encode(readings()), columns.encode(readings(level=5))])
    await store.close()
    with duckdb.connect(str(tmp_path / "store.duckdb"), read_only=True) as other:
        assert other.execute("SELECT count(*), max(level) FROM waste").fetchall() == [(60, 64.0)]


CRASH = """
import asyncio, os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_embedded import NOW, HOUR, readings
from gateway.clock import ManualClock
from gateway.sinks import columns
from gateway.sinks.embedded import EmbeddedSettings, EmbeddedSink

async def main():
    store = EmbeddedSink(EmbeddedSettings(path=Path(sys.argv[1]), merge_rows=1), clock=ManualClock(NOW))
    for k in range(1_000_000):
        await store.write([columns.encode(readings(start=NOW + k * HOUR)), columns.encode(readings())])
        print(k, flush=True)
        if k % 5 == 4:
            await store.maintain()

asyncio.run(main())
"""


def killed_after(path: Path, writes: int) -> None:
    """Run a process that writes and merges without end; kill it after so many writes have returned."""
    here = str(Path(__file__).parent)
    with subprocess.Popen([sys.executable, "-c", CRASH, str(path), here], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) + 1 == writes:
                break
        process.kill()


async def test_a_killed_process_loses_nothing_that_was_stored(tmp_path: Path, clock: ManualClock) -> None:
    """Killed in the middle of writing and merging: each write that returned is there, whole."""
    path = tmp_path / "store.duckdb"
    for writes in (7, 11):
        killed_after(path, writes)
        store = EmbeddedSink(EmbeddedSettings(path=path), clock=clock)
        answer = await store.query("waste", start_ns=NOW, limit=None)
        assert len(answer) >= writes * 60
        assert len(answer) % 60 == 0
        await store.close()
