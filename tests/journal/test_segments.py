"""Tests for damage: torn and flipped files cost what they hold, are said, and are never served as data."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.errors import JournalError
from gateway.journal.journal import Journal
from gateway.journal.segments import Segments, open_segments
from gateway.model import Frames

if TYPE_CHECKING:
    from pathlib import Path


def frames(number: int, size: int = 3000) -> Frames:
    return Frames("broker", 1, "ecluse", 5, number, 2, b"%05d" % number * (size // 5))


def filled(folder: Path, *, segments: int, records: int, size: int = 3000) -> None:
    """Make a journal of so many segments with so many records each."""
    journal, _ = open_segments(folder, 1, 0)
    for number in range(segments):
        journal.append([frames(number * records + n + 1, size) for n in range(records)])
    journal.close()


def read_all(folder: Path, floor: int = 0) -> tuple[dict[int, Frames], set[int], Segments]:
    """Read a journal's sound records and the positions set aside, however it is damaged."""
    journal, damages = open_segments(folder, 1, floor)
    found: dict[int, Any] = {}
    after, end = 0, journal.end
    while after < end:
        chunk = journal.read(after, end, 20_000)
        assert chunk.through > after
        found.update(chunk.rows)
        damages += chunk.damages
        after = chunk.through
    aside = {p for d in damages for p in range(d.first, min(d.last, end) + 1)}
    return found, aside, journal


def damage(path: Path, at: int, with_bytes: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(with_bytes)


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("journal-*.db"))


def test_a_flipped_bit_in_a_record_costs_that_record(tmp_path: Path) -> None:
    """The others of its segment are read, and its uplinks are counted."""
    filled(tmp_path, segments=2, records=5)
    path = files(tmp_path)[0]
    at = path.read_bytes().index(b"00003" * 50) + 100
    damage(path, at, b"X")
    journal, _ = open_segments(tmp_path, 1, 0)
    first = journal.read(0, 10, 1 << 20)
    assert [position for position, _ in first.rows] == [1, 2, 4]
    assert [(d.first, d.last, d.why, d.uplinks) for d in first.damages] == [
        (3, 3, "checksum does not match", 2)
    ]
    second = journal.read(first.through, 10, 1 << 20)
    assert [position for position, _ in second.rows] == [5]
    journal.close()


@pytest.mark.parametrize("broken", [b"", b"no database" * 10_000, b"SQLite format 3\0" + bytes(50_000)])
def test_a_segment_that_is_no_file_any_more_costs_that_segment(tmp_path: Path, broken: bytes) -> None:
    """Those before and behind it are read; what it held is said at once."""
    filled(tmp_path, segments=3, records=4)
    files(tmp_path)[1].write_bytes(broken)
    found, aside, journal = read_all(tmp_path)
    assert sorted(found) == [1, 2, 3, 4, 9, 10, 11, 12]
    assert aside == {5, 6, 7, 8}
    journal.close()


def test_a_segment_that_is_gone_is_said(tmp_path: Path) -> None:
    """A file unlinked by someone else is a gap."""
    filled(tmp_path, segments=3, records=4)
    files(tmp_path)[1].unlink()
    found, aside, journal = read_all(tmp_path)
    assert sorted(found) == [1, 2, 3, 4, 9, 10, 11, 12]
    assert aside == {5, 6, 7, 8}
    journal.close()


@pytest.mark.parametrize("broken", [b"", b"no database" * 10_000])
def test_no_position_is_given_twice_behind_a_broken_end(tmp_path: Path, broken: bytes) -> None:
    """Nobody knows how far the last file went: the next position lies beyond all that it can have held."""
    filled(tmp_path, segments=2, records=4)
    size = files(tmp_path)[1].stat().st_size
    files(tmp_path)[1].write_bytes(broken.ljust(size if broken else 0))
    journal, damages = open_segments(tmp_path, 1, floor=8)
    assert damages
    position = journal.append([frames(99)])
    assert position > 8
    assert [p for p, _ in journal.read(journal.end - 1, journal.end, 1 << 20).rows] == [position]
    journal.close()
    found, _, again = read_all(tmp_path)
    assert sorted(found) == [1, 2, 3, 4, position]
    again.close()


