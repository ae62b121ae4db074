"""What every journal does: the real one and its double."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.journal.journal import Journal
from gateway.model import Control, ControlKind, Frames
from gateway.testing import MemoryJournal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


def frames(number: int) -> Frames:
    return Frames("broker", 1, "ecluse", 5, 1_763_769_600_000_000_000 + number, 2, b"frame %d" % number)


CONTROL = Control(ControlKind.PROFILE, 7, b'{"name": "bin-level"}')


@pytest.fixture(params=["segments", "memory"])
async def journal(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Journal | MemoryJournal]:
    if request.param == "memory":
        opened: Journal | MemoryJournal = MemoryJournal()
    else:
        opened = await Journal.open(tmp_path, segment_bytes=1, retention_ns=0, retention_bytes=0)
    yield opened
    await opened.close()


async def held(journal: Journal | MemoryJournal, after: int = 0) -> list[tuple[int, Frames | Control]]:
    return [row async for row in journal.read(after)]


async def test_positions_begin_at_one_and_rise_by_one(journal: Journal) -> None:
    """The first record is at position 1, each next one right behind."""
    assert [await journal.append(frames(n)) for n in range(3)] == [1, 2, 3]
    assert await journal.append_many([frames(3), CONTROL]) == [4, 5]
    assert journal.end == 5


async def test_a_new_journal_is_empty(journal: Journal) -> None:
    """Its end is 0 and nothing is read."""
    assert journal.end == 0
    assert await held(journal) == []


async def test_the_newest_time_is_the_last_records(journal: Journal) -> None:
    """Whether that is the latest or not: a clock may have gone back."""
    assert journal.newest_ns == 0
    await journal.append(frames(3))
    assert journal.newest_ns == frames(3).received_ns
    await journal.append(CONTROL)
    assert journal.newest_ns == CONTROL.at_ns
    await journal.append_many([frames(1), frames(2)])
    assert journal.newest_ns == frames(2).received_ns


async def test_what_is_read_is_what_was_appended(journal: Journal) -> None:
    """Frames and control records come back equal, in order."""
    await journal.append_many([frames(1), CONTROL, frames(2)])
    assert await held(journal) == [(1, frames(1)), (2, CONTROL), (3, frames(2))]


async def test_reading_begins_behind_a_position(journal: Journal) -> None:
    """`after` itself is not read; a position at or past the end gives nothing."""
    await journal.append_many([frames(n) for n in range(4)])
    assert [position for position, _ in await held(journal, 2)] == [3, 4]
    assert await held(journal, 4) == []
    assert await held(journal, 9) == []


async def test_reading_ends_where_the_journal_ended_when_it_began(journal: Journal) -> None:
    """A record appended while reading is left to the next reading."""
    await journal.append_many([frames(1), frames(2)])
    seen = []
    async for position, _ in journal.read(0):
        await journal.append(frames(9))
        seen.append(position)
    assert seen == [1, 2]


async def test_appending_at_once_gives_each_its_own_position(journal: Journal) -> None:
    """Concurrent appends lose and double nothing."""
    positions = await asyncio.gather(*(journal.append(frames(n)) for n in range(50)))
    assert sorted(positions) == list(range(1, 51))
    assert dict(await held(journal)) == {p: frames(n) for n, p in enumerate(positions)}


async def test_trimming_forgets_nothing_from_its_bound_on(journal: Journal) -> None:
    """Records at and behind `before` stay; positions go on."""
    for number in range(1, 5):
        await journal.append(frames(number))
    await journal.trim(3)
    assert [position for position, _ in await held(journal)] == [3, 4]
    assert await journal.append(frames(5)) == 5


async def test_a_sound_journal_sets_nothing_aside(journal: Journal) -> None:
    """Whatever was read of it."""
    await journal.append_many([frames(n) for n in range(3)])
    assert len(await held(journal)) == 3
    assert journal.set_aside(0, journal.end) == 0


async def test_reading_can_be_given_up(journal: Journal) -> None:
    """A closed reader holds nothing back any more."""
    await journal.append_many([frames(n) for n in range(3)])
    reader = journal.read(0)
    assert (await anext(reader))[0] == 1
    await reader.aclose()
    await journal.trim(4)
    assert await journal.append(frames(3)) == 4
