"""The task that brings a sink's waiting points to it: one sink, one task, one request in flight.

Delivery guarantees: entries are written as the outbox gives them, each until it is stored or refused for
good, and only then the cursor moves: an entry may be written more than once, never skipped. Refused points
are in quarantine before the cursor moves. Where the server may have stored what it did not confirm, the write
counts as `ambiguous` and is repeated like any other; newer writings of its points are then written once
more when it must have ended (`echo`).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

import structlog

from gateway.errors import PointsRejected, SinkUnavailable
from gateway.sinks.drain import Drain
from gateway.waiting import first_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from gateway.ports import Clock, Sink
    from gateway.sinks.echo import Echo
    from gateway.sinks.outbox import Entry, Outbox

log = structlog.get_logger()

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0
LONGEST_ASKED_WAIT_S = 300.0
"""A server may ask for a longer wait, up to this."""
WRITE_BYTES = 8_000_000
"""What a sink is given at once, at most, but for one larger entry."""


class WriterState(StrEnum):
    """How a sink's writing goes."""

    STARTING = "starting"
    OK = "ok"
    DOWN = "down"
    PAUSED = "paused"
    """By a person, for some seconds: what is made meanwhile waits."""
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class WriterStatus:
    """Counts are since this process started; times are ns UTC of the gateway's clock, 0 = never.

    `last_error` and `hint` stay after the sink is back: they say what it was. `ambiguous` counts writes
    that may have been stored although they failed, `repeated` writes that were made again because of them.
    """

    state: WriterState
    since_ns: int
    last_error: str = ""
    hint: str = ""
    last_success_ns: int = 0
    retries: int = 0
    points: int = 0
    refused: int = 0
    ambiguous: int = 0
    repeated: int = 0


