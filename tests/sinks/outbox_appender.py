"""A process to be killed: appends to an outbox while two sinks send, and prints what was made durable."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from gateway.sinks.outbox import Entry, Outbox


async def main(path: Path, run: int) -> None:
    outbox = await Outbox.open(path, max_bytes=1 << 30)
    for sink in ("fast", "slow"):
        await outbox.register(sink, "hold")

    async def append() -> None:
        number = 0
        while True:
            body = f"{run}/{number}".encode()
            end = await outbox.append([Entry(body * 100, number % 5, number)] * 3)
            sys.stdout.write(f"append {end} {body.decode()}\n")
            number += 1
            if number % 4 == 0:
                await outbox.checkpointed(end)
                sys.stdout.write(f"checkpoint {end} -\n")

    async def send(sink: str, points: int) -> None:
        while True:
            await outbox.changed(sink)
            entries = await outbox.next(sink, points, 1 << 20)
            through, last = entries[-1]
            await outbox.advance(sink, through, refused=min(1, last.count))
            sys.stdout.write(f"{sink} {through} -\n")

    await asyncio.gather(append(), send("fast", 20), send("slow", 1))


asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
