"""What an outbox file holds: its rows, their checksums, and how they are read and written. Synchronous.

Entries carry how many points and bytes were made up to and with them, so that every sum is a
difference of two numbers. Functions raise sqlite3.Error where the machine is at fault.
"""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import astuple, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from zlib import crc32

from gateway import durable
from gateway.errors import StateError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

FORMAT = durable.Format(
    application_id=0x45434F42,  # "ECOB"
    version=1,
    page_bytes=8192,
    shrinks=True,  # an outage of days must not leave a file of its size for ever
    # The body comes last: sums over the other columns then read no overflow page.
    schema="CREATE TABLE entries (seq INTEGER PRIMARY KEY, count INTEGER NOT NULL, bytes INTEGER NOT NULL,"
    " oldest_ns INTEGER NOT NULL, made_through INTEGER NOT NULL, bytes_through INTEGER NOT NULL,"
    " crc INTEGER NOT NULL, body BLOB NOT NULL);"
    " CREATE TABLE marks (name TEXT PRIMARY KEY, seq INTEGER NOT NULL, points INTEGER NOT NULL,"
    " bytes INTEGER NOT NULL, crc INTEGER NOT NULL);"
    " CREATE TABLE cursors (sink TEXT PRIMARY KEY, policy TEXT NOT NULL, seq INTEGER NOT NULL,"
    " points INTEGER NOT NULL, bytes INTEGER NOT NULL, base INTEGER NOT NULL, refused INTEGER NOT NULL,"
    " dropped INTEGER NOT NULL, superseded INTEGER NOT NULL, replayed INTEGER NOT NULL,"
    " crc INTEGER NOT NULL);"
    " CREATE TABLE outcomes (sink TEXT NOT NULL, seq INTEGER NOT NULL, refused INTEGER NOT NULL,"
    " dropped INTEGER NOT NULL, superseded INTEGER NOT NULL, PRIMARY KEY (sink, seq)) WITHOUT ROWID",
)
END = "end"
"""The mark of the log's end; the other marks are checkpoints, named by their sequence number."""
DAMAGE_HINT = (
    "move the file away: what waits in it is then made again by the replay of an older state, or is lost"
)

_ENTRIES = (
    "SELECT seq, count, bytes, oldest_ns, made_through, bytes_through, crc, body FROM entries"
    " WHERE seq > ? ORDER BY seq LIMIT ?"
)


class Policy(StrEnum):
    """What happens when a sink's waiting bytes are over the log's limit."""

    HOLD = "hold"
    """The river stops until the sink is back; nothing is dropped."""
    DROP_OLDEST = "drop-oldest"
    """The oldest entries are passed over and counted as dropped."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Encoded points. `oldest_ns` is the receive time of the oldest uplink in them, ns UTC."""

    body: bytes
    count: int
    oldest_ns: int


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the log: all entries up to `seq`, with the points and bytes ever made up to there."""

    seq: int = 0
    points: int = 0
    bytes: int = 0

    def add(self, entry: Entry) -> Mark:
        """Return the place behind one more entry."""
        return Mark(self.seq + 1, self.points + entry.count, self.bytes + len(entry.body))


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a sink has come, and what became of its points; `base`: points made before it was there."""

    sink: str
    policy: str
    seq: int
    points: int
    bytes: int
    base: int
    refused: int = 0
    dropped: int = 0
    superseded: int = 0
    replayed: int = 0

    @property
    def stored(self) -> int:
        """What lies behind the cursor and was neither refused nor dropped nor superseded."""
        return self.points - self.base - self.refused - self.dropped - self.superseded


