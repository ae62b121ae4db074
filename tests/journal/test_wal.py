"""Tests for what a WAL lost: a torn tail is no damage, a rotten middle is."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from gateway.journal.segments import open_segments
from gateway.journal.wal import lost_commits
from gateway.model import Frames

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def crashed(tmp_path: Path) -> Path:
    """A journal as a crash leaves it: six records, each its own commit, all still in the WAL."""
    alive, crashed = tmp_path / "alive", tmp_path / "crashed"
    alive.mkdir()
    journal, _ = open_segments(alive, 1 << 30, 0)
    for number in range(1, 7):
        journal.append([Frames("s", 1, "c", 5, number, 1, b"%d" % number * 40_000)])
    shutil.copytree(alive, crashed)
    journal.close()
    return crashed


def wal(folder: Path) -> Path:
    return next(folder.glob("*-wal"))


def positions(folder: Path) -> tuple[list[int], list[tuple[int, int]]]:
    journal, damages = open_segments(folder, 1 << 30, 0)
    rows = journal.read(0, journal.end, 1 << 30).rows
    assert all(record.frames == b"%d" % position * 40_000 for position, record in rows)
    assert journal.append([Frames("s", 1, "c", 5, 0, 1, b"")]) > max((p for p, _ in rows), default=0)
    journal.close()
    return [position for position, _ in rows], [(d.first, d.last) for d in damages]


def test_commits_in_the_wal_are_recovered(crashed: Path) -> None:
    """A crash that tears nothing loses nothing."""
    assert positions(crashed) == ([1, 2, 3, 4, 5, 6], [])


@pytest.mark.parametrize("kept", [0, 10, 32, 100, 20_000, 70_000, 150_000, -1])
def test_a_torn_tail_leaves_a_sound_beginning(crashed: Path, kept: int) -> None:
    """Cut anywhere, what is left is the first so many records, with nothing set aside."""
    data = wal(crashed).read_bytes()
    wal(crashed).write_bytes(data[:kept])
    found, damages = positions(crashed)
    assert found == list(range(1, len(found) + 1))
    assert len(found) < 6
    assert damages == []


def test_a_rotten_middle_is_said(crashed: Path) -> None:
    """Commits that stood behind it are missing, and their positions are not given again."""
    data = bytearray(wal(crashed).read_bytes())
    data[data.index(b"3333")] ^= 1
    wal(crashed).write_bytes(data)
    found, damages = positions(crashed)
    assert found == [1, 2]
    ((first, last),) = damages
    assert first == 3
    assert last >= 6


def test_a_rotten_last_commit_is_taken_for_a_torn_tail(crashed: Path) -> None:
    """The two look the same: this is the limit, which the checkpoint's position covers."""
    data = bytearray(wal(crashed).read_bytes())
    data[data.index(b"6666")] ^= 1
    wal(crashed).write_bytes(data)
    assert positions(crashed) == ([1, 2, 3, 4, 5], [])


def test_no_wal_has_lost_nothing() -> None:
    """An empty file, or a bare header."""
    assert not lost_commits(b"", 0)
    assert not lost_commits(bytes(8) + b"\0\0\x40\0" + bytes(20), 0)
