"""A flood, a slow disk, a sink that stalls: every queue stays within its bound, nothing is lost."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest

from gateway.clock import ManualClock
from gateway.ingest import connection
from gateway.ingest.mqtt import MqttSource
from gateway.pipeline import Pace
from gateway.queues import Bounds, Queues
from tests.brokers import mosquitto, publish
from tests.ingest.peer import settings
from tests.river import SINK, START_NS, opened

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.health.snapshot import Depth

FLOOD = 20_000
RECEIVED_BYTES, OUTBOX_BYTES, OUTBOX_MEMORY, QUEUE_UPLINKS = 400_000, 300_000, 100_000, 1_000
READ = 128 << 10
A_READ = 2 * READ + 80 * READ // 60 + 1_000
"""What one read of the socket can weigh: it ends before the socket can be paused."""
POINT_BYTES = 300
"""What an uplink of these becomes in the outbox, windows included."""


class SlowDisk:
    """A journal each of whose appends takes some milliseconds more."""

    def __init__(self, journal: Any) -> None:
        self._journal = journal

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    async def append(self, record: Any) -> int:
        """Append, late."""
        await asyncio.sleep(0.005)
        position: int = await self._journal.append(record)
        return position


class Watch:
    """Looks at every queue again and again, and keeps the highest that it saw."""

    def __init__(self, look: Callable[[], dict[str, Depth]]) -> None:
        self._look = look
        self.items: dict[str, int] = defaultdict(int)
        self.bytes: dict[str, int] = defaultdict(int)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Watch until it holds."""
        async with asyncio.timeout(60):
            while not condition():
                for name, depth in self._look().items():
                    self.items[name] = max(self.items[name], depth.items)
                    self.bytes[name] = max(self.bytes[name], depth.bytes)
                await asyncio.sleep(0.001)


def uplinks() -> list[tuple[str, bytes]]:
    """Return the flood: two bins, each reading a moment of its own."""
    at_ms = START_NS // 10**6
    return [
        (
            f"city/lyon/bin/bin-{1 + n % 2}/up",
            b'{"seq":%d,"ts":%d,"dist_mm":900,"temp_c":12.5}' % (n, at_ms - n),
        )
        for n in range(FLOOD)
    ]


@pytest.mark.mosquitto
@pytest.mark.timeout(120)
async def test_every_queue_keeps_to_its_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the sink stalls the socket is paused; once it takes, everything comes."""
    monkeypatch.setattr(connection, "READ_BYTES", READ)
    clock = ManualClock(START_NS)
    pace = Pace(
        gather_s=0.01, gather_uplinks=500, queue_uplinks=QUEUE_UPLINKS, flush_s=0.001, checkpoint_s=0.1
    )
    with mosquitto(tmp_path / "broker") as broker:
        async with opened(
            tmp_path,
            clock=clock,
            pace=pace,
            outbox_bytes=OUTBOX_BYTES,
            outbox_memory=OUTBOX_MEMORY,
            around=lambda name, part: SlowDisk(part) if name == "journal" else part,
        ) as parts:
            working = asyncio.create_task(parts.river.work())
            await parts.want()
            source = MqttSource(settings=settings(broker, memory=RECEIVED_BYTES), clock=clock)
            queues = Queues(
                clock=clock,
                river=parts.river,
                journal=parts.journal,
                quarantine=parts.quarantine,
                logs=[parts.log],
                bounds=Bounds(),
            )
            watch = Watch(lambda: queues.depths(source, parts.treatment.aggregator.figures().hot_bytes))
            receiving = asyncio.create_task(parts.river.receive(source))
            await watch.until(lambda: source.status.state == "connected" and bool(source.status.filters))
            flooding = asyncio.create_task(asyncio.to_thread(publish, broker, uplinks()))

            await watch.until(lambda: source.status.paused and parts.river.held_since_ns > 0)
            journalled = parts.treatment.books.uplinks.journalled
            assert journalled < FLOOD
            await watch.until(flooding.done)  # the broker takes all of it meanwhile
            assert parts.treatment.books.uplinks.journalled == journalled
            assert source.status.paused

            outbox, stored = parts.log.outbox, 0
            while stored < FLOOD:
                await watch.until(lambda: outbox.depth(SINK).entries > 0)
                taken = await outbox.next(SINK, 5_000, 10**6)
                stored += sum(entry.count for _, entry in taken if entry.body.startswith(b"waste,"))
                await outbox.advance(SINK, taken[-1][0])
            await watch.until(lambda: not parts.treatment.books.uplinks.pending)
            assert parts.treatment.books.readings.duplicate == 0

            await source.stop_reading()
            parts.river.stop()
            await receiving
            await parts.river.queue.close()
            await working
            await source.close()

    in_hand = QUEUE_UPLINKS + 2 * pace.gather_uplinks + A_READ // 200
    assert RECEIVED_BYTES <= watch.bytes["received"] <= RECEIVED_BYTES + A_READ
    assert watch.items["journal"] <= 1
    assert 0 < watch.items["decode"] <= max(QUEUE_UPLINKS, A_READ // 200)
    assert OUTBOX_BYTES <= watch.bytes[f"outbox {SINK}"] <= OUTBOX_BYTES + in_hand * POINT_BYTES
    assert 0 < watch.bytes["memory of outbox-lines"] <= OUTBOX_MEMORY + in_hand * POINT_BYTES
    assert 0 < watch.bytes["windows"] <= 10**7
    assert watch.items["quarantine"] == 0
