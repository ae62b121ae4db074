"""Puts a backup into an empty state folder, or into none where anything of it is not what was written.

Delivery guarantees: files are copied and checked in a folder of their own inside the state folder, which
no gateway starts with; they take their places, the state last, once all of them are on the disk.
"""

from __future__ import annotations

import os
import shutil
from functools import partial
from typing import TYPE_CHECKING

from gateway import durable
from gateway.backup import files, verify
from gateway.backup.manifest import CONFIGURATION, STATE, Manifest
from gateway.errors import BackupError
from gateway.journal import checkpoint
from gateway.journal.lock import GATEWAY, UNFINISHED, FolderLock

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.backup.files import Progress

_OTHERS = frozenset({GATEWAY, "lost+found"})
"""What an empty state folder may hold."""


def check(source: Path, progress: Progress) -> tuple[Manifest, list[str]]:
    """Check a backup where it lies; return its manifest and what is damaged in its journal.

    Raises BackupError.
    """
    manifest = verify.read_manifest(source)
    progress.expect(manifest.size + _size(manifest, STATE))
    verify.check_files(source, manifest, progress)
    return manifest, verify.check_contents(source / STATE, manifest, progress)


def restore_state(source: Path, state_dir: Path, progress: Progress) -> tuple[Manifest, list[str]]:
    """Restore a gateway's state; return the manifest and what is damaged in its journal.

    Raises BackupError: the folder is not empty, or the backup is damaged; JournalError: a gateway runs.
    """
    manifest = verify.read_manifest(source)
    progress.expect(2 * _size(manifest, STATE))
    with durable.translated(BackupError, f"{state_dir} cannot be restored into"):
        files.make_private(state_dir)
        lock = FolderLock(state_dir, GATEWAY)
        try:
            building = state_dir / UNFINISHED
            _require_empty(state_dir)
            files.require_room(state_dir, _size(manifest, STATE))
            try:
                _copy(source, manifest, STATE, building, progress)
                damages = verify.check_contents(building, manifest, progress)
            except BaseException:
                shutil.rmtree(building, ignore_errors=True)
                raise
            _become_live(building, state_dir)
        finally:
            lock.release()
    return manifest, damages


def restore_configuration(source: Path, folder: Path, progress: Progress) -> Manifest:
    """Restore settings, profiles and devices into a folder that is empty or does not exist.

    Raises BackupError.
    """
    manifest = verify.read_manifest(source)
    progress.expect(_size(manifest, CONFIGURATION))
    with durable.translated(BackupError, f"{folder} cannot be restored into"):
        if folder.exists() and any(folder.iterdir()):
            raise BackupError(f"{folder} is not empty", hint="name one that is, or that does not exist")
        files.make_private(folder)
        _copy(source, manifest, CONFIGURATION, folder, progress)
        files.sync_folders(folder)
    return manifest


def _require_empty(state_dir: Path) -> None:
    """Refuse a folder with anything in it; clear what a restore that did not end has left."""
    building = state_dir / UNFINISHED
    others = sorted(path.name for path in state_dir.iterdir() if path.name not in {*_OTHERS, UNFINISHED})
    if others and building.exists():
        hint = "an earlier restore did not end: empty the folder, and try again"
        raise BackupError(f"{state_dir} is not empty: {', '.join(others[:5])}", hint=hint)
    if others:
        hint = "move what is in it away, or set another state_dir: nothing is overwritten"
        raise BackupError(f"{state_dir} is not empty: {', '.join(others[:5])}", hint=hint)
    if building.exists():
        shutil.rmtree(building)


def _copy(source: Path, manifest: Manifest, part: str, target: Path, progress: Progress) -> None:
    """Copy a part of a backup, comparing as it goes. Raises BackupError naming the file; OSError."""
    files.make_private(target)
    for kept in manifest.under(part):
        origin = source / kept.name
        if not origin.is_file():
            raise BackupError(f"{origin} is missing", hint=verify.HINT)
        path = target / kept.name.removeprefix(f"{part}/")
        files.make_private(path.parent)
        size, sha256 = files.copy(origin, path, copied=partial(progress.done, kept.name))
        if (size, sha256) != (kept.bytes, kept.sha256):
            raise BackupError(verify.differs(origin, size, kept.bytes), hint=verify.HINT)


def _become_live(building: Path, state_dir: Path) -> None:
    """Let the files take their places: all but the state, then the state, then the mark goes."""
    for database in building.rglob("*.db"):
        durable.begin_wal(database)
        durable.sync_file(database)
    _give_to_owner_of(state_dir, building)
    files.sync_folders(building)
    names = sorted(path.name for path in building.iterdir())
    for name in [name for name in names if name != checkpoint.NAME] + [checkpoint.NAME]:
        (building / name).rename(state_dir / name)
    durable.sync_folder(state_dir)
    building.rmdir()
    durable.sync_folder(state_dir)


def _give_to_owner_of(state_dir: Path, building: Path) -> None:
    """Where root restores, the files are to be the service's."""
    if os.geteuid() != 0:
        return
    owner = state_dir.stat()
    for path in (state_dir / GATEWAY, building, *building.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid)


def _size(manifest: Manifest, part: str) -> int:
    return sum(kept.bytes for kept in manifest.under(part))
