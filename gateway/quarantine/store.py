"""Where refused uplinks and points wait, whole, for a person or a replay. Bounded: the oldest give way.

A row's key is an uplink's journal position and its index there, or a refused point's sink, outbox
entry and index there; with the reason, and a digest of the whole (entries' numbers are given again
after a crash), which is its checksum, too. Putting a row again changes nothing, so a replay adds
nothing twice: neither to the rows nor to what is counted as evicted; nor does what was dropped, or let
in again, come back by it.

Delivery guarantees: `put` returns once its rows are synced. A device (and a reason) holds so many
rows; over that its oldest go, before others' do; then the oldest in all, by rows and by bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway import durable
from gateway.errors import StateError
from gateway.quarantine.file import QuarantineFile
from gateway.quarantine.reader import EVERYTHING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from gateway.damage import Aside
    from gateway.model import Chosen, Refused
    from gateway.quarantine.file import Gone
    from gateway.quarantine.reader import QuarantineRow

TOTAL_BYTES = 1 << 30
"""Payloads in all: rows alone would let big ones fill a disk."""


class QuarantineStore:
    """The quarantine of a running gateway. All blocking work is in one thread of its own."""

    def __init__(self, file: QuarantineFile, worker: durable.Worker) -> None:
        """Use `QuarantineStore.open`."""
        self._file = file
        self._worker = worker

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        per_device: int,
        total: int,
        total_bytes: int = TOTAL_BYTES,
        journal_end: int | None = None,
    ) -> QuarantineStore:
        """Open a quarantine's file, made where it does not exist.

        `per_device` bounds the rows of one device and reason, `total` and `total_bytes` all of them. A
        damaged file is set aside (`aside`), and the rows of it that are sound stay. Raises StateError: of
        another version, not accessible.
        """
        worker = durable.Worker("quarantine")
        with durable.translated(StateError, f"the quarantine {path} cannot be opened"):
            try:
                file = await worker.run(QuarantineFile, path, per_device, total, total_bytes, journal_end)
            except BaseException:
                await worker.close(lambda: None)
                raise
        return cls(file, worker)

    async def put(self, rows: Sequence[Refused], *, sink: str = "", gone: Collection[Gone] = ()) -> None:
        """Add rows in one durable transaction; those that are there already change nothing.

        `sink` names the sink that refused points: `position` is then their outbox entry's number. `gone` are
        uplinks that were let in again: their rows go, whatever their reasons. Raises StateError (fatal).
        """
        if rows or gone:
            with durable.translated(StateError, "the quarantine cannot be written"):
                await self._worker.run(self._file.put, tuple(rows), sink, tuple(gone))

    async def drop(self, chosen: Chosen, *, limit: int) -> int:
        """Delete the oldest rows that are chosen, at most `limit`, for good; return how many."""
        with durable.translated(StateError, "the quarantine cannot be written"):
            return await self._worker.run(self._file.drop, chosen, limit)

    async def page(self, chosen: Chosen, *, limit: int, max_bytes: int) -> Sequence[QuarantineRow]:
        """See `QuarantineReader.page`."""
        return await self._worker.run(self._file.reader.page, chosen, limit=limit, max_bytes=max_bytes)

    async def list(self, chosen: Chosen = EVERYTHING, *, limit: int = 100) -> Sequence[QuarantineRow]:
        """See `QuarantineReader.list`."""
        return await self._worker.run(self._file.reader.list, chosen, limit=limit)

    async def show(self, row: int) -> QuarantineRow | None:
        """See `QuarantineReader.show`."""
        return await self._worker.run(self._file.reader.show, row)

    async def counts(self) -> dict[str, int]:
        """See `QuarantineReader.counts`."""
        return await self._worker.run(self._file.reader.counts)

    async def forget(self, profile: str, before_ns: int, *, most: int) -> int:
        """Delete a profile's rows of before a time, the oldest `most` of them; return how many went.

        They count as evicted. Raises StateError (fatal).
        """
        with durable.translated(StateError, "the quarantine cannot be written"):
            return await self._worker.run(self._file.forget, profile, before_ns, most)

    async def require(self, ever: int) -> int:
        """Say that so many rows were put, ever; how many are missing, which count as evicted, is returned."""
        with durable.translated(StateError, "the quarantine cannot be written"):
            return await self._worker.run(self._file.require, ever)

    @property
    def aside(self) -> Aside | None:
        """The damaged file that was set aside as this one was opened; None where it was sound."""
        return self._file.aside

    @property
    def rows(self) -> int:
        """How many rows wait, without touching the disk."""
        return self._file.rows

    @property
    def bytes(self) -> int:
        """How many bytes of payload wait, without touching the disk."""
        return self._file.bytes

    @property
    def evicted(self) -> int:
        """How many rows have given way to newer ones, ever; without touching the disk."""
        return self._file.evicted

    @property
    def ever(self) -> int:
        """How many rows there were, ever, whatever became of them; without touching the disk."""
        return self._file.ever

    @property
    def dropped(self) -> int:
        """How many rows a person deleted, ever; without touching the disk."""
        return self._file.dropped

    async def close(self) -> None:
        """Finish what was asked for and close the file."""
        with durable.translated(StateError, "the quarantine cannot be closed"):
            await self._worker.close(self._file.reader.close)
