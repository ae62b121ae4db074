"""Line protocol survives any tag, name, string and number, and parses back in real InfluxDB."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.model import Column, FieldType, Points
from gateway.sinks.line_protocol import LineEncoder, carried, decode, encode, split
from tests.databases import influxdb

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.databases import Influx

    Point = tuple[str, dict[str, float | int | str]]

# What breaks parsers, in any order, beside any text at all.
NASTY = st.text(st.sampled_from(",= \\\"'\n\r\t\0ué#🚲\u2028x1i"), min_size=1, max_size=8)
TEXTS = st.one_of(NASTY, st.text(st.characters(codec="utf-8"), min_size=1, max_size=20))
FLOATS = st.floats(allow_nan=True, allow_infinity=True)
INTEGERS = st.integers(-(2**63), 2**63 - 1)


@st.composite
def batches(draw: st.DrawFn) -> tuple[Points, list[dict[str, float | int | str]]]:
    """Points with any texts and numbers, each field present by chance; and what each must read back as."""
    n = draw(st.integers(1, 6))
    values = {
        "f": draw(st.lists(FLOATS, min_size=n, max_size=n)),
        "i": draw(st.lists(INTEGERS, min_size=n, max_size=n)),
        "s": draw(st.lists(TEXTS, min_size=n, max_size=n)),
    }
    masks = {name: draw(st.lists(st.booleans(), min_size=n, max_size=n)) for name in values}
    kinds = {"f": FieldType.FLOAT, "i": FieldType.INTEGER, "s": FieldType.STRING}
    dtypes = {"f": np.float64, "i": np.int64, "s": object}
    fields = {
        name: Column(
            kinds[name],
            np.array(values[name], dtype=dtypes[name]),
            None if all(masks[name]) else np.array(masks[name]),
        )
        for name in draw(st.permutations(list(values)))
    }
    tags = [tuple(sorted({"a": draw(TEXTS), "b": draw(TEXTS)}.items())) for _ in range(2)]
    series = np.array(draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)), dtype=np.int32)
    points = Points("any", tags, series, np.arange(n, dtype=np.int64), fields)
    rows = [
        {
            name: values[name][row]
            for name in values
            if masks[name][row] and (name != "f" or np.isfinite(values["f"][row]))
        }
        for row in range(n)
    ]
    return points, rows


@given(batches())
@settings(deadline=None)
def test_what_is_encoded_is_decoded(batch: tuple[Points, list[dict[str, float | int | str]]]) -> None:
    """Each point with a field gives one line that reads back: tags as carried, fields exactly."""
    points, rows = batch
    encoded = LineEncoder().encode(points)
    lines = [decode(line) for line in split(encoded.body)]
    kept = [row for row in range(len(points)) if rows[row]]
    assert encoded.points == len(lines) == len(kept)
    for line, row in zip(lines, kept, strict=True):
        assert line.fields == rows[row]
        assert {name: type(value) for name, value in line.fields.items()} == {
            name: type(value) for name, value in rows[row].items()
        }
        assert line.time == row
        assert line.tags == tuple((key, carried(value)) for key, value in points.tags[points.series[row]])


@given(batches())
@settings(deadline=None)
def test_without_strings_the_rest_stays(batch: tuple[Points, list[dict[str, float | int | str]]]) -> None:
    """VictoriaMetrics' lines are the same without text."""
    points, rows = batch
    lines = [decode(line) for line in split(encode(points, strings=False))]
    numbers = [{name: value for name, value in row.items() if name != "s"} for row in rows]
    assert [line.fields for line in lines] == [row for row in numbers if row]


@given(TEXTS)
def test_what_a_tag_carries_is_stable(text: str) -> None:
    """Carrying what was carried changes nothing, so a stored tag can be written again."""
    once = carried(text)
    assert carried(once) == once
    assert len(once) == len(text)


@given(st.binary())
def test_decoding_never_fails_otherwise_than_said(junk: bytes) -> None:
    """Any bytes are split, and each line is parsed or a ValueError."""
    for line in split(junk):
        try:
            decode(line)
        except ValueError:
            continue


@pytest.fixture(scope="module")
def influx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Influx]:
    """A real InfluxDB for all examples."""
    with influxdb(tmp_path_factory.mktemp("influx")) as running:
        yield running


@pytest.mark.influxdb
@given(st.lists(st.tuples(TEXTS, TEXTS, FLOATS.filter(np.isfinite), INTEGERS), min_size=1, max_size=30))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_influxdb_reads_back_what_was_written(
    influx: Influx, rows: list[tuple[str, str, float, int]]
) -> None:
    """Many points with any tags and strings in one write: none refused, each exactly as it was."""
    influx.query('DROP MEASUREMENT "any thing"')
    n = len(rows)
    fields = {
        'f,"=1 ': Column(FieldType.FLOAT, np.array([row[2] for row in rows])),
        "i": Column(FieldType.INTEGER, np.array([row[3] for row in rows], dtype=np.int64)),
        "s": Column(FieldType.STRING, np.array([row[1] for row in rows], dtype=object)),
        "quality": Column(FieldType.INTEGER, np.ones(n, dtype=np.int64), np.arange(n) % 2 == 0),
    }
    tags = [(("a key", row[0]),) for row in rows]
    points = Points(
        "any thing", tags, np.arange(n, dtype=np.int32), np.arange(n) + 1_795_000_000_000_000_000, fields
    )
    influx.write(encode(points))
    found = {row["time"]: row for row in influx.query('SELECT * FROM "any thing"')}
    assert len(found) == n
    for number, (tag, text, real, whole) in enumerate(rows):
        row = found[1_795_000_000_000_000_000 + number]
        assert row["a key"] == carried(tag)
        assert row["s"] == text
        assert float(row['f,"=1 ']) == real  # InfluxDB's JSON writes a great float as an integer
        assert row["i"] == whole
        assert row["quality"] == (1 if number % 2 == 0 else None)
