"""The checkpoint's file: the state at a place in the journal, in one transaction, with verified copies.

Delivery guarantees: a commit that returns is on the disk, whole; one that does not return leaves the
state before it. Each cell and each meta value carries a CRC-32 over its key and content: what was not
written is never read as state. Recovery takes the newest sound one of the file and its two copies,
and replays the journal from there; so the journal must keep everything behind `needed_after`.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING
from zlib import crc32

from gateway import damage, durable
from gateway.damage import Aside
from gateway.errors import StateError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from gateway.model import Changes

FORMAT = durable.Format(
    application_id=0x45435354,  # "ECST"
    version=1,
    page_bytes=8192,
    # With a rowid: a cell can be far larger than a page, and only its key belongs in the index.
    schema="CREATE TABLE cells (kind TEXT NOT NULL, owner TEXT NOT NULL, start INTEGER NOT NULL,"
    " part INTEGER NOT NULL, crc INTEGER NOT NULL, body BLOB NOT NULL,"
    " PRIMARY KEY (kind, owner, start, part));"
    " CREATE TABLE meta (key TEXT PRIMARY KEY, crc INTEGER NOT NULL, value BLOB NOT NULL)",
)
NAME = "state.db"
COPIES = 2
POSITION = "position"
"""The meta key that ties the state to the journal: its last record's position, as decimal digits."""
RESTART_HINT = "start again: the newest sound copy of the state is then taken"
WHOLE = -1
"""As a part: every part of that (kind, owner, start); only to delete."""

_PUT = (
    "INSERT INTO cells VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (kind, owner, start, part) DO UPDATE SET crc = excluded.crc, body = excluded.body"
)
_PUT_META = (
    "INSERT INTO meta VALUES (?, ?, ?)"
    " ON CONFLICT (key) DO UPDATE SET crc = excluded.crc, value = excluded.value"
)


@dataclass(frozen=True, slots=True)
class Opened:
    """Which file the state comes from (its name; empty where all is new), and which ones were set aside."""

    source: str
    aside: tuple[Aside, ...] = ()


