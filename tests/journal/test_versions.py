"""Journals of other versions: older ones are read and gone on with, newer ones are refused and left alone."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING

import pytest

from gateway.errors import JournalError
from gateway.journal import records
from gateway.journal.journal import Journal
from gateway.model import Control, ControlKind, Frames

if TYPE_CHECKING:
    from pathlib import Path

VERSION_1 = """
PRAGMA page_size=16384;
CREATE TABLE records (position INTEGER PRIMARY KEY, at_ns INTEGER NOT NULL, count INTEGER NOT NULL,
 blob BLOB NOT NULL);
PRAGMA application_id=0x45434A4C;
PRAGMA user_version=1;
PRAGMA journal_mode=WAL;
"""
"""As the first version made its files: written out, so that it stays what it was."""


def frames(number: int) -> Frames:
    return Frames("broker", 1, "ecluse", 5, 1_763_769_600_000_000_000 + number, 2, b"frame %d" % number)


def control(number: int, kind: ControlKind = ControlKind.SETTINGS) -> Control:
    return Control(kind, number, b"{}")


def segment(folder: Path, first: int, version: int, *written: Frames | Control) -> Path:
    """Write a file by SQLite alone."""
    folder.mkdir(exist_ok=True)
    path = folder / f"journal-{first:016d}.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.executescript(VERSION_1.replace("user_version=1", f"user_version={version}"))
        file.executemany(
            "INSERT INTO records VALUES (?, ?, ?, ?)",
            [
                (position, records.time_ns(record), records.uplinks(record), records.encode(position, record))
                for position, record in enumerate(written, start=first)
            ],
        )
    return path


def version_of(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path)) as file:
        return int(file.execute("PRAGMA user_version").fetchone()[0])


async def test_a_journal_of_version_1_is_gone_on_with(tmp_path: Path) -> None:
    """Several files of it: everything is read, and new kinds of records stand behind it."""
    old = [frames(1), control(2), frames(3)]
    paths = [segment(tmp_path, 1, 1, *old[:2]), segment(tmp_path, 3, 1, old[2])]
    journal = await Journal.open(tmp_path, retention_ns=0, retention_bytes=0)
    new = [control(9, ControlKind.CLOCK_SUSPECT), frames(4), control(10, ControlKind.CLOCK_SETTLED)]
    assert await journal.append_many(new) == [4, 5, 6]
    assert [record async for _, record in journal.read(0)] == [*old, *new]
    assert journal.damaged == []
    await journal.close()
    assert [version_of(path) for path in paths] == [2, 2]
    journal = await Journal.open(tmp_path, retention_ns=0, retention_bytes=0)
    assert [record async for _, record in journal.read(0)] == [*old, *new]
    await journal.close()


async def test_a_crash_within_the_upgrade_is_no_damage(tmp_path: Path) -> None:
    """One file is marked, the other not yet: the next start goes on."""
    paths = [segment(tmp_path, 1, 2, frames(1)), segment(tmp_path, 2, 1, frames(2))]
    journal = await Journal.open(tmp_path, retention_ns=0, retention_bytes=0)
    assert [record async for _, record in journal.read(0)] == [frames(1), frames(2)]
    await journal.close()
    assert [version_of(path) for path in paths] == [2, 2]


@pytest.mark.parametrize("place", [0, 1])
async def test_a_newer_journal_is_refused(tmp_path: Path, place: int) -> None:
    """Whichever of its files it is; nothing is changed, and the hint says who can read it."""
    versions = [1, 1]
    versions[place] = 3
    paths = [segment(tmp_path, n + 1, version, frames(n)) for n, version in enumerate(versions)]
    before = paths[place].read_bytes()
    with pytest.raises(JournalError, match="has format version 3; this Écluse knows 2") as said:
        await Journal.open(tmp_path, retention_ns=0, retention_bytes=0)
    assert "newer" in said.value.hint
    assert paths[place].read_bytes() == before
