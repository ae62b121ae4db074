"""A profile with every kind of quantity and statistic, and how readings are handed over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gateway.aggregate.aggregator import Aggregator
from gateway.aggregate.civil import Calendar
from gateway.model import Flag, Readings
from gateway.profiles.plan import (
    CounterPlan,
    FlatLine,
    GroupPlan,
    Kind,
    Limit,
    ProfilePlan,
    QuantityPlan,
    Statistic,
    WindowPlan,
)
from gateway.quality.assess import assess
from gateway.quality.neighbours import Neighbours
from gateway.quality.ranges import range_flags
from tests.aggregate.oracle import DAY, HOUR, MINUTE, Row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.ports import StateStore

NOON = 1_763_812_800_000_000_000
"""2025-11-22T12:00:00Z."""
ALL = tuple(s for s in Statistic if s not in (Statistic.INCREMENT, Statistic.TIME_IN_STATE))
ENDS = (Statistic.COUNT, Statistic.FIRST, Statistic.LAST)
ZONES = {"paris": "Europe/Paris", "patan": "Asia/Kathmandu", "island": "Australia/Lord_Howe"}
KEYS = [("paris", "a"), ("patan", "b"), ("island", "c"), ("paris", "d")]
TEXTS = ["calm", "busy"]
CALENDAR = Calendar(ZONES, "UTC")

LEVEL = QuantityPlan(
    "level",
    "%",
    Kind.GAUGE,
    fail_range=(-100, 100),
    rate=Limit(rise=0.01),
    spike=20.0,
    flat=FlatLine(0.5, HOUR),
    reference=50.0,
    statistics=ALL,
    quantiles=(0.5, 0.999),
)
SPEED = QuantityPlan("speed", "km/h", Kind.GAUGE, weight="cars", statistics=(Statistic.COUNT, Statistic.MEAN))
CARS = QuantityPlan("cars", "1", Kind.EVENT, statistics=(*ENDS, Statistic.SUM, Statistic.MIN, Statistic.MAX))
INDEX = QuantityPlan(
    "index",
    "L",
    Kind.COUNTER,
    counter=CounterPlan(modulus=1000, max_flow="flow"),
    statistics=(*ENDS, Statistic.INCREMENT),
)
DOOR = QuantityPlan(
    "door",
    "1",
    Kind.STATE,
    states=("closed", "open"),
    hold_ns=2 * HOUR,
    statistics=(*ENDS, Statistic.TIME_IN_STATE),
)
NOTE = QuantityPlan("note", "1", Kind.TEXT, statistics=ENDS)
QUANTITIES = (LEVEL, SPEED, CARS, INDEX, DOOR, NOTE)


def profile(
    quantities: Sequence[QuantityPlan] = QUANTITIES,
    *,
    windows: Sequence[tuple[str, int]] = (("15m", 15 * MINUTE), ("1h", HOUR), ("1d", DAY)),
    lateness: int = 3 * DAY,
    every: int = 10 * MINUTE,
    version: int = 1,
) -> ProfilePlan:
    """Return a compiled profile of one group without dimensions."""
    return ProfilePlan(
        name="street",
        version=version,
        family="test",
        text="",
        format="json",
        topics=(),
        groups=(GroupPlan(0, (), tuple(quantities)),),
        windows=tuple(WindowPlan(name, length) for name, length in windows),
        parameters={},
        dimensions={},
        every_ns=every,
        lateness_ns=lateness,
    )


def aggregator(
    store: StateStore, plan: ProfilePlan, *, hot_bytes: int = 1 << 28, settle: int | None = None
) -> Aggregator:
    """Return an aggregator that is restored from the store and uses the plan; series and texts are known."""
    made = Aggregator(
        store,
        zones=ZONES,
        default_zone="UTC",
        assess=assess,
        neighbours=Neighbours,
        grace_ns=10 * 10**9,
        settle_ns=settle,
        hot_bytes=hot_bytes,
    )
    made._calendar = CALENDAR  # zones take 10 ms each to be read: once for all tests
    made.restore()
    made.use([plan])
    for key in KEYS:
        made.tables["street", ""].code(key)
    for text in TEXTS:
        made.texts.code((text,))
    return made


def readings(
    to: Aggregator, plan: ProfilePlan, rows: Sequence[Row], received: int | Sequence[int], first: int = 0
) -> Readings:
    """Return rows as a batch, range flags set."""
    group = plan.groups[0]
    n = len(rows)
    values = np.zeros((len(group.quantities), n))
    present = np.zeros(values.shape, np.bool_)
    for place, row in enumerate(rows):
        for q, quantity in enumerate(group.quantities):
            if quantity.name in row.values:
                values[q, place], present[q, place] = row.values[quantity.name], True
    batch = Readings(
        profile=plan,
        group=group,
        table=to.tables["street", ""],
        series=np.array([row.series for row in rows], dtype=np.int32),
        time=np.array([row.time for row in rows], dtype=np.int64),
        values=values,
        present=present,
        flags=np.full(values.shape, Flag.MISSING, np.uint8),
        uplink=np.arange(first, first + n, dtype=np.int32),
        time_source=np.zeros(n, np.uint8),
        received_ns=np.broadcast_to(np.asarray(received, dtype=np.int64), n).copy(),
        texts=to.texts,
    )
    batch.flags = range_flags(batch)
    return batch


def flows(rows: Sequence[Row]) -> dict[str, np.ndarray]:
    """Return the parameters of a batch: the capacity that the counter's rollover needs, per second."""
    return {"flow": np.full(len(rows), 1.0)}


def final(plan: ProfilePlan, rows: Sequence[Row]) -> list[Row]:
    """Return the rows once each, first come first, with the flags and increments of one assessment of all."""
    kept: dict[tuple[int, int], Row] = {}
    for row in rows:
        stood = kept.setdefault((row.series, row.time), Row(row.series, row.time, {}))
        for name, value in row.values.items():
            stood.values.setdefault(name, value)
    ordered = [kept[key] for key in sorted(kept)]
    from gateway.testing import MemoryStateStore

    batch = readings(aggregator(MemoryStateStore(), plan), plan, ordered, 0)
    starts = np.flatnonzero(np.diff(batch.series, prepend=-1))
    parameters = {"flow": np.full(len(starts), 1.0)}
    nothing = Neighbours.empty(len(plan.groups[0].remembered), len(starts))
    found = assess(plan.groups[0], batch.time, batch.values, batch.flags, starts, nothing, parameters)
    for place, row in enumerate(ordered):
        for q, quantity in enumerate(plan.groups[0].quantities):
            if quantity.name in row.values:
                row.flags[quantity.name] = int(found.flags[q, place])
                if quantity.kind is Kind.COUNTER and found.counted[q, place]:
                    row.increments[quantity.name] = float(found.increments[q, place])
    return ordered
