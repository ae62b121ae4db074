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

from gateway.model import FieldType
from gateway.sinks import cells

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.model import Bool, Column, Int32, Points

    TagSet = tuple[tuple[str, str], ...]

MOST_TAG_LISTS = 256
"""Lists of tag sets whose texts are kept: one a group of a profile is usual."""
_WHOLE = 32
"""So many tag sets a point are looked at together faster than one by one."""

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
        self._known: dict[int, _TagTexts] = {}

    def encode(self, points: Points) -> Encoded:
        """Return the lines of `points`, in their order."""
        columns = self._columns(points)
        if not columns or not len(points):
            return Encoded(b"", 0)
        tags = self._texts_of(points.tags).of(points.tags, points.series)
        name = _escaped(points.measurement)
        # Each time carries the start of the next line: one cell less to join.
        times = cells.numbers(points.time, before=b" ", after=b"\n" + name)
        fields = [_cells(b"," if place else b" ", column) for place, column in enumerate(columns)]
        if columns[0].rows is None:
            lines = cells.side_by_side((tags, *fields, times))
        else:
            # No field stands in every point, so the space before the first one is put there afterwards.
            rows = np.logical_or.reduce([column.rows for column in columns if column.rows is not None])
            if not rows.any():
                return Encoded(b"", 0)
            joined = cells.begun_with(cells.side_by_side((cells.NOTHING, *fields)), b" ")
            lines = cells.kept(cells.side_by_side((tags, joined, times)), rows)
        return Encoded(b"".join((name, cells.end_to_end(lines, cut=len(name) + 1))), len(lines))

    def _columns(self, points: Points) -> list[_Written]:
        """Choose the fields to write: those that every point has come first."""
        found = [
            _Written(_escaped(name), column, _writable(column))
            for name, column in points.fields.items()
            if self._strings or column.type is not FieldType.STRING
        ]
        return sorted(found, key=lambda column: column.rows is not None)

    def _texts_of(self, tags: Sequence[TagSet]) -> _TagTexts:
        key = id(tags)
        if key not in self._known and len(self._known) >= MOST_TAG_LISTS:
            self._known.clear()
        return self._known.setdefault(key, _TagTexts())


class _TagTexts:
    """The texts of one list of tag sets, `,key=value…` each.

    A changed tag set is another object, and is seen as such.
    """

    def __init__(self) -> None:
        self._seen: list[TagSet | None] = []
        self._texts: list[bytes] = []
        self._array: cells.Cells = None
        self._calm = 0
        """Points encoded since a text changed."""

    def of(self, tags: Sequence[TagSet], series: Int32) -> cells.Cells:
        """Return the text of each point's tag set."""
        seen, texts = self._seen, self._texts
        # Two lists of the same objects are compared by pointers: for all of them cheaper than by point.
        if len(tags) > _WHOLE * len(series) or seen != tags:
            missing = len(tags) - len(seen)
            seen.extend([None] * missing)
            texts.extend([b""] * missing)
            changed = {code for code in series.tolist() if seen[code] is not tags[code]}
            for code in changed:
                seen[code] = tags[code]
                texts[code] = b"".join(b",%b=%b" % (_escaped(k), _escaped(v)) for k, v in tags[code] if v)
            if changed or missing > 0:
                self._array, self._calm = None, 0
        self._calm += len(series)
        if self._array is None:
            # An array of all texts pays once few of them change; at a million new devices it would not.
            if _WHOLE * self._calm < len(texts):
                return cells.chosen([texts[code] for code in series.tolist()], np.arange(len(series)))
            self._array = cells.chosen(texts, np.arange(len(texts)))
        return cells.chosen(self._array, series)


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


def _cells(before: bytes, field: _Written) -> cells.Cells:
    """Return `before`, `name=value` a point; null where a point lacks the field."""
    begin = before + field.name + b"="
    if field.column.type is not FieldType.STRING:
        after = b"" if field.column.type is FieldType.FLOAT else b"i"
        return cells.numbers(field.column.values, before=begin, after=after, rows=field.rows)
    texts = field.column.values.tolist()
    places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
    written = [b"" if text is None else begin + _quoted(text) for text in places]
    codes = np.fromiter(map(places.__getitem__, texts), dtype=np.int32, count=len(texts))
    return cells.chosen(written, codes, field.rows)


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
