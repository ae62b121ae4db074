"""Tests for the journal: durability, group commit, locking, trimming."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import JournalError
from gateway.journal.journal import Journal
from gateway.model import Frames
from tests.crash import killed_while_writing

DAY_NS = 86_400_000_000_000
APPENDER = Path(__file__).with_name("appender.py")


def frames(number: int, at_ns: int = 0, size: int = 10) -> Frames:
    return Frames("broker", 1, "ecluse", 5, at_ns, 3, b"%d." % number * size)


async def opened(folder: Path, **settings: Any) -> Journal:
    return await Journal.open(
        folder, **{"segment_bytes": 1 << 20, "retention_ns": DAY_NS, "retention_bytes": 1 << 40, **settings}
    )


async def held(journal: Journal, after: int = 0) -> dict[int, Frames]:
    return {position: record async for position, record in journal.read(after)}


def files(folder: Path, pattern: str = "journal-*.db") -> list[str]:
    return sorted(path.name for path in folder.glob(pattern))


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("journal-*.db"))


async def test_records_are_there_after_a_restart(tmp_path: Path) -> None:
    """A journal that was closed and opened again goes on where it ended."""
    journal = await opened(tmp_path)
    await journal.append_many([frames(n) for n in range(5)])
    await journal.close()
    again = await opened(tmp_path)
    assert again.end == 5
    assert await held(again) == {n + 1: frames(n) for n in range(5)}
    assert await again.append(frames(9)) == 6
    assert again.damaged == []
    await again.close()


async def test_closing_leaves_one_plain_file_a_segment(tmp_path: Path) -> None:
    """No WAL, no shared memory, no unfinished file stays behind."""
    journal = await opened(tmp_path, segment_bytes=1)
    for number in range(3):
        await journal.append(frames(number))
    await journal.close()
    assert files(tmp_path, "*") == [*(f"journal-{n:016d}.db" for n in (1, 2, 3)), "journal.lock"]


async def test_concurrent_appends_share_a_sync(tmp_path: Path) -> None:
    """What arrives while a sync is under way is committed together by the next one."""
    journal = await opened(tmp_path)
    await asyncio.gather(*(journal.append(frames(n)) for n in range(100)))
    figures = journal.figures()
    assert (figures.appended, figures.syncs) == (100, 2)
    await journal.close()


async def test_a_cancelled_append_disturbs_no_other(tmp_path: Path) -> None:
    """One that had not been handed over leaves nothing; those beside it get their positions."""
    journal = await opened(tmp_path)
    first = asyncio.create_task(journal.append(frames(1)))
    await asyncio.sleep(0)  # handed to the thread
    given_up = asyncio.create_task(journal.append(frames(2)))
    last = asyncio.create_task(journal.append(frames(3)))
    await asyncio.sleep(0)
    given_up.cancel()
    assert [await first, await last] == [1, 2]
    assert await held(journal) == {1: frames(1), 2: frames(3)}
    await journal.close()


async def test_an_append_cancelled_under_way_disturbs_no_other(tmp_path: Path) -> None:
    """Its record may stay; later positions lie behind it, and the group beside it is answered."""
    journal = await opened(tmp_path)
    given_up = asyncio.create_task(journal.append(frames(1)))
    await asyncio.sleep(0)
    given_up.cancel()
    assert await journal.append(frames(2)) == 2
    assert await held(journal) == {1: frames(1), 2: frames(2)}
    await journal.close()


async def test_closing_waits_for_what_is_being_appended(tmp_path: Path) -> None:
    """Every append that had begun is answered, and is there."""
    journal = await opened(tmp_path)
    tasks = [asyncio.create_task(journal.append(frames(n))) for n in range(20)]
    await asyncio.sleep(0)
    await journal.close()
    assert [await task for task in tasks] == list(range(1, 21))
    again = await opened(tmp_path)
    assert again.end == 20
    await again.close()


async def test_a_second_gateway_is_refused(tmp_path: Path) -> None:
    """It is told which process holds the journal and what to do; the first goes on."""
    journal = await opened(tmp_path)
    with pytest.raises(JournalError, match="most likely a gateway") as refused:
        await opened(tmp_path)
    assert "end it first" in refused.value.hint
    assert await journal.append(frames(1)) == 1
    await journal.close()
    await (await opened(tmp_path)).close()


async def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    """A file in the folder's place gives an error with a hint, never a traceback."""
    (tmp_path / "taken").write_text("")
    with pytest.raises(JournalError, match="cannot be opened") as refused:
        await opened(tmp_path / "taken")
    assert refused.value.hint


async def test_trimming_by_age_keeps_what_is_younger(tmp_path: Path) -> None:
    """A segment goes once its last record is older than the retention, against the newest record."""
    journal = await opened(tmp_path, segment_bytes=1)
    for day in range(4):
        await journal.append(frames(day, at_ns=day * DAY_NS))
    await journal.trim(5)
    assert sorted(await held(journal)) == [3, 4]
    assert len(files(tmp_path)) == 2
    assert journal.figures().oldest_ns == 2 * DAY_NS
    await journal.close()


