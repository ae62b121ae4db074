"""Closing in reverse order, without hiding what went wrong before; waiting for whichever comes first."""

from __future__ import annotations

import asyncio

import pytest

from gateway.closing import Closing
from gateway.errors import JournalError, StateError
from gateway.waiting import first_of


async def fails() -> None:
    raise JournalError("cannot be closed")


async def test_parts_are_closed_in_reverse_order() -> None:
    """All of them, one that fails too; its error is raised where nothing else was."""
    closed = []

    async def close(name: str) -> None:
        closed.append(name)

    async def run() -> None:
        async with Closing() as closing:
            closing.later(lambda: close("first"))
            closing.later(fails)
            closing.later(lambda: close("last"))

    with pytest.raises(JournalError):
        await run()
    assert closed == ["last", "first"]


async def test_an_earlier_failure_is_not_hidden() -> None:
    """What a person must mend is the first thing that went wrong."""

    async def run() -> None:
        async with Closing() as closing:
            closing.later(fails)
            raise StateError("the disk is full")

    with pytest.raises(StateError):
        await run()


async def test_a_bug_while_closing_is_raised() -> None:
    """It is no EcluseError."""

    async def bug() -> None:
        raise ZeroDivisionError

    async def run() -> None:
        async with Closing() as closing:
            closing.later(bug)
            raise StateError("the disk is full")

    with pytest.raises(ZeroDivisionError):
        await run()


async def test_first_of_cancels_the_others() -> None:
    """And waits until they have gone."""
    gone = []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            gone.append(1)

    await first_of(forever(), asyncio.sleep(0), forever())
    assert gone == [1, 1]


async def test_first_of_is_cancelled_with_all_it_waits_for() -> None:
    """Nothing is left behind."""
    gone = []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            gone.append(1)

    task = asyncio.create_task(first_of(forever(), forever()))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert gone == [1, 1]
