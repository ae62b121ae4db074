"""The recorder: programs that write and sync, killed, and what a power cut leaves of their folder."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from tests.chaos.recorder import Recorder

SEEDS = range(30)

WRITES = """
import os
folder = "{folder}"
synced = os.open(folder + "/synced", os.O_RDWR | os.O_CREAT)
os.pwrite(synced, b"s" * 2000, 0)
os.fsync(synced)
os.pwrite(synced, b"t" * 2000, 2000)
with open(folder + "/gone", "w") as file:
    file.write("never synced")
os.mkdir(folder + "/sub")
with open(folder + "/sub/new", "wb") as file:
    file.write(b"n" * 700)
    file.flush()
    os.fdatasync(file.fileno())
os.rename(folder + "/sub/new", folder + "/sub/named")
for path in (folder + "/sub", folder):
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(descriptor)
    os.close(descriptor)
os.unlink(folder + "/gone")
os.ftruncate(synced, 3000)
"""
COMMITS = """
import sqlite3, sys
from pathlib import Path
from gateway import durable
from gateway.errors import StateError
form = durable.Format(1, 1, 4096, "CREATE TABLE t (n INTEGER PRIMARY KEY, body BLOB)")
connection = durable.open_or_create(Path("{folder}") / "a.db", form, StateError)
connection.execute("PRAGMA synchronous={synchronous}")
connection.execute("PRAGMA wal_autocheckpoint=20")
for n in range(1, 100_000):
    with durable.transaction(connection):
        connection.execute("INSERT INTO t VALUES (?, randomblob(3000))", (n,))
    print(n, flush=True)
"""
STORES = """
import asyncio
from pathlib import Path
import numpy as np
from gateway.clock import ManualClock
from gateway.model import Column, FieldType, Points
from gateway.sinks import columns
from gateway.sinks.embedded import EmbeddedSettings, EmbeddedSink

def body(k):
    level = Column(FieldType.INTEGER, np.full(500, k))
    series = np.zeros(500, dtype=np.int32)
    tags, time = [(("device", "a"),)], k * 500 + np.arange(500)
    return columns.encode(Points("waste", tags, series, time, {{"level": level}}))

async def main():
    store = EmbeddedSink(EmbeddedSettings(path=Path("{folder}") / "a.duckdb"), clock=ManualClock(1))
    for k in range({life}, {life} + 1_000):
        await store.write([body(k)])
        print(k, flush=True)
        if k % 7 == 6:
            await store.maintain()

asyncio.run(main())
"""


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    (tmp_path / "state").mkdir()
    return Recorder(tmp_path / "recorder", tmp_path / "state")


def run(recorder: Recorder, program: str) -> None:
    """Run a program to its end, recorded."""
    command = [sys.executable, "-c", program.format(folder=recorder.folder)]
    subprocess.run(command, check=True, env=os.environ | recorder.environment, timeout=60)


def killed(recorder: Recorder, program: str, *, lines: int, **values: str) -> int:
    """Run a program until it has said so many lines; return the last number that it said."""
    command = [sys.executable, "-c", program.format(folder=recorder.folder, **values)]
    environment = os.environ | recorder.environment
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(lines)]
        process.kill()
        said += [line for line in process.stdout if line.endswith(b"\n")]
    return int(said[-1])


def cut(recorder: Recorder, seed: int) -> dict[str, bytes]:
    """Cut the power; return what is left, by name."""
    recorder.power_cut(random.Random(seed))
    there = (path for path in recorder.folder.rglob("*") if path.is_file())
    return {str(path.relative_to(recorder.folder)): path.read_bytes() for path in there}


def test_everything_that_a_program_does_is_recorded(recorder: Recorder) -> None:
    """Opening, writing, cutting, renaming, removing, in files and folders."""
    run(recorder, WRITES)
    assert recorder.missed() == []


@pytest.mark.parametrize("seed", range(10))
def test_the_folder_has_what_was_synced(recorder: Recorder, seed: int) -> None:
    """Bytes and names; the rest is there, or not."""
    run(recorder, WRITES)
    found = cut(recorder, seed)
    assert found["synced"][:2000] == b"s" * 2000
    assert set(found["synced"][2000:]) <= set(b"t\x00")
    assert found["sub/named"] == b"n" * 700
    assert found.keys() <= {"synced", "sub/named", "gone"}


def test_what_was_not_synced_differs_from_cut_to_cut(tmp_path: Path) -> None:
    """The removed file comes back in some, what was written last is there in some: it depends on the seed."""
    seen = set()
    for seed in SEEDS:
        folder = tmp_path / str(seed)
        folder.mkdir()
        recorder = Recorder(tmp_path / "recorder", folder)
        run(recorder, WRITES)
        found = cut(recorder, seed)
        seen.add(("gone" in found, found["synced"][2000:]))
    assert {gone for gone, _ in seen} == {True, False}
    assert {b"", b"t" * 1000} < {rest for _, rest in seen}


def test_a_cut_folder_is_where_the_next_life_begins(recorder: Recorder) -> None:
    """What the cut left is on the disk for certain."""
    run(recorder, WRITES)
    before = cut(recorder, 1)
    assert cut(recorder, 2) == before


@pytest.mark.parametrize("seed", range(4))
def test_sqlite_keeps_every_commit_that_returned(recorder: Recorder, seed: int) -> None:
    """In WAL mode with synchronous=FULL, over its own checkpoints: SQLite's calls are recorded, too."""
    for life in range(3):
        said = killed(
            recorder, COMMITS.replace("range(1,", f"range({life} * 1000 + 1,"), lines=60, synchronous="FULL"
        )
        cut(recorder, seed * 10 + life)
        with sqlite3.connect(recorder.folder / "a.db") as connection:
            rows = {row[0] for row in connection.execute("SELECT n FROM t")}
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.close()
        recorder.begin()
        assert set(range(life * 1000 + 1, said + 1)) <= rows