class Checkpoint:
    """`ports.StateStore` on SQLite. Commits, loads and copies may come from different threads.

    Loads see the last commit that returned. All calls block: a commit for about as long as its bytes
    take to be written, a copy for as long as the file takes to be read twice and written once.
    """

    def __init__(self, folder: Path, opened: Opened) -> None:
        """Use `Checkpoint.open_newest_sound`."""
        self.folder = folder
        self.opened = opened
        self._writing = threading.Lock()
        self._reading = threading.Lock()
        self._writer = durable.connect(folder / NAME)
        try:
            self._reader = durable.connect(folder / NAME)
        except BaseException:
            self._writer.close()
            raise

    @classmethod
    def open_newest_sound(cls, folder: Path) -> Checkpoint:
        """Open the state, or the newest sound copy of it, or a new one; `opened` says which.

        Reads the whole file once, to see that it is sound. Files that are not are set aside, under names
        that nobody opens, once a sound one was found. Raises StateError: not accessible, of another version,
        or nothing is sound though something was there (then nothing is begun anew in silence).
        """
        with durable.translated(StateError, f"the state in {folder} cannot be opened"):
            durable.make_folder(folder)
            main = folder / NAME
            candidates = [path for path in (main, *copies(folder)) if path.exists()]
            refused: list[tuple[str, str]] = []
            for path in candidates:
                problem = soundness(path)
                if not problem:
                    aside = _put_in_place(path, main, refused)
                    with contextlib.closing(durable.connect(main)) as connection:
                        durable.upgrade(connection, main, FORMAT, StateError)
                    return cls(folder, Opened(path.name, aside))
                refused.append((path.name, problem))
            if refused:
                raise StateError(
                    "no state is sound: " + "; ".join(f"{name}: {problem}" for name, problem in refused),
                    hint="move these files away to begin anew, from the first record that the journal holds",
                )
            durable.create(main, FORMAT)
            return cls(folder, Opened(""))

    def load(self, kind: str, owner: str, start: int) -> list[bytes]:
        """Return the parts of that cell in order of part; an empty list where there is none.

        Raises StateError where a part is not what was written.
        """
        with self._reading, durable.translated(StateError, "the state cannot be read"):
            rows = self._reader.execute(
                "SELECT kind, owner, start, part, crc, body FROM cells"
                " WHERE kind = ? AND owner = ? AND start = ? ORDER BY part",
                (kind, owner, start),
            ).fetchall()
        for row in rows:
            if altered(row):
                raise StateError(f"a cell of the state is damaged: {row[:4]}", hint=RESTART_HINT)
        return [row[-1] for row in rows]

    def starts(self, kind: str, owner: str) -> list[int]:
        """Return the starts that have cells of this kind, ascending. Raises StateError."""
        with self._reading, durable.translated(StateError, "the state cannot be read"):
            rows = self._reader.execute(
                "SELECT DISTINCT start FROM cells WHERE kind = ? AND owner = ? ORDER BY start", (kind, owner)
            ).fetchall()
        return [row[0] for row in rows]

    def owners(self, kind: str) -> list[str]:
        """Return the owners that have cells of this kind, sorted. Raises StateError."""
        with self._reading, durable.translated(StateError, "the state cannot be read"):
            rows = self._reader.execute(
                "SELECT DISTINCT owner FROM cells WHERE kind = ? ORDER BY owner", (kind,)
            ).fetchall()
        return [row[0] for row in rows]

    def meta(self, key: str) -> bytes | None:
        """Return a meta value; None where it was never committed. Raises StateError."""
        with self._reading, durable.translated(StateError, "the state cannot be read"):
            return read_meta(self._reader, key)

    def commit(self, changes: Changes, meta: dict[str, bytes]) -> None:
        """Write everything in one durable transaction. Raises StateError (fatal).

        Deletions of whole cells come first, whatever their place: a cell can be deleted and written
        anew in one commit.
        """
        gone = [(*key[:3], key[3]) for key, body in changes.cells.items() if body is None]
        kept = [(*key, _crc(key, body), body) for key, body in changes.cells.items() if body is not None]
        if any(row[3] == WHOLE for row in kept):
            raise ValueError("part -1 stands for every part: it can only be deleted")
        with (
            self._writing,
            durable.translated(StateError, "the state cannot be written"),
            durable.transaction(self._writer),
        ):
            self._writer.executemany(
                "DELETE FROM cells WHERE kind = ? AND owner = ? AND start = ?",
                [key[:3] for key in gone if key[3] == WHOLE],
            )
            self._writer.executemany(
                "DELETE FROM cells WHERE kind = ? AND owner = ? AND start = ? AND part = ?",
                [key for key in gone if key[3] != WHOLE],
            )
            self._writer.executemany(_PUT, kept)
            self._writer.executemany(
                _PUT_META, [(key, _crc((key,), value), value) for key, value in meta.items()]
            )

    @property
    def position(self) -> int:
        """The journal position of the state: the last record in it; 0 in a new one."""
        return int(self.meta(POSITION) or b"0")

    @property
    def needed_after(self) -> int:
        """The journal must keep every record behind this position: the older copy's; 0 without a copy."""
        return min((_position_of(path) for path in copies(self.folder)), default=0)

    def copies(self) -> list[Path]:
        """Return the copies, newest first."""
        return copies(self.folder)

    def copy(self) -> Path:
        """Make a verified copy, named by its position; keep the two newest. Raises StateError."""
        with durable.translated(StateError, "the state cannot be copied"):
            building = self.folder / (NAME + ".copy")
            position = self.copy_to(building)
            path = self.folder / f"state-{position:016d}.db"
            building.rename(path)
            for old in copies(self.folder)[COPIES:]:
                durable.remove(old)
            durable.sync_folder(self.folder)
        return path

    def copy_to(self, path: Path) -> int:
        """Write a copy of the last commit to `path` and verify it; return its journal position.

        Commits go on meanwhile. Raises StateError; nothing is left at `path` then.
        """
        durable.remove(path)
        try:
            with durable.translated(StateError, f"the state cannot be copied to {path}"):
                # In one step: a step holds one snapshot, and a commit between steps would begin it anew.
                with (
                    contextlib.closing(durable.connect(self.folder / NAME)) as source,
                    contextlib.closing(sqlite3.connect(path, isolation_level=None)) as target,
                ):
                    source.backup(target, pages=-1)
                    target.execute("PRAGMA journal_mode=DELETE")  # one file, complete by itself
                durable.sync_file(path)
                _require_sound(path)
                with contextlib.closing(durable.connect(path, read_only=True)) as copy:
                    row = copy.execute("SELECT value FROM meta WHERE key = ?", (POSITION,)).fetchone()
                    return int(row[0]) if row else 0
        except BaseException:
            durable.remove(path)
            raise

    def close(self) -> None:
        """Bring the WAL into the file and close it."""
        with self._reading:
            self._reader.close()
        with self._writing:
            self._writer.close()


