"""What an outbox file holds: its rows, their checksums, and how they are read and written. Synchronous.

What version 2 has beside version 1 stands in the last columns, and counts in a row's checksum where it is
not what an older row has: so rows of version 1 are read as they are.

Functions raise sqlite3.Error where the machine is at fault.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from dataclasses import astuple
from typing import TYPE_CHECKING, Any
from zlib import crc32

from gateway import durable
from gateway.errors import StateError
from gateway.sinks.outbox_cursor import Cursor
from gateway.sinks.outbox_model import Entry, Mark, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from gateway.sinks.outbox_model import Held

_AGAIN = "again INTEGER NOT NULL DEFAULT 1"
_BEHIND = "behind TEXT NOT NULL DEFAULT ''"
"""Of a cursor: JSON [fence, gap, …]; empty where it has neither."""
_NEWER = (
    "CREATE TABLE newer (sink TEXT NOT NULL, key BLOB NOT NULL, seq INTEGER NOT NULL,"
    " crc INTEGER NOT NULL, PRIMARY KEY (sink, key)) WITHOUT ROWID"
)
FORMAT = durable.Format(
    application_id=0x45434F42,  # "ECOB"
    version=2,
    page_bytes=8192,
    shrinks=True,  # an outage of days must not leave a file of its size for ever
    # The figures come before the body: sums over them then read no overflow page.
    schema="CREATE TABLE entries (seq INTEGER PRIMARY KEY, count INTEGER NOT NULL, bytes INTEGER NOT NULL,"
    " oldest_ns INTEGER NOT NULL, made_through INTEGER NOT NULL, bytes_through INTEGER NOT NULL,"
    f" crc INTEGER NOT NULL, body BLOB NOT NULL, {_AGAIN});"
    " CREATE TABLE marks (name TEXT PRIMARY KEY, seq INTEGER NOT NULL, points INTEGER NOT NULL,"
    " bytes INTEGER NOT NULL, crc INTEGER NOT NULL);"
    " CREATE TABLE cursors (sink TEXT PRIMARY KEY, policy TEXT NOT NULL, seq INTEGER NOT NULL,"
    " points INTEGER NOT NULL, bytes INTEGER NOT NULL, base INTEGER NOT NULL, refused INTEGER NOT NULL,"
    " dropped INTEGER NOT NULL, superseded INTEGER NOT NULL, replayed INTEGER NOT NULL,"
    f" crc INTEGER NOT NULL, {_BEHIND});"
    " CREATE TABLE outcomes (sink TEXT NOT NULL, seq INTEGER NOT NULL, refused INTEGER NOT NULL,"
    " dropped INTEGER NOT NULL, superseded INTEGER NOT NULL, PRIMARY KEY (sink, seq)) WITHOUT ROWID;"
    f" {_NEWER}",
    steps={
        1: (f"ALTER TABLE entries ADD COLUMN {_AGAIN}", f"ALTER TABLE cursors ADD COLUMN {_BEHIND}", _NEWER)
    },
)
END = "end"
"""The mark of the log's end; the other marks are named by their sequence number."""
DAMAGE_HINT = (
    "move the file away: what waits in it is then made again by the replay of an older state, or is lost"
)

_ENTRIES = "SELECT * FROM entries WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?"
_LAST = 2**63 - 1
_CURSOR_COLUMNS = 11
"""Those of version 1: a cursor's figures and their checksum."""