def test_without_syncs_commits_are_lost(recorder: Recorder) -> None:
    """The same with synchronous=OFF: or else the test above would prove nothing."""
    said = killed(recorder, COMMITS, lines=60, synchronous="OFF")
    cut(recorder, 1)
    connection = sqlite3.connect(recorder.folder / "a.db")
    try:
        rows = {row[0] for row in connection.execute("SELECT n FROM t")}
    except sqlite3.DatabaseError:
        rows = set()
    finally:
        connection.close()
    assert not set(range(1, said + 1)) <= rows


@pytest.mark.parametrize("seed", range(2))
def test_the_embedded_store_keeps_every_write_that_returned(recorder: Recorder, seed: int) -> None:
    """DuckDB syncs its log, not the name of it, which is made anew after each of its checkpoints."""
    for life in range(2):
        said = killed(recorder, STORES.replace("{life}", str(1_000 * life)), lines=5 + 2 * life)
        cut(recorder, seed * 10 + life)
        with duckdb.connect(str(recorder.folder / "a.duckdb")) as store:
            rows = store.execute('SELECT "field:level", count(*) FROM points.waste GROUP BY 1').fetchall()
        recorder.begin()
        assert set(range(1_000 * life, said + 1)) <= {level for level, count in rows if count >= 500}


def test_what_cannot_be_recorded_is_no_cut(recorder: Recorder) -> None:
    """A file that is written through memory: nobody would know what a sync covers."""
    run(
        recorder,
        'import mmap\nfile = open("{folder}/a", "w+b")\nfile.truncate(4096)\nmmap.mmap(file.fileno(), 0)',
    )
    with pytest.raises(AssertionError, match="mmap"):
        cut(recorder, 1)


def test_a_record_that_a_kill_left_torn_is_cut_off(recorder: Recorder) -> None:
    """The next life is recorded behind what is whole."""
    run(recorder, 'open("{folder}/a", "w").write("x" * 100)')
    log = Path(recorder.environment["ECLUSE_RECORD_LOG"])
    whole = log.read_bytes()
    for torn in (3, 23):
        log.write_bytes(whole + whole[:torn])
        recorder.killed()
        assert log.read_bytes() == whole
    run(recorder, 'open("{folder}/b", "w").write("y")')
    recorder.killed()
    assert recorder.missed() == []


def test_a_copy_is_recorded(recorder: Recorder) -> None:
    """Python copies within the kernel where it may: here it may not."""
    write = 'open("{folder}/a", "w").write("x" * 9000)'
    run(recorder, write + '; import shutil; shutil.copyfile("{folder}/a", "{folder}/b")')
    assert recorder.missed() == []
