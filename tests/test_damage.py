"""Damaged files: found out, set aside, never deleted; what of them can be read goes on."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from gateway import damage, durable
from gateway.errors import StateError

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = durable.Format(0x1234, 1, 4096, "CREATE TABLE t (x INTEGER PRIMARY KEY, body BLOB)")
ROWS = 200
PAGE = 4096


def made(path: Path, rows: int = ROWS) -> None:
    """Make a file with rows of a thousand bytes: three or four a page."""
    content = [(n, b"%d" % n * 300) for n in range(1, rows + 1)]
    with (
        closing(durable.open_or_create(path, FORMAT, StateError)) as connection,
        durable.transaction(connection),
    ):
        connection.executemany("INSERT INTO t VALUES (?, ?)", content)


def keys(path: Path) -> list[int]:
    with closing(sqlite3.connect(path)) as connection:
        return [row[0] for row in connection.execute("SELECT x FROM t ORDER BY x")]


def spoil(path: Path, at: int, size: int = 200) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"\xff" * size)


def copy(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    with durable.transaction(target):
        target.executemany("INSERT INTO t VALUES (?, ?)", damage.rows(source, "t", "x"))


def test_a_sound_file_is_left_alone(tmp_path: Path) -> None:
    """And so is one that is not there, or of another version."""
    path = tmp_path / "a.db"
    assert damage.mended(path, FORMAT) is None
    made(path)
    before = path.read_bytes()
    assert damage.mended(path, FORMAT, rescue=copy) is None
    assert path.read_bytes() == before
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version=7")
    assert damage.mended(path, FORMAT, judge=lambda _: "never asked") is None
    assert [found.name for found in tmp_path.iterdir()] == ["a.db"]


@pytest.mark.parametrize("page", [3, 20, -1], ids=["in front", "in the middle", "at the end"])
def test_a_bad_page_costs_what_is_on_it(tmp_path: Path, page: int) -> None:
    """All other rows are in the new file; the old one is kept as it was, and what happened can be said."""
    path = tmp_path / "a.db"
    made(path)
    spoil(path, path.stat().st_size + page * PAGE if page < 0 else page * PAGE)
    spoiled = path.read_bytes()
    aside = damage.mended(path, FORMAT, rescue=copy)
    assert aside is not None
    assert (aside.name, aside.kept_as) == ("a.db", "a.db.damaged-1")
    assert aside.problem
    assert "kept as a.db.damaged-1" in str(aside)
    assert (tmp_path / aside.kept_as).read_bytes() == spoiled
    assert ROWS - 8 <= len(keys(path)) < ROWS
    assert damage.mended(path, FORMAT) is None


def test_several_bad_pages(tmp_path: Path) -> None:
    """What lies between them is found one by one."""
    path = tmp_path / "a.db"
    made(path)
    for page in (5, 20, 40):
        spoil(path, page * PAGE)
    assert damage.mended(path, FORMAT, rescue=copy) is not None
    assert ROWS - 24 <= len(keys(path)) < ROWS


@pytest.mark.parametrize("content", [b"", b"x" * 10_000], ids=["empty", "no database"])
def test_of_a_file_that_is_none_nothing_is_left(tmp_path: Path, content: bytes) -> None:
    """A new one stands in its place; a second one takes no other's name."""
    path = tmp_path / "a.db"
    for number in (1, 2):
        path.write_bytes(content)
        assert damage.mended(path, FORMAT, rescue=copy) is not None
        assert (tmp_path / f"a.db.damaged-{number}").read_bytes() == content
        assert keys(path) == []


def test_what_a_judge_finds_is_damage(tmp_path: Path) -> None:
    """Structure alone does not tell whether the content is what was written."""
    path = tmp_path / "a.db"
    made(path)
    aside = damage.mended(path, FORMAT, judge=lambda _: "its books are wrong", rescue=copy)
    assert aside is not None
    assert aside.problem == "its books are wrong"
    assert len(keys(path)) == ROWS


def test_the_wal_goes_with_its_file(tmp_path: Path) -> None:
    """What a killed process had committed last is in it."""
    path = tmp_path / "a.db"
    alive = durable.open_or_create(path, FORMAT, StateError)
    with durable.transaction(alive):
        alive.execute("INSERT INTO t VALUES (1, x'00')")
    kept = damage.set_aside(path)
    assert not list(tmp_path.glob("a.db-*"))
    assert keys(kept) == [1]
    alive.close()


def test_a_crash_between_two_names_loses_nothing(tmp_path: Path) -> None:
    """The new file was complete before the old one went: it takes its place at the next start."""
    path = tmp_path / "a.db"
    made(path)
    spoil(path, 20 * PAGE)
    assert damage.mended(path, FORMAT, rescue=copy) is not None
    path.rename(tmp_path / f"a.db{damage.RESCUED}")
    assert damage.mended(path, FORMAT, rescue=copy) is None
    assert len(keys(path)) >= ROWS - 8


def test_a_crash_before_that_begins_again(tmp_path: Path) -> None:
    """What was not completed is not believed."""
    path = tmp_path / "a.db"
    made(path)
    spoil(path, 20 * PAGE)
    made(tmp_path / f"a.db{damage.RESCUED}", rows=3)
    assert damage.mended(path, FORMAT, rescue=copy) is not None
    assert len(keys(path)) >= ROWS - 8
