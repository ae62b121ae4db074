"""Files of ours that are not what was written: found out before they are used, set aside, never deleted.

Whoever opens an outbox, a quarantine or another file that it can do without calls `mended` first. A damaged
file is renamed, and what of it can still be read goes on in a new file of its name. A crash on the way leaves
the damaged file in its place, or the new one complete beside it.
"""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway import durable

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

MARK = ".damaged-"
"""Stands behind the name of a file that was set aside, before a number."""
RESCUED = ".rescued"
MOST_PROBES = 100_000
"""Rows that are tried one by one where a table's pages do not lead to them: about a second."""


@dataclass(frozen=True, slots=True)
class Aside:
    """A damaged file: its name until it was set aside, its name now, and what is wrong with it."""

    name: str
    kept_as: str
    problem: str

    def __str__(self) -> str:
        return f"{self.name} was damaged ({self.problem}) and is kept as {self.kept_as}"


def set_aside(path: Path) -> Path:
    """Give a file, with its WAL, a name that nobody opens and nobody had; return it. Raises OSError.

    The file goes first: without its WAL it could pass for sound.
    """
    number = 1
    while (kept := path.with_name(f"{path.name}{MARK}{number}")).exists():
        number += 1
    path.rename(kept)
    for suffix in ("-wal", "-journal"):
        companion = path.with_name(path.name + suffix)
        if companion.exists():
            companion.rename(kept.with_name(kept.name + suffix))
    path.with_name(path.name + "-shm").unlink(missing_ok=True)
    durable.sync_folder(path.parent)
    return kept


def problem(
    path: Path, file_format: durable.Format, judge: Callable[[sqlite3.Connection], str] | None = None
) -> str:
    """Say what is wrong with a file; empty where nothing is, or where there is none. Reads all of it.

    `judge` says what is wrong with the content of a file of this version. Another version is no damage.
    Raises sqlite3.Error where the machine is at fault.
    """
    if not path.exists():
        return ""
    try:
        with contextlib.closing(durable.connect(path)) as connection:
            application_id, version = durable.identity(connection)
            if application_id != file_format.application_id:
                return "it does not say what it is"
            found = "; ".join(str(row[0]) for row in connection.execute("PRAGMA integrity_check(3)"))
            if found != "ok":
                return found
            return judge(connection) if judge is not None and version == file_format.version else ""
    except sqlite3.Error as failure:
        if not durable.is_damage(failure):
            raise
        return str(failure)


def mended(
    path: Path,
    file_format: durable.Format,
    *,
    judge: Callable[[sqlite3.Connection], str] | None = None,
    rescue: Callable[[sqlite3.Connection, sqlite3.Connection], None] | None = None,
) -> Aside | None:
    """Look at a file before it is used. Where it is damaged, set it aside, and put a sound one in its place.

    `rescue` brings what can be read of the first (`rows`, `passing`) to the second, which is empty. Returns
    None where nothing is wrong. Raises sqlite3.Error, OSError: the machine's.
    """
    fresh = path.with_name(path.name + RESCUED)
    if fresh.exists() and not path.exists():  # a crash, after the damaged one was set aside
        _put_in_place(fresh, path)
    durable.remove(fresh)
    found = problem(path, file_format, judge)
    if not found:
        return None
    durable.create(fresh, file_format)
    if rescue is not None:
        _rescue(path, fresh, rescue)
    kept = set_aside(path)
    _put_in_place(fresh, path)
    return Aside(path.name, kept.name, found)


def rows(connection: sqlite3.Connection, table: str, key: str) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a damaged table that can be read, each once; the first column is its integer key.

    From both ends to the first page that cannot be read, and one by one in between.
    """
    below = yield from _until_damage(connection, f"SELECT * FROM {table} ORDER BY {key}", None)  # noqa: S608 - names of ours
    if below is _END:
        return
    above = yield from _until_damage(connection, f"SELECT * FROM {table} ORDER BY {key} DESC", below)  # noqa: S608
    if above is _END:
        return
    for number in _between(below, above):
        row = None
        with passing():
            row = connection.execute(f"SELECT * FROM {table} WHERE {key} = ?", (number,)).fetchone()  # noqa: S608
        if row is not None:
            yield row


@contextlib.contextmanager
def passing() -> Iterator[None]:
    """End the block at damage to a file; let errors of the machine through."""
    try:
        yield
    except sqlite3.Error as failure:
        if not durable.is_damage(failure):
            raise


_END = object()
"""All was read."""


def _until_damage(
    connection: sqlite3.Connection, query: str, until: object
) -> Generator[tuple[Any, ...], None, object]:
    """Yield rows up to the one with the key `until`; return _END, or the last key before what is damaged."""
    last: object = None
    try:
        for row in connection.execute(query):
            if until is not None and row[0] == until:
                return _END
            last = row[0]
            yield row
    except sqlite3.Error as failure:
        if not durable.is_damage(failure):
            raise
        return last
    return _END


def _between(below: object, above: object) -> range:
    """Return the keys to try between two that could be read (None: nothing could from that end)."""
    if isinstance(below, int):
        most = below + 1 + MOST_PROBES
        return range(below + 1, min(above, most) if isinstance(above, int) else most)
    if isinstance(above, int):
        return range(above - 1, max(0, above - 1 - MOST_PROBES), -1)
    return range(1, MOST_PROBES)


def _rescue(
    path: Path, fresh: Path, rescue: Callable[[sqlite3.Connection, sqlite3.Connection], None]
) -> None:
    """Bring what can be read of a file to a fresh one. Raises sqlite3.Error, OSError: the fresh one's."""
    with contextlib.ExitStack() as undo:
        source = None
        with passing():
            source = undo.enter_context(contextlib.closing(durable.connect(path, read_only=True)))
        if source is not None:
            rescue(source, undo.enter_context(contextlib.closing(durable.connect(fresh))))


def _put_in_place(fresh: Path, path: Path) -> None:
    """Give a complete file its name. Raises OSError where it is not complete by itself."""
    wal = fresh.with_name(fresh.name + "-wal")
    if wal.exists():  # the last to close a file takes its WAL into it, and does not say where that fails
        raise OSError(f"{fresh} could not be completed")
    durable.sync_file(fresh)
    durable.remove(path)  # nothing but the WAL of a file that was moved away
    fresh.rename(path)
    durable.sync_folder(path.parent)
