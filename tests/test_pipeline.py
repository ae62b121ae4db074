"""The river: durable before acknowledged, the same after a crash anywhere, held where an outbox is full."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from gateway.clock import ManualClock
from gateway.errors import JournalError, SessionTakenOver
from gateway.model import Control, ControlKind, Device, Frames
from gateway.pipeline import Pace
from gateway.profiles.compile import compile_text
from gateway.testing import MemoryBroker, MemorySource
from tests.crossing import Crossed, Crossing, crossed
from tests.river import (
    DEVICES,
    EAGER,
    LIMITS,
    MINUTE_NS,
    SINK,
    START_NS,
    Flowing,
    bin_uplink,
    opened,
    topic,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping
    from pathlib import Path

    from gateway.books import Books
    from gateway.model import RawBatch
    from tests.river import Opened, Stored

EMPTY_3000 = {"empty": ((0, 3000.0),)}
CLICKER = compile_text(
    """\
profile: clicker
version: 1
family: clicks
topics: ["clicks/{site}/{device}"]
qos: 2
quantities: {n: {path: n, kind: event, unit: "1"}}
""",
    name="clicker",
)


class Story:
    """A short day: bins speak, one is replaced by a deeper one, they speak again, the day ends.

    Cut off at one place at most; then everything is opened again and the story goes on.
    """

    LOTS = (
        [
            (topic("bin-1"), bin_uplink(1, 900, seq=1)),
            (topic("bin-2"), b"{"),
            (topic("bin-2"), bin_uplink(3, 500, seq=1)),
            (topic("bin-1"), bin_uplink(1, 900, seq=1)),
        ],
        [
            (topic("bin-1"), bin_uplink(16, 700, seq=2)),
            (topic("bin-1"), bin_uplink(9, 800, seq=3)),  # corrects a window that was written
            (topic("bin-9"), bin_uplink(17, 700)),
            (topic("bin-2"), bin_uplink(18, 450, seq=2)),
        ],
    )
    DEEPER = DEVICES | {("lyon", "bin-1"): replace(DEVICES["lyon", "bin-1"], parameters=EMPTY_3000)}

    def __init__(self, folder: Path, stop_at: int = 0, *, qos: int = 1) -> None:
        self.clock = ManualClock(START_NS + 5 * MINUTE_NS)
        self.broker = MemoryBroker(qos=qos)
        self.crossing = Crossing(stop_at)
        self.folder = folder
        self.lives = 0
        self._told = 0
        self._wanted: Mapping[tuple[str, str], Device] = DEVICES

    async def run(self) -> tuple[Stored, Books]:
        """Tell it to its end; return what the sink would have stored, and the books."""
        while True:
            self.lives += 1
            async with opened(self.folder, clock=self.clock, around=crossed(self.crossing)) as parts:
                self.crossing.check = lambda books=parts.treatment.books: balanced(books)
                telling = asyncio.create_task(self._tell(parts))
                cut = asyncio.create_task(self.crossing.reached.wait())
                await asyncio.wait({telling, cut}, return_when=asyncio.FIRST_COMPLETED)
                cut.cancel()
                if telling.done():
                    await telling
                    return await parts.stored(), parts.treatment.books
                self.crossing.reached.clear()
                telling.cancel()
                await asyncio.gather(telling, return_exceptions=True)

    async def _tell(self, parts: Opened) -> None:
        await parts.replay()
        flowing = Flowing(parts, self.broker, self.clock)
        try:
            await parts.want(devices=self._wanted)
            flowing.connect(Crossed(flowing.source, self.crossing, "acknowledge"))
            await flowing.treated()  # what was cut off comes again before anything new is said
            for lot, minute, devices in ((0, 5, DEVICES), (1, 20, self.DEEPER), (2, 1500, self.DEEPER)):
                if lot >= self._told:
                    self.clock.advance((START_NS + minute * MINUTE_NS - self.clock.now_ns()) / 1e9)
                    await flowing.flushed()
                    self._wanted = devices
                    await parts.want(devices=devices)
                    self._told = lot + 1
                    for name, payload in self.LOTS[lot] if lot < len(self.LOTS) else ():
                        self.broker.publish(name, payload)
                await flowing.treated()
            self.clock.advance(1)
            await flowing.flushed()
            await flowing.end()
        finally:
            await flowing.cut()


def balanced(books: Books) -> None:
    """At this very instant."""
    assert books.uplinks.difference() == 0, books.uplinks
    assert books.readings.difference() == 0, books.readings


async def test_a_cut_at_any_await_changes_nothing(tmp_path: Path) -> None:
    """Cancelled before or behind any call of journal, outlet or source, then recovered: the same points.

    The books balance at every one of these instants. What comes again is counted as a duplicate.
    """
    whole = Story(tmp_path / "whole")
    points, books = await whole.run()
    assert whole.lives == 1
    assert len({measurement for measurement, _, _ in points}) == 4
    some = asyncio.Semaphore(8)  # they wait for the disk most of the time

    async def cut_at(place: int) -> int:
        async with some:
            story = Story(tmp_path / str(place), stop_at=place)
            again, after = await story.run()
        assert again == points, f"cut at {place}"
        assert after.readings.aggregated == books.readings.aggregated, f"cut at {place}"
        balanced(after)
        return story.lives - 1

    cuts = await asyncio.gather(*(cut_at(place) for place in range(1, whole.crossing.count + 1)))
    # The last places may not be reached: how much is taken together follows the machine's clock.
    assert sum(cuts) > whole.crossing.count // 2


class Ticking(ManualClock):
    """Never tells the same time twice: what is received later is another reading."""

    def now_ns(self) -> int:
        """Return a time a microsecond later than the last one."""
        self.advance(1e-6)
        return super().now_ns()


class Clicks(Story):
    """Uplinks that nothing tells apart: no time, no sequence, one topic, one payload; at QoS 2."""

    COUNT = 8

    def __init__(self, folder: Path, stop_at: int = 0) -> None:
        super().__init__(folder, stop_at, qos=2)
        self.clock = Ticking(START_NS)

    async def _tell(self, parts: Opened) -> None:
        await parts.replay()
        flowing = Flowing(parts, self.broker, self.clock)
        clicker = Device(site="lyon", id="c-1", profile="clicker")
        try:
            await parts.want(plans={"clicker": CLICKER}, devices={("lyon", "c-1"): clicker})
            flowing.connect(Crossed(flowing.source, self.crossing, "acknowledge"))
            await flowing.treated()
            while self._told < self.COUNT:
                self._told += 1
                self.broker.publish("clicks/lyon/c-1", b'{"n": 1}')
                if self._told % 3:
                    await flowing.treated()
            await flowing.treated()
            await flowing.end()
        finally:
            await flowing.cut()


async def test_at_qos_2_a_cut_at_any_await_counts_each_uplink_once(tmp_path: Path) -> None:
    """The exchange goes on where it was, and no uplink becomes two, though nothing tells them apart."""
    whole = Clicks(tmp_path / "whole")
    points, books = await whole.run()
    assert (len(points), books.uplinks.decoded, books.readings.aggregated) == (8, 8, 8)
    some = asyncio.Semaphore(8)

    async def cut_at(place: int) -> int:
        async with some:
            story = Clicks(tmp_path / str(place), stop_at=place)
            again, after = await story.run()
        assert (len(again), after.uplinks.decoded, after.readings.aggregated) == (8, 8, 8), f"cut at {place}"
        assert after.readings.duplicate == 0, f"cut at {place}"
        balanced(after)
        return after.uplinks.duplicate

    some_places = range(1, whole.crossing.count + 1, 3)  # the others are those of the test above
    came_again = await asyncio.gather(*(cut_at(place) for place in some_places))
    assert sum(came_again) > 0, "between journal and PUBREC, it is sent again"


async def test_acknowledged_once_and_only_when_durable(tmp_path: Path) -> None:
    """Each batch, in the journal's order."""
    told: list[str] = []

    class Journal:
        def __init__(self, journal: Any) -> None:
            self._journal = journal

        def __getattr__(self, name: str) -> Any:
            return getattr(self._journal, name)

        async def append(self, record: Frames) -> int:
            position = await self._journal.append(record)
            told.append(f"durable {record.count}")
            return int(position)

    clock, broker = ManualClock(START_NS), MemoryBroker()
    around = lambda name, part: Journal(part) if name == "journal" else part  # noqa: E731
    async with opened(tmp_path, clock=clock, around=around) as parts:
        flowing = Flowing(parts, broker, clock)
        await parts.want()
        for minute in range(7):
            broker.publish(topic("bin-1"), bin_uplink(minute, 900))
        acknowledge = flowing.source.acknowledge

        async def noted(batch: RawBatch) -> None:
            told.append(f"acknowledged {len(batch)}")
            await acknowledge(batch)

        flowing.source.acknowledge = noted  # type: ignore[method-assign]
        flowing.connect()
        await flowing.treated()
        await flowing.end()
    batches = [3, 3, 1]
    assert told == [text for n in batches for text in (f"durable {n}", f"acknowledged {n}")]


