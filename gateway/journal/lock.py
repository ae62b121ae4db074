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


def holder(folder: Path, name: str = NAME) -> tuple[int, bool]:
    """Return who holds a lock, or held it last (0: nobody ever), and whether it is held now. Raises OSError.

    Whoever tries to take it in this instant may find it held.
    """
    descriptor = os.open(folder / name, os.O_RDONLY | os.O_CLOEXEC)
    try:
        pid = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return int(pid or 0), True
        return int(pid or 0), False
    finally:
        os.close(descriptor)
