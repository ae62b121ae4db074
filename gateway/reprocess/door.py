"""Puts what a reprocessing writes and removes into the journal of a gateway that does not run.

The next start treats it like everything that it finds in the journal behind its last checkpoint.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

from gateway.errors import EcluseError
from gateway.journal.journal import Journal
from gateway.journal.lock import GATEWAY, FolderLock
from gateway.model import Control, ControlKind

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType


class JournalDoor:
    """Holds the state folder, so that no gateway starts meanwhile. Raises JournalError: one runs."""

    def __init__(self, folder: Path, *, segment_bytes: int, floor: int) -> None:
        """`floor`: the position of the last checkpoint; see `Journal.open`."""
        self._lock = FolderLock(folder, GATEWAY)
        self._folder = folder / "journal"
        self._segment_bytes = segment_bytes
        self._floor = floor
        self._runner = asyncio.Runner()
        self._journal: Journal | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._journal is not None:
                self._runner.run(self._journal.close())
        finally:
            self._runner.close()
            self._lock.release()

    def put(self, body: bytes) -> None:
        """Return once it is durable. Raises JournalError; EcluseError: another one wrote meanwhile."""
        self._runner.run(self._put(body))

    async def _put(self, body: bytes) -> None:
        if self._journal is None:
            self._journal = await Journal.open(
                self._folder,
                segment_bytes=self._segment_bytes,
                retention_ns=0,  # nothing is trimmed here
                retention_bytes=0,
                floor=self._floor,
            )
        await self._journal.append(Control(ControlKind.REWRITE, self._journal.newest_ns, body))


def require_settled(kinds: list[ControlKind]) -> None:
    """Raise EcluseError where the clock is suspect, by the kinds of the journal's control records."""
    turns = [kind for kind in kinds if kind in (ControlKind.CLOCK_SUSPECT, ControlKind.CLOCK_SETTLED)]
    if turns and turns[-1] is ControlKind.CLOCK_SUSPECT:
        raise EcluseError(
            "what the journal has last was received while the clock was suspect",
            hint="start the gateway, let it settle that (ecluse clock show), and ask again",
        )
