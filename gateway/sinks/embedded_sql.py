"""The SQL of the embedded store: names, types and statements.

One table a measurement in the schema `points`, append-only, named by role so that nothing clashes:
`own:time` (ns UTC), `own:seq` (order of writing), `own:end` (windows), `tag:<name>`, `field:<name>`.
DuckDB's names ignore case and ours do not, so a capital is written `^` and the small letter. Every name is
quoted; every value is a parameter.
"""

# ruff: noqa: S608 - every name goes through `quoted`, every value is a parameter

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.model import FieldType

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from duckdb import DuckDBPyConnection

SQL_TYPES = {FieldType.FLOAT: "DOUBLE", FieldType.INTEGER: "BIGINT", FieldType.STRING: "VARCHAR"}
FIELD_TYPES = {sql: kind for kind, sql in SQL_TYPES.items()}

TIME, SEQ, END = '"own:time"', '"own:seq"', '"own:end"'
CATALOGUE = """
    SELECT table_name, column_name, data_type FROM duckdb_columns()
    WHERE schema_name = 'points' AND database_name = current_database() ORDER BY table_name, column_index
"""

LATER = f"{TIME}::HUGEINT * 1099511627776 + {SEQ}"
"""Orders writings by time, then by their order: both fit into one number."""


@dataclass(slots=True)
class Table:
    """What a measurement's table has."""

    measurement: str
    tags: list[str] = field(default_factory=list)
    fields: dict[str, FieldType] = field(default_factory=dict)
    window: bool = False

    @property
    def name(self) -> str:
        """The table, quoted and with its schema."""
        return f"points.{quoted(stored(self.measurement))}"

    @property
    def groups(self) -> str:
        """What identifies a point."""
        return ", ".join([TIME, *(quoted(stored(tag, "tag:")) for tag in self.tags)])


def run(
    connection: DuckDBPyConnection, statement: str, values: Sequence[object] = ()
) -> list[tuple[Any, ...]]:
    """Run a statement to its end: DuckDB refuses the next one while a result is not read out."""
    return connection.execute(statement, values).fetchall()


def stored(name: str, role: str = "") -> str:
    """Return the name under which the store keeps a name."""
    return role + re.sub(r"[A-Z^]", lambda found: "^" + found[0].lower(), name)


def told(name: str) -> str:
    """Return the name that `stored` was given (without its role)."""
    return re.sub(r"\^(.)", lambda found: found[1].upper(), name)


def quoted(name: str) -> str:
    """Quote a name."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Quote a text, where a statement takes no parameter."""
    return "'" + text.replace("'", "''") + "'"


def tables(columns: Sequence[tuple[str, str, str]]) -> dict[str, Table]:
    """Read the catalogue: (table, column, SQL type) of the schema `points`, in the columns' order."""
    found: dict[str, Table] = {}
    for table_name, column, kind in columns:
        measurement = told(table_name)
        table = found.setdefault(measurement, Table(measurement))
        role, _, name = column.partition(":")
        if role == "tag":
            table.tags.append(told(name))
        elif role == "field":
            table.fields[told(name)] = FIELD_TYPES[kind]
        elif name == "end":
            table.window = True
    return found


def create(table: Table) -> str:
    """Make a table without tags and fields; `add` gives it those."""
    end = f", {END} BIGINT" if table.window else ""
    return f"CREATE TABLE {table.name} ({TIME} BIGINT NOT NULL, {SEQ} BIGINT NOT NULL{end})"


def add(table: Table, *, tags: Sequence[str], fields: Mapping[str, FieldType]) -> list[str]:
    """Give a table more columns: the statements."""
    columns = [f"{quoted(stored(tag, 'tag:'))} VARCHAR" for tag in tags]
    columns += [f"{quoted(stored(name, 'field:'))} {SQL_TYPES[kind]}" for name, kind in fields.items()]
    return [f"ALTER TABLE {table.name} ADD COLUMN {column}" for column in columns]


def view(table: Table) -> str:
    """Make the view for people who open the file with another program: one row a point, plain names."""
    told_as = dict(zip(_outputs(table, list(table.fields)), names(table, list(table.fields)), strict=True))
    columns = ", ".join(f"{value} AS {quoted(name)}" for value, name in told_as.items())
    return (
        f"CREATE OR REPLACE VIEW {quoted(stored(table.measurement))} AS "
        f"SELECT {columns} FROM {table.name} GROUP BY {table.groups}"
    )


