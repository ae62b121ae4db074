"""Points that are to be removed: how they are told from others, and what databases are asked. Pure.

A removal waits in an outbox among the points, in the order in which it is to be done. It is a body of points
as they were, each with one field more:

- `own:removed`, for sinks that overwrite: its place among all points of its time, ordered by series and time.
  Where two of one series have places that follow each other, nothing that stays lies between them, so both
  can be deleted with one range of time.
- `own:vanished`, for sinks that write once and can delete a series only whole: the time from which on the
  series has vanished, up to the time of the point, which was its last one. It is deleted where the sink has
  nothing of it before and after.

No quantity's name has a colon.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gateway.sinks import line_protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from gateway.sinks.line_protocol import Line

REMOVED = "own:removed"
VANISHED = "own:vanished"
MARKS = frozenset({REMOVED, VANISHED})
_BEGINNINGS = tuple(mark.encode() + b"=" for mark in MARKS)


@dataclass(frozen=True, slots=True)
class Removal:
    """One series' points from `first` to `last`, ns UTC, both included; `fields` are those that they had.

    `lines` are the points as they wait in the outbox.
    """

    measurement: str
    tags: tuple[tuple[str, str], ...]
    first: int
    last: int
    fields: frozenset[str]
    lines: tuple[bytes, ...]


def is_removal(body: bytes) -> bool:
    """Tell whether a body of lines is a removal."""
    if not any(beginning in body for beginning in _BEGINNINGS):
        return False
    return not MARKS.isdisjoint(line_protocol.decode(line_protocol.split(body)[0]).fields)


def removals(bodies: Iterable[bytes]) -> Iterator[Removal]:
    """Yield what some bodies of lines ask to be removed; points that follow each other together."""
    group: list[tuple[bytes, Line]] = []
    for raw in (line for body in bodies for line in line_protocol.split(body)):
        line = line_protocol.decode(raw)
        if group and not _follows(line, group[-1][1]):
            yield _together(group)
            group = []
        group.append((raw, line))
    if group:
        yield _together(group)


def _follows(line: Line, before: Line) -> bool:
    place, last = line.fields.get(REMOVED), before.fields.get(REMOVED)
    same_series = (line.measurement, line.tags) == (before.measurement, before.tags)
    return same_series and isinstance(place, int) and isinstance(last, int) and place == last + 1


def _together(group: Sequence[tuple[bytes, Line]]) -> Removal:
    lines = [line for _, line in group]
    times = [time for line in lines for time in (line.time or 0, line.fields.get(VANISHED, line.time or 0))]
    return Removal(
        measurement=lines[0].measurement,
        tags=lines[0].tags,
        first=min(int(time) for time in times),
        last=max(int(time) for time in times),
        fields=frozenset(name for line in lines for name in line.fields) - MARKS,
        lines=tuple(raw for raw, _ in group),
    )


def influxql(removal: Removal, tag_keys: Collection[str]) -> str:
    """Return the statement of InfluxDB 1; `tag_keys` are all that the measurement has.

    A condition on a tag meets series with other tags besides: those are said to be empty.
    """
    named = dict(removal.tags)
    wanted = {**dict.fromkeys(sorted(set(tag_keys) - named.keys()), ""), **named}
    where = [f"{_quoted(key)} = {_quoted(value, chr(39))}" for key, value in wanted.items()]
    where += [f"time >= {removal.first:d}", f"time <= {removal.last:d}"]
    return f"DELETE FROM {_quoted(removal.measurement)} WHERE {' AND '.join(where)}"  # noqa: S608 - all quoted


def show_tag_keys(measurement: str) -> str:
    """Return the statement that asks InfluxDB 1 for a measurement's tags."""
    return f"SHOW TAG KEYS FROM {_quoted(measurement)}"


def predicate(removal: Removal) -> bytes:
    """Return the body of InfluxDB 2's delete call. It knows no way to say that a tag is not there."""
    named = {"_measurement": removal.measurement, **dict(removal.tags)}
    return json.dumps(
        {
            "start": _rfc3339(removal.first),
            "stop": _rfc3339(removal.last),
            "predicate": " AND ".join(f"{_bare(key)}={_quoted(value)}" for key, value in named.items()),
        }
    ).encode()


def selector(removal: Removal, others: Iterable[str] = ()) -> str:
    """Return VictoriaMetrics' selector of a removal's series; `others` are labels that they have not."""
    names = "|".join(re.escape(f"{removal.measurement}_{name}") for name in sorted(removal.fields))
    labels = [f"__name__=~{_quoted(names)}"]
    labels += [f"{key}={_quoted(value)}" for key, value in removal.tags]
    labels += [f'{key}=""' for key in sorted(others)]
    return f"{{{','.join(labels)}}}"


def other_labels(removal: Removal, series: Iterable[Mapping[str, str]]) -> set[str]:
    """Return the labels of some series of VictoriaMetrics that a removal's series have not."""
    return {key for labels in series for key in labels} - dict(removal.tags).keys() - {"__name__"}


def refused(removals: Sequence[Removal], why: str) -> list[tuple[bytes, str]]:
    """Return the points that could not be removed, each with the reason."""
    return [(line, why) for removal in removals for line in removal.lines]


def _rfc3339(at_ns: int) -> str:
    """Return a time with all its nanoseconds."""
    seconds, rest = divmod(at_ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def _bare(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z_]\w*", key, re.ASCII) else _quoted(key)


def _quoted(text: str, quote: str = '"') -> str:
    escaped = text.replace("\\", "\\\\").replace(quote, f"\\{quote}").replace("\n", "\\n")
    return f"{quote}{escaped}{quote}"
