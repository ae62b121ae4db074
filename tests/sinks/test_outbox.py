"""Tests for the outbox: cursors, books that balance across crashes, policies, damage."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import sqlite3
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.errors import StateError
from gateway.sinks.outbox import MEMORY_BYTES, Depth, Entry, Outbox, SinkTotals
from tests.crash import killed_while_writing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

APPENDER = Path(__file__).with_name("outbox_appender.py")
MANY = 10**9


def entry(number: int, count: int = 10, size: int = 100) -> Entry:
    return Entry(b"%09d" % number * (size // 9) + b"." * (size % 9), count, number)


@pytest.fixture(params=[MEMORY_BYTES, 1000, 0], ids=["in memory", "partly spilled", "spilled"])
async def outbox(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Outbox]:
    """An outbox that must be the same wherever its entries are."""
    opened = await Outbox.open(tmp_path / "outbox.db", max_bytes=1000, memory_bytes=request.param)
    await opened.register("influx", "hold")
    yield opened
    await opened.close()


async def answer(outbox: Outbox, sink: str, through: int, *, refused: int = 0, superseded: int = 0) -> None:
    """Take what waits for a sink, and answer for some of it."""
    await outbox.next(sink, MANY, MANY)
    await outbox.advance(sink, through, refused=refused, superseded=superseded)


async def checkpoint(outbox: Outbox, oldest: int | None = None) -> None:
    """Settle, and say that a checkpoint holds it."""
    outbox.checkpointed((await outbox.settle()).end, oldest)


def crashed(path: Path) -> Path:
    """Return a copy of what a kill would leave of an outbox that is open."""
    copy = path.with_name(f"crashed-{path.name}")
    for suffix in ("", "-wal"):
        shutil.copyfile(f"{path}{suffix}", f"{copy}{suffix}")
    return copy


def rows(path: Path) -> list[tuple[int, bytes]]:
    """Return the entries that are in a file."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT seq, body FROM entries ORDER BY seq").fetchall()


def balanced(totals: SinkTotals) -> bool:
    made, *parts, _ = astuple(totals)
    return made == sum(parts) and min(parts) >= 0


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
    await answer(outbox, "influx", 2, refused=3, superseded=4)
    assert outbox.cursors() == {"influx": 2, "store": 0}
    assert outbox.totals("influx") == SinkTotals(20, 13, 0, 3, 0, 4, 0)
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


async def test_a_cancelled_settle_is_finished_all_the_same(tmp_path: Path) -> None:
    """What is under way is written once; whoever comes next waits for it."""
    path = tmp_path / "outbox.db"
    outbox = await Outbox.open(path, max_bytes=MANY)
    await outbox.register("influx", "hold")
    await outbox.append([entry(1), entry(2)])
    given_up = asyncio.create_task(outbox.settle())
    await asyncio.sleep(0)
    assert outbox._writing is not None
    given_up.cancel()
    await outbox.append([entry(3)])
    assert (await outbox.settle()).end == 3
    assert given_up.cancelled()
    assert [seq for seq, _ in rows(crashed(path))] == [1, 2, 3]
    await outbox.close()


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


async def test_what_everyone_has_is_deleted(tmp_path: Path) -> None:
    """And nothing else; the file gives room back."""
    path = tmp_path / "outbox.db"
    outbox = await Outbox.open(path, max_bytes=MANY)
    await outbox.register("a", "hold")
    await outbox.register("b", "hold")
    await outbox.append([entry(n) for n in range(300)])
    await checkpoint(outbox)
    await answer(outbox, "a", 300)
    await answer(outbox, "b", 200)
    assert len(rows(path)) == 300  # the file does not know of it yet
    await outbox.settle()
    await outbox.close()
    assert len(rows(path)) > 100  # some was deleted while closing
    outbox = await Outbox.open(path, max_bytes=MANY)
    async with asyncio.timeout(30):
        while outbox._purging is not None:
            await asyncio.wait((outbox._purging,))
    await outbox.close()
    assert [seq for seq, _ in rows(path)] == list(range(201, 301))


