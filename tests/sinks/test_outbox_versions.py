"""Outbox files of version 1: gone on with, checked in a backup, and rescued where they are damaged."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING
from zlib import crc32

import pytest

from gateway.sinks import outbox_check
from gateway.sinks.outbox import Depth, Entry, Outbox, SinkTotals
from tests.sinks.outboxes import MANY

if TYPE_CHECKING:
    from pathlib import Path

VERSION_1 = """
PRAGMA page_size=8192;
PRAGMA auto_vacuum=INCREMENTAL;
CREATE TABLE entries (seq INTEGER PRIMARY KEY, count INTEGER NOT NULL, bytes INTEGER NOT NULL,
 oldest_ns INTEGER NOT NULL, made_through INTEGER NOT NULL, bytes_through INTEGER NOT NULL,
 crc INTEGER NOT NULL, body BLOB NOT NULL);
CREATE TABLE marks (name TEXT PRIMARY KEY, seq INTEGER NOT NULL, points INTEGER NOT NULL,
 bytes INTEGER NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE cursors (sink TEXT PRIMARY KEY, policy TEXT NOT NULL, seq INTEGER NOT NULL,
 points INTEGER NOT NULL, bytes INTEGER NOT NULL, base INTEGER NOT NULL, refused INTEGER NOT NULL,
 dropped INTEGER NOT NULL, superseded INTEGER NOT NULL, replayed INTEGER NOT NULL,
 crc INTEGER NOT NULL);
CREATE TABLE outcomes (sink TEXT NOT NULL, seq INTEGER NOT NULL, refused INTEGER NOT NULL,
 dropped INTEGER NOT NULL, superseded INTEGER NOT NULL, PRIMARY KEY (sink, seq)) WITHOUT ROWID;
PRAGMA application_id=0x45434F42;
PRAGMA user_version=1;
PRAGMA journal_mode=WAL;
"""
"""As the first version made its files: written out, so that it stays what it was."""
BODIES = [b"m,d=%d v=1i %d" % (n, n) for n in range(1, 41)]


def crc(figures: tuple[object, ...], body: bytes = b"") -> int:
    return crc32(body, crc32("\0".join(map(str, figures)).encode()))


def written_by_version_1(path: Path) -> None:
    """Leave a log of forty entries, of which one sink has ten, two points refused, by SQLite alone."""
    ends = [sum(map(len, BODIES[:n])) for n in range(len(BODIES) + 1)]
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.executescript(VERSION_1)
        for seq, body in enumerate(BODIES, start=1):
            figures = (seq, 1, len(body), 100 + seq, seq, ends[seq])
            file.execute(
                "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*figures, crc(figures, body), body)
            )
        for mark in (("end", 40, 40, ends[40]), ("40", 40, 40, ends[40])):
            file.execute("INSERT INTO marks VALUES (?, ?, ?, ?, ?)", (*mark, crc(mark)))
        cursor = ("db", "hold", 10, 10, ends[10], 0, 2, 0, 0, 0)
        row = (*cursor, crc(cursor))
        file.execute("INSERT INTO cursors VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        file.execute("INSERT INTO outcomes VALUES ('db', 10, 2, 0, 0)")


def version_of(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path)) as file:
        return int(file.execute("PRAGMA user_version").fetchone()[0])


async def everything(outbox: Outbox) -> list[tuple[int, Entry]]:
    taken = await outbox.next("db", MANY, MANY)
    await outbox.advance("db", taken[-1][0])
    return taken


async def test_it_is_gone_on_with(tmp_path: Path) -> None:
    """Entries, cursor and books are what they were; each entry may hold what was written before."""
    path = tmp_path / "outbox.db"
    written_by_version_1(path)
    outbox = await Outbox.open(path, max_bytes=MANY)
    assert (outbox.aside, version_of(path)) == (None, 2)
    await outbox.register("db", "hold", "live")
    await outbox.recover(40, {"db": 10})
    assert outbox.totals("db") == SinkTotals(40, 8, 30, 2, 0, 0, 0)
    await outbox.append([Entry(b"m,d=50 v=1i 50", 1, 150)])
    await outbox.settle()
    await outbox.close()
    outbox = await Outbox.open(path, max_bytes=MANY)
    taken = await everything(outbox)
    old = [(seq, Entry(BODIES[seq - 1], 1, 100 + seq, again=True)) for seq in range(11, 41)]
    assert taken == [*old, (41, Entry(b"m,d=50 v=1i 50", 1, 150))]
    assert outbox.depth("db") == Depth(0, 0, 0, None)
    await outbox.close()


@pytest.mark.parametrize("table", ["entries", "cursors"])
async def test_a_damaged_one_is_rescued(tmp_path: Path, table: str) -> None:
    """As it is: before it is brought up to date."""
    path = tmp_path / "outbox.db"
    written_by_version_1(path)
    with contextlib.closing(sqlite3.connect(path)) as file:
        query = "SELECT rootpage FROM sqlite_schema WHERE name = 'marks'"
        root = int(file.execute(query).fetchone()[0])
        if table == "entries":
            file.execute("UPDATE entries SET count = 9 WHERE seq = 20")
            file.commit()
    with path.open("r+b") as raw:  # a b-tree page that is none
        raw.seek((root - 1) * 8192)
        raw.write(b"\xff" * 20)
    outbox = await Outbox.open(path, max_bytes=MANY)
    assert outbox.aside is not None
    kept = {seq for seq, _ in rows(path)}
    assert kept == set(range(1, 41)) - ({20} if table == "entries" else set())
    await outbox.close()


def rows(path: Path) -> list[tuple[int, int]]:
    with contextlib.closing(sqlite3.connect(path)) as file:
        return file.execute("SELECT seq, again FROM entries").fetchall()


def test_a_backup_of_it_can_be_checked(tmp_path: Path) -> None:
    """Without a gateway that brings it up to date first."""
    path = tmp_path / "outbox.db"
    written_by_version_1(path)
    assert outbox_check.unsoundness(path, 40) == ""
    with contextlib.closing(sqlite3.connect(path)) as file:
        file.execute("UPDATE entries SET count = 9 WHERE seq = 20")
        file.commit()
    assert outbox_check.unsoundness(path, 40) == "entry 20 cannot be read, and waits for a sink"
