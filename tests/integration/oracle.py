"""What must be stored, computed the slow way from a ledger: plain Python, nothing of `gateway` in it.

Written from the documentation and the shipped profiles, not from the code: which quantities there are,
which statistics each kind has, how windows lie, what an increment is. A point is known by its device,
dimensions and time.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from firmware_sim.model import DAY, HOUR, QUARTER, SECOND

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from firmware_sim.ledger import Contents
    from firmware_sim.model import Reading, Spec

Value = float | int | str
Dimensions = tuple[tuple[str, str], ...]
Key = tuple[str, Dimensions, int]
"""Device, dimensions sorted by name, time (a window's start) in ns."""
Table = dict[Key, dict[str, Value]]
Tables = dict[str, Table]
"""Points by measurement."""

ZONE = ZoneInfo("Europe/Paris")
HOLD = DAY
"""How long a state holds after its last reading."""
MODULUS = 100_000_000
Q4_M3H = 3.125
"""The profile's default of `max_flow`."""
SWITCH = ("off", "on")
LENGTHS = {"15m": QUARTER, "1h": HOUR, "1d": DAY}


@dataclass(frozen=True)
class Quantity:
    """One quantity of a shipped profile."""

    name: str
    kind: str
    states: tuple[str, ...] = ()
    weight: str = ""


@dataclass(frozen=True)
class Family:
    """What the windows of one shipped profile say, by the names of the dimensions."""

    windows: tuple[str, ...]
    every: int
    groups: Mapping[tuple[str, ...], tuple[Quantity, ...]]


def _gauges(*names: str) -> tuple[Quantity, ...]:
    return tuple(Quantity(name, "gauge") for name in names)


_ALARMS = (
    "battery_low",
    "permanent_error",
    "temporary_error",
    "leak",
    "backflow",
    "freezing",
    "burst",
)
FAMILIES = {
    "waste": Family(
        windows=("15m", "1h", "1d"),
        every=QUARTER,
        groups={
            (): (
                *_gauges("distance", "filling_level", "temperature", "battery", "rssi"),
                Quantity("tilt", "state", ("upright", "tilted")),
            )
        },
    ),
    "traffic": Family(
        windows=("15m", "1h", "1d"),
        every=QUARTER,
        groups={
            (): _gauges("battery"),
            ("direction", "lane"): _gauges("occupancy"),
            ("class", "direction", "lane"): (
                Quantity("vehicles", "event"),
                Quantity("mean_speed", "gauge", weight="vehicles"),
            ),
        },
    ),
    "water": Family(
        windows=("1h", "1d"),
        every=HOUR,
        groups={
            (): (
                Quantity("index", "counter"),
                *_gauges("flow", "temperature"),
                *(Quantity(name, "state", SWITCH) for name in _ALARMS),
            )
        },
    ),
}


@dataclass
class Row:
    """What one series says at one time; `failed` are those outside the sensor's range."""

    time: int
    values: dict[str, Value] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)

    def usable(self, name: str) -> bool:
        """Whether windows count it."""
        return name in self.values and name not in self.failed


Series = tuple[str, str, Dimensions]
"""Family, device, dimensions."""


class Truth:
    """Readings, taken one after the other as they were first told; of two that differ the first stands."""

    def __init__(self, specs: Iterable[Spec] = ()) -> None:
        self.rows: dict[Series, dict[int, Row]] = defaultdict(dict)
        self._q4 = {spec.id: spec.parameters.get("max_flow", Q4_M3H) for spec in specs}

    @classmethod
    def of(cls, ledger: Contents, specs: Iterable[Spec]) -> Truth:
        """Return what a ledger says must be stored."""
        truth = cls(specs)
        for entry in ledger.entries:
            for reading in entry.readings:
                truth.tell(reading)
        return truth

    @property
    def newest(self) -> int:
        """The time of the newest reading."""
        return max(max(rows) for rows in self.rows.values())

    def tell(self, reading: Reading) -> dict[str, str]:
        """Take a row; return what each of its quantities is: new, failed, duplicate or conflicting."""
        series = (reading.family, reading.device, tuple(sorted(reading.dimensions.items())))
        row = self.rows[series].setdefault(reading.time_ns, Row(reading.time_ns))
        said = {}
        for name, value in reading.fields.items():
            if name in row.values:
                said[name] = "duplicate" if row.values[name] == value else "conflicting"
                continue
            row.values[name] = value
            if name in reading.failed:
                row.failed.add(name)
            said[name] = "failed" if name in reading.failed else "new"
        return said

    def raw(self) -> Tables:
        """Return the raw points, without `quality`, which has `check_quality` for itself."""
        tables: Tables = {family: {} for family in FAMILIES}
        for (family, device, dimensions), rows in self.rows.items():
            for time, row in rows.items():
                tables[family][device, dimensions, time] = dict(row.values)
        return tables

    def failing(self) -> dict[str, set[Key]]:
        """Return the raw points that have a failed reading, by family."""
        found: dict[str, set[Key]] = {family: set() for family in FAMILIES}
        for (family, device, dimensions), rows in self.rows.items():
            found[family] |= {(device, dimensions, time) for time, row in rows.items() if row.failed}
        return found

    def windows(self) -> Tables:
        """Return every window of every series, by measurement; all that is not about suspicion."""
        tables: Tables = {
            f"{family}_{name}": {} for family, known in FAMILIES.items() for name in known.windows
        }
        for (family, device, dimensions), by_time in self.rows.items():
            known = FAMILIES[family]
            quantities = known.groups[tuple(name for name, _ in dimensions)]
            line = _Line(
                sorted(by_time.values(), key=lambda row: row.time), quantities, self._q4.get(device, Q4_M3H)
            )
            for name in known.windows:
                for (start, end), inside in line.cut(name).items():
                    fields = line.window(inside, start, end, known.every)
                    if fields:
                        tables[f"{family}_{name}"][device, dimensions, start] = fields
        return tables


