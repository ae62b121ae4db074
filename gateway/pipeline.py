"""The river on one page: receive → journal → acknowledge → treat → outlets → checkpoint.

Delivery guarantees: an uplink is acknowledged only once the journal has it; everything behind the
journal is a function of it, so a crash at any `await` below is repaired by `recover`. What is cut off
between append and acknowledge is sent again by the broker and found to be a duplicate, where it has a
device time or a sequence, or came at QoS 2. A task that is cancelled inside `receive`, `note`, `work` or
`watch` is such a crash: nothing more may flow in this process, since the journal may hold what was not
treated. One that is cancelled inside `change` or `readmit` sees to that itself.

While the clock is suspect, everything is journalled and acknowledged as ever, and treated only once it is
settled, from the journal: see `gateway.suspicion`.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gateway import suspicion
from gateway.batch_queue import BatchQueue, Entry
from gateway.checkpoints import Checkpoints
from gateway.clock_watch import ClockWatch
from gateway.errors import NotReady
from gateway.model import Control, ControlKind, Frames, RawBatch
from gateway.rereading import gathered, parted
from gateway.saving import Cut
from gateway.suspicion import Corrections
from gateway.waiting import first_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from gateway.checkpoints import Outlet
    from gateway.model import Readmitted
    from gateway.ports import Journal, Meters, Source, StateStore, SteppingClock
    from gateway.saving import Saved
    from gateway.suspicion import Span
    from gateway.treatment import Treatment


@dataclass(frozen=True, slots=True)
class Pace:
    """How often and how much. Seconds of the machine's clock, whatever the time scale."""

    gather_s: float = 0.1
    gather_uplinks: int = 10_000
    gather_bytes: int = 16_000_000
    queue_uplinks: int = 100_000
    queue_bytes: int = 64_000_000
    suspect_bytes: int = 20_000_000_000
    """As much is journalled while the clock is suspect; then the broker waits."""
    look_s: float = 0.25
    """How often the clock is looked at; each read from the broker is stamped by it besides."""
    flush_s: float = 1.0
    checkpoint_s: float = 5.0


