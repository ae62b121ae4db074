"""Keeping the embedded store small: retention, merging of what was written again, the file's size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from gateway.sinks import embedded_sql
from gateway.sinks.erasing import Which

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from duckdb import DuckDBPyConnection

    from gateway.sinks.embedded_sql import Table

DAY_NS = 86_400_000_000_000
SPAN_NS = DAY_NS // 4
"""Merging, and deleting what a profile keeps no longer, look at so much event time at once."""

MOST_CUTS = 30

TABLE = "CREATE TABLE IF NOT EXISTS own.merged_to (measurement VARCHAR NOT NULL, seq BIGINT NOT NULL)"
"""How far each measurement was merged, by the number of the writing."""

LAST_MERGED = "SELECT coalesce(max(seq), -1) FROM own.merged_to WHERE measurement = ?"


@dataclass(frozen=True, slots=True)
class EmbeddedSettings:
    """Where the store is and how much it keeps.

    `retention_ns` is how long raw readings are kept, `window_retention_ns` how long windows are (0: for
    ever); `max_bytes` bounds the file (0: no bound): the oldest tenth of the raw readings goes first,
    again and again, then that of the windows. `memory` and `threads` bound DuckDB itself. Points written
    again are merged once `merge_rows` rows have come.
    """

    path: Path
    name: str = "embedded"
    retention_ns: int = 30 * DAY_NS
    window_retention_ns: int = 400 * DAY_NS
    max_bytes: int = 0
    memory: str = "512MB"
    threads: int = 1
    merge_rows: int = 50_000


def drop_old(
    connection: DuckDBPyConnection, tables: Sequence[Table], settings: EmbeddedSettings, *, now_ns: int
) -> None:
    """Delete what is past its retention."""
    for table in tables:
        keep = settings.window_retention_ns if table.window else settings.retention_ns
        if keep:
            embedded_sql.run(connection, embedded_sql.delete_before(table), [now_ns - keep])


class Kept(NamedTuple):
    """How long a profile's points of one measurement are kept."""

    measurement: str
    profile: str
    keep_ns: int


def drop_kept(
    connection: DuckDBPyConnection, tables: Mapping[str, Table], kept: Iterable[Kept], *, now_ns: int
) -> int:
    """Delete what profiles keep no longer; return how many rows.

    At most the oldest `SPAN_NS` of each, so that a profile which is told to keep less does not hold up
    the writes: called again and again, it catches up.
    """
    gone = 0
    for each in kept:
        table = tables.get(each.measurement)
        if table is None:
            continue
        old = Which({"profile": each.profile}, now_ns - each.keep_ns)
        ((first,),) = embedded_sql.run(connection, *embedded_sql.first_of(table, old))
        if first is not None:
            oldest = Which(old.tags, min(now_ns - each.keep_ns, first + SPAN_NS))
            ((rows,),) = embedded_sql.run(connection, *embedded_sql.erase(table, oldest))
            gone += rows
    return gone


def merge(connection: DuckDBPyConnection, table: Table, *, rows: int, written: int) -> None:
    """Merge the points written again since the last time, where at least `rows` rows have come.

    Looks only at the spans of event time that were written into, one at a time. Runs in the caller's
    transaction; `written` is the number of the last writing.
    """
    name = [table.measurement]
    ((since,),) = embedded_sql.run(connection, LAST_MERGED, name)
    ((came,),) = embedded_sql.run(connection, embedded_sql.came_since(table), [since])
    if came < rows:
        return
    for (span,) in embedded_sql.run(connection, embedded_sql.spans_since(table, SPAN_NS), [since]):
        embedded_sql.run(connection, embedded_sql.merged(table), [span * SPAN_NS, (span + 1) * SPAN_NS])
        for statement in embedded_sql.replace_merged(table):
            embedded_sql.run(connection, statement)
    embedded_sql.run(connection, "DELETE FROM own.merged_to WHERE measurement = ?", name)
    embedded_sql.run(connection, "INSERT INTO own.merged_to VALUES (?, ?)", [*name, written])


def shrink(connection: DuckDBPyConnection, tables: Sequence[Table], *, max_bytes: int) -> None:
    """Delete the oldest tenth of the raw points, again and again, then of the windows, until it fits."""
    for table in sorted(tables, key=lambda table: table.window):
        for _ in range(MOST_CUTS):
            if not max_bytes or used(connection) <= max_bytes:
                return
            ((rows, first, last),) = embedded_sql.run(connection, embedded_sql.bounds(table))
            if not rows:
                break
            embedded_sql.run(
                connection, embedded_sql.delete_before(table), [first + (last - first) // 10 + 1]
            )
            embedded_sql.run(connection, "CHECKPOINT")


def used(connection: DuckDBPyConnection) -> int:
    """Return the bytes in use: deleting frees blocks that are used again; the file itself never shrinks."""
    ((size,),) = embedded_sql.run(
        connection, "SELECT coalesce(sum(used_blocks * block_size), 0) FROM pragma_database_size()"
    )
    return int(size)
