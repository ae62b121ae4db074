"""The durable log of encoded points in front of sinks that take the same bytes, with a cursor a sink.

Delivery guarantees: `append` returns once the entries are synced; an entry stays until every sink's
cursor lies past it and a checkpoint holds it. `advance` ties what became of points to the cursor in
one synced transaction. A crash between a sink's answer and `advance` sends those entries again. A
sink that is new begins at the log's end; a sink that is taken away (`unregister`) loses what waited.
A `hold` sink whose waiting bytes reach the limit makes the outbox `full`: the caller then waits with
`room`, and appends no more than it has in hand. A `drop-oldest` sink is passed over what is too old.

A failed write or sync is fatal (StateError): nothing is tried again; the restart replays.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from gateway import durable
from gateway.errors import StateError
from gateway.sinks.outbox_log import OutboxLog, Recovered, open_log
from gateway.sinks.outbox_rows import Entry, Policy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

__all__ = ["Depth", "Entry", "Outbox", "Policy", "Recovered", "SinkTotals"]

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Depth:
    """What waits for a sink. `oldest_ns`: receive time of the oldest uplink in it, ns UTC; None if empty."""

    points: int
    bytes: int
    entries: int
    oldest_ns: int | None


@dataclass(frozen=True, slots=True)
class SinkTotals:
    """What became of points, since the sink was registered.

    made = stored + waiting + refused + dropped + superseded. `replayed` stands outside: points sent
    before a crash and made again after it.
    """

    made: int
    stored: int
    waiting: int
    refused: int
    dropped: int
    superseded: int
    replayed: int


class Outbox:
    """A log and those who wait for it. Figures are as last committed and cost no disk access.

    Calls for a sink that is not registered raise KeyError. One task a sink calls `next`, `advance`
    and `changed`.
    """

    def __init__(self, log: OutboxLog, worker: durable.Worker) -> None:
        """Use `Outbox.open`."""
        self._log = log
        self._worker = worker
        self._news: dict[str, asyncio.Event] = {}
        self._room = asyncio.Event()
        self._purging: asyncio.Future[None] | None = None
        self._closing = False
        self._failed = ""
        self._refresh()

    @classmethod
    async def open(cls, path: Path, *, max_bytes: int) -> Outbox:
        """Open a log's file, made where it does not exist. `max_bytes` bounds what waits for one sink.

        Raises StateError: damaged, of another version, not accessible.
        """
        worker = durable.Worker("outbox")
        with durable.translated(StateError, f"the outbox {path} cannot be opened"):
            try:
                log = await worker.run(open_log, path, max_bytes)
            except BaseException:
                await worker.close(lambda: None)
                raise
        return cls(log, worker)

    async def register(self, sink: str, policy: str) -> None:
        """Give a sink a cursor: its own where it has one, else at the end. ValueError: no such policy."""
        await self._run(self._log.register, sink, Policy(policy))

    async def unregister(self, sink: str) -> None:
        """Forget a sink, its books, and what waits for it alone."""
        await self._run(self._log.unregister, sink)

    async def append(self, entries: Sequence[Entry]) -> int:
        """Return the log's end once the entries are durable, all or none. Raises StateError (fatal)."""
        if not entries:
            return self.end
        return await self._run(self._log.append, tuple(entries))

    async def next(self, sink: str, max_points: int, max_bytes: int) -> list[tuple[int, Entry]]:
        """Return the sink's next entries in order: at least one where any waits, else up to both limits.

        The same ones come again until `advance`. Entries that cannot be read are passed over, counted
        as dropped and listed in `damaged`.
        """
        return await self._run(self._log.next, sink, max_points, max_bytes)

    async def advance(self, sink: str, through: int, *, refused: int = 0, superseded: int = 0) -> None:
        """Move a sink's cursor past entry `through`, durably, with what became of its points.

        All points up to there are stored but for those refused (in quarantine) or superseded (skipped
        since a newer writing waits). Raises ValueError where that is more than there are.
        """
        await self._run(self._log.advance, sink, through, refused=refused, superseded=superseded)

    async def changed(self, sink: str) -> None:
        """Return once something waits for the sink: at once where it does already."""
        await self._news.setdefault(sink, asyncio.Event()).wait()

    async def room(self) -> None:
        """Return once the outbox is not full: at once where it is not."""
        await self._room.wait()

    async def recover(self, end: int, cursors: Mapping[str, int]) -> Recovered:
        """Put the log back to a checkpoint's end and cursors, before anything is appended or sent.

        What stands beyond is made again by the replay; what had been sent of it moves from stored and
        refused to replayed. Raises StateError.
        """
        return await self._run(self._log.recover, end, dict(cursors))

    async def checkpointed(self, end: int, oldest: int | None = None) -> None:
        """Say that a durable checkpoint holds `end`: what lies behind it can be deleted once it is sent.

        `oldest` is the end in the oldest copy of the state that is kept (`end` where not given):
        recovery to a place from there on keeps exact books. Without this call nothing is ever deleted.
        """
        await self._run(self._log.checkpoint, end, end if oldest is None else oldest)

    @property
    def end(self) -> int:
        """The last entry's sequence number; 0 in a new log."""
        return self._log.end.seq

    @property
    def full(self) -> bool:
        """Whether a `hold` sink waits for as many bytes as the log may hold."""
        return self._log.full

    @property
    def damaged(self) -> Sequence[tuple[str, int, int]]:
        """(sink, first, last) of entries that could not be read since the log was opened."""
        return tuple(self._log.damaged)

    def cursors(self) -> dict[str, int]:
        """Return the last entry that each sink has answered for."""
        return {sink: cursor.seq for sink, cursor in self._log.cursors.items()}

    def depth(self, sink: str) -> Depth:
        """Return what waits for a sink."""
        end, cursor = self._log.end, self._log.cursors[sink]
        waiting = end.seq - cursor.seq
        return Depth(
            points=end.points - cursor.points,
            bytes=end.bytes - cursor.bytes,
            entries=waiting,
            oldest_ns=self._log.oldest_ns[sink] if waiting else None,
        )

    def totals(self, sink: str) -> SinkTotals:
        """Return a sink's books."""
        end, cursor = self._log.end, self._log.cursors[sink]
        return SinkTotals(
            made=end.points - cursor.base,
            stored=cursor.stored,
            waiting=end.points - cursor.points,
            refused=cursor.refused,
            dropped=cursor.dropped,
            superseded=cursor.superseded,
            replayed=cursor.replayed,
        )

    async def close(self) -> None:
        """Finish what was asked for and close the file."""
        self._closing = True
        with durable.translated(StateError, "the outbox cannot be closed"):
            await self._worker.close(self._log.close)

    async def _run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a call in the thread; whoever waits for its effect is woken, even if this task is cancelled."""
        if self._failed:
            raise StateError(self._failed)
        work = self._worker.submit(call, *args, **kwargs)
        work.add_done_callback(lambda _: self._refresh())
        try:
            with durable.translated(StateError, "the outbox cannot be written"):
                return await asyncio.shield(work)
        except StateError as failure:
            self._failed = str(failure)
            raise

    def _refresh(self) -> None:
        """Wake those for whom there is something, or room; delete what nobody needs, when there is time."""
        for sink, cursor in list(self._log.cursors.items()):
            _set(self._news.setdefault(sink, asyncio.Event()), on=cursor.seq < self._log.end.seq)
        _set(self._room, on=not self._log.full)
        idle = self._purging is None or self._purging.done()
        if idle and self._log.purgeable and not self._closing and not self._failed:
            self._purging = self._worker.submit(self._log.purge)
            self._purging.add_done_callback(self._purged)

    def _purged(self, purge: asyncio.Future[None]) -> None:
        """Go on purging: each piece queues behind the calls that came meanwhile."""
        if purge.cancelled():
            return
        failure = purge.exception()
        if failure is not None:
            self._failed = f"the outbox cannot be written: {failure}"
            return
        self._refresh()


def _set(event: asyncio.Event, *, on: bool) -> None:
    if on:
        event.set()
    else:
        event.clear()
