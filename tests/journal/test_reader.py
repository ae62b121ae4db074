"""Reading a journal beside the one who writes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.errors import JournalError
from gateway.journal.journal import Journal
from gateway.journal.reader import JournalReader
from gateway.model import Control, ControlKind, Frames

if TYPE_CHECKING:
    from pathlib import Path

SECOND = 10**9


def frames(at_s: int, size: int = 30_000) -> Frames:
    return Frames("main", 1, "ecluse", 5, at_s * SECOND, 1, bytes(size))


def control(at_s: int) -> Control:
    return Control(ControlKind.SETTINGS, at_s * SECOND, b"{}")


async def filled(folder: Path) -> Journal:
    """Return a journal of twelve records in several segments; the fifth and the last are control records."""
    journal = await Journal.open(folder, segment_bytes=100_000, retention_ns=0, retention_bytes=0)
    for second in range(1, 13):
        await journal.append(control(second) if second in (5, 12) else frames(second))
    return journal


async def test_it_reads_while_another_one_appends(tmp_path: Path) -> None:
    """What stood there when it was opened, and no more."""
    journal = await filled(tmp_path)
    reader = JournalReader(tmp_path)
    await journal.append(frames(13))
    read = list(reader.read(3))
    assert [position for position, _ in read] == list(range(4, 13))
    assert read[0][1] == frames(4)
    assert (reader.first, reader.end, reader.damages) == (1, 12, [])
    assert reader.controls(0) == [(5, control(5)), (12, control(12))]
    assert reader.controls(5) == [(12, control(12))]
    await journal.close()
    assert [position for position, _ in JournalReader(tmp_path).read(11)] == [12, 13]


async def test_times(tmp_path: Path) -> None:
    """Where to begin for a time: where a segment begins; when what is behind a place was made."""
    await (await filled(tmp_path)).close()
    reader = JournalReader(tmp_path)
    assert len({reader.before(second * SECOND) for second in range(1, 13)}) > 2
    assert reader.held_since_ns() == SECOND
    assert reader.time_behind(0) == SECOND
    assert reader.time_behind(7) == 8 * SECOND
    assert reader.time_behind(12) == 12 * SECOND
    assert reader.before(0) == 0
    assert reader.before(99 * SECOND) == 12
    for second in range(1, 13):
        behind = reader.before(second * SECOND)
        assert behind < second
        assert second - behind <= 5


async def test_a_segment_that_is_trimmed_meanwhile(tmp_path: Path) -> None:
    """Is said, and never passed over."""
    journal = await filled(tmp_path)
    reader = JournalReader(tmp_path)
    await journal.trim(9)
    with pytest.raises(JournalError, match="trimmed meanwhile"):
        list(reader.read(0))
    await journal.close()


def test_an_empty_folder(tmp_path: Path) -> None:
    """Has nothing."""
    reader = JournalReader(tmp_path)
    assert (reader.end, reader.held_since_ns(), reader.time_behind(0), list(reader.read(0))) == (
        0,
        None,
        None,
        [],
    )
