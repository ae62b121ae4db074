"""Whether a backup is what was written, and can be gone on from."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING

from gateway import durable
from gateway.backup import files, together
from gateway.backup.manifest import NAME, STATE, Manifest
from gateway.errors import BackupError
from gateway.journal import checkpoint, segments
from gateway.sinks import embedded_store, outbox_check

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.backup.files import Progress

HINT = "take it from another backup; of this one nothing was restored"
_READ_BYTES = 8 << 20


def read_manifest(source: Path) -> Manifest:
    """Return what a backup says of itself. Raises BackupError: it is none, or is damaged."""
    path = source / NAME
    if not path.is_file():
        raise BackupError(
            f"{source} is no backup, or one that did not end: {NAME} is missing",
            hint="name a folder that `ecluse backup` has made",
        )
    with durable.translated(BackupError, f"{path} cannot be read"):
        return Manifest.decode(path.read_bytes(), where=path)


def check_files(source: Path, manifest: Manifest, progress: Progress) -> None:
    """Read every file of a backup, and compare. Raises BackupError naming each one that is not right."""
    problems = []
    for kept in manifest.files:
        path = source / kept.name
        if not path.is_file():
            problems.append(f"{path} is missing")
            continue
        with durable.translated(BackupError, f"{path} cannot be read"):
            found = files.digest(path, read=partial(progress.done, kept.name))
        if found != (kept.bytes, kept.sha256):
            problems.append(differs(path, found[0], kept.bytes))
    if problems:
        raise BackupError("\n".join(problems), hint=HINT)


def differs(path: Path, size: int, expected: int) -> str:
    """Say how a file is not what was written."""
    if size != expected:
        return f"{path} is damaged: it has {size} bytes, {expected} were written"
    return f"{path} is damaged: its checksum does not match"


def check_contents(folder: Path, manifest: Manifest, progress: Progress) -> list[str]:
    """Check that a state folder can be gone on from: a backup's, whose files are what was written.

    Returns what the gateway's own recovery will set aside, for the reader. Raises BackupError.
    """
    with durable.translated(BackupError, f"{folder} cannot be read"):
        ends = _check_state(folder / checkpoint.NAME, manifest)
        for kept in manifest.under(STATE):
            name = kept.name.removeprefix(f"{STATE}/")
            problem = _problem(folder / name, ends)
            if problem:
                raise BackupError(f"{folder / name} is not sound: {problem}", hint=HINT)
            progress.done(kept.name, kept.bytes)
        return _check_journal(folder / "journal", manifest)


def _check_state(path: Path, manifest: Manifest) -> dict[str, int]:
    """Check the state; return the places that it names in the outboxes."""
    problem = checkpoint.soundness(path) if path.is_file() else "it is missing"
    if not problem:
        with contextlib.closing(durable.Snapshot(path)) as state:
            position, ends = together.cut_of(state)
        if position == manifest.position:
            return dict(ends)
        problem = f"it is of position {position}, the manifest says {manifest.position}"
    raise BackupError(f"{path} is not sound: {problem}", hint=HINT)


def _problem(path: Path, ends: dict[str, int]) -> str:
    """Say what is wrong with one file, of the state folder itself; empty where nothing is."""
    if path.match(together.OUTBOXES):
        return outbox_check.unsoundness(path, ends.get(path.stem, 0))
    if path.suffix == ".duckdb":
        return embedded_store.unsoundness(path)
    if path.suffix == ".db" and path.parent.name != "journal" and path.name != checkpoint.NAME:
        return durable.unsoundness(path)
    return ""


def _check_journal(folder: Path, manifest: Manifest) -> list[str]:
    """Read the journal as a gateway will; return what is damaged in it, as it was when it was copied."""
    if not folder.is_dir():
        if manifest.end > manifest.position:
            raise BackupError(f"{folder} is missing", hint=HINT)
        return []
    found, damages = segments.open_segments(folder, 1 << 40, manifest.position)
    try:
        if found.end < manifest.end:
            what = f"{folder} ends at {found.end}, the manifest says {manifest.end}"
            raise BackupError(what, hint=HINT)
        after = manifest.first - 1
        while after < found.end:
            chunk = found.read(after, found.end, _READ_BYTES)
            damages += [damage for damage in chunk.damages if damage not in damages]
            after = chunk.through
    finally:
        found.close()
    return [f"journal records {each.first} to {each.last} are damaged: {each.why}" for each in damages]