def insert_entries(connection: sqlite3.Connection, end: Mark, entries: Iterable[Entry]) -> Mark:
    """Write entries behind `end`; return the new end."""
    rows = []
    for entry in entries:
        end = end.add(entry)
        figures = (end.seq, entry.count, len(entry.body), entry.oldest_ns, end.points, end.bytes)
        rows.append((*figures, checksum(figures, entry.body), entry.body))
    connection.executemany("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
    save_mark(connection, END, end)
    return end


def read_entries(
    connection: sqlite3.Connection, after: int, max_points: int, max_bytes: int
) -> list[tuple[Mark, Entry]]:
    """Return the sound entries right behind `after`, one at least, up to the limits or the first bad one."""
    taken: list[tuple[Mark, Entry]] = []
    points, size = 0, 0
    with _damage_ends():
        for row in connection.execute(_ENTRIES, (after, -1)):
            if not _is_sound(row) or row[0] != after + len(taken) + 1:
                break
            points, size = points + row[1], size + row[2]
            if taken and (points > max_points or size > max_bytes):
                break
            taken.append(_entry(row))
    # sqlite3 steps ahead: damage to the second row hides a first one that is sound.
    return taken or [
        found for found in [first_sound(connection, after)] if found and found[0].seq == after + 1
    ]


def first_sound(connection: sqlite3.Connection, after: int) -> tuple[Mark, Entry] | None:
    """Return the entry behind `after` where it can be read; None where not, or where there is none."""
    row = None
    with _damage_ends():
        row = connection.execute(_ENTRIES, (after, 1)).fetchone()
    return _entry(row) if row is not None and _is_sound(row) else None


def oldest_ns(connection: sqlite3.Connection, after: int) -> int | None:
    """Return the receive time of the oldest uplink in the entry behind `after`."""
    query = "SELECT oldest_ns FROM entries WHERE seq > ? ORDER BY seq LIMIT 1"
    row = None
    with _damage_ends():
        row = connection.execute(query, (after,)).fetchone()
    return row[0] if row is not None and isinstance(row[0], int) else None


def load_marks(connection: sqlite3.Connection) -> dict[str, Mark]:
    """Return the marks in order of place. Raises StateError where one is damaged."""
    return {row[0]: Mark(*row[1:]) for row in _rows(connection, "SELECT * FROM marks ORDER BY seq")}


def save_mark(connection: sqlite3.Connection, name: str, mark: Mark) -> None:
    """Write a mark, in a transaction under way."""
    row = (name, *astuple(mark))
    connection.execute("INSERT OR REPLACE INTO marks VALUES (?, ?, ?, ?, ?)", (*row, checksum(row)))


def load_cursors(connection: sqlite3.Connection) -> dict[str, Cursor]:
    """Return the cursors by sink. Raises StateError where one is damaged."""
    return {row[0]: Cursor(*row) for row in _rows(connection, "SELECT * FROM cursors ORDER BY sink")}


def save_cursor(connection: sqlite3.Connection, cursor: Cursor) -> None:
    """Write a cursor, in a transaction under way."""
    row = astuple(cursor)
    query = "INSERT OR REPLACE INTO cursors VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    connection.execute(query, (*row, checksum(row)))


def add_outcomes(connection: sqlite3.Connection, sink: str, rows: Mapping[int, tuple[int, int, int]]) -> None:
    """Add (refused, dropped, superseded) points to what is known of entries, in a transaction under way."""
    connection.executemany(
        "INSERT INTO outcomes VALUES (?, ?, ?, ?, ?) ON CONFLICT (sink, seq) DO UPDATE SET"
        " refused = refused + excluded.refused, dropped = dropped + excluded.dropped,"
        " superseded = superseded + excluded.superseded",
        [(sink, seq, *counts) for seq, counts in rows.items()],
    )


def outcomes_beyond(connection: sqlite3.Connection, sink: str, seq: int) -> tuple[int, int, int]:
    """Return (refused, dropped, superseded) points of the entries behind `seq`."""
    query = (
        "SELECT coalesce(sum(refused), 0), coalesce(sum(dropped), 0), coalesce(sum(superseded), 0)"
        " FROM outcomes WHERE sink = ? AND seq > ?"
    )
    refused, dropped, superseded = connection.execute(query, (sink, seq)).fetchone()
    return refused, dropped, superseded


def checksum(figures: Iterable[object], body: bytes = b"") -> int:
    """Return the CRC-32 of a row."""
    return crc32(body, crc32("\0".join(map(str, figures)).encode()))


def _rows(connection: sqlite3.Connection, query: str) -> Iterator[tuple[Any, ...]]:
    for *row, crc in connection.execute(query):
        if crc != checksum(row):
            raise StateError(f"the outbox's books are damaged at {row[0]}", hint=DAMAGE_HINT)
        yield tuple(row)


def _is_sound(row: tuple[Any, ...]) -> bool:
    return isinstance(row[7], bytes) and row[6] == checksum(row[:6], row[7])


def _entry(row: tuple[Any, ...]) -> tuple[Mark, Entry]:
    return Mark(row[0], row[4], row[5]), Entry(row[7], row[1], row[3])


@contextlib.contextmanager
def _damage_ends() -> Iterator[None]:
    """End the block at damage to the file; let errors of the machine through."""
    try:
        yield
    except sqlite3.Error as failure:
        if not durable.is_damage(failure):
            raise
