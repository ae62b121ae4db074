"""Reading the journal again, in lots as large as those in which the river treats what has just come."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from gateway.batch_queue import Entry
from gateway.model import Control

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Sequence

    from gateway.model import Frames, RawBatch
    from gateway.ports import Journal
    from gateway.suspicion import Corrections


def parted(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    """Yield the entries in parts: the clock's records each alone, what stands between them together."""
    first = 0
    for place, entry in enumerate(entries):
        if entry.clock is not None:
            if first < place:
                yield entries[first:place]
            yield entries[place : place + 1]
            first = place + 1
    if first < len(entries):
        yield entries[first:]


async def gathered(
    journal: Journal,
    *,
    after: int,
    through: int,
    scan: Callable[[Frames, int], RawBatch],
    corrections: Corrections,
    most: int,
    most_bytes: int,
) -> AsyncGenerator[Sequence[Entry], None]:
    """Yield the records of (after, through] with their receive times corrected, parted as `parted` does.

    A lot has at least `most` uplinks or `most_bytes`, but for the last and those before a clock's record.
    To be closed where it is given up (`contextlib.aclosing`).
    """
    lot, uplinks, size = list[Entry](), 0, 0
    async with contextlib.aclosing(journal.read(after)) as records:
        async for position, record in records:
            if position > through:
                break
            content = (
                record
                if isinstance(record, Control)
                else corrections.corrected(position, scan(record, position))
            )
            entry = Entry(position, content)
            if entry.clock is not None:
                if lot:
                    yield lot
                yield [entry]
                lot, uplinks, size = [], 0, 0
                continue
            lot.append(entry)
            uplinks, size = uplinks + entry.uplinks, size + entry.bytes
            if uplinks >= most or size >= most_bytes:
                yield lot
                lot, uplinks, size = [], 0, 0
    if lot:
        yield lot
