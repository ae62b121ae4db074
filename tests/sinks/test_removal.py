"""Points that are to be removed: what is asked of a database, and what real ones then have."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from gateway.clock import ManualClock
from gateway.errors import PointsRejected, SinkUnavailable
from gateway.model import Column, FieldType, Points
from gateway.sinks import columns, line_protocol, removal
from gateway.sinks.embedded import EmbeddedSettings, EmbeddedSink
from gateway.sinks.influx import Api
from gateway.sinks.removal import REMOVED, VANISHED
from tests.databases import Answer, faulty, influxdb, victoria_metrics
from tests.processes import wait_until
from tests.sinks.test_influx import sink

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

BASE = 1_795_000_000_000_000_000
SECOND = 10**9
ODD = """it's "odd" \\x"""


def points(
    places: Sequence[int],
    *,
    device: str = "b-1",
    mark: str = "",
    marks: Sequence[int] | None = None,
    **tags: str,
) -> Points:
    """One point a place, a second apart; with a mark they are to be removed."""
    named = tuple(sorted({"device": device, "site": "lyon", **tags}.items()))
    fields = {
        "level": Column(FieldType.FLOAT, np.array(places, np.float64)),
        "state": Column(FieldType.STRING, np.array([f"s{n}" for n in places], object)),
    }
    if mark:
        fields[mark] = Column(FieldType.INTEGER, np.array(places if marks is None else marks, np.int64))
    time = BASE + np.array(places, np.int64) * SECOND
    return Points("waste", [named], np.zeros(len(places), np.int32), time, fields)


def lines(*args: Any, **kwargs: Any) -> bytes:
    return line_protocol.encode(points(*args, **kwargs))


