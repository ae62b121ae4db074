r"""InfluxDB line protocol, written by columns and read back by lines.

Pure. `measurement,tag=value field=1.5,other=3i,name="text" 1763769600000000000`

Integers end in `i`; floats are finite, others are left out; strings are quoted. What a tag or a name can
carry is less than any text: the parsers of InfluxDB 1 and 2, of InfluxDB 3 and of VictoriaMetrics agree
on neither `\\` nor a backslash before a comma, a space, an equals sign or the end, and a newline ends the
line in all of them. So in tags and names a control character becomes a space, and such a backslash
becomes a slash (an MQTT topic's levels hold no slash, so two devices do not become one). A string keeps
every character; a lone surrogate, which is no text, becomes `?`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import orjson

from gateway.model import FieldType

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from gateway.model import Bool, Column, Int32, Int64, Points

    TagSet = tuple[tuple[str, str], ...]

MOST_TAG_LISTS = 256
"""Lists of tag sets whose texts are kept: one a group of a profile is usual."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_AMBIGUOUS = re.compile(r"\\(?=[,= \\]|\Z)")
_SPECIAL = re.compile(r"([,= ])")


class Encoded(NamedTuple):
    """Lines joined by newlines (none at the end), and how many they are."""

    body: bytes
    points: int


class _Written(NamedTuple):
    """A field on its way: its escaped name, its column, and which points have it (None: all)."""

    name: bytes
    column: Column
    rows: Bool | None


class Line(NamedTuple):
    """One parsed line. `time` is None where the line has none."""

    measurement: str
    tags: TagSet
    fields: dict[str, float | int | str | bool]
    time: int | None


def carried(text: str) -> str:
    """Return what a tag or a name can carry of a text (see the module's docstring)."""
    return _AMBIGUOUS.sub("/", _CONTROL.sub(" ", text))


def encode(points: Points, *, strings: bool = True) -> bytes:
    """Return points as lines. For a river of them use a `LineEncoder`, which remembers tag sets."""
    return LineEncoder(strings=strings).encode(points).body


class LineEncoder:
    """Encodes points and remembers the text of every tag set that it has seen.

    `strings=False` leaves string fields out (VictoriaMetrics would store 0 for each). A point without
    any field that can be written gives no line.
    """

    def __init__(self, *, strings: bool = True) -> None:
        self._strings = strings
        self._known: dict[int, tuple[list[TagSet | None], list[bytes]]] = {}

    def encode(self, points: Points) -> Encoded:
        """Return the lines of `points`, in their order."""
        columns = self._columns(points)
        if not columns or not len(points):
            return Encoded(b"", 0)
        if columns[0].rows is None:
            fields = [_cells(b" ", columns[0])] + [_cells(b",", column) for column in columns[1:]]
            return self._joined(points.measurement, points.tags, points.series, points.time, fields)
        # No field stands in every point, so the space before the first one has its place to be found.
        rows = np.logical_or.reduce([column.rows for column in columns if column.rows is not None])
        lists = zip(*(_cells(b",", column) for column in columns), strict=True)
        joined = [
            b" " + b"".join(cells)[1:] for cells, kept in zip(lists, rows.tolist(), strict=True) if kept
        ]
        return self._joined(points.measurement, points.tags, points.series[rows], points.time[rows], [joined])

    def _columns(self, points: Points) -> list[_Written]:
        """Choose the fields to write: those that every point has come first."""
        chosen = [
            _Written(_escaped(name), column, _writable(column))
            for name, column in points.fields.items()
            if self._strings or column.type is not FieldType.STRING
        ]
        return sorted(chosen, key=lambda column: column.rows is not None)

    def _joined(
        self, measurement: str, tags: Sequence[TagSet], series: Int32, time: Int64, fields: list[list[bytes]]
    ) -> Encoded:
        """Lay the cells of all lines out in one list, column by column, and join it once."""
        n = len(time)
        if not n:
            return Encoded(b"", 0)
        name = _escaped(measurement)
        width = len(fields) + 2
        cells = [b""] * (n * width)
        cells[0::width] = self._tags(tags, series)
        for offset, column in enumerate(fields, start=1):
            cells[offset::width] = column
        # Each time carries the start of the next line: one cell less to join.
        cells[width - 1 :: width] = _texts(time, before=b" ", after=b"\n" + name)
        cells[-1] = cells[-1].removesuffix(b"\n" + name)
        return Encoded(name + b"".join(cells), n)

    def _tags(self, tags: Sequence[TagSet], series: Int32) -> list[bytes]:
        """Return `,key=value…` a point. A changed tag set is another object, and is seen as such."""
        key = id(tags)
        if key not in self._known and len(self._known) >= MOST_TAG_LISTS:
            self._known.clear()
        seen, texts = self._known.setdefault(key, ([], []))
        if len(seen) < len(tags):
            missing = len(tags) - len(seen)
            seen.extend([None] * missing)
            texts.extend([b""] * missing)
        codes = series.tolist()
        for code in [code for code in codes if seen[code] is not tags[code]]:
            seen[code] = tags[code]
            texts[code] = b"".join(b",%b=%b" % (_escaped(k), _escaped(v)) for k, v in tags[code] if v)
        return [texts[code] for code in codes]


