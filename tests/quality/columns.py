"""Builders of the plans and columns that the quality tests work on, and a naive fold as oracle."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gateway.model import Flag, Readings, SeriesTable
from gateway.profiles.plan import CounterPlan, GroupPlan, Kind, ProfilePlan, QuantityPlan
from gateway.quality.assess import Assessed, assess
from gateway.quality.counters import increments, is_doubtful
from gateway.quality.neighbours import Neighbours

SECOND = 1_000_000_000
NOON = 1_763_812_800 * SECOND
"""2025-11-22T12:00:00Z."""


def quantity(name: str = "level", kind: Kind = Kind.GAUGE, **tests: Any) -> QuantityPlan:
    return QuantityPlan(name=name, unit="1", kind=kind, **tests)


def group(*quantities: QuantityPlan) -> GroupPlan:
    return GroupPlan(index=0, dimensions=(), quantities=quantities)


def profile(*quantities: QuantityPlan, max_ahead_ns: int = 0, max_age_ns: int = 0) -> ProfilePlan:
    return ProfilePlan(
        name="bin",
        version=1,
        family="waste",
        text="",
        format="json",
        topics=(),
        groups=(group(*quantities),),
        windows=(),
        parameters={},
        dimensions={},
        max_ahead_ns=max_ahead_ns,
        max_age_ns=max_age_ns,
    )


def readings(
    plan: ProfilePlan, values: list[list[float | None]], *, time: list[int], uplink: list[int] | None = None
) -> Readings:
    """One row a time, received at NOON; `values` has one list a quantity, None where absent."""
    n = len(time)
    present = np.array([[value is not None for value in row] for row in values], dtype=bool).reshape(
        len(values), n
    )
    return Readings(
        profile=plan,
        group=plan.groups[0],
        table=SeriesTable([("city", "bin-1")]),
        series=np.zeros(n, dtype=np.int32),
        time=np.array(time, dtype=np.int64),
        values=np.array([[np.nan if v is None else v for v in row] for row in values]).reshape(
            len(values), n
        ),
        present=present,
        flags=np.where(present, np.uint8(Flag.GOOD), np.uint8(Flag.MISSING)),
        uplink=np.array(range(n) if uplink is None else uplink, dtype=np.int32),
        time_source=np.zeros(n, dtype=np.uint8),
        received_ns=np.full(n, NOON, dtype=np.int64),
        texts=SeriesTable(),
    )


@dataclass
class Series:
    """One series' rows: event times in seconds, and per quantity its values and range flags."""

    seconds: list[int]
    values: list[list[float]]
    flags: list[list[int]]

    def part(self, begin: int, end: int) -> Series:
        """The rows from `begin` to before `end`."""
        return Series(
            self.seconds[begin:end],
            [row[begin:end] for row in self.values],
            [row[begin:end] for row in self.flags],
        )


def fold(
    plan: GroupPlan,
    series: list[Series],
    neighbours: Neighbours | None = None,
    parameters: dict[str, list[float]] | None = None,
) -> Assessed:
    """Call `assess` on whole series, in order; a series without rows is left out by the caller."""
    lengths = [len(one.seconds) for one in series]
    q = len(plan.quantities)
    rows = [[v for one in series for v in one.values[j]] for j in range(q)]
    flags = [[f for one in series for f in one.flags[j]] for j in range(q)]
    return assess(
        plan,
        NOON + np.array([s for one in series for s in one.seconds], dtype=np.int64) * SECOND,
        np.array(rows, dtype=np.float64).reshape(q, sum(lengths)),
        np.array(flags, dtype=np.uint8).reshape(q, sum(lengths)),
        np.cumsum([0, *lengths], dtype=np.int64)[:-1],
        neighbours or Neighbours.empty(len(plan.remembered), len(series)),
        {name: np.array(column, dtype=np.float64) for name, column in (parameters or {}).items()},
    )


def gauge_series(values: list[float], step: int = 60) -> Series:
    """One series of one quantity, all GOOD, every `step` seconds."""
    return Series([step * i for i in range(len(values))], [values], [[int(Flag.GOOD)] * len(values)])


@dataclass
class Naive:
    """What a plain loop over one series and one quantity gives: the oracle of `assess`."""

    flags: list[int] = field(default_factory=list)
    increments: list[float] = field(default_factory=list)
    counted: list[bool] = field(default_factory=list)


def naive(plan: QuantityPlan, seconds: list[int], values: list[float], flags: list[int]) -> Naive:
    """Fold one series of one quantity reading by reading, as `docs/quality.md` says it."""
    found = Naive(list(flags), [0.0] * len(values), [False] * len(values))
    past: list[int] = []
    anchor = -1
    for i, (at, value) in enumerate(zip(seconds, values, strict=True)):
        if flags[i] in (Flag.FAIL, Flag.MISSING):
            continue
        if past:
            _pair(plan, found, i, value - values[past[-1]], at - seconds[past[-1]])
            _increment(plan, found, i, (values[past[-1]], value), at - seconds[past[-1]])
        if plan.spike is not None and len(past) > 1:
            middle = (value + values[past[-2]]) / 2
            if abs(values[past[-1]] - middle) > plan.spike:
                found.flags[past[-1]] = Flag.SUSPECT
        if plan.flat is not None:
            if anchor < 0 or abs(value - values[anchor]) > plan.flat.tolerance:
                anchor = i
            if (at - seconds[anchor]) * SECOND >= plan.flat.duration_ns:
                found.flags[i] = Flag.SUSPECT
        past.append(i)
    return found


def _pair(plan: QuantityPlan, found: Naive, i: int, change: float, elapsed: int) -> None:
    if plan.rate is None:
        return
    rises = plan.rate.rise is not None and change / elapsed > plan.rate.rise
    falls = plan.rate.fall is not None and -change / elapsed > plan.rate.fall
    if rises or falls:
        found.flags[i] = Flag.SUSPECT


def _increment(plan: QuantityPlan, found: Naive, i: int, pair: tuple[float, float], elapsed: int) -> None:
    counter = plan.counter or (CounterPlan() if plan.kind is Kind.COUNTER else None)
    if counter is None:
        return
    increment, case = increments(
        np.array(pair[:1]), np.array(pair[1:]), np.array([float(elapsed)]), counter, counter.max_flow
    )
    found.increments[i] = float(increment[0])
    found.counted[i] = True
    if is_doubtful(case)[0]:
        found.flags[i] = Flag.SUSPECT
