"""SQLite files that survive a crash: how the journal, the state, the outbox and the quarantine open theirs.

A file is built under another name and renamed once complete, so a file that bears its name was once
whole: whatever is wrong with it later is damage, never an interrupted birth. WAL mode, and
`synchronous=FULL`: a COMMIT that returns is on the disk. Each file says its format.

Blocking calls belong on a `Worker`: one thread per file, so that one slow disk operation holds up
its own file alone, and never the event loop.
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
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from gateway.errors import EcluseError

P = ParamSpec("P")
T = TypeVar("T")

CHECKPOINT_BYTES = 8 << 20
"""How much a WAL grows before it is copied into its file, which a commit waits for: about 10 ms."""

DAMAGE_CODES = frozenset(
    {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_IOERR}
)
"""Primary result codes that speak of the file's content (SQLITE_ERROR: its table is not there any more)."""


@dataclass(frozen=True, slots=True)
class Format:
    """What a file must say of itself: SQLite's application id, our version of its layout, its tables."""

    application_id: int
    version: int
    page_bytes: int
    schema: str
    shrinks: bool = False
    """Whether free pages can be given back to the disk, at the price of a little book-keeping."""
    upgrades: Mapping[int, str] = field(default_factory=dict)
    """Older version → the statement that makes the next one of it."""


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
    remove(path)  # the WAL of a file that someone moved away would be taken for this one's
    building.rename(path)
    sync_folder(path.parent)


def open_or_create(path: Path, file_format: Format, error: type[EcluseError]) -> sqlite3.Connection:
    """Open a file of that format, made where it does not exist, brought up to date where it is older.

    Raises `error` where it is another kind of file or of another version; sqlite3.Error, OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        create(path, file_format)
    connection = connect(path)
    try:
        _upgrade(connection, file_format)
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
    """Raise `error` where another version of Écluse wrote the file: it is no damage, and is left alone."""
    if version != file_format.version:
        hint = "run the version of Écluse that wrote it, or move the file away"
        if version in file_format.upgrades:
            hint = "start the gateway of this version: it brings the file up to date"
        what = f"{path}: has format version {version}; this Écluse knows {file_format.version}"
        raise error(what, hint=hint)


def _upgrade(connection: sqlite3.Connection, file_format: Format) -> None:
    """Bring a file of that kind up to date, version by version. Raises sqlite3.Error."""
    application_id, version = identity(connection)
    while application_id == file_format.application_id and version in file_format.upgrades:
        with transaction(connection):
            connection.execute(file_format.upgrades[version])
            connection.execute(f"PRAGMA user_version={version + 1}")
        version += 1


def require_format(
    connection: sqlite3.Connection, path: Path, file_format: Format, error: type[EcluseError]
) -> None:
    """Raise `error` where a file is another kind of file or of another version; sqlite3.Error."""
    application_id, version = identity(connection)
    if application_id != file_format.application_id:
        raise error(f"{path} is another kind of file, or damaged", hint="move it away, and look at the disk")
    require_version(path, version, file_format, error)


def remove(path: Path) -> None:
    """Unlink a file with its WAL and its shared memory, where they exist. The folder is not synced."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


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
    return code is None or code & 0xFF in DAMAGE_CODES


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
