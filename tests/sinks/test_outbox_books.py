"""The outbox against a model that keeps what became of every entry, across spills, kills and power cuts."""

from __future__ import annotations

import asyncio
import copy
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gateway.sinks.outbox import Entry, Outbox, SinkTotals
from tests.sinks.outboxes import MANY, balanced, entry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MAX_BYTES = 500
MEMORY_BYTES = 2_000
"""Four entries of a hundred bytes; a run may have more of them in hand."""


@dataclass
class Sink:
    cursor: int
    base: int
    became: dict[int, list[int]] = field(default_factory=dict)  # seq → [refused, dropped, superseded]
    replayed: int = 0


@dataclass
class Model:
    entries: dict[int, Entry] = field(default_factory=dict)
    end: int = 0
    sinks: dict[str, Sink] = field(default_factory=dict)

    def count(self, seq: int) -> int:
        """Return an entry's points."""
        return self.entries[seq].count

    def total(self, sink: Sink) -> SinkTotals:
        """Count a sink's points, entry by entry."""
        behind = sum(self.count(seq) for seq in self.entries if sink.base < seq <= sink.cursor)
        waiting = sum(self.count(seq) for seq in self.entries if seq > sink.cursor)
        refused, dropped, superseded = (sum(b[i] for b in sink.became.values()) for i in range(3))
        stored = behind - refused - dropped - superseded
        return SinkTotals(behind + waiting, stored, waiting, refused, dropped, superseded, sink.replayed)

    def next(self, sink: Sink, max_points: int) -> list[tuple[int, Entry]]:
        """Return what a sink must be given."""
        taken: list[tuple[int, Entry]] = []
        points = 0
        for seq in range(sink.cursor + 1, self.end + 1):
            points += self.count(seq)
            if taken and points > max_points:
                break
            taken.append((seq, self.entries[seq]))
        return taken

    def recover(self, end: int) -> None:
        """Cut everything back."""
        for sink in self.sinks.values():
            for seq in range(max(end, sink.base) + 1, sink.cursor + 1):
                _, dropped, superseded = sink.became.pop(seq, [0, 0, 0])
                sink.replayed += self.count(seq) - dropped - superseded
            sink.cursor, sink.base = min(sink.cursor, end), min(sink.base, end)
        self.entries = {seq: entry for seq, entry in self.entries.items() if seq <= end}
        self.end = end

    def is_of(self, outbox: Outbox) -> bool:
        """Tell whether an outbox says the same of everything."""
        return (
            outbox.end == self.end
            and outbox.cursors() == {name: sink.cursor for name, sink in self.sinks.items()}
            and all(outbox.totals(name) == self.total(sink) for name, sink in self.sinks.items())
        )


