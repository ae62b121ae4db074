"""Has InfluxDB and VictoriaMetrics delete points, by whatever each of their APIs can.

InfluxDB 1: DELETE by tags and a range of time. InfluxDB 2: its delete call, likewise. VictoriaMetrics
deletes series alone, whole: those that have nothing outside what is to be removed. InfluxDB 3 deletes
nothing. What cannot be deleted is returned with the reason, for the quarantine.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from gateway.sinks import removal
from gateway.sinks.removal import refused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from gateway.sinks.removal import Removal

    Ask = Callable[[str, Mapping[str, str], bytes, str], Awaitable[str]]
    """(path, query, body, content type) → the answer's text. Raises `SinkUnavailable`, `NotDeleted`."""

STATEMENTS = 50
"""InfluxDB 1 is given so many at once: it works them off one after the other."""
FORM = "application/x-www-form-urlencoded"
MS = 10**6


class NotDeleted(Exception):  # noqa: N818 - says what became of the points
    """The server said, for good, that it does not delete these."""


async def from_influxdb1(ask: Ask, database: str, bodies: Sequence[bytes]) -> list[tuple[bytes, str]]:
    """Delete; return the points that could not be, each with the reason."""
    wanted = list(removal.removals(bodies))
    left: list[tuple[bytes, str]] = []
    for first in range(0, len(wanted), STATEMENTS):
        part = wanted[first : first + STATEMENTS]
        names = sorted({one.measurement for one in part})
        try:
            known = await _results(ask, database, [removal.show_tag_keys(name) for name in names])
            keys = dict(zip(names, map(_tag_keys, known), strict=True))
            statements = [removal.influxql(one, keys[one.measurement]) for one in part]
            results = await _results(ask, database, statements)
        except NotDeleted as why:
            results = [{"error": str(why)}] * len(part)
        for one, result in zip(part, results, strict=True):
            if "error" in result:
                left += refused([one], f"not deleted: {result['error']}")
    return left


async def from_influxdb2(ask: Ask, org: str, bucket: str, bodies: Sequence[bytes]) -> list[tuple[bytes, str]]:
    """Delete; return the points that could not be, each with the reason."""
    left: list[tuple[bytes, str]] = []
    query = {"org": org, "bucket": bucket}
    for one in removal.removals(bodies):
        try:
            await ask("/api/v2/delete", query, removal.predicate(one), "application/json")
        except NotDeleted as why:
            left += refused([one], str(why))
    return left


async def from_victoria_metrics(ask: Ask, bodies: Sequence[bytes]) -> list[tuple[bytes, str]]:
    """Delete series that have vanished whole; return the points of the others, each with the reason."""
    left: list[tuple[bytes, str]] = []
    for one in removal.removals(bodies):
        try:
            await _delete_series(ask, one)
        except NotDeleted as why:
            left += refused([one], str(why))
    return left


async def _delete_series(ask: Ask, one: Removal) -> None:
    # What was written a moment ago is seen only once it is flushed.
    await ask("/internal/force_flush", {}, b"", FORM)
    text = await ask("/api/v1/series", {}, _form(removal.selector(one), start="1", end="4102444800"), FORM)
    others = removal.other_labels(one, _said(text, "data"))
    selector = removal.selector(one, others)
    for bounds in (
        {"start": "1", "end": _seconds(one.first // MS - 1)},
        {"start": _seconds(one.last // MS + 1)},
    ):
        if await ask("/api/v1/export", {}, _form(selector, **bounds), FORM):
            raise NotDeleted(
                "not deleted: VictoriaMetrics deletes a series whole, and this one has points of other times"
            )
    await ask("/api/v1/admin/tsdb/delete_series", {}, _form(selector), FORM)


def _form(selector: str, **more: str) -> bytes:
    return urlencode({"match[]": selector, **more}).encode()


def _seconds(at_ms: int) -> str:
    return f"{at_ms // 1000}.{at_ms % 1000:03d}"


def _tag_keys(result: Mapping[str, Any]) -> set[str]:
    """Return the tags of a measurement, from InfluxDB 1's answer; none where it has no such measurement."""
    if "error" in result:
        raise NotDeleted(result["error"])
    return {row[0] for series in result.get("series", ()) for row in series["values"]}


async def _results(ask: Ask, database: str, statements: Sequence[str]) -> list[dict[str, Any]]:
    """Return InfluxDB 1's answer to each statement; where it gives one for all, that one for each."""
    body = urlencode({"q": "; ".join(statements)}).encode()
    results = _said(await ask("/query", {"db": database}, body, FORM), "results")
    # It stops at a statement that fails.
    told = [result["error"] for result in results if "error" in result]
    missing = {"error": told[0] if told else "no answer"}
    return [*results, *([missing] * (len(statements) - len(results)))]


def _said(text: str, name: str) -> list[dict[str, Any]]:
    """Return a list of an answer's JSON. Raises NotDeleted where it has none: who answers is no database."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        found = json.loads(text)[name]
        if isinstance(found, list) and all(isinstance(each, dict) for each in found):
            return found
    raise NotDeleted(f"not deleted: the answer was not understood: {text[:200]}")
