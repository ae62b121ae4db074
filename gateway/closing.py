"""Closing what was opened, in the reverse order; what fails while closing hides no earlier failure."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import structlog

from gateway.errors import EcluseError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

log = structlog.get_logger("ecluse")


class Closing(contextlib.AsyncExitStack):
    """An exit stack of parts that can fail to close, such as a journal whose disk is gone."""

    def later(self, close: Callable[[], Awaitable[None]]) -> None:
        """Close this part at the end. An EcluseError of it is raised only where nothing else went wrong."""

        async def leave(
            _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
        ) -> bool:
            try:
                await close()
            except EcluseError as failure:
                if error is None:
                    raise
                log.warning("not closed in good order", error=str(failure))
            return False

        self.push_async_exit(leave)
