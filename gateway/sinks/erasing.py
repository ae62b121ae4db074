"""Which points are erased: out of what waits in an outbox, and how a database is asked to. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import reduce
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from gateway.sinks import columns, line_protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

_FIRST, _LAST = "1677-09-21T00:12:44Z", "2262-04-11T23:47:16Z"
"""All times that InfluxDB can hold."""
_ARROW = b"\xff\xff\xff\xff"
"""How an Arrow IPC stream begins; no line of ours does."""


@dataclass(frozen=True, slots=True)
class Which:
    """Points with all of these tags ("": without that tag) and, with `before_ns`, before that time."""

    tags: Mapping[str, str]
    before_ns: int | None = None

    def has(self, line: bytes) -> bool:
        """Tell whether a line of line protocol is one of them."""
        try:
            point = line_protocol.decode(line)
        except ValueError:
            return False
        tags = dict(point.tags)
        if any(tags.get(name, "") != line_protocol.carried(value) for name, value in self.tags.items()):
            return False
        return self.before_ns is None or (point.time is not None and point.time < self.before_ns)


class Call(NamedTuple):
    """A POST that deletes, or that asks what is left."""

    path: str
    query: Mapping[str, str]
    body: bytes = b""
    content: str = "text/plain; charset=utf-8"


def deletion(api: str, bucket: str, org: str, which: Which) -> Call | None:
    """Return the call that deletes points, by the sink's kind; None where there is none.

    InfluxDB 1: DROP SERIES, which takes them out of the index as well, or DELETE before a time. InfluxDB 2:
    its delete API, with a predicate of tags. VictoriaMetrics: delete_series, which knows no times. InfluxDB 3
    has no such call.
    """
    if api == "influxdb1":
        what = "DROP SERIES" if which.before_ns is None else "DELETE"
        before = "" if which.before_ns is None else f" AND time < {which.before_ns}"
        return Call("/query", {"db": bucket, "q": f"{what} FROM /.*/ WHERE {_influxql(which)}{before}"})
    if api == "influxdb2":
        stop = _LAST if which.before_ns is None else _rfc3339(which.before_ns)
        predicate = " AND ".join(f"{name}={_text(value)}" for name, value in which.tags.items())
        body = json.dumps({"start": _FIRST, "stop": stop, "predicate": predicate}).encode()
        return Call("/api/v2/delete", {"org": org, "bucket": bucket}, body, "application/json")
    if api == "victoriametrics" and which.before_ns is None:
        return Call("/api/v1/admin/tsdb/delete_series", {"match[]": _selector(which)})
    return None


def question(api: str, bucket: str, which: Which) -> Call | None:
    """Return the call whose answer has a name in it where series are left; None where there is none."""
    if which.before_ns is not None:
        return None
    if api == "influxdb1":
        return Call("/query", {"db": bucket, "q": f"SHOW SERIES WHERE {_influxql(which)} LIMIT 1"})
    if api == "victoriametrics":
        return Call("/api/v1/series", {"match[]": _selector(which), "start": "0"})
    return None


def is_left(answer: str) -> bool:
    """Tell whether what a `question` was answered with names a series."""
    found = json.loads(answer)
    return bool(found.get("data")) or any(result.get("series") for result in found.get("results", ()))


def without_points(body: bytes, which: Which) -> tuple[bytes, int]:
    """Return an entry's body without some points, and how many went; the same bytes where none did."""
    if body.startswith(_ARROW):
        return _without_rows(body, which)
    lines = line_protocol.split(body)
    kept = [line for line in lines if not which.has(line)]
    if len(kept) == len(lines):
        return body, 0
    return b"\n".join(kept), len(lines) - len(kept)


def _without_rows(body: bytes, which: Which) -> tuple[bytes, int]:
    content = columns.read(body)
    if not len(content):
        return body, 0
    tags, own = dict(columns.roles(content, columns.TAG)), dict(columns.roles(content, columns.OWN))
    nothing = pa.nulls(len(content), pa.string())
    theirs = [
        pc.equal(pc.fill_null(tags.get(name, nothing), ""), value) for name, value in which.tags.items()
    ]
    if which.before_ns is not None:
        theirs.append(pc.less(own["time"], which.before_ns))
    chosen = reduce(pc.and_, theirs)
    gone = pc.sum(chosen).as_py() or 0
    return (columns.write(content.filter(pc.invert(chosen))), gone) if gone else (body, 0)


def _influxql(which: Which) -> str:
    return " AND ".join(f"{_text(name)} = {_text(value, chr(39))}" for name, value in which.tags.items())


def _selector(which: Which) -> str:
    return "{" + ",".join(f"{name}={_text(value)}" for name, value in which.tags.items()) + "}"


def _text(text: str, quote: str = '"') -> str:
    """Quote a text; a tag's value as it is stored."""
    carried = line_protocol.carried(text)
    escaped = carried.replace("\\", "\\\\").replace(quote, f"\\{quote}").replace("\n", "\\n")
    return f"{quote}{escaped}{quote}"


def _rfc3339(time_ns: int) -> str:
    whole = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=time_ns // 1_000_000_000)
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{time_ns % 1_000_000_000:09d}Z"
