"""Files of a backup: copied with their checksum in one pass, readable for their owner alone, synced."""

from __future__ import annotations

import hashlib
import os
import shutil
from typing import TYPE_CHECKING, Protocol

from gateway import durable
from gateway.errors import BackupError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CHUNK = 1 << 20
SPARE_BYTES = 64 << 20
"""What must stay free on a disk beside what is written to it."""


class Progress(Protocol):
    """Told how it goes. Each byte counts once when it is copied, and once when it is checked."""

    def expect(self, total: int) -> None:
        """So many bytes in all."""
        ...

    def done(self, what: str, more: int) -> None:
        """So many more of them, of this file."""
        ...


def make_private(folder: Path) -> None:
    """Make a folder that only its owner may enter, with those above it that are not there. Raises OSError."""
    if not folder.parent.exists():
        make_private(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)


def copy(source: Path, target: Path, *, copied: Callable[[int], None]) -> tuple[int, str]:
    """Copy a file to a new one, synced; return its size and SHA-256. Raises OSError."""
    found = hashlib.sha256()
    size = 0
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with source.open("rb") as reading, os.fdopen(descriptor, "wb") as writing:
        for chunk in _chunks(reading.read):
            writing.write(chunk)
            found.update(chunk)
            size += len(chunk)
            copied(len(chunk))
        writing.flush()
        os.fsync(writing.fileno())
    return size, found.hexdigest()


def digest(path: Path, *, read: Callable[[int], None]) -> tuple[int, str]:
    """Return a file's size and SHA-256. Raises OSError."""
    found = hashlib.sha256()
    size = 0
    with path.open("rb") as reading:
        for chunk in _chunks(reading.read):
            found.update(chunk)
            size += len(chunk)
            read(len(chunk))
    return size, found.hexdigest()


def require_room(folder: Path, needed: int) -> None:
    """Refuse where a disk has not so many bytes. Raises BackupError, OSError."""
    free = shutil.disk_usage(folder).free
    if free < needed + SPARE_BYTES:
        raise BackupError(
            f"{folder} has {free / 1e6:,.0f} MB free, and {needed / 1e6:,.0f} MB are needed",
            hint="free space there, or choose another disk",
        )


def sync_folders(top: Path) -> None:
    """Bring the entries of a folder, and of all below it, to the disk. Raises OSError."""
    for folder in (top, *(path for path in top.rglob("*") if path.is_dir())):
        durable.sync_folder(folder)


def _chunks(read: Callable[[int], bytes]) -> Iterator[bytes]:
    while chunk := read(CHUNK):
        yield chunk
