"""The river with a clock that is set: everything is journalled, nothing is decoded, and the end is right."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from gateway.clock import ManualClock
from gateway.model import Control, ControlKind, Frames
from gateway.testing import MemoryBroker, MemorySource
from tests.river import DEVICES, EAGER, SINK, START_NS, Flowing, bin_uplink, opened, topic

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path

    from gateway.books import Books
    from gateway.model import RawBatch
    from tests.river import Opened, Stored

HOUR = 3_600.0


class Day:
    """Three hours of a bin that speaks every five minutes, by a clock that somebody sets meanwhile.

    `ahead`: by so many seconds the gateway's clock is ahead of the bin's at the beginning.
    """

    def __init__(self, folder: Path, *, ahead: float = 0.0) -> None:
        self.folder = folder
        self.clock = ManualClock(START_NS + int(ahead) * 10**9)
        self.broker = MemoryBroker()
        self.minute = 0
        self.flowing: Flowing
        self.parts: Opened

    @contextlib.asynccontextmanager
    async def life(self) -> AsyncIterator[None]:
        """Open everything, let it flow, and cut it off at the end."""
        async with opened(self.folder, clock=self.clock) as self.parts:
            await self.parts.replay()
            self.flowing = Flowing(self.parts, self.broker, self.clock)
            try:
                if not self.parts.river.watched.span:
                    await self.parts.want()
                self.flowing.connect()
                yield
            finally:
                await self.flowing.cut()

    async def until(self, minute: int) -> None:
        """Let the bin speak until that minute of the day, and look at the clock each time."""
        while self.minute < minute:
            self.minute += 5
            self.clock.advance(300)
            await self.look()
            said = bin_uplink(self.minute, 400 + 10 * self.minute, seq=self.minute)
            self.broker.publish(topic("bin-1"), said if self.minute % 4 else b"{")
            await self.flowing.until(lambda: not self.broker.waiting)
            await self.look()

    async def look(self) -> None:
        """As the river's own task does."""
        self.clock.now_ns()
        await self.parts.river.look_at_clock()

    async def over(self, *, hours: float = 3) -> tuple[Stored, Books]:
        """Let the day end, and what waited be treated; return what the sink would have, and the books."""
        await self.until(180)
        self.clock.advance(hours * HOUR)
        await self.look()
        assert self.parts.river.watched.span is None
        await self.flowing.flushed()
        self.clock.advance(1)
        await self.flowing.flushed()
        await self.flowing.end()
        return await self.parts.stored(), self.parts.treatment.books

    @property
    def book(self) -> Any:
        """The first book."""
        return self.parts.treatment.books.uplinks


@pytest.fixture
async def calm(tmp_path: Path) -> tuple[Stored, Books]:
    """Return what a day gives on which nobody sets the clock."""
    day = Day(tmp_path / "calm")
    async with day.life():
        return await day.over()


def same(day: tuple[Stored, Books], calm: tuple[Stored, Books]) -> None:
    """Raw points and windows, and the books."""
    assert day[0] == calm[0]
    assert {name for name, _, _ in calm[0]} >= {"waste", "waste_15m", "waste_1h"}
    assert (day[1].uplinks, day[1].readings) == (calm[1].uplinks, calm[1].readings)
    assert day[1].uplinks.difference() == day[1].readings.difference() == 0


@pytest.mark.parametrize("step", [HOUR, -HOUR, 61.0, -7 * 86_400.0])
async def test_nothing_is_decoded_while_the_clock_is_suspect(tmp_path: Path, step: float) -> None:
    """It is journalled, acknowledged and pending; no window is closed; a profile's change waits, too."""
    day = Day(tmp_path)
    async with day.life():
        await day.until(20)
        await day.flowing.treated()
        decoded, windows = day.book.decoded, day.parts.treatment.books.windows
        day.clock.step(step)
        for number in range(6):
            day.clock.advance(300 if step < 0 else 5)  # windows end meanwhile; forth, it would be believed
            await day.look()
            day.broker.publish(topic("bin-1"), bin_uplink(20 + number / 10, 500))
            await day.flowing.until(lambda: not day.broker.waiting)
        await asyncio.sleep(0.05)
        assert (day.book.decoded, day.book.pending, day.book.difference()) == (decoded, 6, 0)
        assert day.parts.treatment.books.windows == windows
        span = day.parts.river.watched.span
        assert span is not None
        assert (span.uplinks, day.parts.river.queue.uplinks) == (6, 0)
        deeper = replace(DEVICES["lyon", "bin-1"], parameters={"empty": ((0, 3000.0),)})
        end = day.parts.journal.end
        await day.parts.want(devices={**DEVICES, ("lyon", "bin-1"): deeper})
        assert day.parts.journal.end == end
        assert day.parts.treatment.rules.devices == DEVICES


