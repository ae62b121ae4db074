"""Takes a backup: of a gateway that runs, or of one that is stopped.

What is copied when decides whether it can be gone on from. Recovery takes the state, puts the outboxes
back to it and replays the journal behind it. So state and outboxes are of one moment, and come first;
then the embedded store, which may then have more than the outboxes say was sent (it is sent again, to
the same points); then quarantine and lists; the journal last, since all of these are functions of it.

Delivery guarantees: every uplink that was acknowledged before the journal is copied is in the backup.
The folder gets its name once everything, the manifest last, is on the disk. A gateway that runs is not
held up, but for its embedded store: points wait in the outbox while that is copied.
"""

from __future__ import annotations

import contextlib
import shutil
from functools import partial
from typing import TYPE_CHECKING

from gateway import durable
from gateway.backup import configuration, files, together
from gateway.backup.manifest import CONFIGURATION, NAME, STATE, Kept, Manifest
from gateway.clock import rfc3339
from gateway.errors import BackupError
from gateway.journal import checkpoint, segments
from gateway.version import installed_version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from gateway.backup.files import Progress
    from gateway.config import Settings

UNFINISHED = ".unfinished"
JOURNAL = "journal"
STORE = ".duckdb"
RECORDS = "*.jsonl"
"""What is noted of erasures and replays."""


def take(
    settings: Settings,
    target: Path,
    *,
    config_file: Path | None,
    held: Callable[[], Mapping[str, Path]] | None,
    with_stores: bool,
    now_ns: int,
    progress: Progress,
) -> Manifest:
    """Copy everything of a gateway into `target`, a folder that does not exist yet.

    `held` asks the running gateway for copies of the stores that it holds, by the name of their file;
    None where none runs, which the caller's lock sees to. Raises BackupError, StateError, JournalError,
    and what `held` raises; nothing is left then.
    """
    building = target.with_name(target.name + UNFINISHED)
    with durable.translated(BackupError, f"no backup can be made in {target}"):
        _require_free(settings, target, building)
        files.make_private(building)
        try:
            making = _Making(building, settings, progress)
            making.room(with_stores=with_stores)
            position = making.state_and_outboxes()
            if with_stores:
                making.stores(held() if held else {})
            making.lists()
            first, end = making.journal(position)
            making.configuration(config_file)
            manifest = Manifest(
                version=installed_version(),
                made=rfc3339(now_ns),
                position=position,
                first=first,
                end=end,
                files=tuple(making.files),
                notes=tuple(making.notes),
            )
            _finish(building, target, manifest)
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise
    return manifest


def _require_free(settings: Settings, target: Path, building: Path) -> None:
    if not (settings.state_dir / checkpoint.NAME).is_file():
        hint = "is --config the one of the gateway?"
        raise BackupError(f"no gateway has run with the state folder {settings.state_dir}", hint=hint)
    if target.exists() or target.is_symlink():
        raise BackupError(f"{target} exists", hint="name a folder that does not: one for each backup")
    if building.exists():
        hint = "an earlier backup did not end, or one is being made: see, remove it, and try again"
        raise BackupError(f"{building} exists", hint=hint)
    if settings.state_dir.resolve() in target.resolve().parents:
        raise BackupError(f"{target} is in the state folder", hint="choose a place on another disk")


def _finish(building: Path, target: Path, manifest: Manifest) -> None:
    name = building / NAME
    name.write_bytes(manifest.encode())
    name.chmod(0o600)
    durable.sync_file(name)
    files.sync_folders(building)
    building.rename(target)
    durable.sync_folder(target.parent)


