"""The queue between journal and decoding: bounded, in order, emptied many at a time."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from gateway.batch_queue import BatchQueue, Entry
from gateway.model import Control, ControlKind
from tests.decode.plans import batch

CONTROL = Entry(99, Control(ControlKind.SETTINGS, 0, b"{}"))
TAKE = {"most": 5, "gather_s": 0, "wait_s": 0}


def entry(position: int, uplinks: int = 1, size: int = 10) -> Entry:
    """Return a batch of so many uplinks and bytes."""
    made = batch(*[("t", b"")] * uplinks, received=position)
    return Entry(position, replace(made, frames=b"x" * size))


def queue(*, max_uplinks: int = 10, max_bytes: int = 1_000) -> BatchQueue:
    return BatchQueue(max_uplinks=max_uplinks, max_bytes=max_bytes)


async def waits(call: asyncio.Task[None]) -> bool:
    """Tell whether a call still waits after the loop had its turns."""
    for _ in range(10):
        await asyncio.sleep(0)
    return not call.done()


async def test_what_is_put_is_taken_in_order() -> None:
    """Batches and control records alike, with the figures that health shows."""
    q = queue()
    assert q.oldest_ns is None
    for one in (CONTROL, entry(1), entry(2, uplinks=2)):
        await q.put(one)
    assert (q.uplinks, q.bytes, q.oldest_ns) == (3, 22, 1)
    assert [one.position for one in await q.take(**TAKE) or ()] == [99, 1, 2]
    assert (q.uplinks, q.bytes, q.oldest_ns) == (0, 0, None)


async def test_at_most_so_many_are_taken() -> None:
    """A larger one is taken alone: nothing is ever cut."""
    q = queue()
    for one in (entry(1, uplinks=3), entry(2, uplinks=3), entry(3, uplinks=4)):
        await q.put(one)
    assert [len(await q.take(**TAKE) or ()) for _ in range(3)] == [1, 1, 1]
    await q.put(entry(4, uplinks=9))
    assert [one.uplinks for one in await q.take(**TAKE) or ()] == [9]


@pytest.mark.parametrize(("first", "second"), [((6, 10), (5, 10)), ((1, 600), (1, 500))])
async def test_it_is_full_by_uplinks_and_by_bytes(first: tuple[int, int], second: tuple[int, int]) -> None:
    """Then `put` waits until there is room."""
    q = queue()
    await q.put(entry(1, *first))
    putting = asyncio.create_task(q.put(entry(2, *second)))
    assert await waits(putting)
    assert len(await q.take(**TAKE) or ()) == 1
    await putting
    assert q.uplinks == second[0]


async def test_one_larger_than_the_queue_passes_alone() -> None:
    """Else the river would stand still for ever."""
    q = queue(max_uplinks=1, max_bytes=1)
    await q.put(entry(1, uplinks=50, size=5_000))
    control = asyncio.create_task(q.put(CONTROL))
    assert await waits(control)
    assert len(await q.take(**TAKE) or ()) == 1
    await control


async def test_nothing_came() -> None:
    """An empty list after the wait: time for windows, not the end."""
    assert await queue().take(most=5, gather_s=0, wait_s=0.001) == []


async def test_it_gathers_until_there_is_enough() -> None:
    """And no longer: ten seconds would be noticed."""
    q = queue()
    taking = asyncio.create_task(q.take(most=5, gather_s=10, wait_s=10))
    await q.put(entry(1, uplinks=2))
    assert await waits(taking)
    await q.put(entry(2, uplinks=3))
    async with asyncio.timeout(5):
        assert [one.position for one in await taking or ()] == [1, 2]


async def test_a_queue_full_of_bytes_is_taken_at_once() -> None:
    """No more could come in."""
    q = queue()
    taking = asyncio.create_task(q.take(most=5, gather_s=10, wait_s=10))
    await q.put(entry(1, size=1_000))
    async with asyncio.timeout(5):
        assert len(await taking or ()) == 1


async def test_a_closed_queue_ends_once_it_is_empty() -> None:
    """What was put is still taken."""
    q = queue()
    await q.put(entry(1))
    await q.close()
    assert [one.position for one in await q.take(most=5, gather_s=10, wait_s=10) or ()] == [1]
    assert await q.take(most=5, gather_s=10, wait_s=10) is None
    assert await q.take(most=5, gather_s=10, wait_s=10) is None


async def test_closing_wakes_whoever_waits() -> None:
    """At once."""
    q = queue()
    taking = asyncio.create_task(q.take(most=5, gather_s=10, wait_s=10))
    assert await waits(taking)
    await q.close()
    async with asyncio.timeout(5):
        assert await taking is None


async def test_a_cancelled_take_takes_nothing() -> None:
    """Neither while waiting nor while gathering."""
    q = queue()
    taking = asyncio.create_task(q.take(most=5, gather_s=10, wait_s=10))
    await q.put(entry(1))
    assert await waits(taking)
    taking.cancel()
    await asyncio.gather(taking, return_exceptions=True)
    assert q.uplinks == 1
    assert len(await q.take(**TAKE) or ()) == 1


async def test_a_cancelled_put_puts_nothing() -> None:
    """And leaves the queue as it was."""
    q = queue(max_uplinks=1)
    await q.put(entry(1))
    putting = asyncio.create_task(q.put(entry(2)))
    assert await waits(putting)
    putting.cancel()
    await asyncio.gather(putting, return_exceptions=True)
    assert q.uplinks == 1
