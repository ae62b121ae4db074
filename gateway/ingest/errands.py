"""What must be durable before the broker hears of it, and is no uplink in the journal's stream.

Delivery guarantees: `then` is called once `do` has returned, and so has made durable what it was given.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


class Errands(Generic[T]):
    """Does one thing after the other, in a task of its own. Without `do` there is nothing to wait for."""

    def __init__(
        self, name: str, do: Callable[[T], Awaitable[None]] | None, *, on_failure: Callable[[], None]
    ) -> None:
        self._name = name
        self._do = do
        self._on_failure = on_failure
        self._waiting: deque[tuple[T, Callable[[], None]]] = deque()
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """How many have not been done, the one under way included."""
        return len(self._waiting)

    def put(self, what: T, then: Callable[[], None]) -> None:
        """Have something done, and `then` called; `check` raises where that fails."""
        if self._do is None:
            then()
            return
        self._waiting.append((what, then))
        if self._task is None:
            self._task = asyncio.create_task(self._run(self._do), name=self._name)
            self._task.add_done_callback(lambda _: self._on_failure())

    def check(self) -> None:
        """Raise what doing has raised."""
        if self._task is not None and self._task.done() and not self._task.cancelled():
            self._task.result()

    async def drain(self) -> None:
        """Return once everything is done, or has failed."""
        if self._task is not None:
            await asyncio.wait({self._task})

    async def give_up(self) -> None:
        """Stop where it stands, as a crash would."""
        if self._task is not None:
            self._task.cancel()
            await self.drain()

    async def _run(self, do: Callable[[T], Awaitable[None]]) -> None:
        while self._waiting:
            what, then = self._waiting[0]
            await do(what)
            self._waiting.popleft()
            then()
        self._task = None
