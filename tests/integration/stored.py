"""What the databases have, read back as the oracle says it, and the comparison of the two."""

from __future__ import annotations

import math
import urllib.parse
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb
import orjson

from tests.databases import fetch
from tests.integration.oracle import FAMILIES, bounds, number

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

    from tests.databases import Influx, VictoriaMetrics
    from tests.integration.oracle import Dimensions, Key, Table, Tables, Truth, Value

DIMENSIONS = ("class", "direction", "lane")
TAGS = ("site", "device", "profile", *DIMENSIONS)
JUDGED = ("quality", "suspect_count")
"""What tests of neighbours decide: the ledger does not say it, `check_quality` holds it to itself."""
MEASUREMENTS = [
    name for family, known in FAMILIES.items() for name in (family, *(f"{family}_{w}" for w in known.windows))
]
TYPES = {int: "integer", float: "float", str: "string"}
RELATIVE = 1e-9


def dimensions_of(tags: Mapping[str, Any]) -> Dimensions:
    """Return the dimensions among a point's tags."""
    return tuple((name, str(tags[name])) for name in DIMENSIONS if tags.get(name))


def from_influx(influx: Influx, database: str = "ecluse") -> Tables:
    """Read everything from InfluxDB 1.6, a measurement a query; a point that stands there twice fails."""
    tables: Tables = {}
    for measurement in MEASUREMENTS:
        form = {"db": database, "epoch": "ns", "chunked": "true", "q": f'SELECT * FROM "{measurement}"'}  # noqa: S608 - our own name
        body = fetch(f"{influx.url}/query", data=urllib.parse.urlencode(form).encode(), timeout_s=120)
        tables[measurement] = {}
        for chunk in body.splitlines():
            for result in orjson.loads(chunk)["results"]:
                assert "error" not in result, result
                for series in result.get("series", ()):
                    _add(tables[measurement], series["columns"], series["values"], measurement)
    return tables


def influx_types(influx: Influx, database: str = "ecluse") -> dict[tuple[str, str], str]:
    """Return the type of every field, by (measurement, field)."""
    rows = influx.query("SHOW FIELD KEYS", database)
    return {(str(row["name"]), str(row["fieldKey"])): str(row["fieldType"]) for row in rows}


def from_embedded(path: Path) -> Tables:
    """Read everything from the embedded store's file, as another program would: through its views."""
    tables: Tables = {}
    with duckdb.connect(str(path), read_only=True) as connection:
        there = {
            name
            for (name,) in connection.execute(
                "SELECT view_name FROM duckdb_views() WHERE NOT internal"
            ).fetchall()
        }
        for measurement in MEASUREMENTS:
            tables[measurement] = {}
            if measurement not in there:
                continue
            answer = connection.execute(f'SELECT epoch_ns(time) AS ns, * EXCLUDE (time) FROM "{measurement}"')  # noqa: S608
            columns = ["time", *(column[0] for column in answer.description[1:])]
            _add(tables[measurement], columns, answer.fetchall(), measurement)
    return tables


def from_victoria(victoria: VictoriaMetrics) -> dict[str, dict[Key, dict[str, list[float]]]]:
    """Read everything from VictoriaMetrics: of each field all samples, since it overwrites none."""
    victoria.export("{device='none'}")
    tables: dict[str, dict[Key, dict[str, list[float]]]] = {name: {} for name in MEASUREMENTS}
    by_length = sorted(MEASUREMENTS, key=len, reverse=True)
    for family in FAMILIES:
        form = urllib.parse.urlencode({"match[]": f'{{__name__=~"{family}_.*"}}'}).encode()
        for line in fetch(f"{victoria.url}/api/v1/export", data=form, timeout_s=120).splitlines():
            series = orjson.loads(line)
            labels = series["metric"]
            name = labels["__name__"]
            measurement = next(known for known in by_length if name.startswith(f"{known}_"))
            field = name.removeprefix(f"{measurement}_")
            table, told = tables[measurement], dimensions_of(labels)
            for at_ms, value in zip(series["timestamps"], series["values"], strict=True):
                point = table.setdefault((labels["device"], told, at_ms * 1_000_000), defaultdict(list))
                point[field].append(value)
    return tables


def _add(table: Table, columns: list[str], rows: Iterable[list[Any]], measurement: str) -> None:
    at = {name: place for place, name in enumerate(columns)}
    fields = [(name, place) for name, place in at.items() if name not in ("time", *TAGS)]
    told = [(name, at[name]) for name in DIMENSIONS if name in at]
    for row in rows:
        dimensions = tuple((name, row[place]) for name, place in told if row[place])
        key = (row[at["device"]], dimensions, row[at["time"]])
        assert key not in table, f"{measurement}: {key} twice"
        table[key] = {name: row[place] for name, place in fields if row[place] is not None}


