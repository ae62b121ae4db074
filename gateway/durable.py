"""SQLite files that survive a crash: how the journal, the state, the outbox and the quarantine open theirs.

A file is built under another name and renamed once complete, so a file that bears its name was once
whole: whatever is wrong with it later is damage, never an interrupted birth. WAL mode, and
`synchronous=FULL`: a COMMIT that returns is on the disk. Each file says its format.

Blocking calls belong on a `Worker`: one thread per file, so that one slow disk operation holds up
its own file alone, and never the event loop.

Versions: a file of an older version is brought up to date when it is opened to be written, in one
transaction; opened to be read alone, it is read as it is where its layout is still the same. A file of a
newer version is refused, and left alone: to go back to an older Écluse, go back to an older state folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from gateway.errors import EcluseError

P = ParamSpec("P")
T = TypeVar("T")

CHECKPOINT_BYTES = 8 << 20
"""How much a WAL grows before it is copied into its file, which a commit waits for: about 10 ms."""

COPY_BYTES = 1 << 20
"""Copied at a time: how often a progress bar moves."""
DAMAGE_CODES = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR})
"""Primary result codes that speak of the file's content (SQLITE_ERROR: its table is not there any more)."""
UNREADABLE_CODES = frozenset(
    {
        sqlite3.SQLITE_IOERR_READ,
        sqlite3.SQLITE_IOERR_SHORT_READ,
        sqlite3.SQLITE_IOERR_CORRUPTFS,
        sqlite3.SQLITE_IOERR_DATA,
    }
)
"""Of the errors of input and output, those that do too. All others are the machine's: a full disk on which no
shared memory finds room is no reason to call a sound file damaged, and to go on without it."""