def test_a_journal_behind_the_checkpoint_goes_on_behind_it(tmp_path: Path) -> None:
    """Positions that the checkpoint knows of and the journal lost are said, and not given again."""
    filled(tmp_path, segments=1, records=4)
    found, aside, journal = read_all(tmp_path, floor=7)
    assert sorted(found) == [1, 2, 3, 4]
    assert aside == {5, 6, 7}
    assert journal.append([frames(8)]) == 8
    journal.close()


def test_an_unfinished_new_segment_is_made_again(tmp_path: Path) -> None:
    """A crash between making a file and naming it leaves nothing to mend."""
    filled(tmp_path, segments=1, records=2)
    (tmp_path / "journal-0000000000000003.db.new").write_bytes(b"half")
    found, aside, journal = read_all(tmp_path)
    assert (sorted(found), aside) == ([1, 2], set())
    assert journal.append([frames(3)]) == 3
    journal.close()


def test_another_version_is_refused_by_name(tmp_path: Path) -> None:
    """A segment of a newer Écluse is neither read nor set aside."""
    filled(tmp_path, segments=1, records=2)
    connection = sqlite3.connect(files(tmp_path)[0])
    connection.execute("PRAGMA user_version=3")
    connection.close()
    with pytest.raises(JournalError, match="format version 3"):
        open_segments(tmp_path, 1, 0)


def test_a_journal_of_an_older_version_is_read_and_marked(tmp_path: Path) -> None:
    """All of it; what is appended then may be of the newer version, so the files say so."""
    filled(tmp_path, segments=2, records=2)
    for file in files(tmp_path):
        with contextlib.closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA user_version=1")
    found, aside, journal = read_all(tmp_path)
    assert (sorted(found), aside) == ([1, 2, 3, 4], set())
    assert journal.append([frames(5)]) == 5
    journal.close()
    for file in files(tmp_path):
        with contextlib.closing(sqlite3.connect(file)) as connection:
            assert connection.execute("PRAGMA user_version").fetchone() == (2,)


def test_a_file_that_is_no_segment_is_refused_by_name(tmp_path: Path) -> None:
    """A name without a position is not guessed at."""
    (tmp_path / "journal-old.db").write_bytes(b"")
    with pytest.raises(JournalError, match=r"journal-old\.db"):
        open_segments(tmp_path, 1, 0)


async def test_the_journal_counts_and_lists_what_it_set_aside(tmp_path: Path) -> None:
    """Once each, however often it is read."""
    filled(tmp_path, segments=3, records=4)
    files(tmp_path)[1].write_bytes(b"gone")
    journal = await Journal.open(tmp_path, retention_ns=0, retention_bytes=0)
    for _ in range(2):
        assert len([row async for row in journal.read(0)]) == 8
    assert [(d.first, d.last) for d in journal.damaged] == [(5, 8)]
    assert journal.figures().set_aside == 4
    assert journal.file_of(6) == files(tmp_path)[1].name
    await journal.trim(13)  # a damaged segment goes like any other, but is kept
    assert journal.first == 9
    kept = [path.read_bytes() for path in tmp_path.glob("*.damaged-1")]  # noqa: ASYNC240 - of a test
    assert kept == [b"gone"]
    await journal.close()


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed journal of three segments, big enough for interior pages."""
    folder = tmp_path_factory.mktemp("sound")
    filled(folder, segments=3, records=40, size=2500)
    return folder


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_flip_is_served_and_none_costs_another_segment(
    sound: Path, tmp_path: Path, data: st.DataObject
) -> None:
    """Whatever is overwritten: what is read is what was written, and the rest is said."""
    folder = tmp_path / "copy"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(sound, folder)
    which = data.draw(st.integers(0, 2))
    path = files(folder)[which]
    # Half of the time among the bytes that make a file a tree; the rest anywhere.
    size = path.stat().st_size
    page = data.draw(st.integers(0, size // 16384 - 1)) * 16384
    at = data.draw(st.integers(page, page + 120) | st.integers(0, size - 1))
    damage(path, at, data.draw(st.binary(min_size=1, max_size=64)))
    try:
        found, aside, journal = read_all(folder)
    except JournalError as refused:
        assert "format version" in str(refused)  # noqa: PT017 - one of two outcomes
        return
    assert all(record == frames(position, 2500) for position, record in found.items())
    assert set(found) | aside >= set(range(1, min(journal.end, 120) + 1))
    others = set(range(1, 121)) - set(range(which * 40 + 1, which * 40 + 41))
    assert others <= set(found)
    assert journal.append([frames(1)]) > max(found)
    journal.close()
