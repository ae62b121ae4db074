"""The river on one page: receive → journal → acknowledge → treat → outlets → checkpoint.

Delivery guarantees: an uplink is acknowledged only once the journal has it; everything behind the
journal is a function of it, so a crash at any `await` below is repaired by `recover`. What is cut off
between append and acknowledge is sent again by the broker and found to be a duplicate, where it has a
device time or a sequence. A task that is cancelled inside `receive`, `change` or `work` is such a
crash: nothing more may flow in this process, since the journal may hold what was not treated.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from gateway import saving
from gateway.batch_queue import BatchQueue, Entry
from gateway.model import Control, Frames, RawBatch
from gateway.waiting import first_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.ports import Clock, Journal, Meters, Source, StateStore
    from gateway.saving import Saved
    from gateway.treatment import Product, Treatment


@dataclass(frozen=True, slots=True)
class Pace:
    """How often and how much. Seconds of the machine's clock, whatever the time scale."""

    gather_s: float = 0.1
    gather_uplinks: int = 10_000
    gather_bytes: int = 16_000_000
    queue_uplinks: int = 100_000
    queue_bytes: int = 64_000_000
    flush_s: float = 1.0
    checkpoint_s: float = 5.0


class Outlet(Protocol):
    """Where a product goes before the checkpoint: an outbox log with its encoder, or the quarantine."""

    name: str

    @property
    def full(self) -> bool:
        """Whether nothing more may be journalled for now: the outbox of a `hold` sink is full."""
        ...

    async def room(self) -> None:
        """Return once it is not full."""
        ...

    async def take(self, product: Product) -> None:
        """Take what concerns this outlet, full or not."""
        ...

    async def settle(self) -> dict[str, Any]:
        """Make durable all that was taken and is needed; return what the checkpoint must remember of it."""
        ...

    async def recover(self, mark: dict[str, Any]) -> None:
        """Go back to a checkpoint's mark ({} at the very start): the replay makes the rest again."""
        ...

    async def checkpointed(self, mark: dict[str, Any]) -> None:
        """That mark is now the one to recover to."""
        ...


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
        clock: Clock,
        meters: Meters,
        pace: Pace,
        scan: Callable[[Frames, int], RawBatch],
        keep_after: Callable[[], int],
        caught_up: Callable[[], bool],
    ) -> None:
        self._journal = journal
        self._treatment = treatment
        self._outlets = outlets
        self._state = state
        self._saved = saved.cut
        self._saved_devices = saved.rules.devices
        self._clock = clock
        self._meters = meters
        self._pace = pace
        self._scan = scan
        self._keep_after = keep_after
        self._caught_up = caught_up
        self._order = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._flushed_ns = self._checkpointed_ns = clock.monotonic_ns()
        self.queue = BatchQueue(max_uplinks=pace.queue_uplinks, max_bytes=pace.queue_bytes)
        self.position = saved.cut.position
        """Everything up to here in the journal was treated."""
        self.connection = saved.cut.connection
        """The number of the last connection to the broker."""
        self.held_since_ns = 0
        """Since when a full outlet holds everything, ns UTC; 0: none does."""
        self.filters: Sequence[str] = saved.cut.filters
        """What that session subscribed to."""

    @property
    def saved_position(self) -> int:
        """The position of the last checkpoint."""
        return self._saved.position

    async def recover(self, progress: Callable[[int], None], stopping: asyncio.Event) -> bool:
        """Put the outlets back to the last checkpoint, then replay the journal from there.

        Windows are closed by the receive times of what is replayed, as they were before the crash.
        Returns False where `stopping` was set before the end: what was done is in the checkpoint.
        """
        for outlet in self._outlets:
            await outlet.recover(self._saved.marks.get(outlet.name, {}))
        end, entries, uplinks, size = self._journal.end, list[Entry](), 0, 0
        async with contextlib.aclosing(self._journal.read(self.position)) as records:
            async for position, record in records:
                content = record if isinstance(record, Control) else self._scan(record, position)
                entries.append(entry := Entry(position, content))
                uplinks, size = uplinks + entry.uplinks, size + entry.bytes
                if uplinks >= self._pace.gather_uplinks or size >= self._pace.gather_bytes:
                    await self._replay(entries, through=position)
                    progress(position)
                    entries, uplinks, size = [], 0, 0
                    if stopping.is_set():
                        await self._replayed()
                        return False
        await self._replay(entries, through=max(end, self.position))
        await self._replayed()
        return True

    async def change(self, records: Sequence[Control]) -> None:
        """Let control records take effect, with no uplink between them; returns once they have.

        They do so by being appended, like everything else: a replay finds them at the same place.
        """
        if not records:
            return
        treated = asyncio.Event()
        async with self._order:
            positions = await self._journal.append_many(records)
            for position, record in zip(positions, records, strict=True):
                last = treated if position == positions[-1] else None
                await self.queue.put(Entry(position, record, last))
        await treated.wait()

    async def receive(self, source: Source) -> None:
        """Journal and acknowledge what the source reads, until it ends.

        Where an outlet is full, nothing is taken, and what nobody sends again (QoS 0) is refused; what is in
        hand when the river is stopped meanwhile is left to the broker. Raises what the source raises, and
        JournalError.
        """
        async with contextlib.aclosing(source.batches()) as batches:
            async for each in batches:
                batch = each
                if self._full():
                    batch = source.promised(each)
                    if not await self._room(source):
                        return
                    if not len(batch):
                        continue
                async with self._order:  # so that the queue has the journal's order
                    position = await self._journal.append(_frames(batch))
                    self._count(len(batch))
                    self._meters.durable(self._clock.since_s(batch.received_ns), len(batch))
                    await source.acknowledge(batch)
                    await self.queue.put(Entry(position, replace(batch, position=position)))

    def stop(self) -> None:
        """Let `receive` wait no longer for room."""
        self._stopping.set()

    async def work(self) -> None:
        """Treat what the journal has, deliver, checkpoint; until the queue is closed and empty."""
        pace = self._pace
        while (
            entries := await self.queue.take(
                most=pace.gather_uplinks, gather_s=pace.gather_s, wait_s=pace.flush_s / 4
            )
        ) is not None:
            await self._pass(entries, now_ns=self._clock.now_ns(), caught_up=self._caught_up())
            await self._checkpoint_in_time()
        await self._checkpoint()

    def _full(self) -> list[Outlet]:
        return [outlet for outlet in self._outlets if outlet.full]

    async def _room(self, source: Source) -> bool:
        """Hold the source while an outlet is full; False where the river is stopped meanwhile."""
        self.held_since_ns = self._clock.now_ns()
        source.hold(held=True)
        try:
            while full := self._full():
                if self._stopping.is_set():
                    return False
                await first_of(full[0].room(), self._stopping.wait())
        finally:
            source.hold(held=False)
            self.held_since_ns = 0
        return True

    async def _replay(self, entries: Sequence[Entry], *, through: int) -> None:
        """Treat records of the journal once more, up to `through`; damaged ones are set aside."""
        aside = self._journal.set_aside(self.position, through)
        self._treatment.books.uplinks.set_aside += aside
        self._treatment.books.uplinks.journalled += aside
        self._count(sum(entry.uplinks for entry in entries))
        received = [e.content.received_ns for e in entries if isinstance(e.content, RawBatch)]
        await self._pass(entries, now_ns=min([self._clock.now_ns(), *received[-1:]]), caught_up=False)
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
            self._treatment.uplinks(batches)
            self._treatment.control(entry.content)
            batches = []
            if entry.treated is not None:
                entry.treated.set()
        self._treatment.uplinks(batches)
        self.connection = max([self.connection, *(_connection(entry) for entry in entries)])
        self.position = entries[-1].position if entries else self.position
        if self._since_s(self._flushed_ns) >= self._pace.flush_s:
            for _ in self._treatment.close_windows(now_ns, settled=caught_up):
                await self._deliver()
            self._flushed_ns = self._clock.monotonic_ns()
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
        """Tie the state to the journal's position, once what the outlets took is durable."""
        treatment, before = self._treatment, self._saved
        self._checkpointed_ns = self._clock.monotonic_ns()
        marks = await self._settle()
        changes, devices = treatment.aggregator.dirty(), treatment.rules.devices
        changes.cells.update(saving.device_cells(devices, self._saved_devices))
        now = saving.Cut(
            position=self.position,
            connection=self.connection,
            filters=tuple(self.filters),
            marks=marks,
        )
        if now == before and not changes.cells:
            return
        meta = saving.encode(
            now,
            books=treatment.books.treated(),
            rules=treatment.rules if treatment.rules_changed else None,
            identities=treatment.identities,
            rates=treatment.rates,
            accepted=treatment.routes.unknown,
        )
        await asyncio.to_thread(self._state.commit, changes, meta)
        treatment.rules_changed, self._saved_devices = False, devices
        treatment.aggregator.committed()
        self._saved = now
        for outlet in self._outlets:
            await outlet.checkpointed(now.marks[outlet.name])
        await self._journal.trim(min(now.position, self._keep_after()) + 1)

    async def _settle(self) -> dict[str, dict[str, Any]]:
        """Settle all outlets; return their marks by name."""
        async with asyncio.TaskGroup() as settling:
            tasks = {o.name: settling.create_task(o.settle(), name=f"settle {o.name}") for o in self._outlets}
        return {name: task.result() for name, task in tasks.items()}

    def _count(self, uplinks: int) -> None:
        """Write uplinks into the first book: the journal has them, decoding has not."""
        book = self._treatment.books.uplinks
        book.journalled += uplinks
        book.pending += uplinks

    def _since_s(self, began_ns: int) -> float:
        return (self._clock.monotonic_ns() - began_ns) / 1e9


def _connection(entry: Entry) -> int:
    return entry.content.connection if isinstance(entry.content, RawBatch) else 0


def _frames(batch: RawBatch) -> Frames:
    return Frames(
        source=batch.source,
        connection=batch.connection,
        session=batch.session,
        protocol=batch.protocol,
        received_ns=batch.received_ns,
        count=len(batch),
        frames=batch.frames,
    )
