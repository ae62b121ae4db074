"""Places where a river can be cut off: before and behind the calls of its journal, outlets and source."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Crossing:
    """Counts the places where the river can be cut off, and holds it up for good at the chosen one."""

    def __init__(self, stop_at: int = 0) -> None:
        self.count = 0
        self.check: Callable[[], None] = lambda: None
        self.reached = asyncio.Event()
        self._stop_at = stop_at

    async def __call__(self) -> None:
        """Cross."""
        self.count += 1
        self.check()
        if self.count == self._stop_at:
            self.reached.set()
            await asyncio.Event().wait()


class Crossed:
    """A part of the river with a crossing before and behind each of the named calls."""

    def __init__(self, part: Any, crossing: Crossing, *calls: str) -> None:
        self._part = part
        self._crossing = crossing
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._part, name)
        if name not in self._calls:
            return call

        async def crossed(*arguments: Any) -> Any:
            await self._crossing()
            answer = await call(*arguments)
            await self._crossing()
            return answer

        return crossed


def crossed(crossing: Crossing) -> Any:
    """Return what puts crossings around journal and outlets."""
    calls = {"journal": ("append", "append_many", "trim")}

    def around(name: str, part: Any) -> Any:
        return Crossed(part, crossing, *calls.get(name, ("take", "settle", "recover", "checkpointed")))

    return around