class Writer:
    """Reads the outbox, writes to the sink, moves the cursor. The sink must be registered in the outbox.

    `quarantine` is given the refused points as (line, reason) and returns once they are durable;
    `stored` is told of entries that the sink has (its latencies). `max_points` and `max_bytes` bound
    one write. What has waited for longer than `backlog_after_s` is backlog: `drain` paces it, and with
    `live_first` it gives way to what is new (the sink's order in the outbox is `live` then). `echo` is for
    sinks that overwrite and may leave a write unanswered. `sleep` and `random` (0 ≤ x < 1) are arguments for
    the tests' sake.
    """

    def __init__(
        self,
        *,
        sink: Sink,
        outbox: Outbox,
        clock: Clock,
        quarantine: Callable[[Sequence[tuple[bytes, str]]], Awaitable[None]],
        random: Callable[[], float],
        stored: Callable[[Sequence[Entry]], None] | None = None,
        sleep: Callable[[float], Coroutine[object, object, None]] = asyncio.sleep,
        max_points: int = 5_000,
        max_bytes: int = WRITE_BYTES,
        live_first: bool = False,
        backlog_after_s: float = 60.0,
        drain: Drain | None = None,
        echo: Echo | None = None,
    ) -> None:
        self._sink = sink
        self._outbox = outbox
        self._clock = clock
        self._quarantine = quarantine
        self._random = random
        self._told = stored
        self._sleep = sleep
        self._limits = (max_points, max_bytes)
        self._live_first = live_first
        self._backlog_after_s = backlog_after_s
        self._drain = drain or Drain(None)
        self._echo = echo
        self._stopping = asyncio.Event()
        self._grace: asyncio.Timeout | None = None
        self._pause_s = 0.0
        self._woken = asyncio.Event()
        self.status = WriterStatus(WriterState.STARTING, clock.now_ns())

    async def run(self) -> None:
        """Write until `stop`: then what waits is written, within the grace. Raises what is a bug or fatal."""
        try:
            async with asyncio.timeout(None) as grace:
                self._grace = grace
                await self._persist(self._check)
                while entries := await self._waiting():
                    await self._deliver(entries)
        except TimeoutError:
            if not grace.expired():
                raise
            waiting = self._outbox.depth(self._sink.name).points
            log.warning("sink stopped before all was written", sink=self._sink.name, waiting=waiting)
        finally:
            self._become(WriterState.STOPPED)

    def pause(self, seconds: float) -> None:
        """Write nothing for so long, from the next write on: what is made meanwhile waits in the outbox."""
        self._pause_s = seconds

    def wake(self) -> None:
        """Try again at once what failed: something has changed."""
        self._woken.set()

    def stop(self, *, grace_s: float) -> None:
        """Let `run` end: once nothing may be sent, at the latest after the grace. What waits stays on disk.

        To be called while `run` runs.
        """
        self._stopping.set()
        if self._grace is not None:
            self._grace.reschedule(asyncio.get_running_loop().time() + grace_s)

    async def _waiting(self) -> list[tuple[int, Entry]]:
        """Return the next entries; none only when stopping and nothing waits but what must wait its turn."""
        name, outbox = self._sink.name, self._outbox
        while True:
            repeat_s = await self._repeat()
            self._step_over()
            wait_s = self._drain.wait_s(self._clock.monotonic_ns())
            entries = await outbox.next(name, *self._limits, backlog=not wait_s)
            early = bool(entries) and wait_s > 0 and self._is_backlog(entries)
            if entries and not early:
                return entries
            if self._stopping.is_set():
                return []
            waits: list[Coroutine[object, object, object]] = [self._stopping.wait()]
            waits += [self._sleep(wait_s)] if wait_s else []
            waits += [] if repeat_s is None else [self._sleep(repeat_s)]
            waits += [] if early else [outbox.changed(name, backlog=not wait_s)]
            await first_of(*waits)

    def _step_over(self) -> None:
        """Let what has waited for too long give way to what is new."""
        if not self._live_first:
            return
        oldest_ns = self._outbox.oldest_ns(self._sink.name, live=True)
        if oldest_ns is not None and not self._is_young(oldest_ns):
            self._outbox.step_over(self._sink.name, self._is_young)

    def _is_young(self, oldest_ns: int) -> bool:
        return not oldest_ns or self._clock.since_s(oldest_ns) <= self._backlog_after_s

    def _is_backlog(self, entries: Sequence[tuple[int, Entry]]) -> bool:
        """Tell whether entries were stepped over, or would have been."""
        seq, entry = entries[0]
        return seq <= self._outbox.cursors()[self._sink.name] or not self._is_young(entry.oldest_ns)

    async def _deliver(self, entries: Sequence[tuple[int, Entry]]) -> None:
        """Write entries until they are stored or refused, then move the cursor past them."""
        await self._rest()
        had = [entry for _, entry in entries]
        points = sum(entry.count for entry in had)
        is_backlog = self._is_backlog(entries)
        # A sink may name a point twice; it cannot refuse more than there are.
        refused = min(await self._write([entry for entry in had if entry.count]), points)
        await self._outbox.advance(self._sink.name, entries[-1][0], refused=refused)
        if is_backlog:
            self._drain.sent(points, self._clock.monotonic_ns())
        if self._told is not None:
            self._told(had)
        before = self.status
        self.status = replace(
            before, points=before.points + points - refused, refused=before.refused + refused
        )

    async def _write(self, entries: Sequence[Entry]) -> int:
        """Write entries until they are stored; return how many points were refused, and are in quarantine."""
        if not entries:
            return 0  # newer writings of all that was in them were sent before
        doubts = self.status.ambiguous
        refused = await self._stored([entry.body for entry in entries], entries)
        if self._echo is not None and self.status.ambiguous == doubts:
            self._echo.stored(entries)
        return refused

    async def _stored(self, bodies: Sequence[bytes], entries: Sequence[Entry] = ()) -> int:
        """Write bodies, which are those of the entries, likewise."""
        try:
            await self._persist(lambda: self._sink.write(bodies), entries)
        except PointsRejected as rejected:
            log.warning(
                "points refused", sink=self._sink.name, points=len(rejected.lines), error=str(rejected)
            )
            await self._quarantine(rejected.lines)
            return len(rejected.lines)
        return 0

    async def _repeat(self) -> float | None:
        """Write once more what a late request may have overwritten; return in how many seconds that is due.

        At once where the gateway stops. None: there is nothing.
        """
        if self._echo is None:
            return None
        now_ns = self._clock.monotonic_ns()
        wait_s = self._echo.wait_s(now_ns)
        if wait_s is None or (wait_s and not self._stopping.is_set()):
            return wait_s
        await self._stored(self._echo.take(now_ns))
        self.status = replace(self.status, repeated=self.status.repeated + 1)
        return None

    async def _rest(self) -> None:
        """Keep a pause that was asked for; stopping ends it."""
        seconds, self._pause_s = self._pause_s, 0.0
        if seconds:
            self._become(WriterState.PAUSED)
            await first_of(self._sleep(seconds), self._stopping.wait())

    async def _check(self) -> None:
        await self._sink.check()

    async def _persist(self, work: Callable[[], Awaitable[None]], entries: Sequence[Entry] = ()) -> None:
        """Do the work until the sink takes it. Raises `PointsRejected`: it took all but those.

        `entries`: what is written, where an unanswered write of it must be remembered.
        """
        failures = 0
        while True:
            try:
                await work()
            except SinkUnavailable as error:
                failures += 1
                self._failed(error)
                if error.ambiguous and self._echo is not None:
                    self._echo.doubt(entries, self._clock.monotonic_ns())
                self._woken.clear()
                await first_of(self._sleep(self._wait_s(failures, error.retry_after_s)), self._woken.wait())
            except PointsRejected:
                self._succeeded(failures)
                raise
            else:
                self._succeeded(failures)
                return

    def _wait_s(self, failures: int, asked_s: float | None) -> float:
        """Double each time up to the longest, less up to a half by chance; never less than was asked for."""
        wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(failures - 1, 10)) * (1 - self._random() / 2)
        return max(wait_s, min(asked_s or 0.0, LONGEST_ASKED_WAIT_S))

    def _failed(self, error: SinkUnavailable) -> None:
        """Note a failure; say it once, not once a try."""
        said, known = str(error), self.status
        if known.state is not WriterState.DOWN or said != known.last_error:
            log.error("sink unavailable", sink=self._sink.name, error=said, hint=error.hint)
        self._become(WriterState.DOWN)
        self.status = replace(
            self.status,
            last_error=said,
            hint=error.hint,
            retries=known.retries + 1,
            ambiguous=known.ambiguous + error.ambiguous,
        )

    def _succeeded(self, failures: int) -> None:
        if failures:
            log.info("sink is back", sink=self._sink.name, retries=failures)
        self._become(WriterState.OK)
        self.status = replace(self.status, last_success_ns=self._clock.now_ns())

    def _become(self, state: WriterState) -> None:
        if state is not self.status.state:
            self.status = replace(self.status, state=state, since_ns=self._clock.now_ns())
