"""Removing points from the embedded store: what a reprocessing found to have another series or time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from gateway.sinks import columns, embedded_sql
from gateway.sinks.removal import REMOVED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from duckdb import DuckDBPyConnection

    from gateway.sinks.embedded_sql import Table


def is_removal(content: pa.Table) -> bool:
    """Tell whether a body's table says what is to be removed (see `removal`)."""
    return any(name == REMOVED for name, _ in columns.roles(content, columns.FIELD))


def remove(connection: DuckDBPyConnection, tables: Mapping[str, Table], content: pa.Table) -> None:
    """Remove the points of these series and times, in the caller's transaction; `tables` by measurement.

    Points of the same time with other tags besides stay.
    """
    table = tables.get(columns.measurement(content))
    if table is None:
        return
    tags = dict(columns.roles(content, columns.TAG))
    # What the table has no tag for, it has no such point of.
    kept = content
    for name in tags.keys() - set(table.tags):
        kept = kept.filter(pc.is_null(dict(columns.roles(kept, columns.TAG))[name]))
    times = dict(columns.roles(kept, columns.OWN))["time"]
    known = dict(columns.roles(kept, columns.TAG))
    absent = pa.nulls(len(kept), pa.string())
    removing = {"own:time": times}
    removing |= {embedded_sql.stored(name, "tag:"): known.get(name, absent) for name in table.tags}
    connection.register("removing", pa.table(removing))
    try:
        embedded_sql.run(connection, embedded_sql.remove(table))
    finally:
        connection.unregister("removing")