def test_points_that_follow_each_other_are_removed_together() -> None:
    """Those between which something stays, and those of other series, are not."""
    bodies = [
        lines([1, 2, 3, 5], mark=REMOVED),
        lines([6, 7], mark=REMOVED),
        lines([8], mark=REMOVED, device="b-2"),
    ]
    found = [
        ((one.first - BASE) // SECOND, (one.last - BASE) // SECOND, dict(one.tags)["device"], len(one.lines))
        for one in removal.removals(bodies)
    ]
    assert found == [(1, 3, "b-1", 3), (5, 7, "b-1", 3), (8, 8, "b-2", 1)]
    assert not list(removal.removals([]))


def test_a_removal_is_told_from_points() -> None:
    """Even where a text says what it would say."""
    assert removal.is_removal(lines([1], mark=REMOVED))
    assert removal.is_removal(lines([1], mark=VANISHED))
    assert not removal.is_removal(lines([1]))
    assert not removal.is_removal(b"")
    assert not removal.is_removal(b'waste text="own:removed=1i" 5')


def test_what_is_asked_is_quoted() -> None:
    """Nothing that a device is called ends a text, or begins another condition."""
    (one,) = removal.removals([lines([1], mark=REMOVED, device=ODD)])
    name = dict(one.tags)["device"]
    assert name == ODD
    asked = removal.influxql(one, {"device", "street", "site"})
    where = """ WHERE "street" = '' AND "device" = 'it\\'s "odd" \\\\x' AND "site" = 'lyon'"""
    times = f" AND time >= {BASE + SECOND} AND time <= {BASE + SECOND}"
    assert asked == 'DELETE FROM "waste"' + where + times  # noqa: S608 - compared, not run
    told = json.loads(removal.predicate(one))
    assert told["start"] == told["stop"] == "2026-11-18T11:06:41.000000000Z"
    assert told["predicate"] == '_measurement="waste" AND device="it\'s \\"odd\\" \\\\x" AND site="lyon"'
    selector = removal.selector(one, {"street"})
    assert selector.startswith('{__name__=~"waste_level|waste_state",device="it\'s \\"odd\\" \\\\x"')
    assert selector.endswith('site="lyon",street=""}')


@pytest.mark.influxdb
async def test_influxdb_1_deletes_these_and_no_other(tmp_path: Path) -> None:
    """Not those of the same time with a tag more, not those between; what is written behind it stays."""
    with influxdb(tmp_path) as server:
        async with sink(url=server.url) as db:
            kept = [
                lines(range(10), device="b-2"),
                lines(range(10), street="rue x"),
                lines(range(10), device=ODD),
            ]
            await db.write([lines(range(10)), *kept])
            gone = lines([1, 2, 3, 7, 8], mark=REMOVED)
            await db.write([gone, lines([7]), lines([3, 4], device=ODD, mark=REMOVED)])
            for _ in range(2):
                left = {
                    device: [(int(str(row["time"])) - BASE) // SECOND for row in server.query(where)]
                    for device, where in {
                        "b-1": "SELECT level FROM waste WHERE device = 'b-1' AND street = ''",
                        "b-1 street": "SELECT level FROM waste WHERE device = 'b-1' AND street = 'rue x'",
                        "b-2": "SELECT level FROM waste WHERE device = 'b-2'",
                        "odd": "SELECT level FROM waste WHERE device =~ /odd/",
                    }.items()
                }
                assert left == {
                    "b-1": [0, 4, 5, 6, 7, 9],
                    "b-1 street": [*range(10)],
                    "b-2": [*range(10)],
                    "odd": [0, 1, 2, 5, 6, 7, 8, 9],
                }
                await db.write([gone, lines([7])])  # a second time, as after a crash
            await db.write([line_protocol.encode(points([1], mark=REMOVED)).replace(b"waste", b"never", 1)])


@pytest.mark.influxdb
async def test_influxdb_1_that_has_no_such_database_refuses(tmp_path: Path) -> None:
    """With its words, so that they end in quarantine; nothing waits for ever."""
    with influxdb(tmp_path) as server:
        async with sink(url=server.url, bucket="nowhere") as db:
            with pytest.raises(PointsRejected, match="not found") as refused:
                await db.write([lines([1, 2], mark=REMOVED)])
    assert len(refused.value.lines) == 2


async def test_influxdb_2_is_asked_by_its_own_call() -> None:
    """One for each range; what it refuses for good is refused, what it cannot do now is asked again."""
    body = lines([1, 2, 5], mark=REMOVED)
    with faulty(Answer(204, body=b""), Answer(204, body=b"")) as server:
        async with sink(api=Api.INFLUXDB2, url=server.url, org="city") as db:
            await db.write([body])
        assert [json.loads(asked)["start"][17:19] for asked in server.bodies] == ["41", "45"]
        assert all(
            json.loads(asked)["predicate"].startswith('_measurement="waste"') for asked in server.bodies
        )
    with faulty(Answer(403), Answer(204, body=b"")) as server:
        async with sink(api=Api.INFLUXDB2, url=server.url, org="city") as db:
            with pytest.raises(PointsRejected, match="as the test asked") as refused:
                await db.write([body])
    assert len(refused.value.lines) == 2
    with faulty(Answer(503)) as server:
        async with sink(api=Api.INFLUXDB2, url=server.url, org="city") as db:
            with pytest.raises(SinkUnavailable):
                await db.write([body])


async def test_influxdb_3_deletes_nothing() -> None:
    """It is said of each point."""
    async with sink(api=Api.INFLUXDB3, url="http://127.0.0.1:9") as db:
        with pytest.raises(PointsRejected, match="no such call") as refused:
            await db.write([lines([1, 2], mark=REMOVED)])
    assert len(refused.value.lines) == 2


@pytest.mark.victoriametrics
async def test_victoria_metrics_deletes_what_has_vanished_whole(tmp_path: Path) -> None:
    """Where a series has other points, or another one has a tag more, that stays."""
    with victoria_metrics(tmp_path) as server:
        async with sink(api=Api.VICTORIAMETRICS, url=server.url) as db:
            encoded = [
                line_protocol.encode(one, strings=False)
                for one in (
                    points(range(10)),
                    points(range(10), street="rue x"),
                    points(range(10), device="b-2"),
                    points([3], device=ODD),
                )
            ]
            await db.write(encoded)
            wait_until(
                lambda: len(server.export('{__name__="waste_level"}')) == 4, within_s=10, what="points"
            )
            gone = [
                line_protocol.encode(one, strings=False)
                for one in (
                    points([9], mark=VANISHED, marks=[BASE]),
                    points([9], device="b-2", mark=VANISHED, marks=[BASE + 4 * SECOND]),
                    points([3], device=ODD, mark=VANISHED, marks=[BASE]),
                )
            ]
            for _ in range(2):
                with pytest.raises(PointsRejected, match="series whole") as refused:
                    await db.write(gone)
                assert [line_protocol.decode(line).tags[0][1] for line, _ in refused.value.lines] == ["b-2"]
                found = {
                    (one["metric"]["device"], one["metric"].get("street", "")): len(one["values"])  # type: ignore[index,attr-defined,arg-type]
                    for one in server.export('{__name__="waste_level"}')
                }
                assert found == {("b-1", "rue x"): 10, ("b-2", ""): 10}


async def test_the_embedded_store_removes_in_order(tmp_path: Path) -> None:
    """What was written before it, in the same write too; with the tags that it has, and no others."""
    store = EmbeddedSink(EmbeddedSettings(tmp_path / "s.duckdb"), clock=ManualClock(BASE))
    body = lambda *args, **kwargs: columns.encode(points(*args, **kwargs))  # noqa: E731
    try:
        await store.write([body([1], mark=REMOVED)])  # of a measurement that is not there
        await store.write([body(range(5)), body(range(5), street="rue x"), body([0])])
        await store.write([body([5]), body([0, 2, 5], mark=REMOVED), body([2])])
        await store.write([body([1], mark=REMOVED, lane="left")])  # a tag that no point has
        rows = (await store.query("waste")).to_pylist()
    finally:
        await store.close()
    found = {street: [row["level"] for row in rows if row["street"] == street] for street in (None, "rue x")}
    assert found == {None: [1, 2, 3, 4], "rue x": [0, 1, 2, 3, 4]}
    assert REMOVED not in rows[0]