async def test_set_forth_and_right_after_a_while(tmp_path: Path, calm: tuple[Stored, Books]) -> None:
    """An hour too late for half an hour, then back: as if nothing had been."""
    day = Day(tmp_path / "day")
    async with day.life():
        await day.until(20)
        day.clock.step(HOUR)
        await day.until(50)
        day.clock.step(-HOUR)
        same(await day.over(), calm)


async def test_a_session_is_lost_meanwhile(tmp_path: Path, calm: tuple[Stored, Books]) -> None:
    """What is noted has its place in the journal: what came before it is not passed over."""
    day = Day(tmp_path / "day", ahead=HOUR)
    async with day.life():
        await day.until(20)
        day.clock.step(-HOUR)
        await day.until(40)
        body = json.dumps({"source": "mqtt", "session": "ecluse", "connection": 2}).encode()
        await day.parts.river.note(Control(ControlKind.SESSION_LOST, day.clock.now_ns(), body))
        await day.until(50)
        assert day.book.pending == 6
        same(await day.over(hours=4), calm)


async def test_set_forth_for_good(tmp_path: Path, calm: tuple[Stored, Books]) -> None:
    """It is believed after a minute; windows are those of the readings, whenever they were closed."""
    day = Day(tmp_path / "day")
    async with day.life():
        await day.until(20)
        day.clock.step(HOUR)
        await day.look()
        day.clock.advance(59)
        await day.look()
        assert day.parts.river.watched.span is not None
        day.clock.advance(1)
        await day.look()
        assert day.parts.river.watched.span is None
        same(await day.over(), calm)


async def test_set_back_for_good(tmp_path: Path, calm: tuple[Stored, Books]) -> None:
    """It was ahead. What comes waits until it has passed the newest record, and is decoded then."""
    day = Day(tmp_path / "day", ahead=HOUR)
    async with day.life():
        await day.until(20)
        day.clock.step(-HOUR)
        await day.until(80)
        assert day.book.pending == 12
        await day.until(90)
        await day.flowing.treated()
        assert day.book.pending == 0
        same(await day.over(hours=4), calm)


async def test_confirmed_by_a_person(tmp_path: Path, calm: tuple[Stored, Books]) -> None:
    """At once, although it lies before the newest record."""
    day = Day(tmp_path / "day", ahead=HOUR)
    async with day.life():
        await day.until(20)
        assert not day.parts.river.watched.confirm()
        day.clock.step(-HOUR)
        await day.until(50)
        assert day.parts.river.watched.confirm()
        await day.look()
        await day.flowing.treated()
        assert day.book.pending == 0
        same(await day.over(hours=4), calm)


async def test_killed_while_it_waits(tmp_path: Path, calm: tuple[Stored, Books]) -> None:
    """Again and again, the machine too: each life goes on waiting, and the last one decodes it all."""
    day = Day(tmp_path / "day", ahead=HOUR)
    async with day.life():
        await day.until(20)
        day.clock.step(-HOUR)
        await day.until(30)
    for number, minute in enumerate((35, 45, 50)):
        day.clock.restart(boot="" if number != 1 else "second")
        async with day.life():
            assert day.book.pending == (day.minute - 20) // 5
            await day.until(minute)
            assert day.book.pending == (minute - 20) // 5
    day.clock.restart()
    async with day.life():
        same(await day.over(hours=4), calm)


