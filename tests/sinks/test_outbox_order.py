"""What is new first: whatever comes between, the last writing of each point stands in the sink at the end."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.sinks import outbox_newer
from gateway.sinks.outbox import Depth, Entry, Outbox, SinkTotals
from gateway.sinks.outbox_cursor import MOST_GAPS
from tests.sinks.outboxes import MANY, balanced, checkpoint, crashed, rows
from tests.sinks.test_outbox_books import Disk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

POINTS = 12


def line(point: int, version: int) -> bytes:
    """Write a version of a point; points share times, and series."""
    return b"m,d=%d v=%di %d" % (point % 4, version, point // 4)


def read(body: bytes) -> dict[int, int]:
    """Return the version of each point of a body."""
    found = {}
    for one in body.split(b"\n") if body else []:
        series, value, at = one.split(b" ")
        found[int(at) * 4 + int(series.rpartition(b"=")[2])] = int(value[2:-1])
    return found


def made(versions: Mapping[int, int], at: int = 1, *, again: bool = False) -> Entry:
    """Return an entry of these versions of points."""
    body = b"\n".join(line(point, version) for point, version in versions.items())
    return Entry(body, len(versions), at, again=again)


async def opened(
    path: Path, *, memory_bytes: int = MANY, max_bytes: int = MANY, policy: str = "hold"
) -> Outbox:
    outbox = await Outbox.open(path, max_bytes=max_bytes, memory_bytes=memory_bytes)
    await outbox.register("db", policy, "live")
    return outbox


def nothing_is_young(_: int) -> bool:
    return False


async def take(outbox: Outbox, most: int = MANY) -> list[tuple[int, bytes]]:
    """Take what is next, and answer for it."""
    taken = await outbox.next("db", most, MANY)
    if taken:
        await outbox.advance("db", taken[-1][0])
    return [(seq, entry.body) for seq, entry in taken]


@pytest.fixture(params=[MANY, 0], ids=["in memory", "spilled"])
async def outbox(tmp_path: Path, request: pytest.FixtureRequest):  # noqa: ANN201 - a generator
    """An outbox that must be the same wherever its entries are."""
    one = await opened(tmp_path / "outbox.db", memory_bytes=request.param)
    yield one
    await one.close()


async def test_what_is_new_goes_before_what_was_stepped_over(outbox: Outbox) -> None:
    """Then what waited, in its order; the depth tells how much is behind."""
    await outbox.append([made({0: 1}), made({1: 1})])
    outbox.step_over("db", nothing_is_young)
    assert await outbox.next("db", MANY, MANY, backlog=False) == []
    assert outbox.depth("db") == Depth(2, len(line(0, 1)) * 2, 2, 1, behind=2)
    await outbox.append([made({2: 1}, 7)])
    assert outbox.oldest_ns("db", live=True) == 7
    assert await outbox.next("db", MANY, MANY, backlog=False) == [(3, made({2: 1}, 7))]
    assert await take(outbox) == [(3, line(2, 1))]
    assert await take(outbox) == [(1, line(0, 1)), (2, line(1, 1))]
    assert await take(outbox) == []
    assert outbox.totals("db") == SinkTotals(3, 3, 0, 0, 0, 0, 0)


async def test_what_is_young_is_not_stepped_over(tmp_path: Path) -> None:
    """It goes first: a page shows at once what is now."""
    outbox = await opened(tmp_path / "outbox.db")
    await outbox.append([made({n: 1}, n) for n in range(1, 6)])
    outbox.step_over("db", lambda at: at >= 4)
    assert [seq for seq, _ in await take(outbox)] == [4, 5]
    assert [seq for seq, _ in await take(outbox)] == [1, 2, 3]
    await outbox.close()


async def test_an_older_writing_is_skipped_once_a_newer_one_was_sent(outbox: Outbox) -> None:
    """Point by point; counted as superseded; an entry may be left with none."""
    await outbox.append([made({0: 1, 1: 1}), made({2: 1})])
    outbox.step_over("db", nothing_is_young)
    await outbox.append([made({1: 2, 2: 2}, again=True)])
    assert await take(outbox) == [(3, line(1, 2) + b"\n" + line(2, 2))]
    assert await take(outbox) == [(1, line(0, 1)), (2, b"")]
    assert outbox.totals("db") == SinkTotals(5, 3, 0, 0, 0, 2, 0)


async def test_a_second_outage_while_the_first_is_filled_in(outbox: Outbox) -> None:
    """What was sent in the middle supersedes what is older, and nothing that is newer."""
    await outbox.append([made({0: 1})])
    outbox.step_over("db", nothing_is_young)
    await outbox.append([made({0: 2}, again=True)])
    assert await take(outbox) == [(2, line(0, 2))]
    await outbox.append([made({0: 3}, again=True)])
    outbox.step_over("db", nothing_is_young)
    await outbox.append([made({5: 1})])
    assert [seq for seq, _ in await take(outbox)] == [4]
    assert await take(outbox) == [(1, b"")]
    assert await take(outbox) == [(3, line(0, 3))]
    assert outbox.totals("db") == SinkTotals(4, 3, 0, 0, 0, 1, 0)


async def test_refused_points_are_of_those_that_were_given(outbox: Outbox) -> None:
    """More than were given is a bug."""
    await outbox.append([made({0: 1, 1: 1})])
    outbox.step_over("db", nothing_is_young)
    await outbox.append([made({1: 2}, again=True)])
    await take(outbox)
    ((seq, _),) = await outbox.next("db", MANY, MANY)
    with pytest.raises(ValueError, match="more points refused"):
        await outbox.advance("db", seq, refused=2)
    await outbox.advance("db", seq, refused=1)
    assert outbox.totals("db") == SinkTotals(3, 1, 0, 1, 0, 1, 0)


async def test_a_restart_forgets_nothing(tmp_path: Path) -> None:
    """Gaps and newer writings are in the file with the cursor."""
    path = tmp_path / "outbox.db"
    outbox = await opened(path)
    await outbox.append([made({0: 1}), made({1: 1})])
    outbox.step_over("db", nothing_is_young)
    await outbox.append([made({0: 2}, again=True)])
    await take(outbox)
    await checkpoint(outbox)
    left = crashed(path)
    await outbox.close()
    for file in (path, left):
        outbox = await opened(file)
        await outbox.recover(3, {"db": 3})
        assert outbox.depth("db").behind == 2
        assert outbox.oldest_ns("db", live=False) == 1
        assert await take(outbox) == [(1, b""), (2, line(1, 1))]
        assert outbox.totals("db") == SinkTotals(3, 2, 0, 0, 0, 1, 0)
        await outbox.close()


async def test_what_was_sent_beyond_a_checkpoint_is_not_overtaken_either(tmp_path: Path) -> None:
    """The replay makes it again; until it has, the sink keeps what it had."""
    path = tmp_path / "outbox.db"
    outbox = await opened(path)
    await outbox.append([made({0: 1})])
    outbox.step_over("db", nothing_is_young)
    await checkpoint(outbox)
    await outbox.append([made({3: 1}), made({0: 2}, again=True)])
    await take(outbox)
    await outbox.close()
    outbox = await opened(path)
    await outbox.recover(1, {"db": 1})
    assert await take(outbox) == [(1, b"")]
    await outbox.append([made({0: 3}, again=True)])
    assert await take(outbox) == [(2, line(0, 3))]
    assert balanced(outbox.totals("db"))
    await outbox.close()


async def test_what_was_sent_first_is_neither_kept_nor_written(tmp_path: Path) -> None:
    """The file holds what waits alone: the gap, not what was answered for behind it."""
    path = tmp_path / "outbox.db"
    outbox = await opened(path, memory_bytes=1_000)
    await outbox.append([made({n: 1}) for n in range(3)])
    outbox.step_over("db", nothing_is_young)
    for number in range(4, 204):
        await outbox.append([made({number: 1})])
        if number % 3 == 0:
            await checkpoint(outbox)  # what waits at that moment is written
        assert [seq for seq, _ in await take(outbox)] == [number]
    await outbox.close()
    outbox = await opened(path, memory_bytes=1_000)
    async with asyncio.timeout(30):
        while outbox._purging is not None:
            await asyncio.wait((outbox._purging,))
    assert [seq for seq, _ in rows(path)] == [1, 2, 3]
    assert [seq for seq, _ in await take(outbox)] == [1, 2, 3]
    await outbox.close()


async def test_the_oldest_are_dropped_first(tmp_path: Path) -> None:
    """Of a `drop-oldest` sink: what was stepped over, then what is new."""
    size = len(line(0, 1))
    for memory in (MANY, 0):
        path = tmp_path / f"{memory}.db"
        outbox = await opened(path, memory_bytes=memory, max_bytes=3 * size, policy="drop-oldest")
        await outbox.append([made({0: 1}), made({1: 1})])
        outbox.step_over("db", nothing_is_young)
        await outbox.append([made({n: 1}) for n in (2, 3)])
        assert outbox.totals("db").dropped == 1
        assert outbox.depth("db").behind == 1
        await outbox.append([made({4: 1}), made({5: 1})])
        assert outbox.totals("db") == SinkTotals(6, 0, 3, 0, 3, 0, 0)
        assert [seq for seq, _ in await take(outbox)] == [4, 5, 6]
        await outbox.close()


async def test_with_too_many_gaps_none_is_made(tmp_path: Path) -> None:
    """What waits then is sent in its order, before them."""
    outbox = await opened(tmp_path / "outbox.db")
    for _ in range(MOST_GAPS + 2):
        await outbox.append([made({0: 1})])
        outbox.step_over("db", nothing_is_young)
        await outbox.append([made({1: 1})])
        await take(outbox)
    assert outbox.depth("db").entries == MOST_GAPS
    await outbox.close()


async def test_with_too_many_newer_writings_the_backlog_goes_first(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What must be remembered is bounded; once nothing is behind, what is new goes first again."""
    monkeypatch.setattr(outbox_newer, "MOST_POINTS", 2)
    await outbox.append([made({0: 1})])
    outbox.step_over("db", nothing_is_young)
    await outbox.append([made({1: 1, 2: 1}, again=True), made({3: 1})])
    assert [seq for seq, _ in await take(outbox, 2)] == [2]
    assert await outbox.next("db", MANY, MANY, backlog=False) == []
    assert [seq for seq, _ in await take(outbox)] == [1]
    outbox.step_over("db", nothing_is_young)
    assert outbox.depth("db").behind == 1


