"""Doubles that pass the same contract tests as the real parts. A failure is a class, not a patch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from gateway.model import Changes, Control, Frames


class MemoryJournal:
    """`ports.Journal` that keeps its records in memory, for as long as it lives. Trims all that it may."""

    def __init__(self) -> None:
        self.records: dict[int, Frames | Control] = {}
        self.end = 0

    async def append(self, record: Frames | Control) -> int:
        """Return the record's position."""
        self.end += 1
        self.records[self.end] = record
        return self.end

    async def append_many(self, batch: Sequence[Frames | Control]) -> list[int]:
        """Return the records' positions, in order and without gaps."""
        return [await self.append(record) for record in batch]

    async def read(self, after: int) -> AsyncGenerator[tuple[int, Frames | Control], None]:
        """Yield the records behind `after`, in order, to the end as it was when reading began."""
        for position, record in list(self.records.items()):
            if position > after:
                yield position, record

    def set_aside(self, after: int, through: int) -> int:
        """Nothing is ever damaged here."""
        del after, through
        return 0

    async def trim(self, before: int) -> None:
        """Forget the records before `before`."""
        for position in [position for position in self.records if position < before]:
            del self.records[position]

    async def close(self) -> None:
        """Nothing is open."""


class MemoryStateStore:
    """`ports.StateStore` that keeps its cells in memory: what a crash leaves is `copy()`."""

    def __init__(self, cells: dict[tuple[str, str, int, int], bytes] | None = None) -> None:
        self.cells = cells if cells is not None else {}
        self.meta: dict[str, bytes] = {}

    def load(self, kind: str, owner: str, start: int) -> list[bytes]:
        """Return the parts of a cell, in order."""
        parts = [key for key in self.cells if key[:3] == (kind, owner, start)]
        return [self.cells[key] for key in sorted(parts)]

    def starts(self, kind: str, owner: str) -> list[int]:
        """Return the starts that have cells of this kind, ascending."""
        return sorted({key[2] for key in self.cells if key[:2] == (kind, owner)})

    def commit(self, changes: Changes, meta: dict[str, bytes]) -> None:
        """Take everything; deletions of whole cells come first."""
        for kind, owner, start, part in [key for key, body in changes.cells.items() if body is None]:
            for key in [
                key for key in self.cells if key[:3] == (kind, owner, start) and part in (-1, key[3])
            ]:
                del self.cells[key]
        self.cells |= {key: body for key, body in changes.cells.items() if body is not None}
        self.meta |= meta

    def copy(self) -> MemoryStateStore:
        """Return a store of its own with the same content."""
        return MemoryStateStore(dict(self.cells))