async def test_a_failed_journal_acknowledges_nothing(tmp_path: Path) -> None:
    """The error reaches whoever runs the river; the broker keeps the uplinks."""
    clock, broker = ManualClock(START_NS), MemoryBroker()

    class Full:
        def __init__(self, journal: Any) -> None:
            self._journal = journal

        def __getattr__(self, name: str) -> Any:
            return getattr(self._journal, name)

        async def append(self, _record: Frames) -> int:
            raise JournalError("the disk is full")

    around = lambda name, part: Full(part) if name == "journal" else part  # noqa: E731
    async with opened(tmp_path, clock=clock, around=around) as parts:
        flowing = Flowing(parts, broker, clock)
        broker.publish(topic("bin-1"), bin_uplink(0, 900))
        with pytest.raises(JournalError, match="full"):
            await parts.river.receive(flowing.source)
        assert len(broker.waiting) == 1
        assert parts.treatment.books.uplinks.journalled == 0
        await flowing.cut()


async def test_what_the_source_raises_ends_the_receiving(tmp_path: Path) -> None:
    """A takeover, say; what came before it is treated all the same."""
    clock, broker = ManualClock(START_NS), MemoryBroker()

    class Taken(MemorySource):
        async def batches(self) -> AsyncGenerator[RawBatch, None]:
            batches = super().batches()
            yield await anext(batches)
            await batches.aclose()
            raise SessionTakenOver("another gateway has our name")

    async with opened(tmp_path, clock=clock) as parts:
        flowing = Flowing(parts, broker, clock)
        await parts.want()
        broker.publish(topic("bin-1"), bin_uplink(0, 900))
        with pytest.raises(SessionTakenOver):
            await parts.river.receive(Taken(broker, clock=clock))
        await flowing.end()
        assert parts.treatment.books.uplinks.decoded == 1
        assert not broker.waiting