@dataclass(frozen=True, slots=True)
class Difference:
    """A point that is not as it must be. `doubled`: it is of nobody, or counts something more than once."""

    text: str
    doubled: bool = False


def differences(
    expected: Tables, actual: Tables, *, without: Collection[str] = JUDGED
) -> tuple[list[Difference], int]:
    """Hold two sets of points to each other, both ways; return what differs, and how many were compared.

    `without`: fields that only the one side may have.
    """
    found: list[Difference] = []
    count = 0
    for measurement, points in expected.items():
        stored = actual.get(measurement, {})
        found += [Difference(f"{measurement} {key}: not stored") for key in points.keys() - stored.keys()]
        found += [
            Difference(f"{measurement} {key}: of nobody: {stored[key]}", doubled=True)
            for key in stored.keys() - points.keys()
        ]
        for key in points.keys() & stored.keys():
            count += 1
            had = {name: value for name, value in stored[key].items() if name not in without}
            if not same(points[key], had):
                text = f"{measurement} {key}: {difference(points[key], had)}"
                found.append(Difference(text, doubled=_counts_more(points[key], had)))
    return found, count


def assert_same(expected: Tables, actual: Tables, *, where: str, without: Collection[str] = JUDGED) -> int:
    """Hold two sets of points to each other, as `differences` does; return how many points were compared."""
    found, count = differences(expected, actual, without=without)
    problems = sorted(one.text for one in found)
    assert not problems, f"{where}: {len(problems)} of {count} differ\n" + "\n".join(problems[:20])
    return count


def _counts_more(expected: Mapping[str, Value], actual: Mapping[str, Value]) -> bool:
    """Tell whether a window counts more readings than there are, or sums more."""
    return any(
        number(actual[name]) > number(value)
        for name, value in expected.items()
        if name.endswith(("_count", "_sum")) and name in actual
    )


def same(expected: Mapping[str, Value], actual: Mapping[str, Value]) -> bool:
    """Tell whether two points have the same fields with the same values."""
    return expected == actual or (
        expected.keys() == actual.keys()
        and all(close(value, actual[name]) for name, value in expected.items())
    )


def close(one: Value, other: Value) -> bool:
    """Tell whether two values are the same: texts and integers exactly, floats to nine digits."""
    if isinstance(one, float) and not isinstance(other, str):
        return math.isclose(one, other, rel_tol=RELATIVE, abs_tol=1e-9)
    return one == other


def difference(expected: Mapping[str, Value], actual: Mapping[str, Value]) -> str:
    """Say in which fields two points differ."""
    names = sorted(expected.keys() | actual.keys())
    return ", ".join(
        f"{name} should be {expected.get(name)} and is {actual.get(name)}"
        for name in names
        if name not in expected or name not in actual or not close(expected[name], actual[name])
    )


def check_quality(truth: Truth, actual: Tables) -> None:
    """Hold the flags to what they mean: 4 where the ledger says failed and nowhere else; suspects counted."""
    for family, failing in truth.failing().items():
        for key, point in actual[family].items():
            assert (point["quality"] == 4) == (key in failing), f"{family} {key}: {point}"
            assert point["quality"] in (1, 2, 3, 4), f"{family} {key}: {point}"
    for measurement in (name for name in MEASUREMENTS if "_" in name):
        for key, point in actual[measurement].items():
            assert point["quality"] in (1, 2, 3), f"{measurement} {key}: {point}"
            assert (point["quality"] == 3) == (point["suspect_count"] > 0), f"{measurement} {key}: {point}"


def check_types(expected: Tables, types: Mapping[tuple[str, str], str]) -> None:
    """Hold the type of every field to that of the oracle's value."""
    for measurement, points in expected.items():
        for fields in points.values():
            for name, value in fields.items():
                assert types[measurement, name] == TYPES[type(value)], f"{measurement} {name}: {value!r}"


def ended(windows: Tables, actual: Tables, *, by: int) -> Tables:
    """Return the windows that had ended at a time, and those of the others that are stored all the same."""
    return {
        name: {
            key: fields
            for key, fields in table.items()
            if key in actual[name] or bounds(name.rpartition("_")[2], key[2])[1] <= by
        }
        for name, table in windows.items()
    }