def _escaped(text: str) -> bytes:
    return _SPECIAL.sub(r"\\\1", carried(text)).encode("utf-8", "replace")


def _quoted(text: str) -> bytes:
    return b'"%b"' % text.replace("\\", "\\\\").replace('"', '\\"').encode("utf-8", "replace")


def _writable(column: Column) -> Bool | None:
    """Which points have a value that can be written; None where all have."""
    mask = column.present
    if column.type is FieldType.FLOAT:
        finite = np.isfinite(column.values.astype(np.float64, copy=False))
        if not finite.all():
            mask = finite if mask is None else finite & mask
    return None if mask is None or mask.all() else mask


def _texts(values: NDArray[np.generic], *, before: bytes, after: bytes) -> list[bytes]:
    """Return `before`, number, `after` for each of the values (at least one).

    orjson writes the shortest text that reads back the same, and null for a number that is not finite.
    Texts around the numbers are put in by replacing commas: no Python code runs a value.
    """
    dumped = orjson.dumps(np.ascontiguousarray(values), option=orjson.OPT_SERIALIZE_NUMPY)
    between = dumped[1:-1].replace(b",", after + b"\0" + before)
    return (before + between + after).split(b"\0")


def _cells(comma: bytes, field: _Written) -> list[bytes]:
    """Return `,name=value` a point, or nothing where a point lacks the field."""
    before = comma + field.name + b"="
    values, rows = field.column.values, field.rows
    if field.column.type is FieldType.STRING:
        absent_as_none = values if rows is None else np.where(rows, values, np.array(None, dtype=object))
        texts = absent_as_none.tolist()
        cells = {text: b"" if text is None else before + _quoted(text) for text in set(texts)}
        return [cells[text] for text in texts]
    if field.column.type is FieldType.FLOAT:
        gaps = values if rows is None else np.where(rows, values, np.nan)
        return _without(_texts(gaps, before=before, after=b""), before + b"null", rows)
    absent = _unused(values)
    gaps = values if rows is None else np.where(rows, values, absent)
    return _without(_texts(gaps, before=before, after=b"i"), b"%b%di" % (before, absent), rows)


def _without(cells: list[bytes], absent: bytes, rows: Bool | None) -> list[bytes]:
    return cells if rows is None else [b"" if cell == absent else cell for cell in cells]


def _unused(values: NDArray[np.generic]) -> int:
    """Return an integer that is none of the values."""
    unused = -(2**63)
    while (values == unused).any():
        unused += 1
    return unused


# A line: tags up to the first bare space, then fields, in which a newline within quotes ends nothing.
_LINE = re.compile(rb'(?:[^ \n\\]|\\.)++ (?:[^"\n]|"(?:[^"\\]|\\.)*+")*+|[^\n]+', re.DOTALL)
_MEASUREMENT = re.compile(r"(?:[^, \\]|\\.)+", re.DOTALL)
_TAG = re.compile(r",((?:[^,= \\]|\\.)+)=((?:[^,= \\]|\\.)+)", re.DOTALL)
_FIELD = re.compile(r'[ ,]((?:[^,= \\]|\\.)+)=("(?:[^"\\]|\\.)*"|[^", ]+)', re.DOTALL)
_TIME = re.compile(r" (-?\d+)\s*\Z")
_ESCAPED = re.compile(r"\\([,= ])")
_ESCAPED_IN_STRING = re.compile(r'\\(["\\])')
_TRUTH = {
    **dict.fromkeys(("t", "T", "true", "True", "TRUE"), True),
    **dict.fromkeys(("f", "F", "false", "False", "FALSE"), False),
}


def split(body: bytes) -> list[bytes]:
    """Return the lines of a body; a newline within a string ends no line."""
    if b'"' not in body:
        return [line for line in body.split(b"\n") if line]
    return _LINE.findall(body)


def decode(line: bytes) -> Line:
    """Parse one line. Raises ValueError where it is none.

    For tests and for naming the points that a database refused: not a validator.
    """
    text = line.decode("utf-8")
    head = _MEASUREMENT.match(text)
    if head is None:
        raise ValueError("no measurement")
    place, tags = head.end(), []
    while tag := _TAG.match(text, place):
        tags.append((_unescaped(tag[1]), _unescaped(tag[2])))
        place = tag.end()
    fields: dict[str, float | int | str | bool] = {}
    for field in _fields(text, place):
        fields[_unescaped(field[1])] = _value(field[2])
        place = field.end()
    time = _TIME.match(text, place)
    if not fields or (time is None and place != len(text)):
        raise ValueError(f"not line protocol from character {place} on")
    return Line(_unescaped(head[0]), tuple(tags), fields, int(time[1]) if time else None)


def _fields(text: str, place: int) -> Iterator[re.Match[str]]:
    before = " "
    while (field := _FIELD.match(text, place)) and field[0].startswith(before):
        yield field
        place, before = field.end(), ","


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(r"\1", text)


def _value(text: str) -> float | int | str | bool:
    if text.startswith('"'):
        return _ESCAPED_IN_STRING.sub(r"\1", text[1:-1])
    if text in _TRUTH:
        return _TRUTH[text]
    return int(text[:-1]) if text[-1] in "iu" else float(text)