async def test_trimming_by_size_keeps_what_fits(tmp_path: Path) -> None:
    """The oldest segments go until the whole is within its bytes; the last one always stays."""
    journal = await opened(tmp_path, segment_bytes=1, retention_bytes=250_000)
    for number in range(5):
        await journal.append(frames(number, size=50_000))
    await journal.trim(6)
    assert sorted(await held(journal)) == [4, 5]
    assert journal.figures().bytes <= 350_000
    await journal.close()


async def test_trimming_waits_for_the_checkpoint(tmp_path: Path) -> None:
    """A segment with a record that is still needed stays, whatever its age."""
    journal = await opened(tmp_path, segment_bytes=1, retention_ns=0, retention_bytes=0)
    for number in range(4):
        await journal.append(frames(number))
    await journal.trim(3)
    assert sorted(await held(journal)) == [3, 4]
    await journal.close()


async def test_trimming_leaves_what_is_being_read(tmp_path: Path) -> None:
    """Nothing behind the place of a reader is unlinked under its feet."""
    journal = await opened(tmp_path, segment_bytes=1, retention_ns=0, retention_bytes=0)
    for number in range(4):
        await journal.append(frames(number))
    seen = []
    async with aclosing(journal.read(1)) as rows:
        async for position, _ in rows:
            await journal.trim(5)
            seen.append(position)
    assert seen == [2, 3, 4]
    await journal.trim(5)
    assert sorted(await held(journal)) == [4]
    await journal.close()


async def test_positions_go_on_after_everything_was_trimmed(tmp_path: Path) -> None:
    """A restart after trimming gives no position twice."""
    journal = await opened(tmp_path, segment_bytes=1, retention_ns=0, retention_bytes=0)
    for number in range(3):
        await journal.append(frames(number))
    await journal.trim(4)
    await journal.close()
    again = await opened(tmp_path)
    assert await again.append(frames(3)) == 4
    assert again.first == 3
    await again.close()


async def test_figures_tell_the_journal(tmp_path: Path) -> None:
    """End, count, size and times, live and after a restart."""
    journal = await opened(tmp_path)
    assert journal.figures().records == 0
    assert journal.figures().oldest_ns is None
    await journal.append_many([frames(n, at_ns=n) for n in range(5, 9)])
    await journal.close()
    journal = await opened(tmp_path)
    figures = journal.figures()
    assert (figures.end, figures.first, figures.records, figures.segments) == (4, 1, 4, 1)
    assert (figures.oldest_ns, figures.newest_ns) == (5, 8)
    assert figures.bytes == size(tmp_path)
    await journal.close()


FAILING = """
import asyncio, resource, sys
from pathlib import Path
from gateway.errors import JournalError
from gateway.journal.journal import Journal
from gateway.model import Frames

async def main(folder):
    journal = await Journal.open(folder, segment_bytes=1 << 30, retention_ns=0, retention_bytes=0)
    record = Frames("s", 1, "c", 5, 0, 1, bytes(100_000))
    print(await journal.append(record))
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))  # the disk is full from here on
    failed = 0
    tasks = [asyncio.create_task(journal.append(record)) for _ in range(3)]
    for answer in await asyncio.gather(*tasks, return_exceptions=True):
        failed += isinstance(answer, JournalError)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
        await journal.append(Frames("s", 1, "c", 5, 0, 1, b"small"))
    except JournalError as error:
        print(f"failed={failed + 1} hint={error.hint} figures={journal.figures().failed}")
asyncio.run(main(Path(sys.argv[1])))
"""


async def test_a_disk_that_refuses_is_fatal(tmp_path: Path) -> None:
    """Everyone who waits gets the error, later appends too; what was durable before is read back."""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", FAILING, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines()
    assert lines[0] == "1", done.stderr
    assert int(lines[1].split("failed=")[1][0]) >= 2  # those of the group, and the one behind
    assert "cannot be written" in lines[1]
    journal = await opened(tmp_path)
    record = await held(journal)
    assert len(record[1].frames) == 100_000
    await journal.close()


@pytest.mark.parametrize("seed", [1, 2])
async def test_killing_the_process_loses_nothing_that_was_durable(tmp_path: Path, seed: int) -> None:
    """Five kills in a row: every position that was returned holds its record, and none is given twice."""
    rng = random.Random(seed)
    durable: dict[int, str] = {}
    for run in range(5):
        for line in killed_while_writing(APPENDER, str(tmp_path), str(run), rng=rng):
            position, text = line.split()
            assert int(position) not in durable
            durable[int(position)] = text
    journal = await opened(tmp_path)
    found = await held(journal)
    assert {position: found[position].frames for position in durable} == {
        position: text.encode() * 50 for position, text in durable.items()
    }
    assert sorted(found) == list(range(1, journal.end + 1))
    assert journal.damaged == []
    assert len(files(tmp_path)) > 1
    await journal.close()