class Disk:
    """What each transaction left of the file, since the last synced one: a power cut leaves one of these."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.left: list[dict[str, bytes]] = []

    def watch(self, outbox: Outbox) -> None:
        """Keep what each transaction leaves."""
        self.keep(anew=True)
        file: Any = outbox._file
        write, purge = file.write, file.purge

        def written(change: Any) -> None:
            write(change)
            self.keep(anew=change.synced)

        def purged(through: int) -> int:
            upto: int = purge(through)
            self.keep(anew=False)
            return upto

        file.write, file.purge = written, purged

    def keep(self, *, anew: bool) -> None:
        """Keep the file as it is; where it was synced, nothing older can come back."""
        now = {suffix: self.path.with_name(self.path.name + suffix).read_bytes() for suffix in ("", "-wal")}
        self.left = [now] if anew else [*self.left, now]

    def put_back(self, left: dict[str, bytes]) -> None:
        """Put the file as it was left."""
        for suffix, content in left.items():
            self.path.with_name(self.path.name + suffix).write_bytes(content)


class Run:
    """One outbox and its model, driven by drawn numbers."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "outbox.db"
        self.model = Model()
        self.held = [0]  # ends that a checkpoint holds, or may hold
        self.past: list[Model] = []
        self.disk = Disk(self.path)
        self.outbox: Outbox

    async def open(self) -> None:
        """Open what the file is now."""
        self.outbox = await Outbox.open(self.path, max_bytes=MAX_BYTES, memory_bytes=MEMORY_BYTES)
        await self.outbox._worker.run(self.disk.watch, self.outbox)
        # The file hears of cursors when the test says so.
        self.outbox._moved = self.outbox._refresh  # type: ignore[method-assign]

    async def append(self, a: int, b: int) -> None:
        """Append a few entries of a few points each."""
        entries = [entry(self.model.end + n + a, count=(a + n) % 4) for n in range(b % 4 + 1)]
        assert await self.outbox.append(entries) == self.model.end + len(entries)
        for new in entries:
            self.model.end += 1
            self.model.entries[self.model.end] = new
        sink = self.model.sinks.get("drop")
        while sink is not None and self.model.end - sink.cursor > 5:
            sink.cursor += 1
            sink.became[sink.cursor] = [0, self.model.count(sink.cursor), 0]
        self.remember()

    async def send(self, a: int, b: int) -> None:
        """Let a sink take entries and answer for some; sometimes an append comes between."""
        if not self.model.sinks:
            return
        name = sorted(self.model.sinks)[a % len(self.model.sinks)]
        sink = self.model.sinks[name]
        handed = await self.outbox.next(name, b % 9 + 1, MANY)
        assert handed == self.model.next(sink, b % 9 + 1)
        if not handed:
            return
        through = handed[b % len(handed)][0]
        if a % 3 == 0:  # something comes between
            await self.append(b, a)
        had = [seq for seq, _ in handed if seq <= through]
        points = sum(self.model.count(seq) for seq in had)
        refused = a % (points + 1)
        await self.outbox.advance(name, through, refused=refused)
        for seq in had:
            here = min(refused, self.model.count(seq))
            refused -= here
            sink.became[seq] = [here, 0, 0]
        sink.cursor = max(sink.cursor, through)

    async def register(self, a: int, _: int) -> None:
        """Register one of two sinks."""
        name = ("hold", "drop")[a % 2]
        self.model.sinks.setdefault(name, Sink(self.model.end, self.model.end))
        self.remember()
        await self.outbox.register(name, {"hold": "hold", "drop": "drop-oldest"}[name])

    async def unregister(self, a: int, _: int) -> None:
        """Take one away, seldom."""
        name = ("hold", "drop")[a % 2]
        if a % 5 == 0:
            self.model.sinks.pop(name, None)
            self.remember()
            await self.outbox.unregister(name)

    async def note(self, *_: int) -> None:
        """Tell the file where the cursors are."""
        self.outbox._note()
        while self.outbox._writing is not None:
            await asyncio.wait((self.outbox._writing,))

    async def settle(self, *_: int) -> None:
        """Make a place to recover to; whether the state's checkpoint was committed is not known."""
        settled = await self.outbox.settle()
        assert settled.end == self.model.end
        assert settled.cursors == {name: sink.cursor for name, sink in self.model.sinks.items()}
        self.held = [*(end for end in self.held if end != settled.end), settled.end]

    async def checkpoint(self, a: int, b: int) -> None:
        """Hold the end, and sometimes the one before."""
        await self.settle(a, b)
        if a % 2:  # while the state is written
            await self.send(b, a)
        oldest = self.held[-1 - b % min(2, len(self.held))]
        self.outbox.checkpointed(self.held[-1], oldest)
        self.held = [end for end in self.held if end >= oldest]

    async def reopen(self, *_: int) -> None:
        """Stop in order: all is as it was."""
        await self.outbox.close()
        await self.open()

    async def crash(self, a: int, b: int) -> None:
        """Be killed, or lose power: what is left was the truth once, since the last sync; recover from it."""
        await self.outbox._worker.run(lambda: None)  # what is under way ends
        left = self.disk.left[-1 - b % len(self.disk.left)]
        await self.outbox.close()
        self.disk.put_back(left)
        await self.open()
        then = next((model for model in reversed(self.past) if model.is_of(self.outbox)), None)
        assert then is not None, "never was so"
        self.model = copy.deepcopy(then)
        end = self.held[-1 - a % len(self.held)]
        cursors = {name: min(sink.cursor, end) for name, sink in self.model.sinks.items()}
        recovered = await self.outbox.recover(end, cursors)
        assert (recovered.end, recovered.lost, dict(recovered.resent)) == (end, 0, {})
        before = {name: sink.replayed for name, sink in self.model.sinks.items()}
        self.model.recover(end)
        replayed = {name: sink.replayed - before[name] for name, sink in self.model.sinks.items()}
        assert dict(recovered.replayed) == {name: points for name, points in replayed.items() if points}
        self.held = [kept for kept in self.held if kept <= end]
        self.past = []

    def remember(self) -> None:
        """Note how it is: a transaction may tell of it."""
        self.past.append(copy.deepcopy(self.model))

    def check(self) -> None:
        """Compare every figure."""
        self.remember()
        outbox, log = self.outbox, self.outbox._log
        assert self.model.is_of(outbox)
        assert log.tail.bytes <= MEMORY_BYTES
        assert outbox.damaged == ()
        for name, sink in self.model.sinks.items():
            depth, totals = outbox.depth(name), outbox.totals(name)
            assert balanced(totals)
            assert (depth.entries, depth.points) == (self.model.end - sink.cursor, totals.waiting)
            if sink.cursor >= log.tail.start.seq:
                assert depth.oldest_ns == (
                    self.model.entries[sink.cursor + 1].oldest_ns if depth.entries else None
                )

    async def drain(self) -> None:
        """Whatever happened: every sink gets all that waits for it, once, in order."""
        for name, sink in self.model.sinks.items():
            while handed := await self.outbox.next(name, 5, MANY):
                assert handed == self.model.next(sink, 5)
                sink.cursor = handed[-1][0]
                await self.outbox.advance(name, sink.cursor)
            assert sink.cursor == self.model.end

    async def go(self, steps: list[tuple[str, int, int]]) -> None:
        """Take the steps, then drain."""
        await self.open()
        try:
            await self.register(0, 0)
            await self.register(1, 0)
            for action, a, b in steps:
                step: Callable[[int, int], Any] = getattr(self, action)
                await step(a, b)
                self.check()
            await self.drain()
            self.check()
        finally:
            await self.outbox.close()


PHASES = [Phase.reuse, Phase.generate]  # to make a long story shorter would take minutes
ACTIONS = ["append", "append", "append", "send", "send", "send", "register", "unregister", "note"]
STEPS = st.lists(
    st.tuples(
        st.sampled_from([*ACTIONS, "settle", "checkpoint", "reopen", "crash", "crash"]),
        st.integers(0, 99),
        st.integers(0, 99),
    ),
    min_size=30,  # a crash is worth something only after some life
    max_size=60,
)


@settings(
    max_examples=40, deadline=None, phases=PHASES, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=STEPS)
def test_the_books_balance_whatever_happens(tmp_path: Path, steps: list[tuple[str, int, int]]) -> None:
    """Sends, refusals, drops, spills, checkpoints and crashes in any order: equal to the model."""
    folder = tmp_path / "log"
    shutil.rmtree(folder, ignore_errors=True)
    asyncio.run(Run(folder).go(steps))