class _Line:
    """All rows of one series, in order of time."""

    def __init__(self, rows: Sequence[Row], quantities: Sequence[Quantity], q4: float) -> None:
        self._rows = rows
        self._quantities = quantities
        self._increments = {
            quantity.name: _increments([row for row in rows if row.usable(quantity.name)], quantity.name, q4)
            for quantity in quantities
            if quantity.kind == "counter"
        }
        self._told = {
            quantity.name: [row for row in rows if row.usable(quantity.name)]
            for quantity in quantities
            if quantity.kind == "state"
        }

    def cut(self, name: str) -> dict[tuple[int, int], list[Row]]:
        """Put the rows into their windows."""
        held: dict[tuple[int, int], list[Row]] = defaultdict(list)
        for row in self._rows:
            held[bounds(name, row.time)].append(row)
        return held

    def window(self, inside: Sequence[Row], start: int, end: int, every: int) -> dict[str, Value]:
        """Return a window's fields; none where it has no usable reading."""
        used = [row for row in inside if any(row.usable(name) for name in row.values)]
        if not used:
            return {}
        fields: dict[str, Value] = {}
        for quantity in self._quantities:
            for statistic, value in self._statistics(quantity, inside, start, end).items():
                fields[f"{quantity.name}_{statistic}"] = value
        slots = {row.time // every for row in used}
        fields["coverage"] = min(1.0, len(slots) / max(1.0, (end - start) / every))
        fields["failed_count"] = sum(len(row.failed) for row in inside)
        return fields

    def _statistics(
        self, quantity: Quantity, inside: Sequence[Row], start: int, end: int
    ) -> dict[str, Value]:
        name = quantity.name
        rows = [row for row in inside if row.usable(name)]
        found: dict[str, Value] = {"count": len(rows)}
        if quantity.kind == "state":
            return found | self._seconds(quantity, start, end)
        if quantity.kind == "counter":
            known = self._increments[name]
            passed = [known[row.time] for row in rows if row.time in known]
            return found | ({"increment": round(sum(passed))} if passed else {})
        values = [number(row.values[name]) for row in rows]
        if not values:
            return found
        if quantity.kind == "event":
            return found | {"sum": round(sum(values))}
        found |= {"min": float(min(values)), "max": float(max(values))}
        if not quantity.weight:
            return found | {"mean": math.fsum(values) / len(values)}
        weights = [number(row.values[quantity.weight]) for row in rows]
        if sum(weights):
            found["mean"] = math.fsum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)
        return found

    def _seconds(self, quantity: Quantity, start: int, end: int) -> dict[str, Value]:
        """Each reading holds until the next one, at most for `HOLD`, and counts within the window."""
        told = self._told[quantity.name]
        first = bisect_left(told, start, key=lambda row: row.time)
        last = bisect_left(told, end, key=lambda row: row.time)
        total = dict.fromkeys(quantity.states, 0)
        for place in range(max(first - 1, 0), last):
            row = told[place]
            following = told[place + 1].time if place + 1 < len(told) else end
            until = min(following, row.time + HOLD, end)
            total[str(row.values[quantity.name])] += max(0, until - max(row.time, start))
        if first == last and not any(total.values()):
            return {}
        return {f"{state}_seconds": ns / SECOND for state, ns in total.items()}


def number(value: Value) -> float | int:
    """Return a value that is a number."""
    assert not isinstance(value, str)
    return value


def _increments(rows: Sequence[Row], name: str, q4: float) -> dict[int, float]:
    """Return a register's increments by the time of the later reading, by the table of docs/quality.md."""
    found = {}
    for before, row in pairwise(rows):
        found[row.time] = increment(
            number(before.values[name]), number(row.values[name]), (row.time - before.time) / SECOND, q4
        )
    return found


def increment(old: float, new: float, seconds: float, q4: float) -> float:
    """Return the increment between two readings of a register of 8 digits, with `reverse: flag`."""
    most = q4 * 1000 / 3600 * seconds * (1 + 1e-9) + 1
    delta = new - old
    forward, backward = delta % MODULUS, (-delta) % MODULUS
    if 0 <= delta <= most:
        return delta
    if delta < 0 and forward <= most and not (backward <= most and backward < forward):
        return forward
    if backward <= most and (delta >= 0 or new > most or backward <= new):
        return -backward
    return new if delta < 0 and new <= most else 0


def bounds(name: str, time: int) -> tuple[int, int]:
    """Return the window [start, end) that holds a time: days are the civil ones of the city.

    The city's zone differs from UTC by whole hours, so its hours and quarters are UTC's.
    """
    length = LENGTHS[name]
    if length < DAY:
        return time - time % length, time - time % length + length
    return _day(datetime.fromtimestamp(time // SECOND, ZONE).strftime("%Y-%m-%d"))


@cache
def _day(date: str) -> tuple[int, int]:
    midnight = datetime.fromisoformat(date)
    following = midnight + timedelta(days=1)
    start, end = (int(day.replace(tzinfo=ZONE).astimezone(UTC).timestamp()) for day in (midnight, following))
    return start * SECOND, end * SECOND
