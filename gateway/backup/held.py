"""The gateway's part in a backup of itself: copies of the stores that no other process can open."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING

from gateway import durable
from gateway.errors import BackupError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gateway.sinks.embedded import EmbeddedSink

FOLDER = "backup"
"""In the state folder: where the copies wait for the command that asked for them. Empty else."""


class StoreCopies:
    """Copies of a gateway's embedded stores, `NAME.duckdb` each, until the next call or the next start."""

    def __init__(self, state_dir: Path, stores: Mapping[str, EmbeddedSink]) -> None:
        self._folder = state_dir / FOLDER
        self._stores = stores
        self._busy = asyncio.Lock()

    async def make(self) -> list[str]:
        """Copy every store; return the files' names. Raises BackupError, SinkUnavailable."""
        if self._busy.locked():
            raise BackupError("the stores are being copied already", hint="wait for the other backup to end")
        async with self._busy:
            await asyncio.to_thread(self._begin)
            for name, store in self._stores.items():
                await store.copy_to(self._folder / f"{name}.duckdb")
        return [f"{name}.duckdb" for name in self._stores]

    async def clear(self) -> None:
        """Remove what a backup that did not end has left. Raises BackupError."""
        with durable.translated(BackupError, f"{self._folder} cannot be removed"):
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=not self._folder.exists())

    def _begin(self) -> None:
        with durable.translated(BackupError, f"{self._folder} cannot be made"):
            if self._folder.exists():
                shutil.rmtree(self._folder)
            self._folder.mkdir(mode=0o700)