def names(table: Table, fields: Sequence[str]) -> list[str]:
    """Return the names of an answer's columns: `time`, tags, fields; `_1` where a tag has a field's name."""
    taken = {"time", *table.tags}
    return ["time", *table.tags, *(f"{name}_1" if name in taken else name for name in fields)]


def _outputs(table: Table, fields: Sequence[str], order: str = SEQ) -> list[str]:
    """Say what those columns are; of each field the value that comes last in that order."""
    tags = [quoted(stored(tag, "tag:")) for tag in table.tags]
    values = [f"arg_max({quoted(stored(name, 'field:'))}, {order})" for name in fields]
    return [f"make_timestamp_ns({TIME})", *tags, *values]


def select(table: Table, fields: Sequence[str], where: Sequence[str], limit: int | None) -> str:
    """Select the newest `limit` points that meet the conditions, oldest first; columns as in `names`."""
    condition = f" WHERE {' AND '.join(where)}" if where else ""
    # DuckDB's names ignore case, an answer's here do not: so columns are numbered, and named by the reader.
    columns = ", ".join(f"{value} AS c{i}" for i, value in enumerate(_outputs(table, fields)))
    some = " OR ".join(f"count({quoted(stored(name, 'field:'))}) > 0" for name in fields) or "true"
    newest = f" ORDER BY c0 DESC LIMIT {limit:d}" if limit is not None else ""
    return (
        f"SELECT * FROM (SELECT {columns} FROM {table.name}{condition} "
        f"GROUP BY {table.groups} HAVING {some}{newest}) ORDER BY c0"
    )


def latest(table: Table, where: Sequence[str]) -> str:
    """Select one row a series: its newest time, and of each field the newest value; columns as in `names`."""
    condition = f" WHERE {' AND '.join(where)}" if where else ""
    _, *outputs = _outputs(table, list(table.fields), LATER)
    columns = ", ".join(f"{value} AS c{i}" for i, value in enumerate(outputs, start=1))
    groups = ", ".join(quoted(stored(tag, "tag:")) for tag in table.tags)
    grouped = f" GROUP BY {groups} ORDER BY {groups}" if groups else f" HAVING max({TIME}) IS NOT NULL"
    return f"SELECT make_timestamp_ns(max({TIME})) AS c0, {columns} FROM {table.name}{condition}{grouped}"


def merged(table: Table) -> str:
    """Collect the points written more than once, from a time to another (parameters), with their rows."""
    fields = [quoted(stored(name, "field:")) for name in table.fields]
    values = [f"arg_max({name}, {SEQ}) AS {name}" for name in fields]
    values += [f"arg_max({END}, {SEQ}) AS {END}"] if table.window else []
    return (
        f"CREATE TEMP TABLE merged AS SELECT {', '.join([table.groups, f'max({SEQ}) AS {SEQ}', *values])}, "
        f'list(rowid) AS "own:rows" FROM {table.name} WHERE {TIME} >= ? AND {TIME} < ? '
        f"GROUP BY {table.groups} HAVING count(*) > 1"
    )


def replace_merged(table: Table) -> list[str]:
    """Put the collected points in the place of their rows: the statements."""
    return [
        f'DELETE FROM {table.name} WHERE rowid IN (SELECT unnest("own:rows") FROM merged)',
        f'INSERT INTO {table.name} BY NAME SELECT * EXCLUDE ("own:rows") FROM merged',
        "DROP TABLE merged",
    ]


def bounds(table: Table) -> str:
    """Ask for the number of rows, the first and the last time."""
    return f"SELECT count(*), min({TIME}), max({TIME}) FROM {table.name}"


def everything(table: Table) -> str:
    """Ask for something that every value of a table must be read for."""
    return f"SELECT bit_xor(hash(each)) FROM {table.name} AS each"


def highest(table: Table) -> str:
    """Ask for the number of the last writing."""
    return f"SELECT max({SEQ}) FROM {table.name}"


def insert(table: Table) -> str:
    """Append the rows registered as `incoming`."""
    return f"INSERT INTO {table.name} BY NAME SELECT * FROM incoming"


def delete_before(table: Table) -> str:
    """Delete what is older than a time (parameter)."""
    return f"DELETE FROM {table.name} WHERE {TIME} < ?"


def came_since(table: Table) -> str:
    """Count the rows written after a number (parameter)."""
    return f"SELECT count(*) FROM {table.name} WHERE {SEQ} > ?"


def spans_since(table: Table, span_ns: int) -> str:
    """Ask which spans of event time were written into after a number (parameter)."""
    return f"SELECT DISTINCT {TIME} // {span_ns:d} FROM {table.name} WHERE {SEQ} > ? ORDER BY 1"
