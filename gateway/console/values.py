"""The newest values for the status page, asked of the embedded store and kept for a moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from gateway.console.page import Family, row

if TYPE_CHECKING:
    from gateway.ports import Clock, TimeSeries

SHOWN = 12
"""Devices shown a family."""
TREND_ROWS = 20_000
TREND_POINTS = 48
FRESH_NS = 2 * 10**9
"""A page within two seconds of another one shows the same values: many readers cost as one."""

_TRENDS = {"waste": "filling_level", "traffic": "vehicles", "water": "flow"}
"""The field that tells most of a family; of others the first number is drawn."""
_ASIDE = frozenset({"quality", "time_source"})


class StatusValues:
    """Families of devices with their newest values, sparklines and coverage."""

    def __init__(self, store: TimeSeries, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._asked_ns: int | None = None
        self._families: list[Family] = []

    async def families(self) -> list[Family]:
        """Return the families that the store has readings of."""
        now = self._clock.monotonic_ns()
        if self._asked_ns is None or now - self._asked_ns > FRESH_NS:
            self._asked_ns = now
            known = {one.name: one for one in await self._store.measurements()}
            names = [name for name, one in known.items() if not one.window]
            self._families = [await self._family(name, list(known[name].tags), set(known)) for name in names]
        return self._families

    async def _family(self, name: str, tags: list[str], known: set[str]) -> Family:
        newest = _records(await self._store.latest(name))
        fields = [field for field in (newest[0] if newest else {}) if field not in {"time", *tags, *_ASIDE}]
        trend = _trend(name, newest, fields)
        identity = ["device", *(tag for tag in tags if tag not in ("device", "site", "profile"))]
        shown = sorted(newest, key=lambda record: _key(record, identity))[:SHOWN]
        fields = [field for field in fields if any(record[field] is not None for record in shown)]
        lines = await self._lines(name, trend, identity)
        coverage = await self._coverage(name, identity, known)
        rows = tuple(
            row(
                name=" ".join(part for part in key if part),
                time_ns=record["time"],
                values=[record[field] for field in fields],
                history=lines.get(key, [])[-TREND_POINTS:],
                coverage=coverage.get(key),
            )
            for key, record in ((_key(record, identity), record) for record in shown)
        )
        return Family(name=name, fields=tuple(fields), trend=trend, rows=rows, more=len(newest) - len(shown))

    async def _lines(self, name: str, trend: str, identity: list[str]) -> dict[tuple[str, ...], list[float]]:
        lines: dict[tuple[str, ...], list[float]] = {}
        if trend:
            for record in _records(await self._store.query(name, fields=[trend], limit=TREND_ROWS)):
                if isinstance(record[trend], (int, float)) and record[trend] == record[trend]:
                    lines.setdefault(_key(record, identity), []).append(float(record[trend]))
        return lines

    async def _coverage(
        self, name: str, identity: list[str], known: set[str]
    ) -> dict[tuple[str, ...], float | None]:
        window = next(
            (f"{name}_{length}" for length in ("1h", "15m", "1d") if f"{name}_{length}" in known), None
        )
        if window is None:
            return {}
        records = _records(await self._store.latest(window))
        return {_key(record, identity): record.get("coverage") for record in records}


def _records(table: pa.Table) -> list[dict[str, Any]]:
    """Rows with their time in ns UTC (Arrow gives nanoseconds only as integers, without pandas)."""
    times = table.column("time").cast(pa.int64())
    plain = table.set_column(table.schema.get_field_index("time"), "time", times)
    records: list[dict[str, Any]] = plain.to_pylist()
    return records


def _key(record: dict[str, Any], identity: list[str]) -> tuple[str, ...]:
    return tuple(str(record.get(tag) or "") for tag in identity)


def _trend(name: str, newest: list[dict[str, Any]], fields: list[str]) -> str:
    wished = _TRENDS.get(name, "")
    if wished in fields:
        return wished
    numbers = (f for f in fields if any(isinstance(record[f], (int, float)) for record in newest))
    return next(numbers, "")