async def test_a_start_before_the_newest_record(tmp_path: Path, calm: tuple[Stored, Books]) -> None:
    """A machine whose clock forgot the time: what it hears waits until the time is back."""
    day = Day(tmp_path / "day")
    async with day.life():
        await day.until(20)
        await day.flowing.treated()
    day.clock.step(-30 * 365 * 86_400.0)
    day.clock.restart(boot="second")
    async with day.life():
        await day.until(50)
        assert day.book.pending == 6
        day.clock.step(30 * 365 * 86_400.0)
        same(await day.over(), calm)


async def test_a_replay_of_everything_gives_the_same(tmp_path: Path, calm: tuple[Stored, Books]) -> None:
    """From the journal alone, with two suspect spans in it: everything behind it is a function of it."""
    day = Day(tmp_path / "day")
    async with day.life():
        await day.until(20)
        day.clock.step(HOUR)
        await day.until(30)
        day.clock.step(-HOUR)
        await day.until(60)
        day.clock.step(-HOUR)
        await day.until(70)
        day.clock.step(HOUR)
        same(await day.over(), calm)
        kinds = [
            record.kind async for _, record in day.parts.journal.read(0) if not isinstance(record, Frames)
        ]
    assert kinds.count(ControlKind.CLOCK_SUSPECT) == kinds.count(ControlKind.CLOCK_SETTLED) == 2
    for pattern in ("state*", "outbox*", "quarantine*"):
        for file in (tmp_path / "day").glob(pattern):
            file.unlink()
    async with opened(tmp_path / "day", clock=day.clock) as parts:
        await parts.replay()
        flowing = Flowing(parts, MemoryBroker(), day.clock)
        day.clock.advance(1)
        await flowing.until(lambda: parts.river._flushed_ns == day.clock.monotonic_ns())
        await flowing.end()
        assert await parts.stored() == calm[0]
        assert parts.treatment.books.uplinks == calm[1].uplinks


async def test_receive_times_are_set_right(tmp_path: Path) -> None:
    """An uplink without a time of its own happened when the clock says by which it is believed now."""
    day = Day(tmp_path)
    said: list[int] = []
    async with day.life():
        day.clock.step(HOUR)
        await day.look()
        for number in range(4):
            day.clock.advance(10)
            said.append(day.clock.now_ns() + int(HOUR) * 10**9)
            day.broker.publish(topic("bin-2"), json.dumps({"dist_mm": 500 + number}).encode())
            await day.flowing.until(lambda: not day.broker.waiting)
        day.clock.advance(60)
        await day.look()
        await day.flowing.treated()
        points = await day.parts.stored()
    assert sorted(time for name, _, time in points if name == "waste") == said


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_is_done_to_the_clock(tmp_path: Path, calm: tuple[Stored, Books], seed: int) -> None:
    """Set forth and back at random, killed and started at any time, the machine too: the day is a calm one's.

    It is never left behind for longer than it lags: it would be believed then, and devices in the future.
    """
    rng = random.Random(seed)
    day, error, behind, boots = Day(tmp_path / "day"), 0.0, 0, 0
    while day.minute < 150:
        async with day.life():
            for _ in range(rng.randint(1, 12)):
                await day.until(min(day.minute + 5, 150))
                wanted = 0.0 if behind >= 2 else rng.choice([error, error, 0.0, HOUR, -HOUR, 2 * HOUR])
                behind = behind + 1 if wanted < 0 else 0
                day.clock.step(wanted - error)
                error = wanted
                assert day.book.difference() == 0
        if rng.random() < 0.5 and error >= 0:
            boots += 1
            day.clock.restart(boot=f"boot {boots}")
        else:
            day.clock.restart()
    day.clock.step(-error)
    async with day.life():
        points, books = await day.over(hours=6)
    assert points == calm[0]
    assert (books.uplinks, books.readings.aggregated) == (calm[1].uplinks, calm[1].readings.aggregated)


@pytest.mark.parametrize(("step", "refused"), [(HOUR, False), (0.0, True)])
async def test_the_future_is_judged_by_the_right_time(tmp_path: Path, step: float, *, refused: bool) -> None:
    """Devices were right, and the gateway an hour slow: set right, nothing is in the future any more."""
    day = Day(tmp_path)
    async with day.life():
        day.clock.step(step)
        await day.look()
        day.broker.publish(topic("bin-1"), bin_uplink(60, 900))
        await day.flowing.until(lambda: not day.broker.waiting)
        day.clock.advance(61)
        await day.look()
        await day.flowing.treated()
        assert (day.parts.treatment.books.readings.rejected > 0) == refused
        assert len([n for n, _, _ in await day.parts.stored() if n == "waste"]) == 1 - refused