def insert_entries(connection: sqlite3.Connection, held: Iterable[Held]) -> None:
    """Write entries, in a transaction under way."""
    rows = []
    for mark, entry in held:
        figures = (mark.seq, entry.count, len(entry.body), entry.oldest_ns, mark.points, mark.bytes)
        crc = _crc(figures, entry.body, again=entry.again)
        rows.append((*figures, crc, entry.body, int(entry.again)))
    connection.executemany("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)


def replace_body(connection: sqlite3.Connection, held: Held, body: bytes) -> None:
    """Give an entry another body, in a transaction under way; its counts and sums stay as they were made."""
    mark, entry = held
    figures = (mark.seq, entry.count, len(body), entry.oldest_ns, mark.points, mark.bytes)
    connection.execute(
        "UPDATE entries SET bytes = ?, crc = ?, body = ? WHERE seq = ?",
        (len(body), _crc(figures, body, again=entry.again), body, mark.seq),
    )


def read_entries(
    connection: sqlite3.Connection, after: int, through: int, max_points: int, max_bytes: int
) -> list[Held]:
    """Return the sound entries right behind `after`, one at least, up to the limits or the first bad one.

    None behind `through`.
    """
    taken: list[Held] = []
    points, size = 0, 0
    with _damage_ends():
        for row in connection.execute(_ENTRIES, (after, through, -1)):
            if not _is_sound(row) or row[0] != after + len(taken) + 1:
                break
            points, size = points + row[1], size + row[2]
            if taken and (points > max_points or size > max_bytes):
                break
            taken.append(_entry(row))
    # sqlite3 steps ahead: damage to the second row hides a first one that is sound.
    first = None if taken else first_sound(connection, after)
    return [first] if first is not None and first[0].seq == after + 1 <= through else taken


def first_sound(connection: sqlite3.Connection, after: int) -> Held | None:
    """Return the entry behind `after` where it can be read; None where not, or where there is none."""
    row = None
    with _damage_ends():
        row = connection.execute(_ENTRIES, (after, _LAST, 1)).fetchone()
    return _entry(row) if row is not None and _is_sound(row) else None


def places(connection: sqlite3.Connection, after: int, enough_bytes: int) -> list[tuple[Mark, int]]:
    """Return the places behind `after`, with their points, to the first one with so many bytes."""
    query = "SELECT seq, count, made_through, bytes_through FROM entries WHERE seq > ? ORDER BY seq"
    found = []
    for seq, count, points, size in connection.execute(query, (after,)):
        found.append((Mark(seq, points, size), count))
        if size >= enough_bytes:
            break
    return found


def oldest_ns(connection: sqlite3.Connection, after: int) -> int | None:
    """Return the receive time of the oldest uplink in the entry behind `after`."""
    query = "SELECT oldest_ns FROM entries WHERE seq > ? ORDER BY seq LIMIT 1"
    row = None
    with _damage_ends():
        row = connection.execute(query, (after,)).fetchone()
    return row[0] if row is not None and isinstance(row[0], int) else None


def first_row(connection: sqlite3.Connection, after: int, through: int) -> int | None:
    """Return the first entry's number in (after, through]; None where there is none."""
    query = "SELECT min(seq) FROM entries WHERE seq > ? AND seq <= ?"
    found: int | None = connection.execute(query, (after, through)).fetchone()[0]
    return found


def last_row(connection: sqlite3.Connection) -> int:
    """Return the last entry's sequence number; 0 where there is none."""
    return int(connection.execute("SELECT coalesce(max(seq), 0) FROM entries").fetchone()[0])


def load_marks(connection: sqlite3.Connection) -> dict[str, Mark]:
    """Return the marks in order of place. Raises StateError where one is damaged."""
    return {row[0]: Mark(*row[1:]) for row in _rows(connection, "SELECT * FROM marks ORDER BY seq")}


def save_marks(connection: sqlite3.Connection, end: Mark, marks: Iterable[Mark]) -> None:
    """Put the log's end and the other marks in the place of those that are there, in a transaction."""
    named = {END: end} | {str(mark.seq): mark for mark in marks}
    rows = [(name, *astuple(mark)) for name, mark in named.items()]
    connection.execute("DELETE FROM marks")
    connection.executemany(
        "INSERT INTO marks VALUES (?, ?, ?, ?, ?)", [(*row, checksum(row)) for row in rows]
    )


def load_cursors(connection: sqlite3.Connection) -> dict[str, Cursor]:
    """Return the cursors by sink. Raises StateError where one is damaged."""
    found = {}
    for row in connection.execute("SELECT * FROM cursors ORDER BY sink"):
        *figures, crc = row[:_CURSOR_COLUMNS]
        behind = row[_CURSOR_COLUMNS:][:1]
        if crc != checksum((*figures, *filter(None, behind))):
            raise StateError(f"the outbox's books are damaged at {row[0]}", hint=DAMAGE_HINT)
        fence, *gaps = json.loads(behind[0]) if any(behind) else [0]
        found[row[0]] = Cursor.from_list([*figures, fence, gaps])
    return found


def save_cursors(connection: sqlite3.Connection, cursors: Iterable[Cursor]) -> None:
    """Put cursors in the place of those that are there, in a transaction."""
    rows = []
    for cursor in cursors:
        *figures, fence, gaps = cursor.as_list()
        behind = json.dumps([fence, *gaps]) if fence or gaps else ""
        rows.append((*figures, checksum((*figures, *filter(None, (behind,)))), behind))
    connection.execute("DELETE FROM cursors")
    connection.executemany("INSERT INTO cursors VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)


def load_newer(connection: sqlite3.Connection) -> dict[str, dict[bytes, int]]:
    """Return by sink the points of which it had a writing before an older one, and in which entry.

    Raises StateError where one is damaged.
    """
    found: dict[str, dict[bytes, int]] = {}
    for sink, key, seq in _rows(connection, _newer_of(connection)):
        found.setdefault(sink, {})[key] = seq
    return found


def sound_newer(connection: sqlite3.Connection) -> Iterator[tuple[str, bytes, int]]:
    """Yield those of them that are what was written."""
    for *row, crc in connection.execute(_newer_of(connection)):
        if crc == checksum(row):
            yield row[0], row[1], row[2]


def insert_newer(connection: sqlite3.Connection, newer: Iterable[tuple[str, bytes, int]]) -> None:
    """Write such points, in a transaction under way."""
    rows = ((*row, checksum(row)) for row in newer)
    connection.executemany("INSERT OR REPLACE INTO newer VALUES (?, ?, ?, ?)", rows)


def save_newer(
    connection: sqlite3.Connection, newer: Iterable[tuple[str, bytes, int]], cursors: Mapping[str, Cursor]
) -> None:
    """Write such points, and forget those of sinks that have no gap any more, in a transaction."""
    insert_newer(connection, newer)
    with_gaps = json.dumps([sink for sink, cursor in cursors.items() if cursor.gaps])
    connection.execute("DELETE FROM newer WHERE sink NOT IN (SELECT value FROM json_each(?))", (with_gaps,))


def cut_newer(connection: sqlite3.Connection, seq: int) -> None:
    """Let what was sent behind an entry be older than what will stand there, in a transaction."""
    beyond = connection.execute("SELECT sink, key FROM newer WHERE seq > ?", (seq + 1,)).fetchall()
    insert_newer(connection, ((sink, key, seq + 1) for sink, key in beyond))


def load_outcomes(connection: sqlite3.Connection) -> dict[str, dict[int, Outcome]]:
    """Return what became of points that were not stored, by sink and entry."""
    found: dict[str, dict[int, Outcome]] = {}
    for sink, seq, *counts in connection.execute("SELECT * FROM outcomes"):
        found.setdefault(sink, {})[seq] = Outcome(*counts)
    return found


def save_outcomes(connection: sqlite3.Connection, outcomes: Iterable[tuple[str, int, Outcome]]) -> None:
    """Write what became of entries, as it is now, in a transaction."""
    connection.executemany(
        "INSERT OR REPLACE INTO outcomes VALUES (?, ?, ?, ?, ?)",
        [(sink, seq, *outcome) for sink, seq, outcome in outcomes],
    )


def held(row: tuple[Any, ...]) -> Held | None:
    """Return the entry of a whole row; None where it is not what was written."""
    return _entry(row) if _is_sound(row) else None


def checksum(figures: Iterable[object], body: bytes = b"") -> int:
    """Return the CRC-32 of a row."""
    return crc32(body, crc32("\0".join(map(str, figures)).encode()))


def _rows(connection: sqlite3.Connection, query: str) -> Iterator[tuple[Any, ...]]:
    for *row, crc in connection.execute(query):
        if crc != checksum(row):
            raise StateError(f"the outbox's books are damaged at {row[0]}", hint=DAMAGE_HINT)
        yield tuple(row)


def _newer_of(connection: sqlite3.Connection) -> str:
    """Return the query for all of them; a file of version 1 has none."""
    return "SELECT * FROM newer" if durable.identity(connection)[1] > 1 else "SELECT 1 LIMIT 0"


def _crc(figures: Iterable[object], body: bytes, *, again: bool) -> int:
    return checksum(figures if again else (*figures, 0), body)


def _is_sound(row: tuple[Any, ...]) -> bool:
    return isinstance(row[7], bytes) and row[6] == _crc(row[:6], row[7], again=_is_again(row))


def _is_again(row: tuple[Any, ...]) -> bool:
    return row[8:] != (0,)


def _entry(row: tuple[Any, ...]) -> Held:
    return Mark(row[0], row[4], row[5]), Entry(row[7], row[1], row[3], again=_is_again(row))


@contextlib.contextmanager
def _damage_ends() -> Iterator[None]:
    """End the block at damage to the file; let errors of the machine through."""
    try:
        yield
    except sqlite3.Error as failure:
        if not durable.is_damage(failure):
            raise
