"""What a power cut may leave of a folder, and what it must."""

from __future__ import annotations

import random

import pytest

from tests.chaos.disk import SECTOR, Disk, File, Truncate, Write

ROOT = "/state"
A, B = "/state/a", "/state/b"
SEEDS = range(200)


def disk(**files: bytes) -> Disk:
    return Disk(ROOT, {f"{ROOT}/{name}": content for name, content in files.items()}, [ROOT])


def contents(of: File) -> set[bytes]:
    """Return what is left of a file, by all seeds."""
    return {of.after_power_cut(random.Random(seed)) for seed in SEEDS}


def left(of: Disk) -> set[tuple[tuple[str, bytes], ...]]:
    """Return what is left of a folder, by all seeds."""
    return {tuple(of.after_power_cut(random.Random(seed))[0].items()) for seed in SEEDS}


def test_what_a_sync_covered_is_always_there() -> None:
    """Whatever the seed, and although more was written later elsewhere in the file."""
    file = File(pending=[Write(0, 0, b"x" * 600)])
    file.sync(covers=1)
    file.pending.append(Write(2, 600, b"y" * 600))
    assert all(found[:600] == b"x" * 600 for found in contents(file))


def test_a_write_that_no_sync_covered_is_kept_dropped_or_torn() -> None:
    """All of it, nothing, or whole sectors."""
    file = File(bytearray(b"o" * 2 * SECTOR), [Write(0, 0, b"n" * 2 * SECTOR)])
    old, new = b"o" * SECTOR, b"n" * SECTOR
    assert contents(file) == {old + old, new + new, new + old, old + new}


def test_sectors_are_those_of_the_file() -> None:
    """A write that begins within a sector is torn at the sector's end."""
    file = File(bytearray(b"o" * 20), [Write(0, SECTOR - 4, b"n" * 8)])
    assert bytes(SECTOR - 24) + b"nnnn" in {found[20:] for found in contents(file)}


def test_a_write_before_another_may_be_dropped_though_the_other_is_kept() -> None:
    """Nothing keeps their order; the gap holds zeros."""
    file = File(pending=[Write(0, 0, b"1"), Write(1, 1, b"2")])
    assert {b"", b"1", b"12", b"\x002"} <= contents(file)


def test_a_sync_covers_what_was_written_before_it_began() -> None:
    """What came while it went on may be dropped."""
    file = File(pending=[Write(0, 0, b"1"), Write(5, 1, b"2")])
    file.sync(covers=5)
    assert contents(file) == {b"1", b"1\x00", b"12"}


def test_a_file_cut_without_a_sync_may_come_back() -> None:
    """Its content too, since nothing else was written there."""
    assert contents(File(bytearray(b"old"), [Truncate(0, 0)])) == {b"old", b""}


def test_a_new_name_is_certain_once_its_folder_was_synced() -> None:
    """Not before, though the file itself was synced."""
    one = disk()
    file = one.create(0, A)
    file.pending.append(Write(1, 0, b"x"))
    file.sync(covers=2)
    assert left(one) == {(), ((A, b"x"),)}
    one.sync_folder(ROOT, covers=2)
    assert left(one) == {((A, b"x"),)}


def test_a_rename_is_undone_or_not() -> None:
    """The old name or the new one, and the file that the new one had before."""
    one = disk(a=b"new", b=b"old")
    one.rename(0, A, B)
    assert left(one) == {((A, b"new"), (B, b"old")), ((B, b"new"),)}
    one.sync_folder(ROOT, covers=1)
    assert left(one) == {((B, b"new"),)}


def test_a_removed_file_may_come_back() -> None:
    """Until its folder was synced."""
    one = disk(a=b"x")
    one.remove(0, A)
    assert left(one) == {((A, b"x"),), ()}
    assert one.now() == {}


def test_names_change_in_any_order() -> None:
    """A later removal may last though an earlier rename does not."""
    one = disk(a=b"1", b=b"2")
    one.rename(0, A, "/state/c")
    one.remove(1, B)
    assert ((A, b"1"),) in left(one)


def test_a_file_in_a_folder_that_is_not_there_is_not_there() -> None:
    """However often the file was synced."""
    one = disk()
    one.make_folder(0, "/state/journal")
    one.create(1, "/state/journal/a")
    one.sync_folder("/state/journal", covers=2)
    assert left(one) == {(), (("/state/journal/a", b""),)}
    one.sync_folder(ROOT, covers=2)
    assert left(one) == {(("/state/journal/a", b""),)}


def test_shared_memory_is_left_out() -> None:
    """SQLite makes it anew."""
    one = disk()
    one.create(0, "/state/a-shm")
    one.sync_folder(ROOT, covers=1)
    assert left(one) == {()}


def test_a_rename_across_folders_is_refused() -> None:
    """Two folders' syncs would have to agree on it: nobody does it, and nobody shall in silence."""
    one = disk(a=b"")
    one.make_folder(0, "/state/journal")
    with pytest.raises(ValueError, match="within its folder"):
        one.rename(1, A, "/state/journal/a")
