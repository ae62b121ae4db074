"""The writer: order, retries, refusals, stopping. The outbox is the real one; nothing sleeps."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from gateway.clock import ManualClock
from gateway.errors import PointsRejected, SinkUnavailable
from gateway.literals import Rate
from gateway.sinks import line_keys
from gateway.sinks.drain import Drain
from gateway.sinks.echo import ALIVE_NS, MOST_BYTES, Echo
from gateway.sinks.outbox import Entry, Outbox
from gateway.sinks.writer import Writer, WriterState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path


@dataclass
class ScriptedSink:
    """A sink that fails as told, then stores; it can be held in the middle of a write."""

    script: list[Exception | None] = field(default_factory=list)
    name: str = "db"
    overwrites: bool = True
    stored: list[bytes] = field(default_factory=list)
    writes: int = 0
    hold: asyncio.Event | None = None

    async def write(self, bodies: Sequence[bytes]) -> None:
        """Fail or store."""
        self.writes += 1
        if self.hold is not None:
            await self.hold.wait()
        step = self.script.pop(0) if self.script else None
        if isinstance(step, SinkUnavailable):
            raise step
        self.stored += bodies
        if step is not None:
            raise step

    async def check(self) -> str:
        """Say what answers."""
        return "here"

    async def close(self) -> None:
        """Nothing to close."""


@dataclass
class Desk:
    """A writer with all that it needs, run in a task."""

    sink: ScriptedSink
    outbox: Outbox
    clock: ManualClock
    slept: list[float] = field(default_factory=list)
    quarantined: list[tuple[bytes, str]] = field(default_factory=list)
    told: list[Entry] = field(default_factory=list)

    def writer(self, **changes: Any) -> Writer:
        """Make the writer."""

        async def sleep(seconds: float) -> None:
            self.slept.append(seconds)
            self.clock.advance(seconds)
            await asyncio.sleep(0)

        async def quarantine(lines: Sequence[tuple[bytes, str]]) -> None:
            assert self.outbox.cursors()["db"] == 0, "in quarantine before the cursor moves"
            self.quarantined += lines

        return Writer(
            sink=self.sink,
            outbox=self.outbox,
            clock=self.clock,
            quarantine=quarantine,
            random=lambda: 0.0,
            stored=self.told.extend,
            sleep=sleep,
            **changes,
        )

    async def finished(self, writer: Writer) -> None:
        """Let the writer write what waits, and stop."""
        task = asyncio.create_task(writer.run())
        await until(lambda: not self.outbox.depth("db").entries and writer.status.points > 0)
        writer.stop(grace_s=10)
        await task


async def until(condition: Callable[[], bool]) -> None:
    """Let the other tasks run until it holds."""
    while not condition():  # noqa: ASYNC110 - the outbox's thread has no event for every step
        await asyncio.sleep(0)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """An empty outbox and a healthy sink."""
    outbox = await Outbox.open(tmp_path / "outbox.sqlite", max_bytes=10**9)
    await outbox.register("db", "hold")
    yield Desk(ScriptedSink(), outbox, ManualClock(1_000))
    await outbox.close()


def entries(*bodies: bytes) -> list[Entry]:
    """An entry of ten points a body."""
    return [Entry(body=body, count=10, oldest_ns=5) for body in bodies]


async def test_what_waits_is_written_in_order_and_the_cursor_follows(desk: Desk) -> None:
    """Entries go out in their order, bounded by points a write; those who wait for latencies are told."""
    await desk.outbox.append(entries(b"a", b"b", b"c"))
    writer = desk.writer(max_points=20)
    await desk.finished(writer)
    assert desk.sink.stored == [b"a", b"b", b"c"]
    assert desk.sink.writes == 2
    assert desk.outbox.totals("db").stored == 30
    assert [entry.body for entry in desk.told] == [b"a", b"b", b"c"]
    assert (writer.status.points, writer.status.last_success_ns) == (30, 1_000)


async def test_what_comes_later_is_written_when_it_comes(desk: Desk) -> None:
    """An idle writer waits for the outbox, not for a clock."""
    writer = desk.writer()
    task = asyncio.create_task(writer.run())
    await until(lambda: writer.status.state is WriterState.OK)
    for body in (b"a", b"b"):
        await desk.outbox.append(entries(body))
        await until(lambda: not desk.outbox.depth("db").entries)
    writer.stop(grace_s=10)
    await task
    assert desk.sink.stored == [b"a", b"b"]
    assert desk.slept == []
    assert writer.status.state is WriterState.STOPPED


async def test_a_sink_that_is_away_is_asked_again_ever_more_seldom(desk: Desk) -> None:
    """Waits double up to 30 s; the same entries are written; the error is said once, and the return."""
    desk.sink.script = [SinkUnavailable("down", hint="start it") for _ in range(9)]
    await desk.outbox.append(entries(b"a"))
    writer = desk.writer()
    with capture_logs() as said:
        await desk.finished(writer)
    assert desk.slept == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert desk.sink.stored == [b"a"]
    assert [line["event"] for line in said] == ["sink unavailable", "sink is back"]
    assert (said[0]["hint"], said[1]["retries"]) == ("start it", 9)
    assert (writer.status.retries, writer.status.last_error) == (9, "down")


async def test_a_woken_writer_tries_at_once(desk: Desk) -> None:
    """A token was exchanged, say: the wait of minutes is over. Woken while all is well, it does nothing."""
    waits = asyncio.Event()

    async def sleep(_seconds: float) -> None:
        waits.set()
        await asyncio.Event().wait()

    desk.sink.script = [SinkUnavailable("401", retry_after_s=300)]
    await desk.outbox.append(entries(b"a"))
    writer = desk.writer()
    writer._sleep = sleep
    writer.wake()
    running = asyncio.create_task(desk.finished(writer))
    await waits.wait()
    assert desk.sink.stored == []
    writer.wake()
    async with asyncio.timeout(10):
        await running
    assert desk.sink.stored == [b"a"]


async def test_chance_shortens_waits_and_a_server_may_lengthen_them(desk: Desk) -> None:
    """Jitter takes up to a half off; Retry-After is the least, up to five minutes."""
    writer = desk.writer()
    assert writer._wait_s(3, None) == 2.0
    assert writer._wait_s(1, 7.0) == 7.0
    assert writer._wait_s(50, 7.0) == 30.0
    assert writer._wait_s(1, 1e9) == 300.0
    writer._random = lambda: 0.999
    assert 1.0 < writer._wait_s(3, None) < 1.01


async def test_another_error_is_said_too(desk: Desk) -> None:
    """Once an error, not once an outage."""
    desk.sink.script = [SinkUnavailable("down"), SinkUnavailable("down"), SinkUnavailable("wrong token")]
    await desk.outbox.append(entries(b"a"))
    with capture_logs() as said:
        await desk.finished(desk.writer())
    assert [line.get("error") for line in said] == ["down", "wrong token", None]


async def test_an_ambiguous_failure_is_counted_and_written_again(desk: Desk) -> None:
    """The server may have stored it: the points are idempotent, so it is sent once more."""
    desk.sink.script = [SinkUnavailable("no answer", ambiguous=True)]
    await desk.outbox.append(entries(b"a"))
    writer = desk.writer()
    await desk.finished(writer)
    assert (desk.sink.writes, writer.status.ambiguous) == (2, 1)


async def test_refused_points_go_to_quarantine_and_the_river_goes_on(desk: Desk) -> None:
    """They are durable there before the cursor moves; the books count them."""
    lines = [(b"m v=1", "wrong type"), (b"m v=2", "wrong type")]
    desk.sink.script = [PointsRejected("two", lines=lines)]
    await desk.outbox.append(entries(b"a"))
    writer = desk.writer()
    await desk.finished(writer)
    assert desk.quarantined == lines
    totals = desk.outbox.totals("db")
    assert (totals.stored, totals.refused, totals.waiting) == (8, 2, 0)
    assert (writer.status.points, writer.status.refused, writer.status.retries) == (8, 2, 0)


async def test_stopping_finishes_what_waits(desk: Desk) -> None:
    """A stop in the middle of a write lets it end, and what waits behind it."""
    desk.sink.hold = asyncio.Event()
    await desk.outbox.append(entries(b"a", b"b"))
    writer = desk.writer(max_points=10)
    task = asyncio.create_task(writer.run())
    await until(lambda: desk.sink.writes > 0)
    writer.stop(grace_s=60)
    desk.sink.hold.set()
    await task
    assert desk.sink.stored == [b"a", b"b"]


async def test_stopping_gives_up_after_the_grace_and_keeps_what_waits(desk: Desk) -> None:
    """A sink that hangs does not hold the gateway; its entries stay in the outbox."""
    desk.sink.hold = asyncio.Event()
    await desk.outbox.append(entries(b"a"))
    writer = desk.writer()
    task = asyncio.create_task(writer.run())
    await until(lambda: desk.sink.writes > 0)
    with capture_logs() as said:
        writer.stop(grace_s=0)
        await task
    assert desk.outbox.depth("db").points == 10
    assert said == [
        {
            "event": "sink stopped before all was written",
            "sink": "db",
            "waiting": 10,
            "log_level": "warning",
        }
    ]


async def test_a_bug_ends_the_writer(desk: Desk) -> None:
    """What is not a sink's failure is not retried."""
    desk.sink.script = [ZeroDivisionError()]
    await desk.outbox.append(entries(b"a"))
    with pytest.raises(ZeroDivisionError):
        await desk.writer().run()