class _Making:
    """A backup under way: what is in it, and what is to be said of it."""

    def __init__(self, building: Path, settings: Settings, progress: Progress) -> None:
        self.files: list[Kept] = []
        self.notes: list[str] = []
        self._building = building
        self._settings = settings
        self._folder = settings.state_dir
        self._progress = progress

    def room(self, *, with_stores: bool) -> None:
        """Look whether there is room for it all. Raises BackupError."""
        paths = [*self._databases(), *segments.segment_paths(self._folder / JOURNAL)]
        paths += self._stores() if with_stores else []
        paths += self._folder.glob(RECORDS)
        paths += [path for path, _ in configuration.sources(self._settings)]
        total = sum(_size(path) for path in paths)
        files.require_room(self._building, total)
        self._progress.expect(2 * total)

    def state_and_outboxes(self) -> int:
        """Copy what belongs together; return the state's place in the journal."""
        with contextlib.ExitStack() as closing:
            found = together.take(self._folder, closing)
            for file in found.files:
                self._database(file)
        if not found.agrees:
            self.notes.append(
                "an outbox does not know the state's place: some points will be made and sent twice"
            )
        problem = checkpoint.soundness(self._building / STATE / checkpoint.NAME)
        if problem:
            raise BackupError(
                f"{self._folder / checkpoint.NAME} is not sound: {problem}",
                hint="start the gateway again: it takes the newest sound copy of its state; then try again",
            )
        return found.position

    def stores(self, held: Mapping[str, Path]) -> None:
        """Copy the embedded stores: what a running gateway holds from the copies that it made."""
        for path in self._stores():
            if path.name.removesuffix(".wal") in held:
                continue  # a WAL of it belongs to the file that is written on, not to the copy
            self._file(path, f"{STATE}/{path.name}")
        for name, path in held.items():
            self._file(path, f"{STATE}/{name}")
            path.unlink()

    def lists(self) -> None:
        """Copy the quarantine, the list of strangers, and the records of erasures and replays."""
        for path in sorted(self._folder.glob(RECORDS)):
            self._file(path, f"{STATE}/{path.name}")
        for path in self._databases():
            if path.name != checkpoint.NAME and not path.match(together.OUTBOXES):
                with contextlib.closing(durable.Snapshot(path)) as snapshot:
                    self._database(snapshot)

    def journal(self, position: int) -> tuple[int, int]:
        """Copy the journal; return the first and the last position of it. Raises BackupError."""
        first, end = 0, 0
        for path in segments.segment_paths(self._folder / JOURNAL):
            last = self._segment(path)
            if last is not None:
                first, end = first or segments.first_position(path), max(end, last)
        if not first:
            return end + 1, end
        if first > position + 1:
            raise BackupError(
                f"the journal was trimmed past the state's place {position} meanwhile",
                hint="try again; or raise retention under [journal] for longer backups",
            )
        return first, end

    def configuration(self, config_file: Path | None) -> None:
        """Copy settings without their secrets, profiles, devices, time scale."""
        for path, name in configuration.sources(self._settings):
            self._file(path, f"{CONFIGURATION}/{name}")
        if config_file is None:
            return
        cleaned = configuration.without_secrets(config_file.read_text(encoding="utf-8"))
        if cleaned is None:
            self.notes.append(f"{config_file} is not in the backup: its secrets cannot be taken out of it")
            return
        text, secrets = cleaned
        if secrets:
            self.notes.append(f"left out of {configuration.SETTINGS}: {', '.join(secrets)}; set them anew")
        draft = self._building / configuration.SETTINGS
        draft.write_text(text, encoding="utf-8")
        self._file(draft, f"{CONFIGURATION}/{configuration.SETTINGS}")
        draft.unlink()

    def _segment(self, path: Path) -> int | None:
        """Copy a segment; return its last position, None where it was trimmed meanwhile."""
        name = f"{STATE}/{JOURNAL}/{path.name}"
        try:
            found = segments.snapshot_of(path)
        except FileNotFoundError:
            return None
        if found is None:
            self.notes.append(f"{name} is damaged, and was so in the gateway's own folder")
            self._file(path, name)
            return segments.first_position(path) - 1
        with contextlib.closing(found[0]) as snapshot:
            self._database(snapshot, name)
        return found[1]

    def _database(self, snapshot: durable.Snapshot, name: str = "") -> None:
        name = name or f"{STATE}/{snapshot.path.name}"
        path = self._building / name
        files.make_private(path.parent)
        path.touch(mode=0o600)
        snapshot.copy_to(path, copied=partial(self._progress.done, name))
        durable.sync_file(path)
        size, sha256 = files.digest(path, read=partial(self._progress.done, name))
        self.files.append(Kept(name, size, sha256))

    def _file(self, source: Path, name: str) -> None:
        path = self._building / name
        files.make_private(path.parent)
        size, sha256 = files.copy(source, path, copied=lambda more: self._progress.done(name, 2 * more))
        self.files.append(Kept(name, size, sha256))

    def _databases(self) -> Iterator[Path]:
        """Yield every SQLite file of the state folder but the copies of the state."""
        copies = set(checkpoint.copies(self._folder))
        yield from (path for path in sorted(self._folder.glob("*.db")) if path not in copies)

    def _stores(self) -> list[Path]:
        return sorted([*self._folder.glob(f"*{STORE}"), *self._folder.glob(f"*{STORE}.wal")])


def _size(path: Path) -> int:
    """Return a file's size; 0 where it is gone meanwhile."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
