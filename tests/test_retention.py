"""What profiles keep no longer is deleted by itself, a little at a time, and nothing else is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from gateway.clock import ManualClock
from gateway.model import Column, FieldType, Points, Reason, Refused
from gateway.profiles.compile import compile_text
from gateway.quarantine.store import QuarantineStore
from gateway.retention import Retention, kept_by
from gateway.sinks import columns
from gateway.sinks.embedded import EmbeddedSettings, EmbeddedSink, Kept

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

HOUR = 3_600 * 10**9
NOW = 1_795_341_600 * 10**9
PLAN = compile_text(
    """
profile: meter
version: 1
family: water
topics: ["water/{site}/{device}"]
windows: [15min, 1h]
keep: {raw: 24h, 1h: {for: 48h, needs: consent}}
quantities: {index: {path: i, kind: counter, unit: L}}
""",
    name="meter",
)
OTHER = replace(PLAN, name="other", keep={})


def points(measurement: str, profile: str, *hours_ago: float) -> Points:
    """Return a point of a device at each of these ages."""
    time = NOW - (np.array(hours_ago) * HOUR).astype(np.int64)
    return Points(
        measurement=measurement,
        tags=[(("device", "m-1"), ("profile", profile), ("site", "lyon"))],
        series=np.zeros(len(time), dtype=np.int32),
        time=time,
        fields={"index": Column(FieldType.INTEGER, np.arange(len(time)))},
        window_end=time + HOUR if measurement != "water" else None,
    )


def refused(position: int, profile: str, hours_ago: float) -> Refused:
    return Refused(
        position=position,
        index=0,
        received_ns=NOW - int(hours_ago * HOUR),
        topic=b"water/lyon/m-1",
        payload=b"{",
        reason=Reason.NOT_JSON,
        detail="",
        site="lyon",
        device="m-1",
        profile=profile,
    )


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[EmbeddedSink]:
    opened = EmbeddedSink(
        EmbeddedSettings(path=tmp_path / "embedded.duckdb", retention_ns=0, window_retention_ns=0),
        clock=ManualClock(NOW),
    )
    yield opened
    await opened.close()


@pytest.fixture
async def quarantine(tmp_path: Path) -> AsyncIterator[QuarantineStore]:
    opened = await QuarantineStore.open(tmp_path / "quarantine.db", per_device=100, total=1000)
    yield opened
    await opened.close()


async def ages(store: EmbeddedSink, measurement: str) -> list[tuple[str, float]]:
    """Return (profile, hours ago) of what a measurement still has, oldest first."""
    found = await store.query(measurement)
    times = found.column("time").cast("int64").to_pylist()
    profiles = found.column("profile").to_pylist()
    return [(profile, (NOW - time) / HOUR) for profile, time in zip(profiles, times, strict=True)]


def test_what_is_kept_for_how_long() -> None:
    """A measurement for raw readings and for each window that the profile names."""
    assert list(kept_by([PLAN, OTHER])) == [
        Kept("water", "meter", 24 * HOUR),
        Kept("water_1h", "meter", 48 * HOUR),
    ]


async def test_each_profile_and_granularity_for_itself(
    store: EmbeddedSink, quarantine: QuarantineStore
) -> None:
    """What is not named, and what other profiles have, stays; the bound itself stays."""
    await store.write(
        [
            columns.encode(points("water", "meter", 26, 25, 24, 1)),
            columns.encode(points("water", "other", 900)),
            columns.encode(points("water_1h", "meter", 50, 49, 47)),
            columns.encode(points("water_15m", "meter", 900)),
        ]
    )
    await quarantine.put([refused(1, "meter", 25), refused(2, "other", 900), refused(3, "meter", 23)])
    retention = Retention(
        plans=lambda: [PLAN, OTHER], stores=[store], quarantine=quarantine, clock=ManualClock(NOW)
    )
    assert await retention.turn() == 2 + 2 + 1
    assert await retention.turn() == 0
    assert await ages(store, "water") == [("other", 900), ("meter", 24), ("meter", 1)]
    assert await ages(store, "water_1h") == [("meter", 47)]
    assert await ages(store, "water_15m") == [("meter", 900)]
    assert sorted(row.position for row in await quarantine.list()) == [2, 3]
    assert quarantine.evicted == 1
    assert quarantine.rows == 2


async def test_one_turn_deletes_little(store: EmbeddedSink, quarantine: QuarantineStore) -> None:
    """The oldest six hours: a profile that keeps less than before is caught up with, turn by turn."""
    await store.write([columns.encode(points("water", "meter", *range(60, 0, -1)))])
    retention = Retention(plans=lambda: [PLAN], stores=[store], quarantine=quarantine, clock=ManualClock(NOW))
    turns = []
    while gone := await retention.turn():
        turns.append(gone)
    assert turns == [6] * 6
    assert len(await ages(store, "water")) == 24


async def test_a_measurement_that_is_not_there_yet(store: EmbeddedSink, quarantine: QuarantineStore) -> None:
    """Nothing was ever written."""
    retention = Retention(plans=lambda: [PLAN], stores=[store], quarantine=quarantine, clock=ManualClock(NOW))
    assert await retention.turn() == 0
