"""Tests for durable files: whole once named, transactions that undo, errors that the operator understands."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gateway import durable
from gateway.errors import StateError
from tests.chaos.recorder import Recorder

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = durable.Format(0x1234, 1, 4096, "CREATE TABLE t (x INTEGER PRIMARY KEY)")


def test_a_new_file_bears_its_format(tmp_path: Path) -> None:
    """Its kind, its version, its page size, WAL mode; nothing unfinished is left."""
    path = tmp_path / "a.db"
    (tmp_path / "a.db.new").write_bytes(b"left by a crash")
    durable.create(path, FORMAT)
    assert [found.name for found in tmp_path.iterdir()] == ["a.db"]
    with closing(durable.connect(path)) as connection:
        assert durable.identity(connection) == (0x1234, 1)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
        assert connection.execute("PRAGMA page_size").fetchone() == (4096,)


def test_a_new_file_takes_nothing_from_one_that_was_moved_away(tmp_path: Path) -> None:
    """A WAL that was left behind is not read into it."""
    path = tmp_path / "a.db"
    alive = durable.open_or_create(path, FORMAT, StateError)
    with durable.transaction(alive):
        alive.execute("INSERT INTO t VALUES (1)")
    path.rename(tmp_path / "moved.db")
    assert (tmp_path / "a.db-wal").stat().st_size
    with closing(durable.open_or_create(path, FORMAT, StateError)) as connection:
        assert connection.execute("SELECT * FROM t").fetchall() == []
    alive.close()


MOVED_AWAY = """
import os, sys
from pathlib import Path
from gateway import durable
from gateway.errors import StateError
form = durable.Format(0x1234, 1, 4096, "CREATE TABLE t (x INTEGER PRIMARY KEY)")
path = Path("{folder}") / "made" / "a.db"
alive = durable.open_or_create(path, form, StateError)
with durable.transaction(alive):
    alive.execute("INSERT INTO t VALUES (1)")
path.rename(path.with_name("moved.db"))
durable.create(path, form)
os._exit(0)
"""


@pytest.mark.parametrize("seed", range(12))
def test_a_power_cut_leaves_a_new_file_with_nothing_of_the_old(tmp_path: Path, seed: int) -> None:
    """Nor without its folder, which was made for it."""
    recorder = Recorder(tmp_path / "recorder", tmp_path / "state")
    recorder.folder.mkdir()
    recorder.begin()
    command = [sys.executable, "-c", MOVED_AWAY.format(folder=recorder.folder)]
    subprocess.run(command, check=True, env=os.environ | recorder.environment, timeout=60)
    recorder.power_cut(random.Random(seed))
    with closing(durable.connect(recorder.folder / "made" / "a.db")) as connection:
        assert connection.execute("SELECT * FROM t").fetchall() == []


def test_opening_makes_no_file(tmp_path: Path) -> None:
    """Only `create` and `open_or_create` do."""
    with pytest.raises(sqlite3.OperationalError):
        durable.connect(tmp_path / "none.db")
    assert list(tmp_path.iterdir()) == []


def test_names_are_taken_literally(tmp_path: Path) -> None:
    """A folder's name is no part of an address."""
    folder = tmp_path / "a?mode=memory#b %41"
    with closing(durable.open_or_create(folder / "x.db", FORMAT, StateError)):
        assert (folder / "x.db").exists()


def test_another_kind_or_version_is_refused(tmp_path: Path) -> None:
    """With a sentence that names the file."""
    path = tmp_path / "a.db"
    durable.create(path, FORMAT)
    for file_format in (
        durable.Format(0x99, 1, 4096, FORMAT.schema),
        durable.Format(0x1234, 2, 4096, FORMAT.schema),
    ):
        with pytest.raises(StateError, match=r"a\.db"):
            durable.open_or_create(path, file_format, StateError)


OLD = durable.Format(0x1234, 1, 4096, "CREATE TABLE one (a INTEGER)")
NEW = durable.Format(
    0x1234,
    3,
    4096,
    "CREATE TABLE two (b INTEGER, c TEXT)",
    steps={1: (), 2: ("CREATE TABLE two (b INTEGER, c TEXT)", "INSERT INTO two SELECT a, '' FROM one")},
)


def version_of(path: Path) -> int:
    with closing(durable.connect(path)) as connection:
        return durable.identity(connection)[1]


def test_an_older_file_is_brought_up_to_date(tmp_path: Path) -> None:
    """Step by step, when it is opened to be written; its content with it."""
    path = tmp_path / "a.db"
    durable.create(path, OLD)
    with closing(durable.connect(path)) as connection:
        connection.execute("INSERT INTO one VALUES (7)")
    with closing(durable.open_or_create(path, NEW, StateError)) as connection:
        assert connection.execute("SELECT b, c FROM two").fetchall() == [(7, "")]
    assert version_of(path) == 3