def line(point: int, version: int, at_ns: int = 0, *, again: bool = False) -> Entry:
    """An entry of one point."""
    return Entry(b"m,d=%d v=%di 1" % (point, version), 1, at_ns, again=again)


async def test_after_an_outage_what_is_new_goes_first(desk: Desk) -> None:
    """Then what waited; an older writing of a point is left out."""
    await desk.outbox.register("db", "hold", "live")
    await desk.outbox.append([line(n, 1, at_ns=1_000) for n in range(3)])
    desk.clock.advance(120)
    await desk.outbox.append([line(1, 2, at_ns=desk.clock.now_ns(), again=True)])
    writer = desk.writer(max_points=2, live_first=True, backlog_after_s=60.0)
    await desk.finished(writer)
    assert desk.sink.stored == [b"m,d=1 v=2i 1", b"m,d=0 v=1i 1", b"m,d=2 v=1i 1"]
    totals = desk.outbox.totals("db")
    assert (totals.stored, totals.superseded, totals.waiting) == (3, 1, 0)


async def test_what_waits_for_less_keeps_its_place(desk: Desk) -> None:
    """A hiccup is no outage."""
    await desk.outbox.register("db", "hold", "live")
    await desk.outbox.append([line(n, 1, at_ns=1_000) for n in range(3)])
    desk.clock.advance(50)
    writer = desk.writer(live_first=True)
    task = asyncio.create_task(writer.run())
    await until(lambda: not desk.outbox.depth("db").entries)
    assert [body[:5] for body in desk.sink.stored] == [b"m,d=0", b"m,d=1", b"m,d=2"]
    writer.stop(grace_s=10)
    await task


