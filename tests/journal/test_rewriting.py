"""A segment that is rewritten is wholly what it was, or wholly what it is to be, and keeps nothing else."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.errors import JournalError
from gateway.journal import records, rewriting
from gateway.journal.segments import open_segments, segment_paths
from gateway.model import Control, ControlKind, Frames
from tests.chaos import recorder as recording
from tests.chaos.disk import Disk
from tests.chaos.recorder import Recorder

SECRET = b"secret of the device;" * 40
REWRITE = """
import sys
from pathlib import Path
from tests.journal.test_rewriting import changed
from gateway.journal import rewriting
rewriting.rewrite(Path(sys.argv[1]), changed, read=lambda _: None)
"""


def frames(number: int, said: bytes = b"others") -> Frames:
    return Frames("broker", 1, "ecluse", 5, 1_763_769_600_000_000_000 + number, 2, said + b"%d" % number)


RECORDS: list[Frames | Control] = [
    frames(n, SECRET * (1 + 40 * (n % 7 == 0)) if n % 3 == 0 else b"others" * 400) for n in range(1, 40)
]


def changed(_position: int, record: Frames | Control) -> Frames | None:
    """Take the secret out of a record."""
    if not isinstance(record, Frames) or SECRET not in record.frames:
        return None
    return replace(record, frames=b"erased")


def segment(folder: Path, written: list[Frames | Control] = RECORDS) -> Path:
    """Write a journal of one segment, as a gateway does."""
    folder.mkdir(parents=True, exist_ok=True)
    segments, _ = open_segments(folder, 1 << 30, 0)
    for record in written:
        segments.append([record])
    segments.close()
    return segment_paths(folder)[0]


def read(folder: Path) -> list[Frames | Control]:
    """Return the sound records of a folder, as after a crash."""
    segments, damages = open_segments(folder, 1 << 30, 0)
    assert damages == []
    chunk = segments.read(0, segments.end, 1 << 30)
    segments.close()
    assert chunk.damages == []
    return [record for _, record in chunk.rows]


WANTED = [changed(0, record) or record for record in RECORDS]


def test_what_is_changed_is_nowhere_in_the_file(tmp_path: Path) -> None:
    """Not in free pages, not at the end of pages, not in the WAL; the others are what they were."""
    path = segment(tmp_path)
    assert SECRET[:100] in path.read_bytes()
    told: list[int] = []
    done = rewriting.rewrite(path, changed, read=told.append)
    assert done == rewriting.Rewritten(changed=13)
    assert sum(told) == sum(len(record.frames) for record in RECORDS if isinstance(record, Frames))
    assert b"secret" not in b"".join(each.read_bytes() for each in tmp_path.iterdir())
    assert read(tmp_path) == WANTED
    assert rewriting.rewrite(path, changed, read=told.append) == rewriting.Rewritten()


def test_a_crash_at_any_instant_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    """A power cut behind each write, each sync and each name, drawn three times."""
    state = tmp_path / "state"
    path = segment(state)
    recorder = Recorder(tmp_path / "recorder", state)
    environment = os.environ | recorder.environment | {"PYTHONPATH": str(Path.cwd())}
    command = [sys.executable, "-c", REWRITE, str(path)]
    subprocess.run(command, check=True, env=environment, timeout=60)
    assert recorder.missed() == []
    acts = list(recording._records(recorder._log.read_bytes()))
    found = set()
    for through in range(len(acts) + 1):
        disk = Disk(str(recorder.folder), recorder._files, recorder._folders)
        replay = recording.Replay(disk)
        for act in acts[:through]:
            replay.act(*act)
        for seed in range(3):
            cut = tmp_path / "cut"
            shutil.rmtree(cut, ignore_errors=True)
            cut.mkdir()
            for name, content in disk.after_power_cut(random.Random(1000 * through + seed))[0].items():
                (cut / Path(name).name).write_bytes(content)
            records_left = read(cut)
            assert records_left in (RECORDS, WANTED), through
            found.add(records_left == WANTED)
    assert found == {True, False}


def test_a_gateway_may_read_meanwhile(tmp_path: Path) -> None:
    """It sees the records as they were until it reads anew; then the WAL is emptied."""
    path = segment(tmp_path)
    with contextlib.closing(sqlite3.connect(path)) as reader:
        assert reader.execute("SELECT count(*) FROM records").fetchone() == (len(RECORDS),)
        assert rewriting.rewrite(path, changed, read=lambda _: None).changed == 13
    assert read(tmp_path) == WANTED


def test_damaged_records_are_counted_and_left(tmp_path: Path) -> None:
    """What cannot be read cannot be looked into; the rest is rewritten."""
    path = segment(tmp_path)
    with contextlib.closing(sqlite3.connect(path)) as file:
        file.execute("UPDATE records SET blob = x'00' || blob WHERE position = 5")
        file.commit()
    assert rewriting.rewrite(path, changed, read=lambda _: None) == rewriting.Rewritten(13, 1)


def test_a_segment_that_was_trimmed_is_nothing(tmp_path: Path) -> None:
    """The gateway that runs has unlinked it meanwhile."""
    gone = tmp_path / "journal-0000000000000001.db"
    assert rewriting.rewrite(gone, changed, read=lambda _: None) == rewriting.Rewritten()
    assert not gone.exists()


def test_a_file_that_is_no_segment_at_all_is_said(tmp_path: Path) -> None:
    """Noise under its name is damage; another version is refused."""
    noise = tmp_path / "journal-0000000000000001.db"
    noise.write_bytes(random.Random(1).randbytes(50_000))
    assert rewriting.rewrite(noise, changed, read=lambda _: None) == rewriting.Rewritten(unreadable=1)
    path = segment(tmp_path / "newer", [Control(ControlKind.SETTINGS, 1, b"{}")])
    with contextlib.closing(sqlite3.connect(path)) as file:
        file.execute("PRAGMA user_version=99")
    with pytest.raises(JournalError, match="version 99"):
        rewriting.rewrite(path, changed, read=lambda _: None)


def test_a_changed_record_has_its_own_checksum(tmp_path: Path) -> None:
    """Over its position and its new content."""
    path = segment(tmp_path)
    rewriting.rewrite(path, changed, read=lambda _: None)
    with contextlib.closing(sqlite3.connect(path)) as file:
        for position, count, blob in file.execute("SELECT position, count, blob FROM records"):
            assert records.decode(position, blob) == WANTED[position - 1]
            assert count == 2
