"""Devices that were heard and are in no registry."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from gateway.errors import StateError
from gateway.registry.unknown import SAMPLE_BYTES, SILENT_NS, UnknownDevice, UnknownDevices, UnknownFigures

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def store(tmp_path: Path, **given: Any) -> Iterator[UnknownDevices]:
    """Open the list of strangers, and close it."""
    strangers = UnknownDevices(tmp_path / "unknown.db", **given)
    try:
        yield strangers
    finally:
        strangers.close()


def hear(strangers: UnknownDevices, device: str, at_ns: int, payload: bytes = b"{}") -> None:
    """Note an uplink."""
    strangers.unknown("lyon", device, f"a/lyon/{device}", payload, at_ns)


def test_a_stranger_is_listed_with_a_sample(tmp_path: Path) -> None:
    """First and last heard, how often, the last payload; across flushes."""
    with store(tmp_path) as strangers:
        hear(strangers, "x", 100, b"one")
        hear(strangers, "x", 300, b"two")
        assert strangers.list() == []
        strangers.flush()
        hear(strangers, "x", 200, b"three")
        hear(strangers, "y", 250)
        strangers.flush()
        assert strangers.list() == [
            UnknownDevice("lyon", "x", "a/lyon/x", 100, 300, 3, b"three"),
            UnknownDevice("lyon", "y", "a/lyon/y", 250, 250, 1, b"{}"),
        ]


def test_the_list_survives_a_restart(tmp_path: Path) -> None:
    """Closing flushes."""
    with store(tmp_path) as strangers:
        hear(strangers, "x", 1)
    with store(tmp_path) as strangers:
        assert [stranger.device for stranger in strangers.list()] == ["x"]


def test_a_damaged_list_begins_anew(tmp_path: Path) -> None:
    """It is kept beside, and said; the gateway starts."""
    (tmp_path / "unknown.db").write_bytes(b"no database" * 1000)
    with store(tmp_path, mend=True) as strangers:
        hear(strangers, "x", 1)
        strangers.flush()
        assert len(strangers.list()) == 1
        assert strangers.aside is not None
    assert (tmp_path / "unknown.db.damaged-1").exists()


def test_samples_are_bounded(tmp_path: Path) -> None:
    """A stranger cannot fill the disk."""
    with store(tmp_path) as strangers:
        hear(strangers, "x", 1, b"x" * 100_000)
        strangers.flush()
        assert strangers.list()[0].sample == b"x" * SAMPLE_BYTES


def test_a_full_list_counts_what_it_does_not_list(tmp_path: Path) -> None:
    """In memory and on disk: a flood of names pushes no one out."""
    with store(tmp_path, max_devices=2) as strangers:
        for number in range(5):
            hear(strangers, f"a{number}", 1)
        strangers.flush()
        for number in range(5, 10):
            hear(strangers, f"a{number}", 2)
        hear(strangers, "a0", 3)
        strangers.flush()
        assert sorted(stranger.device for stranger in strangers.list()) == ["a0", "a1"]
        assert strangers.figures() == UnknownFigures(listed=2, overflow=9, evicted=0)


def test_a_stranger_that_fell_silent_gives_way(tmp_path: Path) -> None:
    """After a week, the one not heard for longest."""
    with store(tmp_path, max_devices=2) as strangers:
        hear(strangers, "old", 1)
        hear(strangers, "older", 0)
        strangers.flush()
        hear(strangers, "new", SILENT_NS + 1)
        strangers.flush()
        assert [stranger.device for stranger in strangers.list()] == ["new", "old"]
        assert strangers.figures() == UnknownFigures(listed=2, overflow=0, evicted=1)


def test_forgetting_a_device(tmp_path: Path) -> None:
    """After its adoption, flushed or not."""
    with store(tmp_path) as strangers:
        hear(strangers, "x", 1)
        strangers.flush()
        hear(strangers, "y", 1)
        assert strangers.forget("lyon", "x")
        assert strangers.forget("lyon", "y")
        assert not strangers.forget("lyon", "z")
        strangers.flush()
        assert strangers.list() == []


def test_another_program_reads_and_forgets_meanwhile(tmp_path: Path) -> None:
    """`ecluse device unknown` and `adopt` run beside the gateway."""
    with store(tmp_path) as gateway, store(tmp_path) as command:
        hear(gateway, "x", 1)
        gateway.flush()
        assert [stranger.device for stranger in command.list()] == ["x"]
        command.forget("lyon", "x")
        assert gateway.list() == []


def test_a_file_that_is_no_list(tmp_path: Path) -> None:
    """An error with what to do, whatever the file is."""
    (tmp_path / "unknown.db").write_bytes(b"no database at all, but long enough to be read as one" * 100)
    with pytest.raises(StateError, match="unknown devices"):
        UnknownDevices(tmp_path / "unknown.db")
    with pytest.raises(StateError) as refused:
        UnknownDevices(tmp_path / "missing" / "unknown.db")
    assert refused.value.hint


def test_a_file_of_another_version(tmp_path: Path) -> None:
    """It is left alone."""
    with store(tmp_path):
        pass
    with contextlib.closing(sqlite3.connect(tmp_path / "unknown.db")) as connection:
        connection.execute("PRAGMA user_version=99")
    with pytest.raises(StateError, match="format version 99"):
        UnknownDevices(tmp_path / "unknown.db")
