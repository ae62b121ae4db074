"""A gateway that stepped aside comes back once its folder was had, or nobody came for it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gateway import lending
from gateway.journal.lock import GATEWAY, FolderLock, holder

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

BORROWS = """
import sys
from pathlib import Path
from gateway.journal.lock import GATEWAY, FolderLock
lock = FolderLock(Path(sys.argv[1]), GATEWAY)
print("held", flush=True)
sys.stdin.read()
"""


def borrower(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Hold a folder in a process of its own until it is told to end."""
    command = [sys.executable, "-c", BORROWS, str(folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[1]
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def lent(folder: Path) -> None:
    """Have had the folder, and let it go."""
    FolderLock(folder, GATEWAY).release()


async def test_it_comes_back_once_the_folder_is_let_go(tmp_path: Path) -> None:
    """However the borrower ended: here it is killed."""
    lent(tmp_path)
    for process in borrower(tmp_path):
        waiting = asyncio.create_task(lending.given_back(tmp_path, asyncio.Event()))
        await asyncio.sleep(3 * lending.LOOK_S)
        assert not waiting.done()
        assert holder(tmp_path, GATEWAY) == (process.pid, True)
        process.kill()
        assert await asyncio.wait_for(waiting, 10)
        assert holder(tmp_path, GATEWAY) == (process.pid, False)


async def test_it_comes_back_at_once_where_the_borrower_was_quick(tmp_path: Path) -> None:
    """The lock's file says who had it last."""
    lent(tmp_path)
    for process in borrower(tmp_path):
        process.kill()
        process.wait()
        assert await asyncio.wait_for(lending.given_back(tmp_path, asyncio.Event()), 10)


async def test_nobody_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while it goes on."""
    monkeypatch.setattr(lending, "COMES_S", 0.3)
    lent(tmp_path)
    assert await asyncio.wait_for(lending.given_back(tmp_path, asyncio.Event()), 10)


async def test_it_may_be_told_to_end_meanwhile(tmp_path: Path) -> None:
    """SIGTERM does not wait for the borrower."""
    lent(tmp_path)
    stopping = asyncio.Event()
    waiting = asyncio.create_task(lending.given_back(tmp_path, stopping))
    await asyncio.sleep(0)
    stopping.set()
    assert await asyncio.wait_for(waiting, 10) is False
