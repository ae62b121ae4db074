"""One gateway a folder."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from gateway.errors import JournalError

if TYPE_CHECKING:
    from pathlib import Path

NAME = "journal.lock"
GATEWAY = "gateway.lock"
"""Held by a gateway on its state folder, and by commands that must be alone there."""
UNFINISHED = "restoring"
"""A folder in a state folder that a restore did not finish: no gateway may start with it."""


class FolderLock:
    """An exclusive lock on a folder, held until `release` or the end of the process, however it ends."""

    def __init__(self, folder: Path, name: str = NAME) -> None:
        """Take the lock, a file of that name. Raises JournalError where someone else holds it; OSError."""
        self._descriptor = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as held:
            holder = os.pread(self._descriptor, 20, 0).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            raise JournalError(
                f"{folder}: another process ({holder or 'unknown'}), most likely a gateway, holds it",
                hint="end it first, or give this one a state folder of its own",
            ) from held
        os.truncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode("ascii"), 0)

    def release(self) -> None:
        """Let another one take it. The file stays: unlinking it would let two hold different files."""
        os.close(self._descriptor)
