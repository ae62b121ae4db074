"""The queue between journal and decoding: bounded in uplinks and bytes, emptied many at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from gateway.model import Control, ControlKind, RawBatch
from gateway.suspicion import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Entry:
    """What the journal took, with its position. `treated` is set once it was treated."""

    position: int
    content: RawBatch | Control
    treated: asyncio.Event | None = None

    @property
    def uplinks(self) -> int:
        """How many uplinks it holds: 0 for a control record."""
        return len(self.content) if isinstance(self.content, RawBatch) else 0

    @property
    def connection(self) -> int:
        """The number of the connection that it knows of; 0 where of none."""
        if isinstance(self.content, RawBatch):
            return self.content.connection
        if self.content.kind is not ControlKind.SESSION_LOST:
            return 0
        return int(orjson.loads(self.content.body)["connection"])

    @property
    def clock(self) -> Control | None:
        """The record where it is one that begins or ends a suspect span; None else."""
        return self.content if isinstance(self.content, Control) and self.content.kind in KINDS else None

    @property
    def bytes(self) -> int:
        """How many bytes it holds, as the journal has them; in memory it is about twice that."""
        return len(self.content.frames if isinstance(self.content, RawBatch) else self.content.body)


class BatchQueue:
    """Durable batches and control records, in journal order, waiting to be decoded.

    `put` waits where `max_uplinks`, so many entries, or `max_bytes` are in it; a single larger entry still
    passes alone.
    """

    def __init__(self, *, max_uplinks: int, max_bytes: int) -> None:
        self.max_uplinks = max_uplinks
        self.max_bytes = max_bytes
        self._entries: deque[Entry] = deque()
        self._changed = asyncio.Condition()
        self._closed = False
        self.uplinks = 0
        self.bytes = 0

    @property
    def oldest_ns(self) -> int | None:
        """When the journal was to take the oldest batch, ns UTC; None where there is none."""
        contents = (entry.content for entry in self._entries)
        return next((content.at_ns for content in contents if isinstance(content, RawBatch)), None)

    async def put(self, entry: Entry) -> None:
        """Append an entry once there is room."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._has_room(entry))
            self._entries.append(entry)
            self._count(entry, 1)
            self._changed.notify_all()

    async def take(self, *, most: int, gather_s: float, wait_s: float) -> list[Entry] | None:
        """Return up to `most` uplinks (at least one entry); None once the queue is closed and empty.

        Waits up to `wait_s` for a first entry (an empty list where none came), then up to `gather_s`
        for more: larger batches are cheaper. Nothing is taken where the call is cancelled.
        """
        async with self._changed:
            if not await self._wait(lambda: bool(self._entries) or self._closed, wait_s):
                return []
            await self._wait(lambda: self._is_worth_taking(most), gather_s)
            return self._pop(most) or None

    async def close(self) -> None:
        """Take no more; `take` returns None once everything was taken."""
        async with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _has_room(self, entry: Entry) -> bool:
        return not self._entries or (
            max(self.uplinks + entry.uplinks, len(self._entries)) <= self.max_uplinks
            and self.bytes + entry.bytes <= self.max_bytes
        )

    def _is_worth_taking(self, most: int) -> bool:
        """Tell whether to gather no longer: enough is here, or more could not come."""
        return self._closed or self.uplinks >= most or self.bytes >= self.max_bytes

    async def _wait(self, condition: Callable[[], bool], seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait_for(condition)
        except TimeoutError:
            return False
        return True

    def _pop(self, most: int) -> list[Entry]:
        taken: list[Entry] = []
        room = most
        while self._entries and (not taken or self._entries[0].uplinks <= room):
            entry = self._entries.popleft()
            self._count(entry, -1)
            room -= entry.uplinks
            taken.append(entry)
        self._changed.notify_all()
        return taken

    def _count(self, entry: Entry, sign: int) -> None:
        self.uplinks += sign * entry.uplinks
        self.bytes += sign * entry.bytes