def forget(folder: Path, *patterns: str) -> None:
    """Remove everything but the journal."""
    for pattern in patterns:
        for file in folder.glob(pattern):
            file.unlink()


async def test_control_takes_effect_at_its_place_again(tmp_path: Path) -> None:
    """A replay of the whole journal, without any state, gives each uplink the rules of its time."""
    clock, broker = ManualClock(START_NS), MemoryBroker()
    async with opened(tmp_path, clock=clock) as parts:
        flowing = Flowing(parts, broker, clock)
        await parts.want()
        flowing.connect()
        for minute, empty in ((1, 1800.0), (2, 3000.0), (3, 2400.0)):
            deeper = replace(DEVICES["lyon", "bin-1"], parameters={"empty": ((0, empty),)})
            await parts.want(devices={**DEVICES, ("lyon", "bin-1"): deeper})
            broker.publish(topic("bin-1"), bin_uplink(minute, 900))
            await flowing.treated()
        await flowing.end()
        points = await parts.stored()
    forget(tmp_path, "state*", "outbox*", "quarantine*")
    async with opened(tmp_path, clock=clock) as parts:
        await parts.replay()
        assert await parts.stored() == points
        levels = [fields["filling_level"] for fields in points.values() if "filling_level" in fields]
        assert levels == [60.0, pytest.approx(77.78, abs=0.01), pytest.approx(71.43, abs=0.01)]


async def test_records_of_one_change_stand_together(tmp_path: Path) -> None:
    """No uplink falls between them, however busy the river is; they are in force when `change` returns."""
    clock, broker = ManualClock(START_NS), MemoryBroker()
    async with opened(tmp_path, clock=clock) as parts:
        flowing = Flowing(parts, broker, clock)
        flowing.connect()
        for minute in range(30):
            broker.publish(topic("bin-1"), bin_uplink(minute / 10, 900))
        records = await parts.want()
        assert len(records) == 5
        assert parts.treatment.rules.devices == DEVICES
        assert parts.treatment.rules.limits == LIMITS
        await parts.river.change([])
        await flowing.treated()
        await flowing.end()
        held = [record async for _, record in parts.journal.read(0)]
    kinds = [None if isinstance(record, Frames) else record.kind for record in held]
    first = kinds.index(ControlKind.SETTINGS)
    assert set(kinds[first : first + 5]) == {ControlKind.SETTINGS, ControlKind.PROFILE, ControlKind.DEVICES}
    assert set(kinds[:first] + kinds[first + 5 :]) == {None}


