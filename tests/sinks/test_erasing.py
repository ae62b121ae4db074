"""Which points are erased from what waits, and how databases are asked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from gateway.errors import SinkUnavailable
from gateway.model import Column, FieldType, Points
from gateway.sinks import columns, line_protocol, outbox_erasing
from gateway.sinks.erasing import Which, deletion, is_left, question, without_points
from gateway.sinks.influx import Api, InfluxSettings, InfluxSink
from gateway.sinks.outbox import Entry, Outbox
from tests.databases import Answer, faulty, influxdb

if TYPE_CHECKING:
    from pathlib import Path

DEVICE = Which({"site": "lyon", "device": "bin-1"})
OLD = Which({"profile": "bin-level"}, before_ns=150)


def points(*tags: dict[str, str], times: tuple[int, ...] = (100, 200)) -> Points:
    """Return a point of each tag set at each time."""
    count = len(tags) * len(times)
    return Points(
        measurement="waste",
        tags=[tuple(sorted(each.items())) for each in tags],
        series=np.repeat(np.arange(len(tags), dtype=np.int32), len(times)),
        time=np.tile(np.array(times, dtype=np.int64), len(tags)),
        fields={"level": Column(FieldType.FLOAT, np.arange(count, dtype=np.float64))},
    )


ONE = {"site": "lyon", "device": "bin-1", "profile": "bin-level"}
SAMPLE = points(
    ONE,
    {**ONE, "device": "bin-10"},
    {**ONE, "site": "nice"},
    {"device": "bin-1", "profile": "other"},
)


def left_of(body: bytes, *, arrow: bool) -> list[tuple[str, str, int]]:
    """Return (site, device, time) of the points of a body."""
    if arrow:
        body = line_protocol.encode(columns.decode(body))
    found = [line_protocol.decode(line) for line in line_protocol.split(body)]
    return [(dict(p.tags).get("site", ""), dict(p.tags)["device"], p.time or 0) for p in found]


@pytest.mark.parametrize("arrow", [False, True])
@pytest.mark.parametrize(
    ("which", "gone"),
    [
        (DEVICE, {("lyon", "bin-1", 100), ("lyon", "bin-1", 200)}),
        (Which({"site": "", "device": "bin-1"}), {("", "bin-1", 100), ("", "bin-1", 200)}),
        (OLD, {("lyon", "bin-1", 100), ("lyon", "bin-10", 100), ("nice", "bin-1", 100)}),
        (Which({"site": "lyon", "device": "none"}), set()),
        (Which({"lane": "1"}), set()),
    ],
)
def test_those_points_go_and_no_others(which: Which, gone: set[tuple[str, str, int]], *, arrow: bool) -> None:
    """Of either kind of bytes, and the bytes stay as they were where none goes."""
    body = columns.encode(SAMPLE) if arrow else line_protocol.encode(SAMPLE)
    left, count = without_points(body, which)
    before = left_of(body, arrow=arrow)
    assert count == len(gone)
    assert left_of(left, arrow=arrow) == [each for each in before if each not in gone]
    assert gone or left is body


@pytest.mark.parametrize("arrow", [False, True])
def test_an_entry_may_become_empty(*, arrow: bool) -> None:
    """It is still a body of its kind."""
    sample = points(ONE)
    left, count = without_points(columns.encode(sample) if arrow else line_protocol.encode(sample), DEVICE)
    assert count == 2
    assert len(columns.decode(left)) == 0 if arrow else left == b""


def test_a_name_that_a_tag_cannot_carry_is_found_as_it_was_written() -> None:
    """A line break became a blank, a backslash at the end a slash."""
    name = "bin\n1\\"
    body = line_protocol.encode(points({**ONE, "device": name}))
    assert without_points(body, Which({"site": "lyon", "device": name})) == (b"", 2)


def test_the_calls_of_each_kind() -> None:
    """Hostile names stay within their quotes."""
    odd = Which({"site": "l'y\"on", "device": "a\\' OR 1=1"})
    first = deletion("influxdb1", "db", "", odd)
    assert first is not None
    assert first.query["q"] == (
        "DROP SERIES FROM /.*/ WHERE \"site\" = 'l\\'y\"on' AND \"device\" = 'a\\\\\\' OR 1=1'"
    )
    aged = deletion("influxdb1", "db", "", OLD)
    assert aged is not None
    assert aged.query["q"] == "DELETE FROM /.*/ WHERE \"profile\" = 'bin-level' AND time < 150"
    second = deletion("influxdb2", "bucket", "org", odd)
    assert second is not None
    assert (second.path, second.query) == ("/api/v2/delete", {"org": "org", "bucket": "bucket"})
    assert json.loads(second.body)["predicate"] == 'site="l\'y\\"on" AND device="a\\\\\' OR 1=1"'
    before = deletion("influxdb2", "bucket", "org", OLD)
    assert before is not None
    assert json.loads(before.body)["stop"] == "1970-01-01T00:00:00.000000150Z"
    third = deletion("victoriametrics", "", "", DEVICE)
    assert third is not None
    assert third.query == {"match[]": '{site="lyon",device="bin-1"}'}
    assert deletion("victoriametrics", "", "", OLD) is None
    assert deletion("influxdb3", "db", "", DEVICE) is None
    assert question("influxdb2", "db", DEVICE) is None
    assert question("influxdb1", "db", OLD) is None


def test_whether_series_are_left() -> None:
    """As InfluxDB 1 and VictoriaMetrics say it."""
    assert not is_left('{"results":[{"statement_id":0}]}')
    assert is_left('{"results":[{"series":[{"values":[["waste,device=bin-1"]]}]}]}')
    assert not is_left('{"status":"success","data":[]}')
    assert is_left('{"status":"success","data":[{"__name__":"waste_level"}]}')


async def test_an_outbox_keeps_its_books(tmp_path: Path) -> None:
    """Entries keep their numbers and counts, others their bytes; nothing of the device is in the file."""
    path = tmp_path / "outbox-lines.db"
    outbox = await Outbox.open(path, max_bytes=10**9)
    await outbox.register("influx", "hold")
    body, other = line_protocol.encode(SAMPLE), line_protocol.encode(points({**ONE, "device": "bin-2"}))
    mine = line_protocol.encode(points(ONE))
    await outbox.append([Entry(body, 8, 5), Entry(other, 2, 6), Entry(mine, 2, 7)])
    await outbox.settle()
    totals = outbox.totals("influx")
    await outbox.close()
    assert outbox_erasing.erase(path, DEVICE) == 4
    assert outbox_erasing.erase(path, DEVICE) == 0
    assert b"device=bin-1,profile=bin-level,site=lyon" not in path.read_bytes()
    again = await Outbox.open(path, max_bytes=10**9)
    assert again.totals("influx") == totals
    taken = await again.next("influx", 10**9, 10**9)
    assert [entry.count for _, entry in taken] == [8, 2, 2]
    assert [entry.body for _, entry in taken][1:] == [other, b""]
    await again.close()


@pytest.mark.influxdb
async def test_a_real_influxdb_deletes_both_ways(tmp_path: Path) -> None:
    """A device with its series, and what is older than a time of one profile; all else stays."""
    with influxdb(tmp_path) as server:
        server.write(line_protocol.encode(SAMPLE))
        sink = InfluxSink(InfluxSettings(name="influx", api=Api.INFLUXDB1, url=server.url))
        try:
            assert await sink.erase(OLD)
            rows = server.query("SELECT * FROM waste")
            assert sorted((row["device"], row["profile"], row["time"]) for row in rows) == [
                ("bin-1", "bin-level", 200),
                ("bin-1", "bin-level", 200),
                ("bin-1", "other", 100),
                ("bin-1", "other", 200),
                ("bin-10", "bin-level", 200),
            ]
            assert await sink.erase(DEVICE)
            assert await sink.erase(Which({"site": "", "device": "bin-1"}))
            rows = server.query("SELECT * FROM waste")
            assert sorted((row["site"], row["device"]) for row in rows) == [
                ("lyon", "bin-10"),
                ("nice", "bin-1"),
            ]
        finally:
            await sink.close()


async def test_what_refuses_to_delete_is_said() -> None:
    """With its own words: InfluxDB 1 says 200 and refuses; what is no database answers anything."""
    refusal = b'{"results":[{"error":"requires admin privilege"}]}'
    with faulty(Answer(200, body=refusal), Answer(200, body=b"{}"), Answer(200, body=b"hello")) as server:
        sink = InfluxSink(InfluxSettings(name="influx", api=Api.INFLUXDB1, url=server.url))
        try:
            with pytest.raises(SinkUnavailable, match="requires admin privilege"):
                await sink.erase(DEVICE)
            with pytest.raises(SinkUnavailable, match="no database of that kind"):
                await sink.erase(DEVICE)
        finally:
            await sink.close()
