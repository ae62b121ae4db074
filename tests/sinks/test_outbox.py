"""Tests for the outbox: cursors, books that balance across crashes, policies, damage."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import TYPE_CHECKING

import pytest

from gateway.sinks.outbox import MEMORY_BYTES, Depth, Outbox, SinkTotals
from tests.sinks.outboxes import MANY, answer, balanced, checkpoint, entry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture(params=[MEMORY_BYTES, 1000, 0], ids=["in memory", "partly spilled", "spilled"])
async def outbox(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Outbox]:
    """An outbox that must be the same wherever its entries are."""
    opened = await Outbox.open(tmp_path / "outbox.db", max_bytes=1000, memory_bytes=request.param)
    await opened.register("influx", "hold")
    yield opened
    await opened.close()


async def test_entries_come_in_order_until_answered_for(outbox: Outbox) -> None:
    """The same ones come again until the cursor moves past them."""
    assert await outbox.append([entry(1), entry(2), entry(3)]) == 3
    first = await outbox.next("influx", MANY, MANY)
    assert first == [(1, entry(1)), (2, entry(2)), (3, entry(3))]
    assert await outbox.next("influx", MANY, MANY) == first
    await outbox.advance("influx", 2)
    assert await outbox.next("influx", MANY, MANY) == [(3, entry(3))]
    await answer(outbox, "influx", 3)
    assert await outbox.next("influx", MANY, MANY) == []


async def test_next_keeps_to_both_limits_but_always_goes_on(outbox: Outbox) -> None:
    """Points and bytes bound it; one entry comes even where it is over them."""
    await outbox.append([entry(n, count=10, size=100) for n in range(5)])
    assert len(await outbox.next("influx", 30, MANY)) == 3
    assert len(await outbox.next("influx", MANY, 250)) == 2
    assert len(await outbox.next("influx", 1, 1)) == 1


async def test_each_sink_has_its_own_cursor(outbox: Outbox) -> None:
    """A slow sink never holds another; what became of points is counted by sink."""
    await outbox.register("store", "hold")
    await outbox.append([entry(1), entry(2)])
    await answer(outbox, "influx", 2, refused=3)
    assert outbox.cursors() == {"influx": 2, "store": 0}
    assert outbox.totals("influx") == SinkTotals(20, 17, 0, 3, 0, 0, 0)
    assert outbox.totals("store") == SinkTotals(20, 0, 20, 0, 0, 0, 0)


async def test_depth_tells_what_waits(outbox: Outbox) -> None:
    """In points, bytes and entries, and since when."""
    assert outbox.depth("influx") == Depth(0, 0, 0, None)
    await outbox.append([entry(n, count=n, size=100) for n in (7, 8, 9)])
    assert outbox.depth("influx") == Depth(24, 300, 3, 7)
    await answer(outbox, "influx", 1)
    assert outbox.depth("influx") == Depth(17, 200, 2, 8)


async def test_more_refused_than_there_is_is_a_bug(outbox: Outbox) -> None:
    """The books would not balance: it is refused, and nothing moves."""
    await outbox.append([entry(1)])
    with pytest.raises(ValueError, match="more points refused"):
        await answer(outbox, "influx", 1, refused=11)
    with pytest.raises(ValueError, match="no entry 2"):
        await answer(outbox, "influx", 2)
    assert outbox.cursors() == {"influx": 0}


async def test_a_new_sink_begins_at_the_end(outbox: Outbox) -> None:
    """What was made before it came is none of its business."""
    await outbox.append([entry(1)])
    await outbox.register("late", "hold")
    assert await outbox.next("late", MANY, MANY) == []
    await outbox.append([entry(2)])
    assert await outbox.next("late", MANY, MANY) == [(2, entry(2))]
    assert outbox.totals("late").made == 10


async def test_a_sink_that_is_taken_away_is_forgotten(outbox: Outbox) -> None:
    """Its cursor goes, and nothing is kept for it."""
    await outbox.append([entry(1)])
    await outbox.unregister("influx")
    assert outbox.cursors() == {}
    with pytest.raises(KeyError):
        outbox.totals("influx")
    await outbox.register("influx", "hold")
    assert outbox.totals("influx").made == 0


async def test_an_unknown_policy_is_refused(outbox: Outbox) -> None:
    """Only those that have a name."""
    with pytest.raises(ValueError, match="drop-newest"):
        await outbox.register("influx", "drop-newest")


async def test_changed_wakes_when_something_waits(outbox: Outbox) -> None:
    """At once where it does already, else at the next append; and not again once all is answered for."""
    woken = asyncio.create_task(outbox.changed("influx"))
    await asyncio.sleep(0)
    assert not woken.done()
    await outbox.append([entry(1)])
    await asyncio.wait_for(woken, 5)
    await asyncio.wait_for(outbox.changed("influx"), 5)
    await answer(outbox, "influx", 1)
    asleep = asyncio.create_task(outbox.changed("influx"))
    await asyncio.sleep(0)
    assert not asleep.done()
    asleep.cancel()


async def test_a_cancelled_append_still_wakes(outbox: Outbox) -> None:
    """Its entries are in the log: those who wait for them must hear of it."""
    given_up = asyncio.create_task(outbox.append([entry(1)]))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.wait_for(outbox.changed("influx"), 5)
    assert outbox.end == 1


async def test_a_hold_sink_fills_the_outbox(outbox: Outbox) -> None:
    """Nothing is dropped; who waits for room goes on once the sink has caught up."""
    await outbox.append([entry(n) for n in range(9)])
    assert not outbox.full
    await outbox.room()
    await outbox.append([entry(9)])
    assert outbox.full
    room = asyncio.create_task(outbox.room())
    await asyncio.sleep(0)
    assert not room.done()
    await answer(outbox, "influx", 1)
    await asyncio.wait_for(room, 5)
    assert outbox.totals("influx").dropped == 0


async def test_a_drop_oldest_sink_is_passed_over(outbox: Outbox) -> None:
    """Its oldest entries are dropped and counted, until it waits for no more than the limit."""
    await outbox.register("optional", "drop-oldest")
    await outbox.append([entry(n) for n in range(12)])
    assert outbox.cursors() == {"influx": 0, "optional": 2}
    assert outbox.totals("optional") == SinkTotals(120, 0, 100, 0, 20, 0, 0)
    assert outbox.depth("optional") == Depth(100, 1000, 10, 2)
    await outbox.append([entry(99, size=5000)])  # more than the limit by itself
    assert outbox.depth("optional").entries == 0
    assert balanced(outbox.totals("optional"))


async def test_what_was_dropped_in_hand_counts_as_what_became_of_it(outbox: Outbox) -> None:
    """A sink that stores entries which were dropped meanwhile has stored them."""
    await outbox.register("optional", "drop-oldest")
    await outbox.append([entry(n) for n in range(4)])
    handed = await outbox.next("optional", MANY, MANY)
    assert len(handed) == 4
    await outbox.append([entry(n) for n in range(4, 16)])
    assert outbox.totals("optional").dropped == 60
    await outbox.advance("optional", 4, refused=5)
    assert outbox.totals("optional") == SinkTotals(160, 35, 100, 5, 20, 0, 0)
    assert outbox.cursors()["optional"] == 6


async def test_recovery_cuts_back_and_counts_what_was_sent(outbox: Outbox) -> None:
    """Points sent beyond the checkpoint leave the sum and stand in `replayed`."""
    await outbox.register("slow", "hold")
    await outbox.append([entry(1), entry(2)])
    await answer(outbox, "influx", 2, refused=1)
    await checkpoint(outbox)
    await outbox.append([entry(3), entry(4)])
    await answer(outbox, "influx", 4, refused=7)
    recovered = await outbox.recover(2, {"influx": 2, "slow": 0})
    assert (recovered.end, recovered.lost, dict(recovered.replayed)) == (2, 0, {"influx": 20})
    assert outbox.totals("influx") == SinkTotals(20, 19, 0, 1, 0, 0, 20)
    assert outbox.totals("slow") == SinkTotals(20, 0, 20, 0, 0, 0, 0)
    assert await outbox.append([entry(33)]) == 3
    assert await outbox.next("influx", MANY, MANY) == [(3, entry(33))]


async def test_recovery_to_an_older_copy_keeps_exact_books(outbox: Outbox) -> None:
    """Checkpoints back to the oldest copy that is kept are remembered."""
    for number in range(1, 5):
        await outbox.append([entry(number)])
        await answer(outbox, "influx", number, refused=number)
        await checkpoint(outbox, oldest=1)
    recovered = await outbox.recover(2, {})
    assert (recovered.end, dict(recovered.replayed)) == (2, {"influx": 20})
    assert outbox.totals("influx") == SinkTotals(20, 17, 0, 3, 0, 0, 20)


async def test_recovery_to_a_forgotten_place_loses_nothing(outbox: Outbox) -> None:
    """The log is cut at the first place that it knows; the replay makes the rest again."""
    for number in range(1, 5):
        await outbox.append([entry(number)])
        await checkpoint(outbox)
    recovered = await outbox.recover(0, {})
    assert (recovered.end, dict(recovered.replayed)) == (4, {})
    assert outbox.totals("influx") == SinkTotals(40, 0, 40, 0, 0, 0, 0)


async def test_a_log_behind_the_checkpoint_gives_no_number_twice(outbox: Outbox) -> None:
    """What only the checkpoint knows is lost, and said."""
    await outbox.append([entry(1), entry(2)])
    recovered = await outbox.recover(5, {"influx": 1})
    assert (recovered.end, recovered.lost, dict(recovered.resent)) == (5, 3, {"influx": 1})
    assert await outbox.append([entry(6)]) == 6
    handed = await outbox.next("influx", MANY, MANY)
    await answer(outbox, "influx", handed[-1][0])
    assert await outbox.next("influx", MANY, MANY) == [(6, entry(6))]
    assert balanced(outbox.totals("influx"))


async def test_a_checkpoint_of_what_was_not_settled_is_a_bug(outbox: Outbox) -> None:
    """Nobody can have checkpointed what is not there, or what no crash would leave."""
    await outbox.append([entry(1)])
    for end in (1, 2):
        with pytest.raises(ValueError, match="does not know"):
            outbox.checkpointed(end)


async def test_a_damaged_entry_is_passed_over_and_counted(outbox: Outbox, tmp_path: Path) -> None:
    """It is never sent; the others are, and the books balance."""
    outbox._filing.memory_bytes = 0
    await outbox.append([entry(n) for n in range(1, 6)])
    other = sqlite3.connect(tmp_path / "outbox.db")
    other.execute("UPDATE entries SET body = ? WHERE seq IN (1, 4)", (b"altered",))
    other.commit()
    other.close()
    assert await outbox.next("influx", MANY, MANY) == [(2, entry(2)), (3, entry(3))]
    await answer(outbox, "influx", 3)
    assert await outbox.next("influx", MANY, MANY) == [(5, entry(5))]
    await answer(outbox, "influx", 5)
    assert outbox.totals("influx") == SinkTotals(50, 30, 0, 0, 20, 0, 0)
    assert outbox.damaged == (("influx", 1, 1), ("influx", 4, 4))
