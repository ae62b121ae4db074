"""The durable log of raw frames and control records: group commit over the segments.

Delivery guarantees: `append` returns once the record is synced to the disk, with all others that
were waiting (one transaction, one sync for all). A failed write or sync is fatal: nothing is tried
again, since a second sync of lost pages would report success; the process ends, and what was not
acknowledged comes again from the broker. A call that is cancelled may or may not leave its record.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway import durable
from gateway.errors import JournalError
from gateway.journal.lock import FolderLock
from gateway.journal.salvage import Damage, add_damage
from gateway.journal.segments import Segments, open_segments

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from pathlib import Path

    from gateway.model import Control, Frames

SEGMENT_BYTES = 256 << 20
"""Damage costs one segment, trimming frees one; each is a file."""
GROUP_RECORDS = 1000
"""Records committed together at most: bounds one transaction, and with it the longest wait."""
READ_BYTES = 4 << 20
"""Read at a time: what replay holds in memory, and how long (some 5 ms) it can delay an append."""


@dataclass(frozen=True, slots=True)
class JournalFigures:
    """The journal for health: sizes in bytes, times in ns UTC (None where there is no record)."""

    end: int
    first: int
    records: int
    bytes: int
    segments: int
    oldest_ns: int | None
    newest_ns: int | None
    waiting: int
    """Records handed over and not yet durable."""
    syncs: int
    appended: int
    """Records made durable since the journal was opened; divided by `syncs`, the size of a group."""
    set_aside: int
    """Positions found damaged since the journal was opened."""
    failed: str
    """Why the journal takes nothing any more; empty where it does."""


@dataclass(slots=True)
class _Waiting:
    """Some records and who waits for their first position."""

    records: tuple[Frames | Control, ...]
    done: asyncio.Future[int]


class Journal:
    """`ports.Journal` on SQLite files. All blocking work is in one thread of its own."""

    def __init__(
        self,
        segments: Segments,
        lock: FolderLock,
        worker: durable.Worker,
        *,
        retention_ns: int,
        retention_bytes: int,
    ) -> None:
        """Use `Journal.open`."""
        self.damaged: list[Damage] = []
        """What was set aside since the journal was opened, by position."""
        self._segments = segments
        self._lock = lock
        self._worker = worker
        self._retention_ns = retention_ns
        self._retention_bytes = retention_bytes
        self._waiting: list[_Waiting] = []
        self._writing: asyncio.Future[int] | None = None
        self._readers: dict[object, int] = {}
        self._end = segments.end
        self._syncs = 0
        self._appended = 0
        self._failed = ""

    @classmethod
    async def open(
        cls,
        folder: Path,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        retention_ns: int,
        retention_bytes: int,
        floor: int = 0,
    ) -> Journal:
        """Open the journal of a folder, made where it does not exist; recover what a crash left.

        `floor` is the highest position known elsewhere (the checkpoint's): no position up to it is
        given again, and what is missing below it is said in `damaged`. Blocks a thread for about a
        second for each GB of the last segment. Raises JournalError: locked, of another version, or
        not readable.
        """
        with durable.translated(JournalError, f"the journal in {folder} cannot be opened"):
            await asyncio.to_thread(durable.make_folder, folder)
            lock = FolderLock(folder)
            worker = durable.Worker("journal")
            try:
                segments, damages = await worker.run(open_segments, folder, segment_bytes, floor)
            except BaseException:
                await worker.close(lock.release)
                raise
        journal = cls(segments, lock, worker, retention_ns=retention_ns, retention_bytes=retention_bytes)
        journal.damaged += damages
        return journal

    async def append(self, record: Frames | Control) -> int:
        """Return the record's position once it is durable. Raises JournalError (fatal)."""
        return await self._append((record,))

    async def append_many(self, batch: Sequence[Frames | Control]) -> list[int]:
        """Return the records' positions, in order and without gaps, once all are durable, together."""
        if not batch:
            return []
        first = await self._append(tuple(batch))
        return list(range(first, first + len(batch)))

    async def read(self, after: int) -> AsyncGenerator[tuple[int, Frames | Control], None]:
        """Yield the sound records behind `after`, in order, to the end as it was when reading began.

        What is damaged is left out and said in `damaged`. Nothing behind `after` is trimmed while it
        is being read: close an iterator that is given up (`contextlib.aclosing`).
        """
        upto, reader = self._end, object()
        try:
            while after < upto:
                self._readers[reader] = after
                with durable.translated(JournalError, "the journal cannot be read"):
                    chunk = await self._worker.run(self._segments.read, after, upto, READ_BYTES)
                for damage in chunk.damages:
                    add_damage(self.damaged, damage)
                for row in chunk.rows:
                    yield row
                after = chunk.through
        finally:
            self._readers.pop(reader, None)

    def set_aside(self, after: int, through: int) -> int:
        """Return how many uplinks the damaged records between two places, (after, through], claim to hold."""
        return sum(damage.uplinks for damage in self.damaged if after < damage.last <= through)

    def file_of(self, position: int) -> str:
        """Return the name of the segment that holds a position, or held it; empty where none is left."""
        names = [segment.path.name for segment in self._segments.files if segment.first <= position]
        return names[-1] if names else ""

    async def trim(self, before: int) -> None:
        """Unlink whole segments that hold only records before `before` and are past retention.

        A segment is past retention where its last record is older than `retention_ns` (against the
        newest record), or where the whole is over `retention_bytes`. Raises JournalError.
        """
        before = min(before, *(after + 1 for after in self._readers.values()), self._end + 1)
        with durable.translated(JournalError, "the journal cannot be trimmed"):
            await self._worker.run(
                self._segments.trim,
                before,
                retention_ns=self._retention_ns,
                retention_bytes=self._retention_bytes,
            )

    async def close(self) -> None:
        """Let what is being appended become durable, close the files, release the lock."""
        while self._writing is not None:
            await asyncio.wait((self._writing,))  # returns after `_written`, which may start the next
        with durable.translated(JournalError, "the journal cannot be closed"):
            try:
                await self._worker.close(self._segments.close)
            finally:
                self._lock.release()

    @property
    def end(self) -> int:
        """The last position that is durable; 0 in a new journal."""
        return self._end

    @property
    def newest_ns(self) -> int:
        """The time of the last record that can be read, ns UTC; 0 where there is none."""
        times = (segment.newest_ns for segment in reversed(self._segments.files))
        return next((newest_ns for newest_ns in times if newest_ns is not None), 0)

    @property
    def first(self) -> int:
        """The first position that is still held; `end` + 1 where none is."""
        files = self._segments.files
        return files[0].first if files else self._end + 1

    def figures(self) -> JournalFigures:
        """Return the journal's figures, without touching the disk."""
        files = self._segments.files
        times = [t for segment in files for t in (segment.oldest_ns, segment.newest_ns) if t is not None]
        return JournalFigures(
            end=self._end,
            first=self.first,
            records=self._end + 1 - self.first,
            bytes=self._segments.bytes,
            segments=len(files),
            oldest_ns=times[0] if times else None,
            newest_ns=times[-1] if times else None,
            waiting=sum(len(waiting.records) for waiting in self._waiting),
            syncs=self._syncs,
            appended=self._appended,
            set_aside=sum(damage.last + 1 - damage.first for damage in self.damaged),
            failed=self._failed,
        )

    async def _append(self, batch: tuple[Frames | Control, ...]) -> int:
        if self._failed:
            raise JournalError(self._failed)
        waiting = _Waiting(batch, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._writing is None:
            self._write_next()
        return await waiting.done

    def _write_next(self) -> None:
        """Hand the next group to the thread. Callers that were cancelled meanwhile are left out."""
        group: list[_Waiting] = []
        taken = 0
        while self._waiting and taken < GROUP_RECORDS:
            waiting = self._waiting.pop(0)
            if not waiting.done.cancelled():
                group.append(waiting)
                taken += len(waiting.records)
        if not group:
            self._writing = None
            return
        batch = [record for waiting in group for record in waiting.records]
        self._writing = self._worker.submit(self._segments.append, batch)
        self._writing.add_done_callback(lambda written: self._written(group, written))

    def _written(self, group: list[_Waiting], written: asyncio.Future[int]) -> None:
        """Answer those whose records are durable; after a failure, everyone, and take nothing more."""
        try:
            with durable.translated(JournalError, "the journal cannot be written"):
                position = written.result()
        except BaseException as failure:  # noqa: BLE001 - whatever it is belongs to those who wait for it
            self._fail(group, failure)
            return
        for waiting in group:
            if not waiting.done.cancelled():
                waiting.done.set_result(position)
            position += len(waiting.records)
            self._appended += len(waiting.records)
        self._end = position - 1
        self._syncs += 1
        self._write_next()

    def _fail(self, group: list[_Waiting], failure: BaseException) -> None:
        self._failed = str(failure) or type(failure).__name__
        self._writing = None
        for waiting in (*group, *self._waiting):
            if not waiting.done.cancelled():
                waiting.done.set_exception(failure)
        self._waiting.clear()