def test_a_step_that_fails_changes_nothing(tmp_path: Path) -> None:
    """All of them or none: the next start tries again."""
    path = tmp_path / "a.db"
    durable.create(path, OLD)
    bad = replace(NEW, steps={1: ("CREATE TABLE two (b INTEGER, c TEXT)",), 2: ("nonsense",)})
    with closing(durable.connect(path)) as connection:
        with pytest.raises(sqlite3.Error):
            durable.upgrade(connection, path, bad, StateError)
        assert not connection.execute("SELECT name FROM sqlite_schema WHERE name = 'two'").fetchall()
    assert version_of(path) == 1


def test_an_older_file_is_read_as_it_is_where_it_can_be(tmp_path: Path) -> None:
    """By someone who does not write: where only its meaning changed, not its layout."""
    path = tmp_path / "a.db"
    durable.create(path, OLD)
    with closing(durable.connect(path, read_only=True)) as connection:
        durable.require_format(connection, path, replace(NEW, version=2, steps={1: ()}), StateError)
        with pytest.raises(StateError, match="layout of format version 1") as said:
            durable.require_format(connection, path, NEW, StateError)
    assert "start the gateway once" in said.value.hint
    assert version_of(path) == 1


@pytest.mark.parametrize(
    ("version", "hint"),
    [(4, "wrote it, or a newer one"), (0, "an Écluse in between"), (99, "or a newer one")],
)
def test_a_version_that_no_step_leads_from_is_refused(tmp_path: Path, version: int, hint: str) -> None:
    """And left alone, with a hint at who can read it."""
    path = tmp_path / "a.db"
    durable.create(path, replace(OLD, version=version))
    with pytest.raises(StateError, match=f"has format version {version}; this Écluse knows 3") as said:
        durable.open_or_create(path, NEW, StateError)
    assert hint in said.value.hint
    assert version_of(path) == version


def test_a_transaction_that_raises_is_undone(tmp_path: Path) -> None:
    """Whatever it raises, and the connection goes on."""

    def fail(connection: sqlite3.Connection, failure: type[BaseException]) -> None:
        with durable.transaction(connection):
            connection.execute("INSERT INTO t VALUES (1)")
            raise failure

    with closing(durable.open_or_create(tmp_path / "a.db", FORMAT, StateError)) as connection:
        for failure in (ValueError, KeyboardInterrupt):
            with pytest.raises(failure):
                fail(connection, failure)
        with durable.transaction(connection):
            connection.execute("INSERT INTO t VALUES (2)")
        assert connection.execute("SELECT x FROM t").fetchall() == [(2,)]


def test_errors_are_translated_once_with_a_hint(tmp_path: Path) -> None:
    """What failed, why, and what can be done."""
    with (
        pytest.raises(StateError, match="the thing cannot be opened: unable to open") as failed,
        durable.translated(StateError, "the thing cannot be opened"),
    ):
        durable.connect(tmp_path / "none.db")
    assert failed.value.hint
    with pytest.raises(ValueError, match="ours"), durable.translated(StateError, "x"):
        raise ValueError("ours")


def test_damage_is_told_from_trouble_with_the_machine(tmp_path: Path) -> None:
    """A file that is no database is damage; one that cannot be opened is not."""
    with pytest.raises(sqlite3.OperationalError) as missing:
        durable.connect(tmp_path / "none.db")
    assert not durable.is_damage(missing.value)
    (tmp_path / "text.db").write_bytes(b"text, and a lot of it" * 100)
    with pytest.raises(sqlite3.DatabaseError) as damaged:
        durable.connect(tmp_path / "text.db").close()
    assert durable.is_damage(damaged.value)
    for code, is_damage in (
        (sqlite3.SQLITE_IOERR_READ, True),
        (sqlite3.SQLITE_IOERR_SHMSIZE, False),  # a full disk
        (sqlite3.SQLITE_IOERR_FSYNC, False),
        (sqlite3.SQLITE_IOERR, False),
    ):
        failure = sqlite3.OperationalError("disk I/O error")
        failure.sqlite_errorcode = code
        assert durable.is_damage(failure) == is_damage


async def test_a_worker_keeps_the_order_and_one_thread() -> None:
    """Calls run one after the other, off the loop's thread; the last one closes."""
    worker = durable.Worker("test")
    seen: list[int] = []
    threads = set()

    def note(number: int) -> int:
        threads.add(threading.get_ident())
        seen.append(number)
        return number

    assert await asyncio.gather(*(worker.run(note, n) for n in range(20))) == list(range(20))
    await worker.close(lambda: seen.append(99))
    assert seen == [*range(20), 99]
    assert threads.isdisjoint({threading.get_ident()})
    assert len(threads) == 1


async def test_a_worker_hands_over_what_is_raised() -> None:
    """To whoever waits for it; the next call is served."""
    worker = durable.Worker("test")
    with pytest.raises(ZeroDivisionError):
        await worker.run(lambda: 1 // 0)
    assert await worker.run(os.getpid) == os.getpid()
    await worker.close(lambda: None)
