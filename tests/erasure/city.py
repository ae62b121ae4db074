"""A small city's state folder, of a gateway that was killed: bins, a traffic counter, water meters."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from gateway.clock import ManualClock
from gateway.testing import MemoryBroker
from tests.cli.command import settings_file
from tests.filled import journalled, publish
from tests.pages import bins, close
from tests.pages import filled as filled_store
from tests.river import MINUTE_NS, START_NS, Flowing, bin_uplink, opened, topic

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = """
[http]
port = 9
[devices]
file = "devices.csv"

[[sinks]]
name = "embedded"
kind = "embedded"
"""
STORED = "bin-00001"
"""A device that only the embedded store knows."""


def meter(minute: int, index: int, *, seq: int = 0) -> bytes:
    """Return what a water meter says."""
    at = START_NS // 10**9 + minute * 60
    return json.dumps(
        {"seq": seq, "ts": at, "index_l": index, "flow_lph": 31, "temp_c": 11.5, "status": 4}
    ).encode()


def counter(minute: int, cars: int, *, seq: int = 0) -> bytes:
    """Return what a traffic counter says."""
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=START_NS // 10**9 + minute * 60)
    lane = {"lane": 1, "direction": "north", "occupancy": 3.5, "classes": {"car": {"n": cars, "v": 43.0}}}
    said = {"seq": seq, "time": at.isoformat(), "period_s": 900, "lanes": [lane], "battery_pct": 81}
    return json.dumps(said).encode()


UPLINKS = [
    (topic("bin-1"), bin_uplink(-40, 931, seq=1)),
    (topic("bin-2"), bin_uplink(-39, 512, seq=1)),
    (topic("bin-1"), b'{"refused whole": "bin-1 said so"'),
    (topic("bin-2"), b"{"),
    (topic("bin-9"), bin_uplink(2, 700)),
    (topic("meter-1", "water"), meter(-65, 10_000, seq=1)),
    (topic("counter-1", "traffic"), counter(-30, 17, seq=1)),
    (topic("bin-1"), bin_uplink(-20, 871, seq=2)),
    (topic("meter-1", "water"), meter(-5, 10_120, seq=2)),
    (topic("counter-1", "traffic"), counter(-15, 21, seq=2)),
    (topic("bin-2"), bin_uplink(1, 480, seq=2)),
    (topic("bin-1"), bin_uplink(2, 853, seq=3)),
]
PENDING = [
    (topic("bin-1"), bin_uplink(16, 707, seq=4)),
    (topic("bin-2"), bin_uplink(17, 450, seq=3)),
    (topic("meter-1", "water"), meter(18, 10_200, seq=3)),
    (topic("counter-1", "traffic"), counter(15, 9, seq=3)),
    (topic("bin-1"), bin_uplink(-41, 755, seq=5)),
]
"""Journalled behind the last checkpoint, and not treated."""


async def build(folder: Path, *, qos: int = 1) -> Path:
    """Make the state folder; return the settings file."""
    file = settings_file(folder, SETTINGS)
    (folder / "devices.csv").write_text("site,id,profile\n", encoding="utf-8")
    clock = ManualClock(START_NS + 5 * MINUTE_NS)
    broker = MemoryBroker(qos=qos)
    async with opened(folder / "state", clock=clock) as parts:
        flowing = Flowing(parts, broker, clock)
        await parts.want()
        flowing.connect()
        await publish(flowing, UPLINKS)
        parts.state.copy()
        clock.advance(15 * 60)
        await flowing.flushed()
        parts.state.copy()
        await flowing.cut()
        await journalled(parts, broker, clock, PENDING)
    store = filled_store(folder / "state", *bins(count=3, each=5))
    close(store)
    (folder / "state" / "points.duckdb").rename(folder / "state" / "embedded.duckdb")
    return file
