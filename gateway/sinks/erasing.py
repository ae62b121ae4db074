"""Taking a device's points out of what waits in an outbox, and how a database is asked to delete them. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

import pyarrow.compute as pc

from gateway.sinks import columns, line_protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

_FIRST, _LAST = "1677-09-21T00:12:44Z", "2262-04-11T23:47:16Z"
"""All times that InfluxDB can hold."""


class Call(NamedTuple):
    """A POST that deletes."""

    path: str
    query: Mapping[str, str]
    body: bytes = b""
    content: str = "text/plain; charset=utf-8"


def call(api: str, bucket: str, org: str, site: str, device: str) -> Call | None:
    """Return the call that deletes a device's points, by the sink's kind; None where there is none.

    InfluxDB 1: DROP SERIES, which takes them out of the index as well. InfluxDB 2: its delete API, with
    a predicate of tags. VictoriaMetrics: delete_series. InfluxDB 3 has no such call.
    """
    if api == "influxdb1":
        where = f'"device" = {_text(device, chr(39))} AND "site" = {_text(site, chr(39))}'
        return Call("/query", {"db": bucket, "q": f"DROP SERIES FROM /.*/ WHERE {where}"})
    if api == "influxdb2":
        predicate = f"device={_text(device)}" + (f" AND site={_text(site)}" if site else "")
        body = json.dumps({"start": _FIRST, "stop": _LAST, "predicate": predicate}).encode()
        return Call("/api/v2/delete", {"org": org, "bucket": bucket}, body, "application/json")
    if api == "victoriametrics":
        selector = f"{{device={_text(device)},site={_text(site)}}}"
        return Call("/api/v1/admin/tsdb/delete_series", {"match[]": selector})
    return None


def without_points(body: bytes, site: str, device: str) -> tuple[bytes, int]:
    """Return an entry's body without a device's points, and how many went; the same bytes where none did."""
    if body.startswith(_ARROW):
        return _without_rows(body, site, device)
    lines = line_protocol.split(body)
    kept = [line for line in lines if not is_of(line, site, device)]
    if len(kept) == len(lines):
        return body, 0
    return b"\n".join(kept), len(lines) - len(kept)


_ARROW = b"\xff\xff\xff\xff"
"""How an Arrow IPC stream begins; no line of ours does."""


def is_of(line: bytes, site: str, device: str) -> bool:
    """Tell whether a line of line protocol is of a device."""
    try:
        tags = dict(line_protocol.decode(line).tags)
    except ValueError:
        return False
    return tags.get("device") == device and tags.get("site", "") == site


def _without_rows(body: bytes, site: str, device: str) -> tuple[bytes, int]:
    content = columns.read(body)
    tags = dict(columns.roles(content, columns.TAG))
    if "device" not in tags or not len(content):
        return body, 0
    theirs = pc.equal(pc.fill_null(tags["device"], ""), device)
    if "site" in tags:
        theirs = pc.and_(theirs, pc.equal(pc.fill_null(tags["site"], ""), site))
    elif site:
        return body, 0
    gone = pc.sum(theirs).as_py() or 0
    if not gone:
        return body, 0
    return columns.write(content.filter(pc.invert(theirs))), gone


def _text(text: str, quote: str = '"') -> str:
    escaped = text.replace("\\", "\\\\").replace(quote, f"\\{quote}").replace("\n", "\\n")
    return f"{quote}{escaped}{quote}"
