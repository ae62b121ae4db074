"""Tests for the checkpoint: one transaction, verified copies, the newest sound one."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.errors import StateError
from gateway.journal.checkpoint import NAME, POSITION, Checkpoint, soundness
from gateway.model import Changes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def checkpoint(tmp_path: Path) -> Iterator[Checkpoint]:
    opened = Checkpoint.open_newest_sound(tmp_path)
    yield opened
    opened.close()


def at(position: int, **cells: bytes) -> tuple[Changes, dict[str, bytes]]:
    changes = Changes({("rows", owner, 0, 0): body for owner, body in cells.items()})
    return changes, {POSITION: b"%d" % position}


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[data.index(b"precious")] ^= 1
    path.write_bytes(data)


def test_a_new_state_is_empty(checkpoint: Checkpoint) -> None:
    """Nothing to load, position 0, and the whole journal is needed."""
    assert checkpoint.opened.source == ""
    assert checkpoint.load("rows", "a", 0) == []
    assert checkpoint.starts("rows", "a") == []
    assert checkpoint.meta("books") is None
    assert (checkpoint.position, checkpoint.needed_after) == (0, 0)


def test_cells_come_back_in_order_of_part(checkpoint: Checkpoint) -> None:
    """Whatever the order in which they were written."""
    cells = {("rows", "a", 900, part): b"%d" % part for part in (2, 0, 10, 1)}
    checkpoint.commit(Changes({**cells, ("rows", "a", -5, 0): b"", ("rows", "b", 7, 0): b"b"}), {})
    assert checkpoint.load("rows", "a", 900) == [b"0", b"1", b"2", b"10"]
    assert checkpoint.load("rows", "a", -5) == [b""]
    assert checkpoint.starts("rows", "a") == [-5, 900]
    assert checkpoint.owners("rows") == ["a", "b"]


def test_a_commit_replaces_and_deletes(checkpoint: Checkpoint) -> None:
    """A body replaces, None deletes a part, part -1 deletes all of them, before others are written."""
    checkpoint.commit(Changes({("r", "a", 1, part): b"old" for part in range(4)}), {"books": b"1"})
    checkpoint.commit(Changes({("r", "a", 1, 0): b"new", ("r", "a", 1, 1): None}), {"books": b"2"})
    assert checkpoint.load("r", "a", 1) == [b"new", b"old", b"old"]
    checkpoint.commit(Changes({("r", "a", 1, 3): b"only", ("r", "a", 1, -1): None}), {})
    assert checkpoint.load("r", "a", 1) == [b"only"]
    assert checkpoint.meta("books") == b"2"


def test_part_minus_one_holds_nothing(checkpoint: Checkpoint) -> None:
    """It stands for every part, so it cannot be written."""
    with pytest.raises(ValueError, match="part -1"):
        checkpoint.commit(Changes({("r", "a", 1, -1): b"x"}), {})


def test_a_commit_that_fails_changes_nothing(checkpoint: Checkpoint) -> None:
    """All of it or none of it."""
    checkpoint.commit(*at(1, a=b"before"))
    changes = Changes({("rows", "a", 0, 0): b"after", ("rows", "a", 2**70, 0): b"not representable"})
    with pytest.raises(OverflowError):
        checkpoint.commit(changes, {POSITION: b"2"})
    assert checkpoint.load("rows", "a", 0) == [b"before"]
    assert checkpoint.position == 1
    checkpoint.commit(*at(2, a=b"after"))
    assert checkpoint.position == 2


def test_state_is_there_after_a_restart(tmp_path: Path) -> None:
    """Cells and meta, from the file itself."""
    first = Checkpoint.open_newest_sound(tmp_path)
    first.commit(*at(7, a=b"x" * 100_000))
    first.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [NAME]
    again = Checkpoint.open_newest_sound(tmp_path)
    assert again.opened.source == NAME
    assert again.load("rows", "a", 0) == [b"x" * 100_000]
    assert again.position == 7
    again.close()


def test_loads_see_the_last_commit_while_others_go_on(checkpoint: Checkpoint) -> None:
    """Commits in a thread, loads in another: never half a commit, never an older one."""
    failures: list[BaseException] = []
    done = threading.Event()

    def commit() -> None:
        try:
            for number in range(1, 60):
                changes = Changes({("r", "a", 0, part): b"%d" % number * 3000 for part in range(5)})
                checkpoint.commit(changes, {POSITION: b"%d" % number})
        except BaseException as failure:  # noqa: BLE001 - told by the test
            failures.append(failure)
        done.set()

    thread = threading.Thread(target=commit)
    thread.start()
    last = 0
    while not done.is_set():
        position = checkpoint.position
        bodies = checkpoint.load("r", "a", 0)
        assert len(set(bodies)) <= 1
        assert position >= last
        last = position
    thread.join()
    assert failures == []
    assert checkpoint.load("r", "a", 0) == [b"59" * 3000] * 5


def test_two_copies_are_kept(checkpoint: Checkpoint) -> None:
    """The newest two, named by position; the journal is needed behind the older one."""
    for position in (3, 5, 9):
        checkpoint.commit(*at(position, a=b"%d" % position))
        copy = checkpoint.copy()
        assert soundness(copy) == ""
    assert [path.name for path in checkpoint.copies()] == [f"state-{n:016d}.db" for n in (9, 5)]
    assert checkpoint.needed_after == 5


def test_a_copy_at_the_same_position_replaces_itself(checkpoint: Checkpoint) -> None:
    """A gateway that heard nothing keeps its older copy."""
    for position in (3, 5, 5):
        checkpoint.commit(*at(position))
        checkpoint.copy()
    assert checkpoint.needed_after == 3


def test_a_damaged_state_gives_way_to_its_newest_copy(tmp_path: Path) -> None:
    """The file is kept beside, the copy takes its place, and what happened can be told."""
    first = Checkpoint.open_newest_sound(tmp_path)
    for position in (3, 5, 9):
        first.commit(*at(position, a=b"precious %d" % position))
        if position != 9:
            first.copy()
    first.close()
    damage(tmp_path / NAME)
    again = Checkpoint.open_newest_sound(tmp_path)
    assert again.opened.source == f"state-{5:016d}.db"
    assert [(aside.name, aside.kept_as) for aside in again.opened.aside] == [(NAME, f"{NAME}.damaged-1")]
    assert (again.position, again.load("rows", "a", 0)) == (5, [b"precious 5"])
    assert b"qrecious" in (tmp_path / f"{NAME}.damaged-1").read_bytes()
    again.commit(*at(6, a=b"goes on"))
    again.close()
    once_more = Checkpoint.open_newest_sound(tmp_path)
    assert (once_more.opened.source, once_more.position) == (NAME, 6)
    once_more.close()


def test_a_damaged_copy_gives_way_to_the_older_one(tmp_path: Path) -> None:
    """Each is verified before it is taken."""
    first = Checkpoint.open_newest_sound(tmp_path)
    for position in (3, 5):
        first.commit(*at(position, a=b"precious %d" % position))
        damaged = first.copy()
    first.close()
    damage(tmp_path / NAME)
    damage(damaged)
    again = Checkpoint.open_newest_sound(tmp_path)
    assert again.position == 3
    assert [aside.name for aside in again.opened.aside] == [NAME, damaged.name]
    assert again.copies() == [tmp_path / f"state-{3:016d}.db"]
    again.close()


def test_no_damaged_file_takes_the_place_of_another(tmp_path: Path) -> None:
    """Each is kept, whatever happened before."""
    first = Checkpoint.open_newest_sound(tmp_path)
    first.commit(*at(3, a=b"precious"))
    first.copy()
    first.close()
    for _ in range(3):
        damage(tmp_path / NAME)
        Checkpoint.open_newest_sound(tmp_path).close()
    kept = sorted(path.name for path in tmp_path.glob("*.damaged-*"))
    assert kept == [f"{NAME}.damaged-{number}" for number in (1, 2, 3)]


def test_a_state_that_is_gone_is_taken_from_its_copy(tmp_path: Path) -> None:
    """As after an interrupted recovery."""
    first = Checkpoint.open_newest_sound(tmp_path)
    first.commit(*at(4))
    first.copy()
    first.close()
    (tmp_path / NAME).unlink()
    again = Checkpoint.open_newest_sound(tmp_path)
    assert again.position == 4
    again.close()


def test_nothing_is_begun_anew_in_silence(tmp_path: Path) -> None:
    """Where something was and nothing is sound, the operator decides."""
    (tmp_path / NAME).write_bytes(b"not a database, not at all" * 100)
    with pytest.raises(StateError, match="no state is sound") as refused:
        Checkpoint.open_newest_sound(tmp_path)
    assert "move these files away" in refused.value.hint


def test_another_version_is_refused_by_name(tmp_path: Path) -> None:
    """It is no damage: an older copy must not take its place."""
    Checkpoint.open_newest_sound(tmp_path).close()
    connection = sqlite3.connect(tmp_path / NAME)
    connection.execute("PRAGMA user_version=9")
    connection.close()
    with pytest.raises(StateError, match="format version 9"):
        Checkpoint.open_newest_sound(tmp_path)


def test_a_cell_that_rots_while_running_is_refused(tmp_path: Path) -> None:
    """It is never loaded as state."""
    checkpoint = Checkpoint.open_newest_sound(tmp_path)
    checkpoint.commit(*at(1, a=b"precious"))
    connection = sqlite3.connect(tmp_path / NAME)
    connection.execute("UPDATE cells SET body = 'altered'")
    connection.commit()
    connection.close()
    with pytest.raises(StateError, match="damaged"):
        checkpoint.load("rows", "a", 0)
    checkpoint.close()


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed state of some hundred cells."""
    folder = tmp_path_factory.mktemp("sound")
    checkpoint = Checkpoint.open_newest_sound(folder)
    cells: dict[tuple[str, str, int, int], bytes | None] = {
        ("rows", f"owner {n % 7}", n, 0): b"%d" % n * 100 for n in range(300)
    }
    checkpoint.commit(Changes(cells), {POSITION: b"5"})
    checkpoint.close()
    return folder


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_flip_is_taken_for_state(sound: Path, tmp_path: Path, data: st.DataObject) -> None:
    """Either the file is refused, or everything in it is what was written."""
    folder = tmp_path / "copy"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(sound, folder)
    size = (folder / NAME).stat().st_size
    page = data.draw(st.integers(0, size // 8192 - 1)) * 8192
    where = data.draw(st.integers(page, page + 120) | st.integers(0, size - 1))
    with (folder / NAME).open("r+b") as file:
        file.seek(where)
        file.write(data.draw(st.binary(min_size=1, max_size=64)))
    try:
        checkpoint = Checkpoint.open_newest_sound(folder)
    except StateError:
        return
    try:
        assert checkpoint.position == 5
        for n in range(300):
            assert checkpoint.load("rows", f"owner {n % 7}", n) == [b"%d" % n * 100]
    finally:
        checkpoint.close()
