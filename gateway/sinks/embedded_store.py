"""What the embedded store does, synchronously: every method runs in the one thread of its sink."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict, Unpack

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import structlog

from gateway.durable import sync_folder
from gateway.errors import QueryError, SinkUnavailable
from gateway.sinks import columns, embedded_sql, embedded_upkeep, line_protocol
from gateway.sinks.embedded_sql import TIME, Table, quoted, stored

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from gateway.model import FieldType
    from gateway.ports import Clock
    from gateway.sinks.embedded_upkeep import EmbeddedSettings

log = structlog.get_logger()

CATALOG = "ecluse"
MAINTAIN_EVERY_NS = 60_000_000_000
SPARE_BYTES = 256 << 20
"""What a copy of the store must leave free on a disk that the journal is on."""
UTC = pa.timestamp("ns", tz="UTC")


@dataclass(frozen=True, slots=True)
class Measurement:
    """What the store has under one name. Times are ns UTC."""

    name: str
    window: bool
    tags: tuple[str, ...]
    fields: Mapping[str, FieldType]
    rows: int
    first_ns: int | None
    last_ns: int | None


class Selection(TypedDict, total=False):
    """Which points are asked for: see `EmbeddedSink.query`."""

    site: str | None
    device: str | None
    start_ns: int | None
    end_ns: int | None
    last_ns: int | None


class Store:
    """One DuckDB file. Raises `SinkUnavailable` where it cannot be opened, read or written."""

    def __init__(self, settings: EmbeddedSettings, *, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._connected: duckdb.DuckDBPyConnection | None = None
        self._tables: dict[str, Table] = {}
        self._seq = 0
        self._maintained_ns = clock.monotonic_ns()

    def check(self) -> str:
        """Open the file and name it."""
        with self._connection():
            return f"DuckDB {duckdb.__version__} in {self._settings.path}"

    def close(self) -> None:
        """Close the file; the next question opens it again."""
        connection, self._connected = self._connected, None
        if connection is not None:
            connection.close()

    def write(self, bodies: Sequence[bytes]) -> list[tuple[bytes, str]]:
        """Store bodies in one transaction; return the refused points as (line, reason)."""
        kept: dict[str, list[pa.Table]] = {}
        refused: list[tuple[bytes, str]] = []
        with self._connection() as connection, self._transaction(connection):
            for body in bodies:
                content = columns.read(body)
                table = self._widened(connection, content)
                good, lines = _without_conflicts(table, content)
                kept.setdefault(table.measurement, []).append(good)
                refused += lines
            for measurement, contents in kept.items():
                self._append(connection, self._tables[measurement], contents)
        self._sync_names()
        self._maintain_at_times()
        return refused

    def _sync_names(self) -> None:
        """Bring the names to the disk: DuckDB syncs what it writes, but not that its log was made anew."""
        try:
            sync_folder(self._settings.path.parent)
        except OSError as error:
            self.close()  # what is opened anew is brought into the file first
            raise SinkUnavailable(f"{self._settings.name}: its folder cannot be synced: {error}") from error

    def query(
        self,
        measurement: str,
        *,
        fields: Sequence[str] | None = None,
        limit: int | None = None,
        **selection: Unpack[Selection],
    ) -> pa.Table:
        """See `EmbeddedSink.query`."""
        with self._connection() as connection:
            table = self._table(measurement)
            unknown = [name for name in fields or () if name not in table.fields]
            if unknown:
                there = ", ".join(sorted(table.fields))
                raise QueryError(f"{measurement} has no field {unknown[0]}", hint=f"its fields: {there}")
            where, values = self._conditions(table, selection)
            chosen = list(fields if fields is not None else table.fields)
            statement = embedded_sql.select(table, chosen, where, limit)
            names = embedded_sql.names(table, chosen)
            return _named(connection.sql(statement, params=values).to_arrow_table(), names)

    def latest(self, measurement: str, *, last_ns: int | None = None) -> pa.Table:
        """See `EmbeddedSink.latest`."""
        with self._connection() as connection:
            table = self._table(measurement)
            where, values = self._conditions(table, {"last_ns": last_ns})
            names = embedded_sql.names(table, list(table.fields))
            answer = connection.sql(embedded_sql.latest(table, where), params=values).to_arrow_table()
            return _named(answer, names)

    def measurements(self) -> list[Measurement]:
        """See `EmbeddedSink.measurements`."""
        found = []
        with self._connection() as connection:
            for table in sorted(self._tables.values(), key=lambda table: table.measurement):
                ((rows, first, last),) = embedded_sql.run(connection, embedded_sql.bounds(table))
                tags, fields = tuple(sorted(table.tags)), dict(table.fields)
                found.append(Measurement(table.measurement, table.window, tags, fields, rows, first, last))
        return found

    def write_parquet(self, path: Path, measurement: str, **selection: Unpack[Selection]) -> int:
        """See `EmbeddedSink.write_parquet`."""
        with self._connection() as connection:
            table = self._table(measurement)
            where, values = self._conditions(table, selection)
            statement = embedded_sql.select(table, list(table.fields), where, None)
            reader = connection.sql(statement, params=values).to_arrow_reader(100_000)
            names = embedded_sql.names(table, list(table.fields))
            schema = _named(reader.schema.empty_table(), names).schema
            rows = 0
            with pq.ParquetWriter(path, schema, compression="zstd") as writer:
                for batch in reader:
                    writer.write_table(_named(pa.Table.from_batches([batch]), names))
                    rows += len(batch)
            return rows

    def maintain(self) -> None:
        """Drop what is past its retention, merge what was written again, keep within the size."""
        with self._connection() as connection:
            tables = list(self._tables.values())
            embedded_upkeep.drop_old(connection, tables, self._settings, now_ns=self._clock.now_ns())
            for table in tables:
                with self._transaction(connection):
                    embedded_upkeep.merge(
                        connection, table, rows=self._settings.merge_rows, written=self._seq - 1
                    )
            embedded_sql.run(connection, "CHECKPOINT")
            embedded_upkeep.shrink(connection, tables, max_bytes=self._settings.max_bytes)

    def copy_to(self, path: Path) -> None:
        """See `EmbeddedSink.copy_to`."""
        with self._connection() as connection:
            embedded_sql.run(connection, f"CHECKPOINT {CATALOG}")
        # Closed, so that the file is whole, and because DuckDB's lock on it would go with our reading end.
        self.close()
        if self._settings.path.with_name(f"{self._settings.path.name}.wal").exists():
            raise SinkUnavailable(f"{self._settings.name}: its log could not be brought into its file")
        free = shutil.disk_usage(path.parent).free
        needed = self._settings.path.stat().st_size
        if free < needed + SPARE_BYTES:
            raise SinkUnavailable(
                f"{self._settings.name}: no room for a copy of {needed / 1e6:,.0f} MB beside it",
                hint="free space on the state folder's disk, or leave the stores out of the backup",
            )
        try:
            shutil.copyfile(self._settings.path, path)
        except OSError as error:
            path.unlink(missing_ok=True)
            raise SinkUnavailable(f"{self._settings.name} cannot be copied: {error}") from error

    def _maintain_at_times(self) -> None:
        """Maintain once a minute of writing; a failure there does not undo the write."""
        if self._clock.monotonic_ns() - self._maintained_ns < MAINTAIN_EVERY_NS:
            return
        self._maintained_ns = self._clock.monotonic_ns()
        try:
            self.maintain()
        except SinkUnavailable as error:
            log.warning("embedded store not maintained", sink=self._settings.name, error=str(error))

    @contextlib.contextmanager
    def _connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Give the open file; translate DuckDB's exceptions, after which the file is opened anew."""
        try:
            if self._connected is None:
                self._connected = self._opened()
            yield self._connected
        except (
            duckdb.IOException,
            duckdb.OutOfMemoryException,
            duckdb.FatalException,
            duckdb.SerializationException,
        ) as error:
            with contextlib.suppress(duckdb.Error):
                self.close()
            raise SinkUnavailable(
                f"{self._settings.name}: {self._settings.path}: {str(error).splitlines()[0]}",
                hint="is the disk full, or does another process have the file open?",
            ) from error

    def _opened(self) -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect(
            config={
                "memory_limit": self._settings.memory,
                "threads": str(self._settings.threads),
                "temp_directory": f"{self._settings.path}.tmp",
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
            },
        )
        try:
            # Attached under a name of ours: a catalogue is else named after its file, which may be anything.
            embedded_sql.run(
                connection, f"ATTACH {embedded_sql.literal(str(self._settings.path))} AS {CATALOG}"
            )
            embedded_sql.run(connection, f"USE {CATALOG}")
            # Nothing that is asked may read other files, or fetch extensions from the network.
            embedded_sql.run(connection, "SET enable_external_access = false")
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: duckdb.DuckDBPyConnection) -> None:
        embedded_sql.run(connection, "CREATE SCHEMA IF NOT EXISTS points")
        embedded_sql.run(connection, "CREATE SCHEMA IF NOT EXISTS own")
        embedded_sql.run(connection, embedded_upkeep.TABLE)
        self._read_catalogue(connection)

    def _read_catalogue(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._tables = embedded_sql.tables(embedded_sql.run(connection, embedded_sql.CATALOGUE))
        highest = [
            embedded_sql.run(connection, embedded_sql.highest(table))[0][0] for table in self._tables.values()
        ]
        self._seq = max((seq for seq in highest if seq is not None), default=-1) + 1

    @contextlib.contextmanager
    def _transaction(self, connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
        """All or nothing; after nothing, what we know of the tables is read again."""
        embedded_sql.run(connection, "BEGIN")
        try:
            yield
            embedded_sql.run(connection, "COMMIT")
        except BaseException:
            with contextlib.suppress(duckdb.Error):
                embedded_sql.run(connection, "ROLLBACK")
                self._read_catalogue(connection)
            raise

    def _table(self, measurement: str) -> Table:
        table = self._tables.get(measurement)
        if table is None:
            there = ", ".join(sorted(self._tables)) or "none yet"
            raise QueryError(f"no measurement {measurement}", hint=f"there are: {there}")
        return table

    def _conditions(self, table: Table, selection: Selection) -> tuple[list[str], list[str | int]]:
        """Turn a selection into conditions and their parameters. A tag that no point has matches none."""
        start = selection.get("start_ns")
        last = selection.get("last_ns")
        if last is not None:
            start = max(start or 0, self._clock.now_ns() - last)
        where: list[str] = []
        values: list[str | int] = []
        for tag in ("site", "device"):
            value = selection.get(tag)
            if value is not None:
                where.append(f"{quoted(stored(tag, 'tag:'))} = ?" if tag in table.tags else "? = ''")
                values.append(str(value))
        for sign, bound in ((">=", start), ("<", selection.get("end_ns"))):
            if bound is not None:
                where.append(f"{TIME} {sign} ?")
                values.append(bound)
        return where, values

    def _widened(self, connection: duckdb.DuckDBPyConnection, content: pa.Table) -> Table:
        """Return the measurement's table, made or given columns where the content has new ones."""
        name = columns.measurement(content)
        table, new = self._tables.get(name), False
        if table is None:
            window = any(own == "end" for own, _ in columns.roles(content, columns.OWN))
            table, new = self._tables.setdefault(name, Table(name, window=window)), True
            embedded_sql.run(connection, embedded_sql.create(table))
        tags = [tag for tag, _ in columns.roles(content, columns.TAG) if tag not in table.tags]
        fields = {
            field: columns.FIELD_TYPES[values.type]
            for field, values in columns.roles(content, columns.FIELD)
            if field not in table.fields
        }
        for statement in embedded_sql.add(table, tags=tags, fields=fields):
            embedded_sql.run(connection, statement)
        table.tags += tags
        table.fields |= fields
        if new or tags or fields:
            embedded_sql.run(connection, embedded_sql.view(table))
        return table

    def _append(
        self, connection: duckdb.DuckDBPyConnection, table: Table, contents: Sequence[pa.Table]
    ) -> None:
        rows = pa.concat_tables(
            [_as_stored(content, table) for content in contents], promote_options="default"
        )
        numbers = pa.array(np.arange(self._seq, self._seq + len(rows)))
        connection.register("incoming", rows.append_column("own:seq", numbers))
        try:
            embedded_sql.run(connection, embedded_sql.insert(table))
        finally:
            connection.unregister("incoming")
        self._seq += len(rows)


def unsoundness(path: Path) -> str:
    """Say what is wrong with a store's file; empty where nothing is. Reads all of it: it has checksums.

    Not written to; a log beside it that a crash left is read, too.
    """
    try:
        with duckdb.connect(config={"threads": "1"}) as connection:
            embedded_sql.run(connection, f"ATTACH {embedded_sql.literal(str(path))} AS {CATALOG} (READ_ONLY)")
            embedded_sql.run(connection, f"USE {CATALOG}")
            for table in embedded_sql.tables(embedded_sql.run(connection, embedded_sql.CATALOGUE)).values():
                embedded_sql.run(connection, embedded_sql.everything(table))
    except duckdb.Error as error:
        return str(error).splitlines()[0]
    return ""


def _named(answer: pa.Table, names: Sequence[str]) -> pa.Table:
    """Name an answer's columns, the first of which is the time."""
    in_utc = answer.set_column(0, pa.field("time", UTC), answer.column(0).cast(UTC))
    return in_utc.rename_columns(list(names))


def _as_stored(content: pa.Table, table: Table) -> pa.Table:
    """Give the columns the names that the table has; leave out what it does not keep."""
    arrays: dict[str, pa.ChunkedArray] = {}
    kept = {"time", "end"} if table.window else {"time"}
    for role in (columns.OWN, columns.TAG, columns.FIELD):
        for name, values in columns.roles(content, role):
            if role != columns.OWN or name in kept:
                arrays[stored(name, f"{role}:")] = values
    return pa.table(arrays)


def _without_conflicts(table: Table, content: pa.Table) -> tuple[pa.Table, list[tuple[bytes, str]]]:
    """Part the points that have a field of another type than the table's, as lines with the reason."""
    refused: list[tuple[bytes, str]] = []
    conflicts = [
        (name, columns.FIELD_TYPES[values.type])
        for name, values in columns.roles(content, columns.FIELD)
        if columns.FIELD_TYPES[values.type] is not table.fields[name]
    ]
    for name, kind in conflicts:
        reason = f"field {name} of {table.measurement} is {kind}, the store has it as {table.fields[name]}"
        guilty = pc.is_valid(dict(columns.roles(content, columns.FIELD))[name])
        body = line_protocol.encode(columns.from_table(content.filter(guilty)))
        refused += [(line, reason) for line in line_protocol.split(body)]
        content = content.filter(pc.invert(guilty)).drop_columns([f"{columns.FIELD}:{name}"])
    return content, refused