async def test_another_order_finishes_what_was_begun(tmp_path: Path) -> None:
    """A gap is filled in first, without what was superseded."""
    path = tmp_path / "outbox.db"
    outbox = await opened(path)
    await outbox.append([made({0: 1}), made({1: 1})])
    outbox.step_over("db", nothing_is_young)
    await outbox.append([made({0: 2}, again=True)])
    await take(outbox)
    await outbox.append([made({0: 3}, again=True)])
    await outbox.register("db", "hold", "backlog")
    outbox.step_over("db", nothing_is_young)
    assert await take(outbox) == [(1, b""), (2, line(1, 1))]
    assert await take(outbox) == [(4, line(0, 3))]
    await outbox.close()


@dataclass
class Run:
    """An outbox, its sink and the truth, driven by drawn numbers."""

    path: Path
    memory_bytes: int
    rng: random.Random
    truth: dict[int, int] = field(default_factory=dict)
    at: dict[int, dict[int, int]] = field(default_factory=lambda: {0: {}})
    sink: dict[int, int] = field(default_factory=dict)
    held: list[int] = field(default_factory=lambda: [0])
    time: int = 0
    strict: bool = True
    superseded: int = 0

    async def open(self) -> None:
        """Open the file as it is."""
        self.disk = Disk(self.path)
        self.outbox = await opened(self.path, memory_bytes=self.memory_bytes)
        await self.outbox._worker.run(self.disk.watch, self.outbox)

    async def append(self) -> None:
        """Write some points, for the first time or again: each in an entry of its kind, or all in one."""
        points = self.rng.sample(range(POINTS), self.rng.randint(1, 4))
        again = {point: self.truth[point] + 1 for point in points if point in self.truth}
        first = {point: 1 for point in points if point not in self.truth}
        self.truth |= again | first
        self.time += 1
        if self.rng.random() < 0.2:
            await self.outbox.append([made(first | again, self.time, again=bool(again))])
            return
        await self.outbox.append(
            [
                made(versions, self.time, again=flag)
                for versions, flag in ((first, False), (again, True))
                if versions
            ]
        )

    async def send(self) -> None:
        """Store some of what is next; sometimes the answer is lost, and the cursor stays."""
        backlog = self.rng.random() < 0.8
        taken = await self.outbox.next("db", self.rng.randint(1, 9), MANY, backlog=backlog)
        taken = taken[: self.rng.randint(0, len(taken))]
        for _, entry in taken:
            versions = read(entry.body)
            assert len(versions) == entry.count
            for point, version in versions.items():
                # Nothing overtakes, until a crash has made the sink get again what it had.
                assert not self.strict or version >= self.sink.get(point, 0)
                self.sink[point] = version
        if taken and self.rng.random() < 0.8:
            await self.outbox.advance("db", taken[-1][0])
        elif taken:
            self.strict = False

    async def step_over(self) -> None:
        """Leave what is old for later."""
        young = self.time - self.rng.randint(0, 3)
        self.outbox.step_over("db", lambda at: at > young)

    async def settle(self) -> None:
        """Settle; sometimes a checkpoint holds it."""
        end = (await self.outbox.settle()).end
        self.at[end] = dict(self.truth)
        self.held = [*(held for held in self.held if held != end), end]
        if self.rng.random() < 0.7:
            self.outbox.checkpointed(end)

    async def note(self) -> None:
        """Let the file hear of the cursor."""
        self.outbox._note()

    async def reopen(self) -> None:
        """Stop in good order, and start."""
        await self.outbox.close()
        await self.open()

    async def crash(self) -> None:
        """Lose power; recover to the last checkpoint, or to an older copy of the state; replay."""
        await self.outbox._worker.run(lambda: None)
        left = self.rng.choice(self.disk.left)
        await self.outbox.close()
        self.disk.put_back(left)
        await self.open()
        end = self.rng.choice(self.held[-3:])
        recovered = await self.outbox.recover(end, {})
        then = self.at[end]
        self.held = [held for held in self.held if held <= end]
        self.at = {held: self.at[held] for held in self.held}
        self.at[recovered.end] = then
        self.held.append(recovered.end)
        again = {
            point: version for point, version in self.truth.items() if version != then.get(point, version)
        }
        first = {point: version for point, version in self.truth.items() if point not in then}
        entries = [
            made(versions, self.time, again=flag) for versions, flag in ((first, False), (again, True))
        ]
        await self.outbox.append([entry for entry in entries if entry.count])
        self.strict = False

    def check(self) -> None:
        """What must hold at any time."""
        outbox, depth = self.outbox, self.outbox.depth("db")
        totals = outbox.totals("db")
        assert balanced(totals)
        assert (depth.points, outbox.damaged) == (totals.waiting, ())
        assert outbox._log.tail.bytes <= self.memory_bytes

    async def drain(self) -> None:
        """Whatever happened: the sink gets everything, and has the last writing of each point."""
        while taken := await self.outbox.next("db", 5, MANY):
            for _, entry in taken:
                self.sink |= read(entry.body)
            await self.outbox.advance("db", taken[-1][0])
        assert self.sink == self.truth
        assert self.outbox.depth("db") == Depth(0, 0, 0, None)