@dataclass(frozen=True, slots=True)
class Format:
    """What a file must say of itself: SQLite's application id, our version of its layout, its tables.

    `steps` leads from each older version that can still be read to the next one: statements of SQL, none
    where only what may stand in it has changed.
    """

    application_id: int
    version: int
    page_bytes: int
    schema: str
    shrinks: bool = False
    """Whether free pages can be given back to the disk, at the price of a little book-keeping."""
    steps: Mapping[int, Sequence[str]] = field(default_factory=dict)


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Open a file that exists. Transactions are explicit. Raises sqlite3.Error.

    The connection may be handed from thread to thread; its owner sees to it that one uses it at a time.
    """
    uri = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rw'}"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=10)
    try:
        connection.execute("PRAGMA synchronous=FULL")
        page_bytes = int(connection.execute("PRAGMA page_size").fetchone()[0])
        connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_BYTES // page_bytes}")
        connection.execute(f"PRAGMA journal_size_limit={2 * CHECKPOINT_BYTES}")
    except UnicodeDecodeError as unreadable:  # a rotten schema, quoted in SQLite's own error message
        connection.close()
        raise sqlite3.DatabaseError("malformed database schema") from unreadable
    except BaseException:
        connection.close()
        raise
    return connection


def create(path: Path, file_format: Format) -> None:
    """Make an empty file of that format, in place of whatever is there.

    It bears its name only once it is whole and on the disk. Raises sqlite3.Error, OSError.
    """
    building = path.with_name(path.name + ".new")
    remove(building)
    with contextlib.closing(sqlite3.connect(building, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA page_size={file_format.page_bytes}")
        if file_format.shrinks:  # can be chosen only before the first table
            connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.executescript(f"BEGIN; {file_format.schema}; COMMIT")
        connection.execute(f"PRAGMA application_id={file_format.application_id}")
        connection.execute(f"PRAGMA user_version={file_format.version}")
        connection.execute("PRAGMA journal_mode=WAL")
    if remove(path):  # the WAL of a file that someone moved away would be taken for this one's …
        sync_folder(path.parent)  # … also where a power cut keeps the new name and undoes the removal
    building.rename(path)
    sync_folder(path.parent)


def open_or_create(path: Path, file_format: Format, error: type[EcluseError]) -> sqlite3.Connection:
    """Open a file of that format to be written: made where it does not exist, brought up to date.

    Raises `error` where it is another kind of file or of a version that cannot be; sqlite3.Error, OSError.
    """
    make_folder(path.parent)
    if not path.exists():
        create(path, file_format)
    connection = connect(path)
    try:
        if identity(connection)[0] == file_format.application_id:
            upgrade(connection, path, file_format, error)
        require_format(connection, path, file_format, error)
    except BaseException:
        connection.close()
        raise
    return connection


def identity(connection: sqlite3.Connection) -> tuple[int, int]:
    """Return the application id and the format version that a file bears. Raises sqlite3.Error."""
    return (
        int(connection.execute("PRAGMA application_id").fetchone()[0]),
        int(connection.execute("PRAGMA user_version").fetchone()[0]),
    )


def require_version(path: Path, version: int, file_format: Format, error: type[EcluseError]) -> None:
    """Raise `error` where no step leads from that version to ours: it is no damage, and is left alone."""
    newer = version > file_format.version
    if not newer and set(range(version, file_format.version)) <= file_format.steps.keys():
        return
    raise error(
        f"{path}: has format version {version}; this Écluse knows {file_format.version}",
        hint="run the version of Écluse that wrote it, or a newer one"
        if newer
        else "run an Écluse in between first, which brings it up to date; or move the file away",
    )


def require_format(
    connection: sqlite3.Connection, path: Path, file_format: Format, error: type[EcluseError]
) -> None:
    """Raise `error` where a file cannot be read as it is: another kind of file, or another layout.

    Raises sqlite3.Error where the machine is at fault.
    """
    application_id, version = identity(connection)
    if application_id != file_format.application_id:
        raise error(f"{path} is another kind of file, or damaged", hint="move it away, and look at the disk")
    require_version(path, version, file_format, error)
    if any(file_format.steps[step] for step in range(version, file_format.version)):
        raise error(
            f"{path}: has the layout of format version {version}",
            hint="start the gateway once: it brings the file up to date",
        )


def upgrade(
    connection: sqlite3.Connection, path: Path, file_format: Format, error: type[EcluseError]
) -> None:
    """Bring a file up to date that an older Écluse wrote: wholly, or not at all.

    Raises `error` as `require_version`; sqlite3.Error, OSError.
    """
    _, version = identity(connection)
    require_version(path, version, file_format, error)
    if version == file_format.version:
        return
    with transaction(connection):
        for step in range(version, file_format.version):
            for statement in file_format.steps[step]:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version={file_format.version}")


def remove(path: Path) -> bool:
    """Unlink a file with its WAL and its shared memory, where they exist; tell whether any did.

    The folder is not synced.
    """
    there = [one for one in map(path.with_name, _names(path.name)) if one.exists()]
    for one in there:
        one.unlink(missing_ok=True)
    return bool(there)


def _names(name: str) -> tuple[str, ...]:
    return (name, f"{name}-wal", f"{name}-shm", f"{name}-journal")


def make_folder(folder: Path) -> None:
    """Make a folder and those that it lies in, where they do not exist; their names are on the disk then.

    Without that, a power cut could take a folder away with all that was synced in it. Raises OSError.
    """
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in reversed(missing):
        sync_folder(made.parent)


def sync_file(path: Path) -> None:
    """Bring a file's content to the disk."""
    _sync(path, os.O_RDONLY)


