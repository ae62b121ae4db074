"""Points as bytes that keep their columns: what waits in the outbox of the embedded store.

One Arrow IPC stream a `Points`: a column `time` (int64, ns UTC), one a tag (role `tag`, null where a point
lacks it), one a field (role `field`: double, int64 or string, null where absent), and for windows `end`
and `revision`. A column's role and name stand in its metadata, so that a tag and a field may share a name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from gateway.model import Column, FieldType, Points

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gateway.model import Int32

    TagSet = tuple[tuple[str, str], ...]

ARROW_TYPES = {
    FieldType.FLOAT: pa.float64(),
    FieldType.INTEGER: pa.int64(),
    FieldType.STRING: pa.string(),
}
FIELD_TYPES = {arrow: field for field, arrow in ARROW_TYPES.items()}
TAG, FIELD, OWN = "tag", "field", "own"


def encode(points: Points) -> bytes:
    """Return the points as one Arrow IPC stream, compressed with LZ4."""
    return write(to_table(points))


def write(content: pa.Table) -> bytes:
    """Return a table that `to_table` made as one Arrow IPC stream, compressed with LZ4."""
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.ipc.new_stream(sink, content.schema, options=options) as writer:
        writer.write_table(content)
    return bytes(sink.getvalue())


def read(body: bytes) -> pa.Table:
    """Return the table of an encoded body. Raises pyarrow's errors where it is none: it is ours."""
    with pa.ipc.open_stream(body) as reader:
        return reader.read_all()


def decode(body: bytes) -> Points:
    """Return the points of a body; their tag sets are those of this body alone."""
    return from_table(read(body))


def to_table(points: Points) -> pa.Table:
    """Return points as an Arrow table (see the module's docstring)."""
    arrays: list[pa.Array] = [pa.array(points.time)]
    fields = [described("time", pa.int64(), OWN)]
    for key, values in _tag_columns(points):
        arrays.append(values)
        fields.append(described(key, pa.string(), TAG))
    for name, column in points.fields.items():
        absent = None if column.present is None else ~column.present
        arrays.append(pa.array(column.values, type=ARROW_TYPES[column.type], mask=absent))
        fields.append(described(name, ARROW_TYPES[column.type], FIELD))
    for name, numbers in (("end", points.window_end), ("revision", points.revision)):
        if numbers is not None:
            arrays.append(pa.array(numbers))
            fields.append(described(name, arrays[-1].type, OWN))
    metadata = {"measurement": points.measurement}
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata=metadata))


def from_table(content: pa.Table) -> Points:
    """Return the points of a table that `to_table` made."""
    own = {name: numbers.to_numpy() for name, numbers in roles(content, OWN)}
    tags, series = _tag_sets(content)
    return Points(
        measurement=measurement(content),
        tags=tags,
        series=series,
        time=own["time"],
        fields={name: _column(values) for name, values in roles(content, FIELD)},
        window_end=own.get("end"),
        revision=own.get("revision"),
    )


def measurement(content: pa.Table) -> str:
    """Return the measurement of a table that `to_table` made."""
    return str(content.schema.metadata[b"measurement"].decode())


def roles(content: pa.Table, role: str) -> list[tuple[str, pa.ChunkedArray]]:
    """Return (name, values) of the columns that have this role."""
    return [
        (field.metadata[b"name"].decode(), content.column(index))
        for index, field in enumerate(content.schema)
        if field.metadata[b"role"].decode() == role
    ]


def described(name: str, kind: pa.DataType, role: str) -> pa.Field:
    """Return a column of a role."""
    return pa.field(f"{role}:{name}", kind, metadata={"role": role, "name": name})


def _tag_columns(points: Points) -> list[tuple[str, pa.Array]]:
    """Spell the tags out a point: made once a series of the batch, then taken a row."""
    codes, places = np.unique(points.series, return_inverse=True)
    sets = [dict(points.tags[code]) for code in codes.tolist()]
    keys = sorted({key for tags in sets for key in tags})
    rows = pa.array(places.astype(np.int32))
    return [(key, pa.array([tags.get(key) for tags in sets], type=pa.string()).take(rows)) for key in keys]


def _tag_sets(content: pa.Table) -> tuple[list[TagSet], Int32]:
    columns = roles(content, TAG)
    keys = [key for key, _ in columns]
    codes: dict[tuple[str | None, ...], int] = {}
    rows = zip(*(values.to_pylist() for _, values in columns), strict=True)
    series = [codes.setdefault(row, len(codes)) for row in rows] if columns else [0] * len(content)
    sets = [
        tuple((key, value) for key, value in zip(keys, row, strict=True) if value is not None)
        for row in codes
    ]
    return sets or [()], np.array(series, dtype=np.int32)


def _column(values: pa.ChunkedArray) -> Column:
    kind = FIELD_TYPES[values.type]
    present = None if values.null_count == 0 else values.is_valid().to_numpy()
    if kind is FieldType.STRING:
        return Column(kind, np.array(values.to_pylist(), dtype=object), present)
    filled: NDArray[np.generic] = values.fill_null(0).to_numpy()
    return Column(kind, filled, present)
