"""Where refused uplinks and points wait, whole, for a person or a replay. Bounded: the oldest give way.

A row's key is an uplink's journal position and its index there, or a refused point's sink, outbox
entry and index there; with the reason, and a digest of the whole (entries' numbers are given again
after a crash), which is its checksum, too. Putting a row again changes nothing, so a replay adds
nothing twice: neither to the rows nor to what is counted as evicted.

Delivery guarantees: `put` returns once its rows are synced. A device (and a reason) holds so many
rows; over that its oldest go, before others' do; then the oldest in all, by rows and by bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway import durable
from gateway.errors import StateError
from gateway.quarantine.file import QuarantineFile

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gateway.damage import Aside
    from gateway.model import Refused
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
        cls, path: Path, *, per_device: int, total: int, total_bytes: int = TOTAL_BYTES
    ) -> QuarantineStore:
        """Open a quarantine's file, made where it does not exist.

        `per_device` bounds the rows of one device and reason, `total` and `total_bytes` all of them. A
        damaged file is set aside (`aside`), and the rows of it that are sound stay. Raises StateError: of
        another version, not accessible.
        """
        worker = durable.Worker("quarantine")
        with durable.translated(StateError, f"the quarantine {path} cannot be opened"):
            try:
                file = await worker.run(QuarantineFile, path, per_device, total, total_bytes)
            except BaseException:
                await worker.close(lambda: None)
                raise
        return cls(file, worker)

    async def put(self, rows: Sequence[Refused], *, sink: str = "") -> None:
        """Add rows in one durable transaction; those that are there already change nothing.

        `sink` names the sink that refused points: `position` is then their outbox entry's number.
        Raises StateError (fatal).
        """
        if rows:
            with durable.translated(StateError, "the quarantine cannot be written"):
                await self._worker.run(self._file.put, tuple(rows), sink)

    async def list(
        self,
        *,
        reason: str | None = None,
        site: str | None = None,
        device: str | None = None,
        profile: str | None = None,
        since_ns: int | None = None,
        limit: int = 100,
    ) -> Sequence[QuarantineRow]:
        """See `QuarantineReader.list`."""
        return await self._worker.run(
            self._file.reader.list,
            reason=reason,
            site=site,
            device=device,
            profile=profile,
            since_ns=since_ns,
            limit=limit,
        )

    async def show(self, row: int) -> QuarantineRow | None:
        """See `QuarantineReader.show`."""
        return await self._worker.run(self._file.reader.show, row)

    async def counts(self) -> dict[str, int]:
        """See `QuarantineReader.counts`."""
        return await self._worker.run(self._file.reader.counts)

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

    async def close(self) -> None:
        """Finish what was asked for and close the file."""
        with durable.translated(StateError, "the quarantine cannot be closed"):
            await self._worker.close(self._file.reader.close)
