"""A state folder with something of everything in it, as a crash leaves it, for backups."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.clock import ManualClock
from gateway.testing import MemoryBroker, MemorySource
from tests.cli.command import settings_file
from tests.pages import bins, close
from tests.pages import filled as filled_store
from tests.river import MINUTE_NS, SINK, START_NS, Flowing, bin_uplink, opened, topic

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.books import Books
    from tests.river import Opened, Stored

SETTINGS = f"""
[http]
token = "an-open-secret"

[devices]
file = "devices.csv"

[[sinks]]
name = "{SINK}"
kind = "influxdb1"
url = "http://127.0.0.1:9"
token = "another-secret"

[[sinks]]
name = "embedded"
kind = "embedded"
"""
UPLINKS = [
    (topic("bin-1"), bin_uplink(1, 900, seq=1)),
    (topic("bin-2"), b"{"),
    (topic("bin-1"), b"[1]"),
    (topic("bin-2"), bin_uplink(3, 500, seq=1)),
    (topic("bin-1"), bin_uplink(1, 900, seq=1)),
    (topic("bin-9"), bin_uplink(2, 700)),
    (topic("bin-1"), bin_uplink(4, 800, seq=2)),
]
MORE = [
    (topic("bin-1"), bin_uplink(16, 700, seq=3)),
    (topic("bin-2"), bin_uplink(17, 450, seq=2)),
    (topic("bin-1"), bin_uplink(9, 750, seq=4)),
]
"""Journalled behind the last checkpoint."""


async def fill(folder: Path) -> Path:
    """Let a small river flow into `folder`/state, and be cut off; return the settings file.

    Some uplinks are in the state, and some are in the journal alone.
    """
    file = settings_file(folder, SETTINGS)
    (folder / "devices.csv").write_text(
        "site,id,profile,empty\nlyon,bin-1,bin-level,1800\n", encoding="utf-8"
    )
    clock = ManualClock(START_NS + 5 * MINUTE_NS)
    broker = MemoryBroker()
    async with opened(folder / "state", clock=clock) as parts:
        flowing = Flowing(parts, broker, clock)
        await parts.want()
        flowing.connect()
        await publish(flowing, UPLINKS)
        clock.advance(20 * 60)
        await flowing.flushed()
        parts.state.copy()
        await flowing.cut()
        await journalled(parts, broker, clock)
    store = filled_store(folder / "state", *bins(count=3, each=5))
    close(store)
    (folder / "state" / "points.duckdb").rename(folder / "state" / "embedded.duckdb")
    return file


async def publish(flowing: Flowing, uplinks: list[tuple[str, bytes]]) -> None:
    """Publish, and wait until all is treated and in a checkpoint."""
    for where, payload in uplinks:
        flowing.broker.publish(where, payload)
    await flowing.treated()


async def journalled(parts: Opened, broker: MemoryBroker, clock: ManualClock) -> None:
    """Let uplinks come into the journal that nobody treats before the crash."""
    for where, payload in MORE:
        broker.publish(where, payload)
    source = MemorySource(broker, clock=clock, last_connection=parts.river.connection, at_most=2)
    async with contextlib.aclosing(source.batches()) as batches:
        async for batch in batches:
            await parts.journal.append(batch.record())
            await source.acknowledge(batch)
            if not broker.waiting:
                return


@dataclass
class Reached:
    """What a river comes to: the last writing of each point, the books, and how many uplinks came."""

    points: Stored
    books: Books


async def reached(state: Path, *, minutes: float = 1500, at_ns: int = START_NS + 25 * MINUTE_NS) -> Reached:
    """Replay at a time what a crash left, let so much time pass, and return what came of it."""
    clock = ManualClock(at_ns)
    async with opened(state, clock=clock) as parts:
        await parts.replay()
        flowing = Flowing(parts, MemoryBroker(), clock)
        clock.advance(minutes * 60)
        await flowing.flushed()
        await flowing.end()
        return Reached(await parts.stored(), parts.treatment.books)