async def test_an_entry_without_points_asks_nothing_of_the_sink(desk: Desk) -> None:
    """All in it was written again before."""
    await desk.outbox.register("db", "hold", "live")
    await desk.outbox.append([line(0, 1, at_ns=1_000)])
    desk.clock.advance(120)
    await desk.outbox.append([line(0, 2, at_ns=desk.clock.now_ns(), again=True)])
    await desk.finished(desk.writer(live_first=True))
    assert desk.sink.stored == [b"m,d=0 v=2i 1"]
    assert desk.outbox.totals("db").superseded == 1


async def test_a_backlog_is_paced_and_what_is_new_is_not(desk: Desk) -> None:
    """So many points a second; new ones come between."""
    await desk.outbox.register("db", "hold", "live")
    await desk.outbox.append([line(n, 1, at_ns=1_000) for n in range(4)])
    desk.clock.advance(120)
    began = desk.clock.monotonic_ns()
    writer = desk.writer(max_points=1, live_first=True, drain=Drain(Rate(1, 10 * 10**9)))
    task = asyncio.create_task(writer.run())
    await until(lambda: len(desk.sink.stored) >= 2)
    await desk.outbox.append([line(9, 1, at_ns=desk.clock.now_ns())])
    await until(lambda: not desk.outbox.depth("db").entries)
    writer.stop(grace_s=10)
    await task
    assert sorted(desk.sink.stored) == [b"m,d=%d v=1i 1" % n for n in (0, 1, 2, 3, 9)]
    assert desk.clock.monotonic_ns() - began >= 30 * 10**9
    assert desk.slept.count(10.0) >= 3