async def test_a_lost_session_is_durable_while_the_river_is_held(tmp_path: Path) -> None:
    """It waits for no outlet and no treatment; then it counts, and a restart knows when it was."""
    clock, broker = ManualClock(START_NS), MemoryBroker()
    body = b'{"source": "main", "session": "ecluse-test", "connection": 4}'
    async with opened(tmp_path, clock=clock, outbox_bytes=1) as parts:
        flowing = Flowing(parts, broker, clock)
        await parts.want()
        broker.publish(topic("bin-1"), bin_uplink(0, 900))
        flowing.connect()
        await flowing.until(lambda: parts.log.full)
        before = parts.journal.end
        await parts.river.note(Control(ControlKind.SESSION_LOST, START_NS + 5, body))
        assert parts.journal.end == before + 1
        await flowing.until(lambda: parts.treatment.books.sessions_lost == 1)
        await flowing.until(lambda: parts.river.saved_position == parts.journal.end)
        await flowing.cut()
    async with opened(tmp_path, clock=clock) as parts:
        await parts.replay()
        books = parts.treatment.books
        assert (books.sessions_lost, books.session_lost_ns) == (1, START_NS + 5)


async def test_a_full_outbox_holds_the_river(tmp_path: Path) -> None:
    """Nothing is journalled or acknowledged until the sink has taken what waits."""
    clock, broker = ManualClock(START_NS), MemoryBroker()
    async with opened(tmp_path, clock=clock, outbox_bytes=100) as parts:
        flowing = Flowing(parts, broker, clock)
        await parts.want()
        flowing.connect()
        broker.publish(topic("bin-1"), bin_uplink(1, 900))
        await flowing.treated()
        assert parts.log.full
        end = parts.journal.end
        broker.publish(topic("bin-1"), bin_uplink(2, 900))
        await flowing.until(lambda: all(kept.given for kept in broker.waiting.values()))
        await asyncio.sleep(0)
        assert (len(broker.waiting), parts.journal.end) == (1, end)
        waiting = await parts.log.outbox.next(SINK, 10**9, 10**9)
        await parts.log.outbox.advance(SINK, waiting[-1][0])
        await flowing.treated()
        await flowing.end()
        assert parts.treatment.books.uplinks.decoded == 2


async def test_a_held_river_refuses_what_nobody_sends_again(tmp_path: Path) -> None:
    """The source is told when it is held and when not; what is in hand is asked for what it promises."""
    clock, broker = ManualClock(START_NS), MemoryBroker()

    class Told(MemorySource):
        """The odd ones of its uplinks count as QoS 0."""

        def __init__(self, broker: MemoryBroker, *, clock: ManualClock) -> None:
            super().__init__(broker, clock=clock, at_most=1)
            self.told: list[bool] = []
            self.asked = 0

        def hold(self, *, held: bool) -> None:
            self.told.append(held)

        def promised(self, batch: RawBatch) -> RawBatch:
            self.asked += 1
            if self.asked % 2:
                return batch
            return replace(
                batch,
                topics=[],
                payloads=[],
                frames=b"",
                headers=batch.headers[:0],
                packet_ids=batch.packet_ids[:0],
            )

    async with opened(tmp_path, clock=clock, outbox_bytes=100) as parts:
        flowing = Flowing(parts, broker, clock)
        source = Told(broker, clock=clock)
        await parts.want()
        flowing.connect(source)
        broker.publish(topic("bin-1"), bin_uplink(1, 900))
        await flowing.treated()
        assert (source.told, parts.river.held_since_ns) == ([], 0)
        for minute in (2, 3):
            broker.publish(topic("bin-1"), bin_uplink(minute, 900))
            await flowing.until(lambda: source.told[-1:] == [True])
            assert (source.told[-1], parts.river.held_since_ns) == (True, START_NS)
            waiting = await parts.log.outbox.next(SINK, 10**9, 10**9)
            await parts.log.outbox.advance(SINK, waiting[-1][0])
            await flowing.until(lambda: not source.told[-1])
            await flowing.until(lambda last=minute == 3: last or parts.log.full)
        assert (source.told, source.asked) == ([True, False] * 2, 2)
        await flowing.cut()
        assert parts.treatment.books.uplinks.journalled == 2
        assert parts.river.held_since_ns == 0


