"""A process to be killed: appends to a journal from several tasks, and prints what was made durable."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from gateway.journal.journal import Journal
from gateway.model import Frames


async def main(folder: Path, run: int) -> None:
    journal = await Journal.open(folder, segment_bytes=60_000, retention_ns=0, retention_bytes=1 << 40)

    async def append(task: int) -> None:
        for number in range(1_000_000):
            text = f"{run}/{task}/{number}".encode()
            position = await journal.append(Frames("s", run, "c", 5, number, 1, text * 50))
            sys.stdout.write(f"{position} {text.decode()}\n")

    await asyncio.gather(*(append(task) for task in range(4)))


asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
