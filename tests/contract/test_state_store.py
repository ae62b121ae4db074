"""What every store of cells does: the checkpoint's file and its double."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.journal.checkpoint import Checkpoint
from gateway.model import Changes
from gateway.testing import MemoryStateStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.ports import StateStore


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StateStore]:
    if request.param == "memory":
        yield MemoryStateStore()
        return
    opened = Checkpoint.open_newest_sound(tmp_path)
    yield opened
    opened.close()


def test_nothing_was_written_yet(store: StateStore) -> None:
    """Empty lists, no error."""
    assert store.load("rows", "a", 0) == []
    assert store.starts("rows", "a") == []


def test_parts_come_in_order(store: StateStore) -> None:
    """Whatever the order in which they were written; other cells are others."""
    cells: dict[tuple[str, str, int, int], bytes | None] = {
        ("rows", "a", 900, part): b"%d" % part for part in (2, 0, 10)
    }
    store.commit(Changes({**cells, ("rows", "b", 900, 0): b"b", ("books", "a", 900, 0): b"c"}), {"k": b"v"})
    assert store.load("rows", "a", 900) == [b"0", b"2", b"10"]


def test_starts_ascend(store: StateStore) -> None:
    """Each once, negative ones too."""
    store.commit(Changes({("rows", "a", start, part): b"" for start in (7, -3, 900) for part in (0, 1)}), {})
    assert store.starts("rows", "a") == [-3, 7, 900]


def test_a_later_commit_replaces_and_deletes(store: StateStore) -> None:
    """A body replaces; None deletes a part, or with part -1 all of them."""
    store.commit(Changes({("r", "a", start, part): b"old" for start in (1, 2) for part in range(3)}), {})
    store.commit(Changes({("r", "a", 1, 0): b"new", ("r", "a", 1, 1): None, ("r", "a", 2, -1): None}), {})
    assert store.load("r", "a", 1) == [b"new", b"old"]
    assert store.load("r", "a", 2) == []
    assert store.starts("r", "a") == [1]


def test_deleting_what_is_not_there_is_nothing(store: StateStore) -> None:
    """Neither a part nor a whole cell."""
    store.commit(Changes({("r", "a", 1, 0): None, ("r", "a", 2, -1): None}), {})
    assert store.starts("r", "a") == []


def test_a_cell_deleted_and_written_in_one_commit_is_there(store: StateStore) -> None:
    """Deletions come first."""
    store.commit(Changes({("r", "a", 1, part): b"old" for part in range(3)}), {})
    store.commit(Changes({("r", "a", 1, 0): b"new", ("r", "a", 1, -1): None}), {})
    assert store.load("r", "a", 1) == [b"new"]