async def test_releases_of_qos_2_are_taken_after_a_hold(tmp_path: Path) -> None:
    """A batch of nothing but PUBRELs holds no uplink, and is no empty one."""
    clock, broker = ManualClock(START_NS), MemoryBroker(qos=2)
    async with opened(tmp_path, clock=clock, outbox_bytes=100) as parts:

        class Late(MemorySource):
            """Its PUBRELs come once the outbox is full."""

            async def batches(self) -> AsyncGenerator[RawBatch, None]:
                async for batch in super().batches():
                    while not len(batch) and not parts.log.full:  # noqa: ASYNC110 - of a test
                        await asyncio.sleep(0.001)
                    yield batch

        flowing = Flowing(parts, broker, clock)
        await parts.want()
        flowing.connect(Late(broker, clock=clock))
        broker.publish(topic("bin-1"), bin_uplink(1, 900))
        await flowing.until(lambda: parts.river.held_since_ns > 0)
        assert [kept.received for kept in broker.waiting.values()] == [True]
        waiting = await parts.log.outbox.next(SINK, 10**9, 10**9)
        await parts.log.outbox.advance(SINK, waiting[-1][0])
        await flowing.until(lambda: not broker.waiting)
        await flowing.cut()
        assert parts.treatment.books.uplinks.journalled == 1


async def test_a_held_river_stops(tmp_path: Path) -> None:
    """What is in hand is left to the broker, which gives it to the next run."""
    clock, broker = ManualClock(START_NS), MemoryBroker()
    async with opened(tmp_path, clock=clock, outbox_bytes=100) as parts:
        flowing = Flowing(parts, broker, clock)
        await parts.want()
        flowing.connect()
        broker.publish(topic("bin-1"), bin_uplink(1, 900))
        await flowing.treated()
        broker.publish(topic("bin-1"), bin_uplink(2, 900))
        await flowing.until(lambda: all(kept.given for kept in broker.waiting.values()))
        async with asyncio.timeout(10):
            await flowing.end()
        assert len(broker.waiting) == 1
    async with opened(tmp_path, clock=clock) as parts:
        await parts.replay()
        flowing = Flowing(parts, broker, clock)
        flowing.connect()
        await flowing.treated()
        await flowing.end()
        assert parts.treatment.books.uplinks.decoded == 2


async def test_a_checkpoint_leaves_out_what_waits(tmp_path: Path) -> None:
    """Uplinks in the queue are counted again by the replay, and once in all."""
    clock, broker = ManualClock(START_NS), MemoryBroker()
    async with opened(tmp_path, clock=clock) as parts:
        flowing = Flowing(parts, broker, clock)
        await parts.want()
        await flowing.treated()
        await flowing.cut()
        for minute in range(7):
            broker.publish(topic("bin-1"), bin_uplink(minute, 900))
        flowing.connect()
        await flowing.until(lambda: not broker.waiting)
        book = parts.treatment.books.uplinks
        assert (book.journalled, book.pending, book.difference()) == (7, 7, 0)
        assert parts.river.queue.uplinks == 7
        await parts.river._checkpoint()
        await flowing.cut()
    async with opened(tmp_path, clock=clock) as parts:
        assert parts.treatment.books.uplinks.journalled == 0
        await parts.replay()
        book = parts.treatment.books.uplinks
        assert (book.journalled, book.decoded, book.pending, book.difference()) == (7, 7, 0, 0)


async def test_a_replay_can_be_stopped(tmp_path: Path) -> None:
    """Soon, with a checkpoint of what it has done; the next run goes on from there."""
    clock, broker = ManualClock(START_NS), MemoryBroker()
    async with opened(tmp_path, clock=clock) as parts:
        flowing = Flowing(parts, broker, clock)
        await parts.want()
        await flowing.treated()
        await flowing.cut()
        for minute in range(9):
            broker.publish(topic("bin-1"), bin_uplink(minute, 900))
        flowing.connect()
        await flowing.until(lambda: not broker.waiting)
        await flowing.cut()
    stopping = asyncio.Event()
    stopping.set()
    seen: list[int] = []
    slow = replace(EAGER, gather_uplinks=3, checkpoint_s=3600)
    async with opened(tmp_path, clock=clock, pace=slow) as parts:
        assert not await parts.river.recover(seen.append, stopping)
        assert parts.treatment.books.uplinks.decoded == 3
    async with opened(tmp_path, clock=clock, pace=slow) as parts:
        assert parts.river.position == seen[0]
        assert await parts.river.recover(seen.append, asyncio.Event())
        assert parts.treatment.books.uplinks.decoded == 9
    assert seen == sorted(seen)
    assert len(seen) == 3


