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
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import orjson

from gateway.kernel import compiled
from gateway.model import FieldType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from gateway.model import Bool, Column, Int32, Int64, Points

    TagSet = tuple[tuple[str, str], ...]
    _Values = NDArray[np.generic] | list[bytes]
    _Field = tuple[bytes, _Values, Bool | None]
    """`,name=`, the values (float64, int64, or texts as they are written), and which points have one."""

MOST_TAG_LISTS = 256
"""Lists of tag sets whose texts are kept: one a group of a profile is usual."""
MOST_NAMES = 4096
"""Names of fields whose texts are kept."""

_LINES = compiled("lines")

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_AMBIGUOUS = re.compile(r"\\(?=[,= \\]|\Z)")
_SPECIAL = re.compile(r"([,= ])")


class Encoded(NamedTuple):
    """Lines joined by newlines (none at the end), and how many they are."""

    body: bytes
    points: int


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
    any field that can be written gives no line. Fields that every point has come first.
    """

    def __init__(self, *, strings: bool = True) -> None:
        self._strings = strings
        self._known: dict[int, _TagTexts] = {}

    def encode(self, points: Points) -> Encoded:
        """Return the lines of `points`, in their order. Raises IndexError for a series without a tag set."""
        fields = self._fields(points)
        if not fields or not len(points):
            return Encoded(b"", 0)
        known = self._texts_of(points.tags)
        lines = _lines if _LINES is None else _LINES.lines
        body, count = lines(
            measurement=_escaped(points.measurement),
            tags=points.tags,
            seen=known.seen,
            texts=known.texts,
            tag_text=_tag_text,
            series=np.ascontiguousarray(points.series, dtype=np.int32),
            time=np.ascontiguousarray(points.time, dtype=np.int64),
            fields=fields,
        )
        return Encoded(body, count)

    def _fields(self, points: Points) -> list[_Field]:
        found = [
            _field(name, column)
            for name, column in points.fields.items()
            if self._strings or column.type is not FieldType.STRING
        ]
        return sorted(found, key=lambda field: field[2] is not None)

    def _texts_of(self, tags: Sequence[TagSet]) -> _TagTexts:
        key = id(tags)
        if key not in self._known and len(self._known) >= MOST_TAG_LISTS:
            self._known.clear()
        known = self._known.setdefault(key, _TagTexts([], []))
        missing = len(tags) - len(known.seen)
        known.seen.extend([None] * missing)
        known.texts.extend([b""] * missing)
        return known


class _TagTexts(NamedTuple):
    """The texts of one list of tag sets, `,key=value…` each, by series code.

    `texts[code]` is that of the object `seen[code]`: a changed tag set is another object.
    """

    seen: list[TagSet | None]
    texts: list[bytes]


def _lines(
    *,
    measurement: bytes,
    tags: Sequence[TagSet],
    seen: list[TagSet | None],
    texts: list[bytes],
    tag_text: Callable[[TagSet], bytes],
    series: Int32,
    time: Int64,
    fields: list[_Field],
) -> tuple[bytes, int]:
    """Return the lines of points, and how many they are: the Python beside `kernel.lines.lines`."""
    codes = series.tolist()
    for code in codes:
        if seen[code] is not tags[code]:
            seen[code], texts[code] = tags[code], tag_text(tags[code])
    rows = zip(*(_cells(*field) for field in fields), strict=True)
    times = orjson.dumps(time, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")
    lines = [
        b"%b%b %b %b" % (measurement, texts[code], line[1:], at)
        for code, line, at in zip(codes, map(b"".join, rows), times, strict=True)
        if line
    ]
    return b"\n".join(lines), len(lines)


def _cells(begin: bytes, values: _Values, present: Bool | None) -> list[bytes]:
    """Return what each line has of a column: `,name=value`, or nothing."""
    if isinstance(values, list):
        cells = [begin + text for text in values]
    else:
        end = b"i" if values.dtype == np.int64 else b""
        dumped = orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]
        # Numbers hold no comma, and a name no newline.
        cells = b"".join((begin, dumped.replace(b",", end + b"\n" + begin), end)).split(b"\n")
        finite = np.isfinite(values)
        if not finite.all():
            present = finite if present is None else finite & present
    if present is None:
        return cells
    return [cell if there else b"" for cell, there in zip(cells, present.tolist(), strict=True)]


def _field(name: str, column: Column) -> _Field:
    present = None if column.present is None else np.ascontiguousarray(column.present)
    return _begin(name), _written(column), present


@lru_cache(MOST_NAMES)
def _begin(name: str) -> bytes:
    return b",%b=" % _escaped(name)


def _written(column: Column) -> _Values:
    """Return numbers as they are, texts as they are written."""
    if column.type is not FieldType.STRING:
        dtype = np.float64 if column.type is FieldType.FLOAT else np.int64
        return np.ascontiguousarray(column.values, dtype=dtype)
    each = _each if _LINES is None else _LINES.each
    found: list[bytes] = each(column.values.tolist(), _quoted)
    return found


def _each(texts: list[str | None], make: Callable[[str | None], bytes]) -> list[bytes]:
    """Return what `make` gives for each text: the Python beside `kernel.lines.each`."""
    made = {text: make(text) for text in set(texts)}
    return [made[text] for text in texts]


def _tag_text(tags: TagSet) -> bytes:
    return b"".join(b",%b=%b" % (_escaped(key), _escaped(value)) for key, value in tags if value)


def _escaped(text: str) -> bytes:
    return _SPECIAL.sub(r"\\\1", carried(text)).encode("utf-8", "replace")


def _quoted(text: str | None) -> bytes:
    """Return a string as it is written; nothing for None, which only stands where the field is absent."""
    if text is None:
        return b""
    return b'"%b"' % text.replace("\\", "\\\\").replace('"', '\\"').encode("utf-8", "replace")


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
