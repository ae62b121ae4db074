"""The log of encoded points in front of sinks that take the same bytes, with a cursor a sink.

What is durable when. Everything here is a function of the journal: after a crash the log is cut back to
the last checkpoint's end, and the replay makes the rest again. So `append` and `advance` change memory
alone, and no more than this is written:

- `settle`, before a checkpoint is committed: all entries that still wait for a sink, the cursors and what
  became of points, in one synced transaction. What it returns is for the checkpoint. It can be recovered
  whatever happens next.
- Where the entries in memory cost more than `MEMORY_BYTES` (a sink is slow or away): the oldest, not
  synced; and entries that all sinks have answered for are never written at all.
- Cursors and what became of points soon after they move, not synced; and all of it at `close`.

A crash between a sink's answer and the cursor's way to the file sends those entries again. An entry stays
until it waits for no sink. A sink that is new begins at the log's end; a sink that is taken
away (`unregister`) loses what waited. A `hold` sink whose waiting bytes reach the limit makes the outbox
`full`: the caller then waits with `room`, and appends no more than it has in hand. A `drop-oldest` sink is
passed over what is too old.

A sink whose order is `live` may step over what waits: what comes then goes first, and what was stepped over
is given in between, without the points of which the sink has had a newer writing since: writings of one
point never overtake each other, and those left out are counted as superseded.

A failed write or sync is fatal (StateError): nothing is tried again; the restart replays.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import structlog

from gateway import durable
from gateway.errors import StateError
from gateway.sinks import line_keys
from gateway.sinks.outbox_cursor import Standing
from gateway.sinks.outbox_file import OutboxFile
from gateway.sinks.outbox_filing import Filing
from gateway.sinks.outbox_log import OutboxLog
from gateway.sinks.outbox_model import Depth, Entry, Order, Policy, Recovered, Settled, SinkTotals

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from gateway.damage import Aside
    from gateway.sinks.outbox_cursor import Stretch
    from gateway.sinks.outbox_model import Bodies, Change, Loaded, Mark

__all__ = ["Depth", "Entry", "Order", "Outbox", "Policy", "Recovered", "Settled", "SinkTotals", "Standing"]

MEMORY_BYTES = 32 << 20
"""What waiting entries may cost in memory: seconds of the fullest river, so that a database which answers
within that time costs no disk; and when it does not, half of it goes to the file at once."""
NOTE_S = 0.5
"""After a cursor has moved, the file hears of it within this time: what a kill sends again is no more."""

said = structlog.get_logger("ecluse")
P = ParamSpec("P")
T = TypeVar("T")


class Outbox:
    """A log, its file, and those who wait for it. Figures cost no disk access.

    The log is the event loop's; the file is the worker's, and hears of the log by values alone. So what
    touches memory alone takes effect at once, with no thread between.

    Calls for a sink that is not registered raise KeyError. One task calls `append`, `settle` and
    `checkpointed`; one task a sink calls `next`, `advance`, `step_over` and `changed`.
    """

    def __init__(
        self,
        file: OutboxFile,
        loaded: Loaded,
        worker: durable.Worker,
        *,
        max_bytes: int,
        memory_bytes: int,
        bodies: Bodies,
    ) -> None:
        """Use `Outbox.open`."""
        self._file = file
        self._worker = worker
        self._log = OutboxLog(loaded, max_bytes, bodies)
        self._filing = Filing(self._log, loaded, memory_bytes)
        self._news: dict[tuple[str, bool], asyncio.Event] = {}
        self._room = asyncio.Event()
        self._writing: asyncio.Future[None] | None = None
        self._purging: asyncio.Future[Sequence[Stretch]] | None = None
        self._noting: asyncio.TimerHandle | None = None
        self._closing = False
        self._failed = ""
        self._refresh()

    @classmethod
    async def open(
        cls, path: Path, *, max_bytes: int, memory_bytes: int = MEMORY_BYTES, bodies: Bodies = line_keys
    ) -> Outbox:
        """Open a log's file, made where it does not exist. `max_bytes` bounds what waits for one sink.

        `memory_bytes` bounds what waiting entries cost in memory, beside those that a sink has in hand and
        those that one `append` brings. `bodies` is how entries are encoded. A damaged file is set aside
        (`aside`), what is sound of it goes on. Raises StateError: of another version, not accessible.
        """
        worker = durable.Worker("outbox")
        with durable.translated(StateError, f"the outbox {path} cannot be opened"):
            try:
                file, loaded = await worker.run(OutboxFile.open, path)
            except BaseException:
                await worker.close(lambda: None)
                raise
        return cls(file, loaded, worker, max_bytes=max_bytes, memory_bytes=memory_bytes, bodies=bodies)

    async def register(self, sink: str, policy: str, order: str = Order.BACKLOG) -> None:
        """Give a sink a cursor: its own where it has one, else at the end.

        Raises ValueError where there is no such policy or order; StateError.
        """
        self._require_sound()
        self._log.register(sink, Policy(policy), Order(order))
        await self._write(self._filing.rest)

    async def unregister(self, sink: str) -> None:
        """Forget a sink, its books, and what waits for it alone."""
        self._require_sound()
        self._log.unregister(sink)
        await self._write(self._filing.rest)

    async def append(self, entries: Sequence[Entry]) -> int:
        """Put entries behind the end; return it, once memory holds no more than it may.

        They can be sent at once, and are in the log even where this call is cancelled. Raises StateError.
        """
        self._require_sound()
        if entries:
            self._log.append(entries)
            self._refresh()
            await self._drop_oldest()
            await self._relieve_memory()
        return self.end

    async def next(
        self, sink: str, max_points: int, max_bytes: int, *, backlog: bool = True
    ) -> list[tuple[int, Entry]]:
        """Return the sink's next entries: at least one where any waits, else up to both limits.

        They stand in the log as they are given, one right behind the other. The same ones come again until
        `advance`, unless something newer goes first. `backlog` False: nothing that was stepped over. An
        entry may come with fewer points than it has, or with none (see the module's docstring). Entries
        that cannot be read are passed over, counted as dropped and listed in `damaged`. Raises StateError.
        """
        self._require_sound()
        log = self._log
        while (span := log.turn(sink, backlog=backlog)) is not None:
            if not log.in_file(span):
                return log.take(sink, span, max_points, max_bytes)
            through = log.filed(span)
            found = await self._ask(self._file.read, span.after.seq, through, max_points, max_bytes)
            if taken := log.take_found(sink, span, found, max_points, max_bytes):
                return taken
            if found.gap is not None:
                said.error("points of the outbox are lost", sink=sink, entries=found.gap.seq - found.after)
            self._moved()
        return []

    async def advance(self, sink: str, through: int, *, refused: int = 0) -> None:
        """Take a sink's answer for what it was given, up to entry `through`.

        All points that it was given up to there are stored but for those refused (in quarantine). Raises
        ValueError where that is more than there are, or where the sink was not given that entry; StateError.
        """
        self._require_sound()
        self._log.advance(sink, through, refused=refused)
        self._moved()

    def step_over(self, sink: str, is_young: Callable[[int], bool]) -> None:
        """Let a sink whose order is `live` leave what waits for later, but for what is young.

        `is_young` is asked about receive times (ns UTC; 0: not known). Where what was stepped over before
        would have to be remembered in too many places or points, nothing happens.
        """
        if self._log.step_over(sink, is_young):
            self._moved()

    def oldest_ns(self, sink: str, *, live: bool) -> int | None:
        """Return the receive time of the oldest uplink that waits (`live`: and was not stepped over)."""
        return self._log.oldest_ns(sink, live=live)

    async def changed(self, sink: str, *, backlog: bool = True) -> None:
        """Return once `next` would give the sink something: at once where it does already."""
        await self._news.setdefault((sink, backlog), asyncio.Event()).wait()

    async def room(self) -> None:
        """Return once the outbox is not full: at once where it is not."""
        await self._room.wait()

    async def recover(
        self, end: int, cursors: Mapping[str, int], standing: Standing | None = None
    ) -> Recovered:
        """Put the log back to a checkpoint's end and cursors, before anything is appended or sent.

        What stands beyond is made again by the replay; what had been sent of it moves from stored and
        refused to replayed. A log that ends before the checkpoint's end is founded anew on what stood then:
        sinks are passed over what the file does not have. Raises StateError.
        """
        self._require_sound()
        await self._write(self._filing.rest)
        if standing is not None and self._log.end.seq < standing.end.seq:
            self._log.found(standing)
        recovered = self._log.recover(end, cursors)
        self._filing.recovered(recovered)
        await self._write(self._filing.settle)
        return recovered

    async def settle(self) -> Settled:
        """Make the log's end durable, with all that waits: what a checkpoint may hold. Raises StateError."""
        self._require_sound()
        change = await self._write(self._filing.settle)
        end, cursors = (change.end, change.cursors) if change else (self._log.end, dict(self._log.cursors))
        places = {sink: cursor.seq for sink, cursor in cursors.items()}
        return Settled(end.seq, places, Standing(end, cursors))

    def checkpointed(self, end: int, oldest: int | None = None) -> None:
        """Say that a durable checkpoint holds `end`, which was settled.

        `oldest` is the end in the oldest copy of the state that is kept (`end` where not given): recovery
        to a settled place from there on keeps exact books. ValueError: that end was not settled.
        """
        self._log.checkpoint(end, end if oldest is None else oldest)

    @property
    def end(self) -> int:
        """The last entry's sequence number; 0 in a new log."""
        return self._log.end.seq

    @property
    def full(self) -> bool:
        """Whether a `hold` sink waits for as many bytes as the log may hold."""
        return bool(self._log.holding)

    @property
    def holding(self) -> Sequence[str]:
        """Those sinks."""
        return self._log.holding

    @property
    def max_bytes(self) -> int:
        """What may wait for one sink."""
        return self._log.max_bytes

    @property
    def memory(self) -> tuple[int, int]:
        """What entries cost in memory, and what they may, in bytes."""
        return self._log.tail.bytes, self._filing.memory_bytes

    @property
    def aside(self) -> Aside | None:
        """The damaged file that was set aside as the log was opened; None where it was sound."""
        return self._file.aside

    @property
    def damaged(self) -> Sequence[tuple[str, int, int]]:
        """(sink, first, last) of entries that could not be read since the log was opened."""
        return tuple(self._log.damaged)

    def cursors(self) -> dict[str, int]:
        """Return the last entry that each sink has answered for: all before it, but for what waits behind."""
        return {sink: cursor.seq for sink, cursor in self._log.cursors.items()}

    def depth(self, sink: str) -> Depth:
        """Return what waits for a sink."""
        cursor = self._log.cursors[sink]
        waits = cursor.waits(self._log.end)
        return Depth(
            points=sum(span.points for span in waits),
            bytes=sum(span.bytes for span in waits),
            entries=sum(span.entries for span in waits),
            oldest_ns=self._log.oldest_ns(sink),
            behind=sum(gap.points for gap in cursor.gaps),
        )

    def totals(self, sink: str) -> SinkTotals:
        """Return a sink's books."""
        end, cursor = self._log.end, self._log.cursors[sink]
        return SinkTotals(
            made=end.points - cursor.base,
            stored=cursor.stored,
            waiting=sum(span.points for span in cursor.waits(end)),
            refused=cursor.refused,
            dropped=cursor.dropped,
            superseded=cursor.superseded,
            replayed=cursor.replayed,
        )

    async def close(self) -> None:
        """Write what waits, and close the file. Where a write has failed before, nothing is written."""
        self._closing = True
        if self._noting is not None:
            self._noting.cancel()
        try:
            if not self._failed:
                await self._write(self._filing.rest)
        finally:
            with durable.translated(StateError, "the outbox cannot be closed"):
                await self._worker.close(self._file.close)

    # What follows runs inside the methods above, in the event loop's thread.

    def _require_sound(self) -> None:
        if self._failed:
            raise StateError(self._failed)

    async def _drop_oldest(self) -> None:
        """Pass `drop-oldest` sinks over what is more than the log may hold for them."""
        log = self._log
        for sink in list(log.cursors):
            while (excess := log.excess(sink)) is not None:
                span, enough_bytes = excess
                places: Sequence[tuple[Mark, int]] = ()
                next_ns = None
                if log.in_file(span):
                    places, next_ns = await self._ask(self._file.places, span.after.seq, enough_bytes)
                log.drop_oldest(sink, places, next_ns)
                self._moved()

    async def _relieve_memory(self) -> None:
        """Where memory holds too much, let the oldest entries go to the file."""
        if self._filing.crowded:
            await self._write(self._filing.spill)
            self._filing.relieve()

    def _moved(self) -> None:
        """After a cursor has moved: wake whom it concerns, and tell the file soon."""
        self._refresh()
        if self._noting is None and not self._closing:
            self._noting = asyncio.get_running_loop().call_later(NOTE_S, self._note)

    def _note(self) -> None:
        """Tell the file where the cursors are; a write that is under way has most of it: then later."""
        self._noting = None
        if self._writing is not None:
            self._moved()
        elif not self._failed and (change := self._filing.books()) is not None:
            self._submit(change)

    async def _write(self, make: Callable[[], Change | None]) -> Change | None:
        """Let the file have a change, after the one under way; whole, even if this task is cancelled."""
        while self._writing is not None:
            await asyncio.wait((self._writing,))
        self._require_sound()
        change = make()
        if change is not None:
            with durable.translated(StateError, "the outbox cannot be written"):
                await asyncio.shield(self._submit(change))
        self._refresh()
        return change

    def _submit(self, change: Change) -> asyncio.Future[None]:
        self._writing = work = self._worker.submit(self._file.write, change)
        work.add_done_callback(partial(self._written, change))
        return work

    def _written(self, change: Change, work: asyncio.Future[None]) -> None:
        self._writing = None
        if not self._has_failed(work):
            self._filing.written(change)
            self._refresh()

    async def _ask(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Ask the file something. What this task wants to know nobody else waits for: it may be cancelled."""
        try:
            with durable.translated(StateError, "the outbox cannot be read"):
                return await self._worker.run(call, *args, **kwargs)
        except StateError as failure:
            self._failed = str(failure)
            raise

    def _refresh(self) -> None:
        """Wake those for whom there is something, or room; delete what nobody needs, when there is time."""
        for sink in self._log.cursors:
            for backlog in (True, False):
                news = self._news.setdefault((sink, backlog), asyncio.Event())
                _set(news, on=self._log.turn(sink, backlog=backlog) is not None)
        _set(self._room, on=not self._log.holding)
        if self._purging is None and not self._closing and not self._failed:
            stretches = self._filing.purgeable()
            if stretches:
                self._purging = self._worker.submit(self._file.purge, stretches)
                self._purging.add_done_callback(partial(self._purged, stretches))

    def _purged(self, asked: Sequence[Stretch], purge: asyncio.Future[Sequence[Stretch]]) -> None:
        """Go on purging: each piece queues behind the calls that came meanwhile."""
        self._purging = None
        if not self._has_failed(purge):
            self._filing.purged(asked, purge.result())
            self._refresh()

    def _has_failed(self, work: asyncio.Future[T]) -> bool:
        """Note a failure: nothing is tried again."""
        if work.cancelled():
            return True
        failure = work.exception()
        if failure is not None:
            self._failed = self._failed or f"the outbox cannot be written: {failure}"
        return failure is not None


def _set(event: asyncio.Event, *, on: bool) -> None:
    if on:
        event.set()
    else:
        event.clear()
