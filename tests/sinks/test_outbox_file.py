"""What of an outbox is in its file, and when: settling, spilling, deleting; kills and damage."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import sqlite3
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.errors import StateError
from gateway.sinks.outbox import Depth, Entry, Outbox, Settled, SinkTotals
from tests.crash import killed_while_writing
from tests.sinks.outboxes import MANY, answer, balanced, checkpoint, crashed, entry, rows

APPENDER = Path(__file__).with_name("outbox_appender.py")


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


@pytest.mark.parametrize("content", [b"no database" * 1000, b""])
async def test_a_file_of_another_kind_is_set_aside(tmp_path: Path, content: bytes) -> None:
    """Neither overwritten nor guessed at, and no reason not to start."""
    path = tmp_path / "outbox.db"
    path.write_bytes(content)
    outbox = await Outbox.open(path, max_bytes=1)
    assert outbox.aside is not None
    assert (tmp_path / outbox.aside.kept_as).read_bytes() == content
    await outbox.close()


async def test_another_version_is_refused(tmp_path: Path) -> None:
    """It is no damage, and is left alone."""
    path = tmp_path / "outbox.db"
    await (await Outbox.open(path, max_bytes=1)).close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version=9")
    with pytest.raises(StateError, match="format version 9") as refused:
        await Outbox.open(path, max_bytes=1)
    assert refused.value.hint
    assert not list(tmp_path.glob("*.damaged-*"))  # noqa: ASYNC240 - of a test


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


async def checkpointed(path: Path, *, entries: int) -> Settled:
    """Leave a file with entries of which one sink has none and another half; and a checkpoint of all."""
    outbox = await Outbox.open(path, max_bytes=MANY)
    for sink in ("dead", "half"):
        await outbox.register(sink, "hold")
    await outbox.append([entry(n, size=5000) for n in range(1, entries + 1)])
    await answer(outbox, "half", entries // 2, refused=7)
    settled = await outbox.settle()
    outbox.checkpointed(settled.end)
    await outbox.close()
    return settled


async def everything(outbox: Outbox, sink: str) -> dict[int, Entry]:
    """Let a sink take all that it is given."""
    got: dict[int, Entry] = {}
    while handed := await outbox.next(sink, MANY, 100_000):
        got.update(handed)
        await outbox.advance(sink, handed[-1][0])
    return got


@pytest.mark.parametrize("where", ["first page", "middle", "a book", "gone"])
async def test_a_damaged_file_is_set_aside_and_its_sound_entries_go_on(tmp_path: Path, where: str) -> None:
    """Nothing altered is sent, what cannot be read counts as dropped, books go on from the checkpoint's."""
    path = tmp_path / "outbox.db"
    settled = await checkpointed(path, entries=100)
    if where == "a book":
        with contextlib.closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE cursors SET points = points + 1")
    elif where == "gone":
        path.unlink()
    else:
        flipped(path, 0 if where == "first page" else path.stat().st_size // 2 // 8192 * 8192, b"\xff" * 500)
    outbox = await Outbox.open(path, max_bytes=MANY)
    assert (outbox.aside is None) == (where == "gone")
    for sink in ("dead", "half"):
        await outbox.register(sink, "hold")
    assert (await outbox.recover(settled.end, settled.cursors, settled.standing)).end == 100
    assert outbox.cursors() == {"dead": 0, "half": 50}
    await outbox.append([entry(101, size=5000)])
    for sink, begins in (("dead", 1), ("half", 51)):
        got = await everything(outbox, sink)
        assert all(found == entry(seq, size=5000) for seq, found in got.items())
        missing = set(range(begins, 102)) - got.keys()
        assert 101 in got
        totals = outbox.totals(sink)
        assert balanced(totals)
        assert (totals.made, totals.dropped) == (1010, 10 * len(missing))
        assert totals.refused == (7 if sink == "half" else 0)
        if where == "a book":
            assert not missing
        if where == "middle":
            assert len(missing) < 60
    await outbox.close()
    again = await Outbox.open(path, max_bytes=MANY)
    assert again.aside is None
    assert again.end == 101
    await again.close()
