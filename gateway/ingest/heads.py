"""What cannot be journalled goes to quarantine with its first bytes; then it is acknowledged.

Delivery guarantees: the broker is answered once `keep` has returned, and so has the bytes durably. A
packet that comes again is the same row: its key is what it is, not when it came.
"""

from __future__ import annotations

import asyncio
from collections import deque
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from gateway.model import Refused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.ingest.answers import Head
    from gateway.model import Reason

    Keep = Callable[[Refused], Awaitable[None]]
    """Returns once the uplink is in quarantine. Raises StateError (fatal)."""

TOPIC: Final = 1_024
"""Bytes of a topic that are kept: no longer one fits a profile."""


def refused(head: Head, reason: Reason, detail: str, *, at_ns: int) -> Refused:
    """Return what quarantine keeps of a packet. It has no place in a journal: `index` tells which it is."""
    key = blake2b(head.topic + head.size.to_bytes(8, "big"), digest_size=6)
    return Refused(
        position=0,
        index=int.from_bytes(key.digest(), "big"),
        received_ns=at_ns,
        topic=head.topic[:TOPIC],
        payload=head.payload,
        reason=reason,
        detail=detail,
    )


class HeadKeeper:
    """Keeps heads one after the other, in a task of its own. Without `keep` they are let go at once."""

    def __init__(self, keep: Keep | None, *, on_failure: Callable[[], None]) -> None:
        self._keep = keep
        self._on_failure = on_failure
        self._waiting: deque[tuple[Refused, Callable[[], None]]] = deque()
        self._task: asyncio.Task[None] | None = None

    def put(self, row: Refused, then: Callable[[], None]) -> None:
        """Have a row kept, and `then` called; `check` raises where that fails."""
        if self._keep is None:
            then()
            return
        self._waiting.append((row, then))
        if self._task is None:
            self._task = asyncio.create_task(self._run(self._keep), name="heads")
            self._task.add_done_callback(lambda _: self._on_failure())

    def check(self) -> None:
        """Raise what keeping has raised."""
        if self._task is not None and self._task.done():
            self._task.result()

    async def drain(self) -> None:
        """Return once everything is kept, or keeping has failed."""
        if self._task is not None:
            await asyncio.wait({self._task})

    async def _run(self, keep: Keep) -> None:
        while self._waiting:
            row, then = self._waiting.popleft()
            await keep(row)
            then()
        self._task = None