def read_meta(connection: sqlite3.Connection, key: str) -> bytes | None:
    """Return a meta value of a state file; None where it was never committed.

    Raises StateError where it is not what was written; sqlite3.Error.
    """
    row = connection.execute("SELECT key, crc, value FROM meta WHERE key = ?", (key,)).fetchone()
    if row is not None and altered(row):
        raise StateError(f"the state's value {key} is damaged", hint=RESTART_HINT)
    return None if row is None else bytes(row[2])


def soundness(path: Path) -> str:
    """Say what is wrong with a state file; empty where it is sound. Reads all of it.

    Raises sqlite3.Error where the machine is at fault, StateError where another version wrote it.
    """
    try:
        with contextlib.closing(durable.connect(path)) as connection:
            application_id, version = durable.identity(connection)
            if application_id != FORMAT.application_id:
                return "it does not say that it is a state"
            durable.require_version(path, version, FORMAT, StateError)
            # Not quick_check: it does not compare the keys' index with the rows, and would miss hidden cells.
            found = "; ".join(str(row[0]) for row in connection.execute("PRAGMA integrity_check(3)"))
            if found != "ok":
                return found
            for query in (
                "SELECT kind, owner, start, part, crc, body FROM cells",
                "SELECT key, crc, value FROM meta",
            ):
                for row in connection.execute(query):
                    if altered(row):
                        return f"checksum does not match: {row[:-2]}"
    except sqlite3.Error as failure:
        if not durable.is_damage(failure):
            raise
        return str(failure)
    return ""


def _require_sound(copy: Path) -> None:
    problem = soundness(copy)
    if problem:
        raise StateError(f"the copy {copy} is not sound: {problem}", hint="look at the disk")


def copies(folder: Path) -> list[Path]:
    """Return a folder's copies, newest first; what only resembles one is left alone."""
    named = [path for path in folder.glob("state-*.db") if path.stem.removeprefix("state-").isdecimal()]
    return sorted(named, key=_position_of, reverse=True)


def _position_of(copy: Path) -> int:
    return int(copy.stem.removeprefix("state-"))


def _put_in_place(sound: Path, main: Path, refused: Sequence[tuple[str, str]]) -> tuple[Aside, ...]:
    """Make the sound file the state, and set those aside that are not sound.

    A crash at any point leaves `sound` the newest sound one.
    """
    if sound == main:
        return ()
    building = main.with_name(NAME + ".new")
    durable.remove(building)
    shutil.copyfile(sound, building)
    with contextlib.closing(durable.connect(building)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    durable.sync_file(building)
    aside = tuple(
        Aside(name, damage.set_aside(main.with_name(name)).name, problem) for name, problem in refused
    )
    if durable.remove(main):
        durable.sync_folder(main.parent)  # else a power cut could keep the new file beside the old WAL
    building.rename(main)
    durable.sync_folder(main.parent)
    return aside


def _crc(key: Iterable[object], body: bytes) -> int:
    return crc32(body, crc32("\0".join(map(str, key)).encode()))


def altered(row: tuple[object, ...]) -> bool:
    """Tell whether a row (its key, crc, body) is not what was written."""
    *key, crc, body = row
    return not isinstance(body, bytes) or crc != _crc(key, body)
