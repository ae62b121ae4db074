"""A process to be killed: appends to an outbox while two sinks send, and prints what can be recovered to."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from gateway.sinks.outbox import Entry, Outbox

MEMORY_BYTES = 30_000
"""Less than what waits for the slow sink after a few appends."""


async def main(path: Path, run: int) -> None:
    outbox = await Outbox.open(path, max_bytes=1 << 30, memory_bytes=MEMORY_BYTES)
    for sink in ("fast", "slow"):
        await outbox.register(sink, "hold")

    async def append() -> None:
        number = 0
        while True:
            body = f"{run}/{number}".encode()
            end = await outbox.append([Entry(body * 100, number % 5, number)] * 3)
            sys.stdout.write(f"append {end} {body.decode()}\n")
            number += 1
            await asyncio.sleep(0)
            if number % 4 == 0:
                settled = await outbox.settle()
                fast, slow = (settled.cursors[sink] for sink in ("fast", "slow"))
                sys.stdout.write(f"settled {end} {fast} {slow}\n")
                await asyncio.sleep(0)
                outbox.checkpointed(end)
                sys.stdout.write(f"checkpoint {end} {fast} {slow}\n")

    async def send(sink: str, points: int) -> None:
        while True:
            await outbox.changed(sink)
            entries = await outbox.next(sink, points, 1 << 20)
            through, last = entries[-1]
            await outbox.advance(sink, through, refused=min(1, last.count))
            sys.stdout.write(f"{sink} {through}\n")
            await asyncio.sleep(0)

    await asyncio.gather(append(), send("fast", 20), send("slow", 1))


asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
