"""What windows must say, computed the slow way: plain Python over a list of readings, no arrays.

Independent of `gateway.aggregate`. It is given each reading's final flag and, of a counter, its increment:
those are the quality room's to find, over all of a series' readings at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from gateway.profiles.plan import Kind, Statistic

if TYPE_CHECKING:
    from gateway.profiles.plan import GroupPlan, ProfilePlan, QuantityPlan

MINUTE = 60_000_000_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
FAIL = 4
SUSPECT = 3


@dataclass
class Row:
    """One series at one event time: what each present quantity says."""

    series: int
    time: int
    values: dict[str, float]
    flags: dict[str, int] = field(default_factory=dict)
    increments: dict[str, float] = field(default_factory=dict)

    def usable(self, name: str) -> bool:
        """Whether the row has a reading of this quantity that windows use."""
        return name in self.values and self.flags[name] < FAIL


Key = tuple[str, int, int]
"""Window's name, series, start."""


def windows(
    profile: ProfilePlan, group: GroupPlan, rows: list[Row], zones: dict[int, str], texts: list[str]
) -> dict[Key, dict[str, Any]]:
    """Return every window's fields; what is not defined is left out."""
    shortest = profile.windows[0].length_ns
    found: dict[Key, dict[str, Any]] = {}
    for series in sorted({row.series for row in rows}):
        mine = sorted((row for row in rows if row.series == series), key=lambda row: row.time)
        zone = zones[series]
        for plan in profile.windows:
            held: dict[tuple[int, int], list[Row]] = {}
            for row in mine:
                block, _ = bounds(zone, shortest, row.time)
                held.setdefault(bounds(zone, plan.length_ns, block), []).append(row)
            for (start, end), inside in held.items():
                if not any(row.usable(name) for row in inside for name in row.values):
                    continue
                past = [row for row in mine if row.time < inside[0].time]
                fields = _fields(profile, group, inside, past, start, end, texts)
                found[plan.name, series, start] = fields
    return found


def _fields(
    profile: ProfilePlan,
    group: GroupPlan,
    inside: list[Row],
    past: list[Row],
    start: int,
    end: int,
    texts: list[str],
) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for quantity in group.quantities:
        for name, value in _quantity(quantity, inside, past, start, end, texts).items():
            fields[f"{quantity.name}_{name}"] = value
    flags = [row.flags[name] for row in inside for name in row.values]
    used = [flag for flag in flags if flag < FAIL]
    fields |= {"quality": max(used), "suspect_count": flags.count(SUSPECT), "failed_count": flags.count(FAIL)}
    if profile.every_ns:
        slots = {row.time // profile.every_ns for row in inside if any(row.usable(n) for n in row.values)}
        fields["coverage"] = min(1.0, len(slots) / max(1.0, (end - start) / profile.every_ns))
    return fields


def _quantity(
    quantity: QuantityPlan, inside: list[Row], past: list[Row], start: int, end: int, texts: list[str]
) -> dict[str, Any]:
    rows = [row for row in inside if row.usable(quantity.name)]
    values = [row.values[quantity.name] for row in rows]
    number = round if quantity.kind is Kind.EVENT else float
    found: dict[str, Any] = {}
    for statistic in quantity.statistics:
        if statistic is Statistic.COUNT:
            found["count"] = len(values)
        elif statistic is Statistic.INCREMENT:
            increments = [row.increments[quantity.name] for row in inside if quantity.name in row.increments]
            if increments:
                found["increment"] = round(math.fsum(increments))
        elif statistic is Statistic.TIME_IN_STATE:
            found |= _seconds(quantity, rows, past, start, end)
        elif statistic is Statistic.MEAN and quantity.weight:
            weighed = [row for row in rows if row.usable(quantity.weight)]
            weight = math.fsum(row.values[quantity.weight] for row in weighed)
            if weight:
                total = math.fsum(row.values[quantity.weight] * row.values[quantity.name] for row in weighed)
                found["mean"] = total / weight
        elif values:
            found |= _plain(quantity, statistic, values, number, texts)
    return found


def _plain(  # noqa: PLR0911 - a table of statistics
    quantity: QuantityPlan, statistic: Statistic, values: list[float], number: Any, texts: list[str]
) -> dict[str, Any]:
    def said(value: float) -> Any:
        if quantity.kind is Kind.STATE:
            return quantity.states[int(value)]
        return texts[int(value)] if quantity.kind is Kind.TEXT else number(value)

    match statistic:
        case Statistic.SUM:
            return {"sum": number(math.fsum(values))}
        case Statistic.MEAN:
            return {"mean": math.fsum(values) / len(values)}
        case Statistic.MIN:
            return {"min": number(min(values))}
        case Statistic.MAX:
            return {"max": number(max(values))}
        case Statistic.FIRST:
            return {"first": said(values[0])}
        case Statistic.LAST:
            return {"last": said(values[-1])}
        case Statistic.STANDARD_DEVIATION:
            mean = math.fsum(values) / len(values)
            return {"stddev": math.sqrt(math.fsum((v - mean) ** 2 for v in values) / len(values))}
        case _:
            ranked = sorted(values)
            return {
                f"p{100 * q:g}".replace(".", "_"): ranked[max(math.ceil(q * len(ranked) - 1e-9) - 1, 0)]
                for q in quantity.quantiles
            }


def _seconds(
    quantity: QuantityPlan, rows: list[Row], past: list[Row], start: int, end: int
) -> dict[str, float]:
    """Time in state: every reading up to the window's end holds until the next, or its hold, or the end."""
    before = [row for row in past if row.usable(quantity.name)]
    told = before[-1:] + rows
    total = dict.fromkeys(quantity.states, 0)
    for row, after in zip(told, [row.time for row in told[1:]] + [end], strict=False):
        until = min(after, row.time + quantity.hold_ns, end)
        total[quantity.states[int(row.values[quantity.name])]] += max(0, until - max(row.time, start))
    if not rows and not any(total.values()):
        return {}
    return {f"{state}_seconds": ns / 1e9 for state, ns in total.items()}


def bounds(zone: str, length: int, time: int) -> tuple[int, int]:
    """Return the window of a length that holds a time."""
    if length < HOUR:
        return time - time % length, time - time % length + length
    local = datetime.fromtimestamp(time // 10**9, ZoneInfo(zone)).date()
    days = [local + timedelta(days=n) for n in (-1, 0, 1, 2)]
    edges = sorted({edge for day in days for edge in day_edges(zone, length, day.isoformat())})
    start = max(edge for edge in edges if edge <= time)
    return start, min(edge for edge in edges if edge > time)


@cache
def day_edges(zone: str, length: int, day: str) -> list[int]:
    """Walk through a civil day minute by minute, and note where a window begins."""
    here = ZoneInfo(zone)
    midnight = datetime.fromisoformat(day).replace(tzinfo=UTC)
    minute = int((midnight - timedelta(hours=30)).timestamp()) // 60
    edges: list[int] = []
    reached = -1
    for now in range(minute, minute + 60 * 80):
        wall = datetime.fromtimestamp(now * 60, here)
        if wall.date().isoformat() != day:
            continue
        since_midnight = (wall.hour * 60 + wall.minute) * MINUTE
        step = since_midnight // length
        repeated = length == HOUR and wall.minute == 0
        if step > reached or repeated:
            edges.append(now * MINUTE)
            reached = max(step, reached)
    return edges