async def test_damaged_records_are_set_aside(tmp_path: Path) -> None:
    """Counted on both sides of the first book, once, however often the gateway starts."""
    clock, broker = ManualClock(START_NS), MemoryBroker()
    async with opened(tmp_path, clock=clock) as parts:
        flowing = Flowing(parts, broker, clock)
        await parts.want()
        await flowing.treated()
        await flowing.cut()
        for minute in range(6):
            broker.publish(topic("bin-1"), bin_uplink(minute, 900))
        flowing.connect()
        await flowing.until(lambda: not broker.waiting)
        await flowing.cut()
        damaged = parts.journal.end - 1
    (segment,) = (tmp_path / "journal").glob("journal-*.db")
    with contextlib.closing(sqlite3.connect(segment)) as file, file:
        file.execute("UPDATE records SET blob = zeroblob(length(blob)) WHERE position = ?", (damaged,))
    for _ in range(2):
        async with opened(tmp_path, clock=clock) as parts:
            await parts.replay()
            book = parts.treatment.books.uplinks
            assert (book.journalled, book.decoded, book.set_aside, book.difference()) == (6, 3, 3, 0)


async def test_windows_that_are_written_once_wait_for_the_broker(tmp_path: Path) -> None:
    """After a stop of an hour, what the broker kept comes in before its windows are given away."""
    clock, broker = ManualClock(START_NS), MemoryBroker()
    caught_up = False
    settle_ns = 15 * MINUTE_NS
    async with opened(tmp_path, clock=clock, settle_ns=settle_ns, caught_up=lambda: caught_up) as parts:
        flowing = Flowing(parts, broker, clock)
        await parts.want()
        flowing.connect()
        broker.publish(topic("bin-1"), bin_uplink(1, 900))
        await flowing.treated()
        clock.advance(3600)
        await flowing.flushed()
        broker.publish(topic("bin-1"), bin_uplink(2, 700))
        await flowing.treated()
        assert not [name for name, _, _ in await parts.stored() if name == "waste_15m"]
        caught_up = True
        clock.advance(1)
        await flowing.flushed()
        await flowing.end()
        windows = {key: fields for key, fields in (await parts.stored()).items() if key[0] == "waste_15m"}
        assert [fields["distance_count"] for fields in windows.values()] == [2]
        assert parts.treatment.books.not_delivered == 0


async def test_a_correction_that_comes_too_late_is_counted(tmp_path: Path) -> None:
    """Where the sink cannot overwrite, the window stays as it was delivered."""
    clock, broker = ManualClock(START_NS), MemoryBroker()
    async with opened(tmp_path, clock=clock, settle_ns=15 * MINUTE_NS) as parts:
        flowing = Flowing(parts, broker, clock)
        await parts.want()
        flowing.connect()
        broker.publish(topic("bin-1"), bin_uplink(1, 900))
        await flowing.treated()
        clock.advance(3600)
        await flowing.flushed()
        broker.publish(topic("bin-1"), bin_uplink(2, 700))
        await flowing.treated()
        clock.advance(1)
        await flowing.flushed()
        await flowing.end()
        windows = {key: fields for key, fields in (await parts.stored()).items() if key[0] == "waste_15m"}
        assert [fields["distance_count"] for fields in windows.values()] == [1]
        assert parts.treatment.books.not_delivered == 1


async def test_the_pace_bounds_what_is_in_memory(tmp_path: Path) -> None:
    """Uplinks that are not decoded fill the queue; then nothing more is read, and all arrive in the end."""
    clock, broker = ManualClock(START_NS), MemoryBroker()
    small = Pace(gather_s=0, gather_uplinks=3, queue_uplinks=6, flush_s=0.001, checkpoint_s=0)
    async with opened(tmp_path, clock=clock, pace=small) as parts:
        flowing = Flowing(parts, broker, clock)
        await parts.want()
        await flowing.treated()
        await flowing.cut()
        for minute in range(20):
            broker.publish(topic("bin-1"), bin_uplink(minute / 10, 900))
        flowing.connect()
        await flowing.until(lambda: parts.treatment.books.uplinks.pending == 9)
        assert parts.river.queue.uplinks == 6
        flowing.go_on()
        await flowing.treated()
        await flowing.end()
        assert parts.treatment.books.uplinks.decoded == 20
