"""What can be asked of the embedded store over HTTP, and in which form the answer comes."""

from __future__ import annotations

import asyncio
import io
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, parquet
from starlette.responses import JSONResponse, Response

from gateway.errors import QueryError
from gateway.literals import duration_ns

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.ports import TimeSeries

MAX_ROWS = 1_000_000
_KNOWN = {"measurement", "latest", "site", "device", "fields", "start", "end", "last", "limit", "format"}
_OF_A_SPAN = {"measurement", "start", "end", "last", "limit"}


async def answer(store: TimeSeries | None, asked: Mapping[str, str], now_ns: int) -> Response:
    """Answer one question. Raises QueryError with a hint, SinkUnavailable where the store does not answer.

    `latest=NAME` or `measurement=NAME`, with site, device, fields (comma-separated); the second also
    with start and end (RFC 3339) or last (`2h`), and limit. `format` is json (default), csv or parquet.
    Without either name it lists the measurements.
    """
    if store is None:
        raise QueryError("this gateway has no embedded store", hint="ask the database that it writes to")
    if unknown := sorted(asked.keys() - _KNOWN):
        raise QueryError(f"unknown: {', '.join(unknown)}", hint=f"there are {', '.join(sorted(_KNOWN))}")
    if "latest" in asked:
        table = await _latest(store, asked)
    elif "measurement" in asked:
        table = await _range(store, asked, now_ns)
    else:
        table = pa.table(
            {"measurement": pa.array([one.name for one in await store.measurements()], pa.string())}
        )
    # Off the loop: a million rows take seconds to write, and the river must go on.
    return await asyncio.to_thread(_written, table, asked.get("format", "json"))


async def _latest(store: TimeSeries, asked: Mapping[str, str]) -> pa.Table:
    if unused := sorted(asked.keys() & _OF_A_SPAN):
        raise QueryError(f"latest does not go with {', '.join(unused)}", hint="ask with measurement=")
    table = await store.latest(asked["latest"])
    for tag in ("site", "device"):
        if tag in asked and tag in table.column_names:
            table = table.filter(pc.equal(table.column(tag), asked[tag]))
    if fields := _fields(asked):
        missing = [name for name in fields if name not in table.column_names]
        if missing:
            there = ", ".join(sorted(table.column_names))
            raise QueryError(f"{asked['latest']} has no field {missing[0]}", hint=f"there are {there}")
        tags = {one.name: one.tags for one in await store.measurements()}.get(asked["latest"], ())
        kept = {"time", *tags, *fields}
        table = table.select([name for name in table.column_names if name in kept])
    return table


async def _range(store: TimeSeries, asked: Mapping[str, str], now_ns: int) -> pa.Table:
    start = _instant(asked, "start")
    if "last" in asked:
        try:
            start = now_ns - duration_ns(asked["last"])
        except ValueError as error:
            raise QueryError(f"last: {error}") from error
    return await store.query(
        asked["measurement"],
        site=asked.get("site"),
        device=asked.get("device"),
        fields=_fields(asked) or None,
        start_ns=start,
        end_ns=_instant(asked, "end"),
        limit=_limit(asked.get("limit", "10000")),
    )


def _fields(asked: Mapping[str, str]) -> list[str]:
    return [name.strip() for name in asked.get("fields", "").split(",") if name.strip()]


def _limit(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= MAX_ROWS:
        raise QueryError(f"limit: a whole number from 1 to {MAX_ROWS}")
    return int(text)


def _instant(asked: Mapping[str, str], name: str) -> int | None:
    if name not in asked:
        return None
    try:
        moment = datetime.fromisoformat(asked[name])
    except ValueError as error:
        raise QueryError(f"{name}: not a time", hint="such as 2026-11-22T10:00:00Z") from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1_000_000) * 1_000


def _written(table: pa.Table, form: str) -> Response:
    out = io.BytesIO()
    if form == "json":
        rows = [list(row.values()) for row in _in_texts(table).to_pylist()]
        return JSONResponse({"columns": table.column_names, "rows": rows})
    if form == "csv":
        csv.write_csv(_in_texts(table), out)
        return Response(out.getvalue(), media_type="text/csv; charset=utf-8")
    if form == "parquet":
        parquet.write_table(table, out)
        return Response(out.getvalue(), media_type="application/vnd.apache.parquet")
    raise QueryError(f"format {form!r} is not known", hint="there are json, csv, parquet")


def _in_texts(table: pa.Table) -> pa.Table:
    """Write times as RFC 3339 texts, with no more decimals than they need."""
    columns = []
    for column in table.columns:
        if pa.types.is_timestamp(column.type):
            texts = pc.replace_substring(column.cast(pa.string()), " ", "T")
            texts = pc.replace_substring_regex(texts, r"\.0+Z$", "Z")
            columns.append(pc.replace_substring_regex(texts, r"(\.\d*?[1-9])0+Z$", r"\1Z"))
        else:
            columns.append(column)
    return pa.table(columns, names=table.column_names)