async def test_what_was_read_before_is_dated_anew(tmp_path: Path) -> None:
    """Read while the clock was suspect, journalled after that: it stands behind the end, in the new time."""
    clock, broker = ManualClock(START_NS), MemoryBroker()
    async with opened(tmp_path, clock=clock) as parts:
        flowing = Flowing(parts, broker, clock)
        await parts.want()
        clock.step(HOUR)
        clock.now_ns()
        await parts.river.look_at_clock()
        broker.publish(topic("bin-2"), b'{"dist_mm": 500}')
        async with contextlib.aclosing(flowing.source.batches()) as batches:
            batch = await anext(batches)
        clock.advance(61)
        await parts.river.look_at_clock()

        class Late(MemorySource):
            async def batches(self) -> AsyncGenerator[RawBatch, None]:
                yield batch

        await parts.river.receive(Late(broker, clock=clock))
        await flowing.until(lambda: not parts.treatment.books.uplinks.pending)
        await flowing.end()
        times = [time for name, _, time in await parts.stored() if name == "waste"]
    assert batch.received_ns == START_NS
    assert times == [START_NS + int(HOUR) * 10**9]


async def test_the_journal_bounds_what_waits(tmp_path: Path) -> None:
    """Then the broker waits, until the clock is settled; stopping does not wait for that."""
    clock, broker = ManualClock(START_NS), MemoryBroker()
    async with opened(tmp_path, clock=clock, pace=replace(EAGER, suspect_bytes=200)) as parts:
        flowing = Flowing(parts, broker, clock)
        await parts.want()
        clock.step(HOUR)
        clock.now_ns()
        flowing.connect()
        for minute in range(12):
            broker.publish(topic("bin-1"), bin_uplink(minute, 900))
        await flowing.until(lambda: parts.river.waits_for_clock)
        end = parts.journal.end
        await flowing.until(lambda: all(kept.given for kept in list(broker.waiting.values())[:3]))
        assert broker.waiting
        assert parts.journal.end == end
        clock.advance(61)
        await parts.river.look_at_clock()
        await flowing.treated()
        assert parts.treatment.books.uplinks.decoded == 12
        clock.step(HOUR)
        clock.now_ns()
        for minute in range(12, 24):
            broker.publish(topic("bin-1"), bin_uplink(minute, 900))
        await flowing.until(lambda: parts.river.waits_for_clock)
        async with asyncio.timeout(10):
            await flowing.end()
        assert broker.waiting


async def test_catching_up_waits_for_a_full_outbox(tmp_path: Path) -> None:
    """What waited for the clock does not run over the outbox's bound; a stop leaves it to the next start.

    That one goes on in the midst of the span, with its corrections.
    """
    clock, broker = ManualClock(START_NS), MemoryBroker()
    pace = replace(EAGER, gather_uplinks=1)
    async with opened(tmp_path, clock=clock, pace=pace, outbox_bytes=100) as parts:
        flowing = Flowing(parts, broker, clock)
        await parts.want()
        clock.step(HOUR)
        clock.now_ns()
        flowing.connect()
        for number in range(12):
            clock.advance(1)
            broker.publish(topic("bin-1"), json.dumps({"dist_mm": 500 + number}).encode())
            await flowing.until(lambda: not broker.waiting)
        clock.advance(61)
        await parts.river.look_at_clock()
        await flowing.until(lambda: parts.log.full)
        await asyncio.sleep(0.05)
        book = parts.treatment.books.uplinks
        assert 0 < book.decoded < 12
        waiting = await parts.log.outbox.next(SINK, 10**9, 10**9)
        await parts.log.outbox.advance(SINK, waiting[-1][0])
        before = book.decoded
        await flowing.until(lambda: book.decoded > before)
        async with asyncio.timeout(10):
            await flowing.end()
        assert 0 < book.pending < 12
        assert book.difference() == 0
    async with opened(tmp_path, clock=clock) as parts:
        assert parts.river.position < parts.journal.end
        await parts.replay()
        book = parts.treatment.books.uplinks
        assert (book.journalled, book.decoded, book.pending) == (12, 12, 0)
        times = [time for name, _, time in await parts.stored() if name == "waste" and time is not None]
        assert min(times) > START_NS + int(HOUR) * 10**9