STEPS = (
    *(["append"] * 5 + ["send"] * 6 + ["step_over"] * 2),
    *("settle", "settle", "note", "reopen", "crash"),
)


async def drive(path: Path, steps: Iterable[str], memory_bytes: int, seed: int) -> Counter[str]:
    shutil.rmtree(path.parent, ignore_errors=True)
    path.parent.mkdir(parents=True)
    run = Run(path, memory_bytes, random.Random(seed))
    await run.open()
    seen: Counter[str] = Counter()
    try:
        for step in steps:
            act: Callable[[], object] = getattr(run, step)
            await act()  # type: ignore[misc]
            run.check()
            seen["behind"] += run.outbox.depth("db").behind > 0
        await run.drain()
        seen["superseded"] += run.outbox.totals("db").superseded
    finally:
        await run.outbox.close()
    return seen


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.sampled_from(STEPS), min_size=5, max_size=60),
    memory_bytes=st.sampled_from([0, 600, 5_000, MANY]),
    seed=st.integers(0, 2**32),
)
def test_the_last_writing_stands(tmp_path: Path, steps: list[str], memory_bytes: int, seed: int) -> None:
    """Whatever order, faults, crashes, power cuts and replays."""
    asyncio.run(drive(tmp_path / "run" / "outbox.db", steps, memory_bytes, seed))


def twenty(tmp_path: Path) -> Counter[str]:
    """Drive twenty runs that are the same each time."""
    seen: Counter[str] = Counter()
    rng = random.Random(1)
    for seed in range(20):
        steps = rng.choices(STEPS, k=80)
        seen += asyncio.run(drive(tmp_path / "run" / "outbox.db", steps, 600, seed))
    return seen


def test_these_runs_do_step_over_and_supersede(tmp_path: Path) -> None:
    """Else the property above would say little."""
    seen = twenty(tmp_path)
    assert seen["behind"] > 100
    assert seen["superseded"] > 20


def test_without_skipping_the_property_would_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An older writing that is sent later stands then: the runs above show it."""
    monkeypatch.setattr(outbox_newer.Newer, "left_of", lambda _self, _seq, entry: entry)
    with pytest.raises(AssertionError):
        twenty(tmp_path)