async def test_in_order_everything_is_paced_while_it_is_old(desk: Desk) -> None:
    """With the order backlog; what has not waited for long goes at once."""
    await desk.outbox.append([line(n, 1, at_ns=1_000) for n in range(3)])
    desk.clock.advance(120)
    await desk.outbox.append([line(n, 1, at_ns=desk.clock.now_ns() + 3600 * 10**9) for n in range(3, 9)])
    await desk.finished(desk.writer(max_points=1, drain=Drain(Rate(1, 5 * 10**9))))
    assert len(desk.sink.stored) == 9
    assert desk.slept == [5.0, 5.0, 5.0]


async def test_stopping_leaves_what_must_wait_its_turn(desk: Desk) -> None:
    """It stays in the outbox; the stop does not wait for it."""
    await desk.outbox.append([line(n, 1, at_ns=1_000) for n in range(3)])
    desk.clock.advance(120)
    writer = desk.writer(max_points=1, drain=Drain(Rate(1, 3600 * 10**9)))
    writer._sleep = lambda _: asyncio.Event().wait()
    task = asyncio.create_task(writer.run())
    await until(lambda: len(desk.sink.stored) == 1)
    writer.stop(grace_s=60)
    await asyncio.wait_for(task, 5)
    assert desk.outbox.depth("db").points == 2


async def test_newer_writings_are_repeated_after_an_unanswered_write(desk: Desk) -> None:
    """The server may carry the old request out later; then the last writing stands after all."""
    desk.sink.script = [SinkUnavailable("no answer", ambiguous=True)]
    await desk.outbox.append([line(0, 1), line(1, 1)])
    writer = desk.writer(max_points=2, echo=Echo(line_keys))
    writer._sleep = lambda seconds: asyncio.sleep(0) if seconds < 60 else asyncio.Event().wait()
    task = asyncio.create_task(writer.run())
    await until(lambda: len(desk.sink.stored) == 2)
    await desk.outbox.append([line(0, 2, again=True), line(5, 2, again=True), line(6, 1)])
    await until(lambda: len(desk.sink.stored) == 5)
    desk.sink.stored.insert(5, b"m,d=0 v=1i 1")  # what was given up as lost
    desk.clock.advance(ALIVE_NS / 1e9 + 1)
    await desk.outbox.append([line(7, 1)])
    await until(lambda: len(desk.sink.stored) == 8)
    assert desk.sink.stored[6:] == [b"m,d=0 v=2i 1", b"m,d=7 v=1i 1"]
    assert writer.status.repeated == 1
    assert desk.outbox.totals("db").stored == 6
    writer.stop(grace_s=10)
    await task


async def test_stopping_repeats_what_is_left_to_repeat(desk: Desk) -> None:
    """Sooner than it should, and better than never."""
    desk.sink.script = [SinkUnavailable("no answer", ambiguous=True)]
    await desk.outbox.append([line(0, 1)])
    writer = desk.writer(max_points=2, echo=Echo(line_keys))
    writer._sleep = lambda seconds: asyncio.sleep(0) if seconds < 60 else asyncio.Event().wait()
    task = asyncio.create_task(writer.run())
    await until(lambda: len(desk.sink.stored) == 1)
    await desk.outbox.append([line(0, 2, again=True)])
    await until(lambda: len(desk.sink.stored) == 2)
    writer.stop(grace_s=10)
    await task
    assert desk.sink.stored == [b"m,d=0 v=1i 1", b"m,d=0 v=2i 1", b"m,d=0 v=2i 1"]


def test_what_is_kept_to_be_repeated_is_bounded() -> None:
    """Over its bound it is due at once; without a doubt nothing is kept."""
    echo, body = Echo(line_keys), b"m,d=1 v=2i 1"
    echo.stored([Entry(body, 1, 0, again=True)])
    assert echo.wait_s(0) is None
    echo.doubt([Entry(body, 1, 0)], 0)
    large = Entry(b'm,d=1 v="' + b"x" * MOST_BYTES + b'" 1', 1, 0, again=True)
    echo.stored([Entry(body, 1, 0, again=True)])
    assert echo.wait_s(10**9) == (ALIVE_NS - 10**9) / 1e9
    echo.stored([large])
    assert echo.wait_s(10**9) == 0.0
    assert echo.take(10**9) == [body, large.body]
    echo.stored([Entry(body, 1, 0, again=True)])
    assert echo.take(ALIVE_NS) == [body]
    echo.stored([Entry(body, 1, 0, again=True)])
    assert echo.wait_s(ALIVE_NS) is None