def sync_folder(folder: Path) -> None:
    """Bring a folder's entries (names made, names gone) to the disk."""
    _sync(folder, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Run the block in one transaction: durable when it ends, undone when it raises."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # SQLite ends the transaction by itself on some errors; what went wrong first is what is told.
        with contextlib.suppress(sqlite3.Error):
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        raise


def is_damage(failure: sqlite3.Error) -> bool:
    """Tell whether an error speaks of the file's content, not of the machine (memory, rights)."""
    code = getattr(failure, "sqlite_errorcode", None)  # absent where Python raised it, on a broken text
    return code is None or code & 0xFF in DAMAGE_CODES or code in UNREADABLE_CODES


@contextlib.contextmanager
def translated(error: type[EcluseError], what: str) -> Iterator[None]:
    """Turn errors of SQLite and of the operating system into ours, with a hint for the operator."""
    try:
        yield
    except (sqlite3.Error, OSError) as failure:
        raise error(f"{what}: {failure}", hint=_hint(failure)) from failure


def _hint(failure: Exception) -> str:
    code = (getattr(failure, "sqlite_errorcode", None) or 0) & 0xFF
    hints = {
        sqlite3.SQLITE_FULL: "free space on that disk, or give it a bigger one, then start again",
        sqlite3.SQLITE_IOERR: "look at the kernel's log: the disk may be failing or full",
        sqlite3.SQLITE_CORRUPT: "the file is damaged: keep a copy of it, then restore or remove it",
        sqlite3.SQLITE_NOTADB: "the file is damaged: keep a copy of it, then restore or remove it",
        sqlite3.SQLITE_BUSY: "another program holds the file: end it, then start again",
    }
    return hints.get(code, "see that the folder exists and that the service may read and write it")


class Snapshot:
    """A file as it is at one moment, for as long as this is open: its gateway writes on meanwhile.

    Reads only, from another process too. The WAL cannot begin anew while this is open.
    """

    def __init__(self, path: Path) -> None:
        """Take the snapshot. Raises sqlite3.Error where the file is none or cannot be read."""
        self.path = path
        self.connection = connect(path, read_only=True)
        try:
            self.connection.execute("BEGIN")
            self.connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # now it is taken
            self._pages = int(self.connection.execute("PRAGMA page_count").fetchone()[0])
            self._page_bytes = int(self.connection.execute("PRAGMA page_size").fetchone()[0])
        except BaseException:
            self.connection.close()
            raise

    @property
    def bytes(self) -> int:
        """What a copy of it takes."""
        return self._pages * self._page_bytes

    def copy_to(self, path: Path, *, copied: Callable[[int], None]) -> None:
        """Write it to a new file that is complete by itself, without a WAL; not synced.

        `copied` is told, again and again, how many bytes more are done. Raises sqlite3.Error.
        """
        remaining = self._pages

        def stepped(_status: int, left: int, _total: int) -> None:
            nonlocal remaining
            copied((remaining - left) * self._page_bytes)
            remaining = left

        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as target:
            target.execute("PRAGMA synchronous=OFF")
            # Steps see one state, though commits go on between them: this connection is in a transaction.
            self.connection.backup(target, pages=COPY_BYTES // self._page_bytes, progress=stepped)
            target.execute("PRAGMA journal_mode=DELETE")

    def close(self) -> None:
        """Let the file go."""
        self.connection.close()


def begin_wal(path: Path) -> None:
    """Put a file that was copied back to WAL mode, as `create` leaves one. Raises sqlite3.Error."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


def unsoundness(path: Path) -> str:
    """Say what is wrong with a file's structure; empty where nothing is. Reads all of it.

    Raises sqlite3.Error where the machine is at fault.
    """
    try:
        with contextlib.closing(connect(path)) as connection:
            found = "; ".join(str(row[0]) for row in connection.execute("PRAGMA integrity_check(3)"))
    except sqlite3.Error as failure:
        if not is_damage(failure):
            raise
        return str(failure)
    return "" if found == "ok" else found


class Worker:
    """One thread for one file's blocking calls, in the order in which they were asked for."""

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    def submit(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """Queue a call; the future is of the running loop. Cancelling it does not stop a call under way."""
        return asyncio.wrap_future(self._executor.submit(call, *args, **kwargs))

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what the call returns, or raise what it raises."""
        return await self.submit(call, *args, **kwargs)

    async def close(self, call: Callable[[], None]) -> None:
        """Make one last call, after all others, then end the thread."""
        try:
            await self.run(call)
        finally:
            self._executor.shutdown(wait=True)