class River:
    """The stages in order, and the tasks that move them.

    `scan` cuts a journal record's frames into a batch; `keep_after` is the position behind which the
    journal is still needed, besides the last checkpoint's. `caught_up` tells whether what the broker
    had kept for us has come in: before, windows that can be written only once would miss it.
    """

    def __init__(
        self,
        *,
        journal: Journal,
        treatment: Treatment,
        outlets: Sequence[Outlet],
        state: StateStore,
        saved: Saved,
        clock: SteppingClock,
        meters: Meters,
        pace: Pace,
        scan: Callable[[Frames | Readmitted, int], RawBatch],
        keep_after: Callable[[], int],
        caught_up: Callable[[], bool],
    ) -> None:
        self._journal = journal
        self._treatment = treatment
        self._outlets = outlets
        self._checkpoints = Checkpoints(
            journal=journal,
            treatment=treatment,
            outlets=outlets,
            state=state,
            saved=saved,
            keep_after=keep_after,
        )
        self._clock = clock
        self._meters = meters
        self._pace = pace
        self._scan = scan
        self._caught_up = caught_up
        self._order = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._corrections = saved.cut.corrections
        self._settled = asyncio.Event()
        """The clock is not suspect, for all that the journal has."""
        self._settled.set()
        self._suspends = False
        """What is being treated stands at the beginning of a suspect span: nothing goes on before its end."""
        self._leaves = False
        """Nothing more is treated: the next start replays it."""
        self.watched = ClockWatch(clock)
        self._flushed_ns = self._checkpointed_ns = clock.monotonic_ns()
        self.queue = BatchQueue(max_uplinks=pace.queue_uplinks, max_bytes=pace.queue_bytes)
        self.position = saved.cut.position
        """Everything up to here in the journal was treated."""
        self.connection = saved.cut.connection
        """The number of the last connection to the broker."""
        self.held_since_ns = 0
        """Since when nothing is taken (an outlet is full, or the clock must be settled), ns UTC; 0: it is."""
        self.filters: Sequence[str] = saved.cut.filters
        """What that session subscribed to."""

    @property
    def saved_position(self) -> int:
        """The position of the last checkpoint."""
        return self._checkpoints.last.position

    async def recover(self, progress: Callable[[int], None], stopping: asyncio.Event) -> bool:
        """Put the outlets back to the last checkpoint, then replay the journal from there.

        Windows are closed by the receive times of what is replayed, as they were before the crash; then
        the clock is judged. Returns False where `stopping` was set before the end: what was done is in
        the checkpoint.
        """
        await self._checkpoints.recover()
        done = await self._replay_to(self._journal.end, progress, stopping)
        await self._replayed()
        if done:
            self.watched.start(self._journal.newest_ns)
            await self.look_at_clock()
        return done

    async def change(self, records: Sequence[Control]) -> bool:
        """Let control records take effect, with no uplink between them; returns once they have.

        They do so by being appended, like everything else: a replay finds them at the same place. Returns
        False, and does nothing, while the clock is suspect: they would wait for its being settled.
        """
        if not records:
            return True
        treated = asyncio.Event()
        async with self._in_order():
            if self.watched.span is not None:
                return False
            positions = await self._journal.append_many(records)
            for position, record in zip(positions, records, strict=True):
                last = treated if position == positions[-1] else None
                await self.queue.put(Entry(position, record, last))
        await treated.wait()
        return True

    async def note(self, record: Control) -> None:
        """Let a control record take effect at its place; returns once it is durable, treated or not.

        Waits for no outlet: what it says is so, whether uplinks are taken or not. While the clock is
        suspect it waits in the journal, behind the uplinks that it came after.
        """
        async with self._order:
            position = await self._journal.append(record)
            if self.watched.span is None:
                await self.queue.put(Entry(position, record))

    async def readmit(self, records: Sequence[Readmitted]) -> None:
        """Let uplinks in again from quarantine; returns once they were treated and what came of it delivered.

        Raises NotReady, with nothing done, where an outlet is full, or while the clock is suspect.
        """
        if not records:
            return
        if full := [outlet.name for outlet in self._outlets if outlet.full]:
            what = f"nothing is taken in for now: {', '.join(full)} is full"
            raise NotReady(what, hint="a sink does not take what waits for it: ecluse status")
        batches = [self._scan(record, 0) for record in records]  # first: what is journalled must be readable
        treated = asyncio.Event()
        async with self._in_order():
            if self.watched.span is not None:
                hint = "it is by itself, in a minute, or once confirmed: ecluse clock"
                raise NotReady("the clock is suspect: nothing is let in before it is settled", hint=hint)
            positions = await self._journal.append_many(records)
            self._count(sum(map(len, batches)))
            for position, batch in zip(positions, batches, strict=True):
                last = treated if position == positions[-1] else None
                await self.queue.put(Entry(position, replace(batch, position=position), last))
        await treated.wait()

    @contextlib.asynccontextmanager
    async def _in_order(self) -> AsyncGenerator[None, None]:
        """Hold the journal's order. Who is cancelled meanwhile may have appended what the queue never gets.

        Nothing is treated then any more, lest what stands behind it be: the next start replays all of it.
        """
        async with self._order:
            try:
                yield
            except asyncio.CancelledError:
                self.leave()
                raise

    async def receive(self, source: Source) -> None:
        """Journal and acknowledge what the source reads, until it ends.

        Where an outlet is full, or too much waits for the clock, nothing is taken, and what nobody sends
        again (QoS 0) is refused; what is in hand when the river is stopped meanwhile is left to the broker.
        Raises what the source raises, and JournalError.
        """
        async with contextlib.aclosing(source.batches()) as batches:
            async for each in batches:
                batch = each
                if self._full() or self.waits_for_clock:
                    batch = source.promised(each)
                    if not await self._room(source):
                        return
                    if batch.is_empty:
                        continue
                async with self._order:  # so that the queue has the journal's order
                    await self._take(self.watched.dated(batch), source)

    async def _take(self, batch: RawBatch, source: Source) -> None:
        """Journal and acknowledge a batch, then queue it; while the clock is suspect, the journal has it."""
        if self.watched.has_turned:
            await self._turn()
        position = await self._journal.append(batch.record())
        self._count(len(batch))
        self._meters.durable(self._clock.since_s(batch.received_ns), len(batch))
        await source.acknowledge(batch)
        if self.watched.span is None:
            await self.queue.put(Entry(position, replace(batch, position=position)))
        else:
            self.watched.span.add(len(batch), len(batch.frames))

    def stop(self) -> None:
        """Let `receive` wait no longer for room."""
        self._stopping.set()

    def leave(self) -> None:
        """Treat no more: `work` ends soon, with a checkpoint, and the next start replays what it left."""
        self._leaves = True

    async def watch(self) -> None:
        """Look at the clock, again and again."""
        while True:
            await asyncio.sleep(self._pace.look_s)
            await self.look_at_clock()

    async def look_at_clock(self) -> None:
        """Let what is journalled from here on wait, where the clock has stepped, until it is settled."""
        async with self._order:
            await self._turn()

    async def work(self) -> None:
        """Treat what the journal has, deliver, checkpoint; until the queue is closed and empty."""
        pace = self._pace
        while (
            entries := await self.queue.take(
                most=pace.gather_uplinks, gather_s=pace.gather_s, wait_s=pace.flush_s / 4
            )
        ) is not None:
            for part in parted(entries) if entries else [entries]:
                if not self._leaves:
                    await self._treat(part)
            await self._checkpoint_in_time()
        await self._checkpoint()

    @property
    def waits_for_clock(self) -> bool:
        """Whether so much waits for the clock to be settled that nothing more is taken from the broker."""
        span = self.watched.span
        return span is not None and span.bytes >= self._pace.suspect_bytes

    def _full(self) -> list[Outlet]:
        return [outlet for outlet in self._outlets if outlet.full]

    async def _room(self, source: Source) -> bool:
        """Hold the source while an outlet is full, or too much waits for the clock; False where we stop."""
        self.held_since_ns = self._clock.now_ns()
        source.hold(held=True)
        try:
            return await self._has_room()
        finally:
            source.hold(held=False)
            self.held_since_ns = 0

    async def _has_room(self) -> bool:
        """Wait while an outlet is full, or too much waits for the clock; False where we stop meanwhile."""
        while await self._outlets_have_room():
            if not self.waits_for_clock:
                return True
            if self._stopping.is_set():
                return False
            await first_of(self._settled.wait(), self._stopping.wait())
        return False

    async def _outlets_have_room(self) -> bool:
        """Wait while an outlet is full; False where the river is stopped meanwhile."""
        while full := self._full():
            if self._stopping.is_set():
                return False
            await first_of(full[0].room(), self._stopping.wait())
        return True

    async def _turn(self) -> None:
        """Journal what there is to say of the clock, if anything. `_order` is held."""
        record = self.watched.record(self._journal.newest_ns)
        if record is None:
            return
        position = await self._journal.append(record)
        self.watched.take(position, record)
        if self.watched.span is None:
            self._settled.set()
        else:
            self._settled.clear()
        await self.queue.put(Entry(position, record))

    async def _treat(self, entries: Sequence[Entry]) -> None:
        """Treat what was queued; a clock's record stands alone."""
        turn = entries[0].clock if entries else None
        if turn is None:
            await self._pass(entries, now_ns=self._clock.now_ns(), caught_up=self._caught_up())
        elif turn.kind is ControlKind.CLOCK_SUSPECT:
            self._suspends = True
        else:
            self._end_span(entries[0].position, turn)
            await self._catch_up(entries[0].position)

    def _end_span(self, position: int, end: Control) -> None:
        self._corrections = suspicion.corrections(position, end)
        self._suspends = False

    async def _catch_up(self, through: int) -> None:
        """Treat, from the journal, what came while the clock was suspect."""
        async with contextlib.aclosing(self._lots(through)) as lots:
            async for entries in lots:
                await self._replay(entries, through=entries[-1].position, counted=True)
                if self._leaves or not await self._outlets_have_room():
                    self._leaves = True
                    return
        await self._replay([], through=through, counted=True)

    def _lots(self, through: int) -> AsyncGenerator[Sequence[Entry], None]:
        """Read the journal on from what was treated last."""
        return gathered(
            self._journal,
            after=self.position,
            through=through,
            scan=self._scan,
            corrections=self._corrections,
            most=self._pace.gather_uplinks,
            most_bytes=self._pace.gather_bytes,
        )

    async def _replay_to(self, end: int, progress: Callable[[int], None], stopping: asyncio.Event) -> bool:
        """Replay up to a place, or to a suspect span that has no end; False where stopped before."""
        while (ended := await self._replay_on(end, progress, stopping)) is None:
            pass  # a span's end was found: once more, from its beginning
        if self.watched.span is not None:
            self._suspends = True
            self._settled.clear()
            self._count(self.watched.span.uplinks)
        elif ended:
            await self._replay([], through=max(end, self.position))
        return ended

    async def _replay_on(
        self, end: int, progress: Callable[[int], None], stopping: asyncio.Event
    ) -> bool | None:
        """Replay, but pass over what waits for a clock to be settled; None where that was found to be."""
        async with contextlib.aclosing(self._lots(end)) as lots:
            async for entries in lots:
                turn = entries[0].clock
                if turn is not None and entries[0].position > self._corrections.through:
                    if self.watched.replay(entries[0].position, turn):
                        self._end_span(entries[0].position, turn)
                        return None
                elif self.watched.span is not None:
                    self._pass_over(entries, self.watched.span)
                else:
                    await self._replay(entries, through=entries[-1].position)
                progress(entries[-1].position)
                if stopping.is_set():
                    return False
        return True

    def _pass_over(self, entries: Sequence[Entry], span: Span) -> None:
        """Leave entries for the time when the clock will have been settled."""
        self.connection = max([self.connection, *(entry.connection for entry in entries)])
        for entry in entries:
            span.add(entry.uplinks, entry.bytes)

    async def _replay(self, entries: Sequence[Entry], *, through: int, counted: bool = False) -> None:
        """Treat records of the journal, up to `through`; damaged ones are set aside.

        `counted`: the first book has them already, as pending.
        """
        book, aside = self._treatment.books.uplinks, self._journal.set_aside(self.position, through)
        book.set_aside += aside
        if counted:
            book.pending -= aside
        else:
            book.journalled += aside
            self._count(sum(entry.uplinks for entry in entries))
        taken = [e.content.at_ns for e in entries if isinstance(e.content, RawBatch)]
        await self._pass(entries, now_ns=min([self._clock.now_ns(), *taken[-1:]]), caught_up=False)
        self.position = through
        await self._checkpoint_in_time()

    async def _replayed(self) -> None:
        """Write again what was sent before the crash and that other batches may have told otherwise."""
        self._treatment.rewrite_replayed()
        await self._deliver()
        await self._checkpoint()

    async def _pass(self, entries: Sequence[Entry], *, now_ns: int, caught_up: bool) -> None:
        """Treat entries, close the windows whose time has come, and deliver what came of it."""
        batches: list[RawBatch] = []
        for entry in entries:
            if isinstance(entry.content, RawBatch):
                batches.append(entry.content)
                continue
            if entry.clock:
                continue  # of a span that is settled: its receive times are corrected
            await self._uplinks(batches)
            if entry.content.kind is ControlKind.REWRITE:
                await self._rewrite(entry.content)
            else:
                self._treatment.control(entry.content)
            batches = []
        await self._uplinks(batches)
        self.connection = max([self.connection, *(entry.connection for entry in entries)])
        self.position = entries[-1].position if entries else self.position
        if not self._suspends and self._since_s(self._flushed_ns) >= self._pace.flush_s:
            for _ in self._treatment.close_windows(now_ns, settled=caught_up):
                await self._deliver()
            self._flushed_ns = self._clock.monotonic_ns()
        await self._deliver()
        for entry in entries:
            if entry.treated is not None:
                entry.treated.set()

    async def _uplinks(self, batches: Sequence[RawBatch]) -> None:
        """Treat uplinks. What vendors' codecs have to do is done aside: the loop never waits for one."""
        work = self._treatment.codec_work(batches)
        if work:
            await asyncio.to_thread(self._treatment.codecs.prepare, work)
        self._treatment.uplinks(batches)

    async def _rewrite(self, record: Control) -> None:
        """Deliver what stands before a rewriting, then it: of each point the last writing must be the last.

        Windows are closed first, since a replay that goes fast closes them seldom, and they came before.
        """
        for _ in self._treatment.close_windows(record.at_ns, settled=False):
            await self._deliver()
        await self._deliver()
        self._treatment.control(record)
        await self._deliver()

    async def _deliver(self) -> None:
        """Give every outlet what the treatment gave."""
        product = self._treatment.take()
        if product:
            async with asyncio.TaskGroup() as delivering:
                for outlet in self._outlets:
                    delivering.create_task(outlet.take(product), name=f"outlet {outlet.name}")

    async def _checkpoint_in_time(self) -> None:
        if self._since_s(self._checkpointed_ns) >= self._pace.checkpoint_s:
            await self._checkpoint()

    async def _checkpoint(self) -> None:
        """Tie the state to the journal's position."""
        self._checkpointed_ns = self._clock.monotonic_ns()
        within = self.position < self._corrections.through
        await self._checkpoints.make(
            Cut(
                position=self.position,
                connection=self.connection,
                filters=tuple(self.filters),
                corrections=self._corrections if within else Corrections(),
            )
        )

    def _count(self, uplinks: int) -> None:
        """Write uplinks into the first book: the journal has them, decoding has not."""
        book = self._treatment.books.uplinks
        book.journalled += uplinks
        book.pending += uplinks

    def _since_s(self, began_ns: int) -> float:
        return (self._clock.monotonic_ns() - began_ns) / 1e9