class Crossing:
    """Counts the awaits of journal and outlets, and holds the river up for good at the chosen one."""

    def __init__(self, stop_at: int) -> None:
        self.count = 0
        self.reached = asyncio.Event()
        self._stop_at = stop_at

    async def __call__(self) -> None:
        """Cross."""
        self.count += 1
        if self.count == self._stop_at:
            self.reached.set()
            await asyncio.Event().wait()

    def around(self, name: str, part: Any) -> Any:
        """Return a part with a crossing before and behind each of its calls."""
        calls = ("append", "append_many", "trim") if name == "journal" else ("take", "settle", "checkpointed")
        crossing = self

        class Crossed:
            def __getattr__(self, called: str) -> Any:
                call = getattr(part, called)
                if called not in calls:
                    return call

                async def crossed(*arguments: Any) -> Any:
                    await crossing()
                    answer = await call(*arguments)
                    await crossing()
                    return answer

                return crossed

        return Crossed()


async def tell(folder: Path, stop_at: int = 0) -> tuple[Stored, Books, int, int]:
    """Tell a story of two suspect spans, cut off at one await; return points, books, crossings, lives."""
    clock, broker, crossing = ManualClock(START_NS), MemoryBroker(), Crossing(stop_at)
    told, lives = 0, 0
    chapters: list[tuple[float, float, list[int]]] = [
        # advance, step, minutes that are said then
        (300, 0, [1, 2]),
        (300, HOUR, [6, 7]),
        (20, 0, [8]),
        (20, -HOUR, [9, 10]),
        (61, 0, [11]),
        (300, -HOUR, [17]),
        (10, HOUR, [18]),
        (61, 0, [19]),
        (2 * HOUR, 0, []),
    ]

    async def live(parts: Opened) -> None:
        nonlocal told
        await parts.replay()
        flowing = Flowing(parts, broker, clock)
        try:
            if not parts.treatment.rules.plans:
                await parts.want()
            flowing.connect()
            while told < len(chapters):
                advance, step, minutes = chapters[told]
                told += 1
                clock.advance(advance)
                clock.step(step)
                clock.now_ns()
                for minute in minutes:
                    broker.publish(topic("bin-1"), bin_uplink(minute, 900 + minute))
                await parts.river.look_at_clock()
                await flowing.until(lambda: not broker.waiting)
            clock.advance(61)
            await parts.river.look_at_clock()
            await flowing.treated()
            clock.advance(1)
            await flowing.flushed()
            await flowing.end()
        finally:
            await flowing.cut()

    while True:
        lives += 1
        async with opened(folder, clock=clock, around=crossing.around) as parts:
            living = asyncio.create_task(live(parts))
            cut = asyncio.create_task(crossing.reached.wait())
            await asyncio.wait({living, cut}, return_when=asyncio.FIRST_COMPLETED)
            cut.cancel()
            if living.done():
                await living
                return await parts.stored(), parts.treatment.books, crossing.count, lives
            crossing.reached.clear()
            living.cancel()
            await asyncio.gather(living, return_exceptions=True)
            clock.restart()


async def test_a_cut_at_any_await_changes_nothing(tmp_path: Path) -> None:
    """Before and behind every call of journal and outlets: with the clock suspect, settled, in between."""
    points, books, crossings, _ = await tell(tmp_path / "whole")
    assert books.uplinks.decoded == 11
    some = asyncio.Semaphore(8)

    async def cut_at(place: int) -> int:
        async with some:
            again, after, _, lives = await tell(tmp_path / str(place), place)
        assert again == points, f"cut at {place}"
        assert after.uplinks.difference() == 0
        assert after.readings.aggregated == books.readings.aggregated, f"cut at {place}"
        return lives - 1

    cuts = await asyncio.gather(*(cut_at(place) for place in range(1, crossings + 1, 2)))
    assert sum(cuts) > crossings // 4
