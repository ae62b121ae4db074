from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

from gateway.api.questions import answer
from gateway.errors import QueryError
from tests.pages import NOW_NS, bins, close, filled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.sinks.embedded import EmbeddedSink


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedSink]:
    store = filled(tmp_path_factory.mktemp("store"), *bins())
    yield store
    close(store)


async def body(store: EmbeddedSink, **asked: str) -> bytes:
    return bytes((await answer(store, asked, NOW_NS)).body)


async def table(store: EmbeddedSink, **asked: str) -> dict[str, list[object]]:
    """Return the JSON answer as columns."""
    told = json.loads(await body(store, **asked))
    return {name: [row[at] for row in told["rows"]] for at, name in enumerate(told["columns"])}


async def test_without_a_name_it_lists_what_there_is(store: EmbeddedSink) -> None:
    """The measurements, sorted."""
    assert await table(store) == {"measurement": ["waste", "waste_1h"]}


async def test_a_span_of_one_device(store: EmbeddedSink) -> None:
    """Times are RFC 3339, oldest first; fields are those asked for."""
    found = await table(store, measurement="waste", device="bin-00002", fields="distance, tilt", last="40min")
    assert found["time"] == ["2026-11-22T09:45:00Z", "2026-11-22T10:00:00Z"]
    assert set(found) == {"time", "site", "device", "profile", "distance", "tilt"}
    assert found["tilt"] == ["upright", "upright"]


async def test_start_end_and_limit(store: EmbeddedSink) -> None:
    """The start is in, the end is out, and of too many the newest come."""
    asked = {"measurement": "waste", "device": "bin-00000", "fields": "distance"}
    found = await table(store, **asked, start="2026-11-22T09:00:00Z", end="2026-11-22T10:00:00+00:00")
    assert found["time"] == [f"2026-11-22T09:{minute:02}:00Z" for minute in (0, 15, 30, 45)]
    assert (await table(store, **asked, limit="1"))["time"] == ["2026-11-22T10:00:00Z"]


async def test_the_latest_of_each_device(store: EmbeddedSink) -> None:
    """One row a device; one device, some fields where asked."""
    assert len((await table(store, latest="waste"))["device"]) == 14
    found = await table(store, latest="waste", device="bin-00003", fields="tilt")
    assert (found["device"], found["tilt"]) == (["bin-00003"], ["tilted"])
    assert "distance" not in found


async def test_csv(store: EmbeddedSink) -> None:
    """A header and a row a point, with the times of the JSON."""
    text = (await body(store, latest="waste", site="lyon", format="csv")).decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 14
    assert rows[0]["time"] == "2026-11-22T10:00:00Z"


async def test_parquet(store: EmbeddedSink) -> None:
    """A file that others read, with typed times."""
    found = pq.read_table(io.BytesIO(await body(store, measurement="waste_1h", format="parquet")))
    assert str(found.schema.field("time").type) == "timestamp[ns, tz=UTC]"
    assert found.num_rows == 14


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"measurement": "wast"}, "wast"),
        ({"measurement": "waste", "fields": "level"}, "waste has no field level"),
        ({"latest": "waste", "fields": "level"}, "waste has no field level"),
        ({"latest": "waste", "last": "2h"}, "latest does not go with last"),
        ({"measurement": "waste", "devise": "x"}, "unknown: devise"),
        ({"measurement": "waste", "last": "2 hours"}, "last: a duration"),
        ({"measurement": "waste", "start": "yesterday"}, "start: not a time"),
        ({"measurement": "waste", "limit": "-1"}, "limit: a whole number from 1"),
        ({"measurement": "waste", "limit": "1000000000"}, "limit: a whole number from 1"),
        ({"measurement": "waste", "format": "xlsx"}, "format 'xlsx' is not known"),
    ],
)
async def test_what_cannot_be_answered_is_said(
    store: EmbeddedSink, asked: dict[str, str], sentence: str
) -> None:
    """As a QueryError that names what is wrong."""
    with pytest.raises(QueryError, match=sentence):
        await answer(store, asked, NOW_NS)


async def test_names_are_never_sql(store: EmbeddedSink) -> None:
    """Quotes and semicolons in what is asked are looked for, not run."""
    with pytest.raises(QueryError):
        await answer(store, {"measurement": 'waste"; DROP TABLE points.waste; --'}, NOW_NS)
    found = await table(store, measurement="waste", device="' OR '1'='1")
    assert found["time"] == []
    assert len((await table(store, latest="waste"))["device"]) == 14