async def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    """Neither overwritten nor guessed at."""
    for name, content in (("a.db", b"no database" * 1000), ("b.db", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(StateError) as refused:
            await Outbox.open(tmp_path / name, max_bytes=1)
        assert refused.value.hint


async def test_a_damaged_entry_is_passed_over_and_counted(outbox: Outbox, tmp_path: Path) -> None:
    """It is never sent; the others are, and the books balance."""
    outbox._filing._memory_bytes = 0
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


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_killing_the_process_loses_nothing_that_was_settled(tmp_path: Path, seed: int) -> None:
    """Five kills in a row, each recovered to a checkpoint that may have been committed then."""
    rng = random.Random(seed)
    path = tmp_path / "outbox.db"
    held: dict[str, tuple[int, dict[str, int]]] = {"settled": (0, {}), "checkpoint": (0, {})}
    bodies: dict[int, bytes] = {}
    for run in range(5):
        sent = dict.fromkeys(("fast", "slow"), 0)
        for line in killed_while_writing(APPENDER, str(path), str(run), rng=rng):
            what, number, *more = line.split()
            if what == "append":
                bodies |= dict.fromkeys(range(int(number) - 2, int(number) + 1), more[0].encode() * 100)
            elif what in held:
                held[what] = int(number), dict(zip(("fast", "slow"), map(int, more), strict=True))
            else:
                sent[what] = int(number)
        end, cursors = held[rng.choice(["settled", "checkpoint"])]
        outbox = await Outbox.open(path, max_bytes=MANY)
        known = outbox.cursors()
        assert all(known.get(sink, 0) >= cursor for sink, cursor in cursors.items())
        recovered = await outbox.recover(end, cursors)
        assert (recovered.end, recovered.lost, dict(recovered.resent)) == (end, 0, {})
        for sink, seq in outbox.cursors().items():
            assert min(cursors.get(sink, 0), end) <= seq <= end
            found = await outbox.next(sink, MANY, MANY)
            assert [seq for seq, _ in found] == list(range(seq + 1, end + 1))
            assert all(entry.body == bodies[seq] for seq, entry in found)
            assert balanced(outbox.totals(sink))
        assert outbox.damaged == ()
        held = dict.fromkeys(held, (end, outbox.cursors()))
        await outbox.close()
    assert bodies
    assert held["settled"][0] > 0


async def test_what_a_fast_sink_has_never_reaches_the_file(tmp_path: Path) -> None:
    """Answered for before the next checkpoint: no body is written, then or later."""
    path = tmp_path / "outbox.db"
    outbox = await Outbox.open(path, max_bytes=MANY)
    await outbox.register("influx", "hold")
    for number in range(1, 50):
        await outbox.append([entry(number, size=100_000)])
        await answer(outbox, "influx", number, refused=1)
        if number % 10 == 0:
            await checkpoint(outbox)
            assert rows(path) == []
    await outbox.close()
    assert rows(path) == []
    assert path.stat().st_size < 100_000
    outbox = await Outbox.open(path, max_bytes=MANY)
    assert outbox.totals("influx") == SinkTotals(490, 441, 0, 49, 0, 0, 0)
    await outbox.close()


@pytest.mark.parametrize("policy", ["hold", "drop-oldest"])
async def test_memory_stays_bounded_with_a_dead_sink(tmp_path: Path, policy: str) -> None:
    """The oldest go to the file, whatever other sinks have; and all come back in their order."""
    path = tmp_path / "outbox.db"
    outbox = await Outbox.open(path, max_bytes=5_000_000, memory_bytes=1_000_000)
    await outbox.register("dead", policy)
    await outbox.register("quick", "hold")
    for number in range(1, 101):
        await outbox.append([entry(number, size=40_000)])
        assert outbox._log.tail.bytes <= 1_000_000
        await answer(outbox, "quick", number)
    assert outbox.depth("dead") == Depth(1000, 4_000_000, 100, 1)
    assert 60 < len(rows(path)) < 100
    seen = []
    while handed := await outbox.next("dead", MANY, 300_000):
        seen += handed
        await outbox.advance("dead", handed[-1][0])
    assert seen == [(number, entry(number, size=40_000)) for number in range(1, 101)]
    assert outbox._log.tail.bytes == 0
    await outbox.close()


async def test_a_dead_drop_oldest_sink_is_passed_over_in_the_file(tmp_path: Path) -> None:
    """Its oldest entries are there, and dropped there; the age of the oldest that waits is known."""
    outbox = await Outbox.open(tmp_path / "outbox.db", max_bytes=3_000, memory_bytes=2_000)
    await outbox.register("dead", "drop-oldest")
    for number in range(1, 101):
        await outbox.append([entry(number)])
    assert outbox.totals("dead") == SinkTotals(1000, 0, 300, 0, 700, 0, 0)
    assert outbox.depth("dead") == Depth(300, 3_000, 30, 71)
    assert (await outbox.next("dead", MANY, MANY))[0] == (71, entry(71))
    await outbox.close()


async def test_a_kill_tells_what_was_sent_beyond_the_checkpoint(tmp_path: Path) -> None:
    """The file hears of a cursor soon after it moved, not of the entries; they count as replayed."""
    path = tmp_path / "outbox.db"
    outbox = await Outbox.open(path, max_bytes=MANY)
    await outbox.register("influx", "hold")
    await outbox.append([entry(1)])
    await answer(outbox, "influx", 1)
    await checkpoint(outbox)
    await outbox.append([entry(2), entry(3), entry(4)])
    await answer(outbox, "influx", 3, refused=4)
    async with asyncio.timeout(30):
        while cursor_in(path) != 3:  # noqa: ASYNC110 - the file tells nobody
            await asyncio.sleep(0.01)
    left = crashed(path)
    await outbox.close()
    assert rows(left) == []
    after = await Outbox.open(left, max_bytes=MANY)
    assert after.totals("influx") == SinkTotals(40, 26, 10, 4, 0, 0, 0)
    recovered = await after.recover(1, {"influx": 1})
    assert (recovered.end, recovered.lost, dict(recovered.replayed)) == (1, 0, {"influx": 20})
    assert after.totals("influx") == SinkTotals(10, 10, 0, 0, 0, 0, 20)
    await after.close()


def cursor_in(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("SELECT seq FROM cursors").fetchone()[0])


async def test_a_failed_write_ends_it(tmp_path: Path) -> None:
    """Nothing is tried again, not even at the close."""
    path = tmp_path / "outbox.db"
    outbox = await Outbox.open(path, max_bytes=MANY)
    await outbox.register("influx", "hold")
    await outbox.append([entry(1)])
    outbox._file._connection.execute("PRAGMA query_only=1")
    with pytest.raises(StateError, match="cannot be written"):
        await outbox.settle()
    outbox._file._connection.execute("PRAGMA query_only=0")
    for call in (outbox.settle, lambda: outbox.append([entry(2)]), lambda: outbox.next("influx", 1, 1)):
        with pytest.raises(StateError, match="cannot be written"):
            await call()
    await outbox.close()
    assert rows(path) == []


def flipped(path: Path, at: int, with_bytes: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(with_bytes)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_flip_is_sent(tmp_path: Path, data: st.DataObject) -> None:
    """Whatever is overwritten: the log is refused, or gives what was written, or passes it over."""
    path = tmp_path / "flip" / "outbox.db"
    shutil.rmtree(path.parent, ignore_errors=True)
    asyncio.run(filled(path))
    size = path.stat().st_size
    page = data.draw(st.integers(0, size // 8192 - 1)) * 8192
    at = data.draw(st.integers(page, page + 120) | st.integers(0, size - 1))
    flipped(path, at, data.draw(st.binary(min_size=1, max_size=64)))
    asyncio.run(drained(path))


async def filled(path: Path) -> None:
    outbox = await Outbox.open(path, max_bytes=MANY)
    await outbox.register("sink", "hold")
    await outbox.append([entry(n, size=1000) for n in range(1, 61)])
    await outbox.close()


async def drained(path: Path) -> None:
    try:
        outbox = await Outbox.open(path, max_bytes=MANY)
    except StateError:
        return
    got: dict[int, Entry] = {}
    try:
        if "sink" not in outbox.cursors():
            return
        while (before := outbox.cursors()["sink"]) < outbox.end:
            handed = await outbox.next("sink", MANY, 20_000)
            got.update(handed)
            if handed:
                await outbox.advance("sink", handed[-1][0])
            assert outbox.cursors()["sink"] > before
        totals = outbox.totals("sink")
        aside = {seq for _, first, last in outbox.damaged for seq in range(first, last + 1)}
        assert set(got) | aside == set(range(1, 61))
        assert totals.stored + totals.dropped == 600
    except StateError:
        pass  # refused
    finally:
        assert all(found == entry(seq, size=1000) for seq, found in got.items())
        with contextlib.suppress(StateError):
            await outbox.close()
