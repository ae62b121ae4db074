"""The outbox's books against a model that keeps what became of every entry, across crashes."""

from __future__ import annotations

import shutil
from dataclasses import astuple, dataclass, field
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.sinks.outbox import Entry, Outbox, SinkTotals
from gateway.sinks.outbox_log import open_log

if TYPE_CHECKING:
    from pathlib import Path

MANY = 10**9


def entry(number: int, count: int, size: int) -> Entry:
    return Entry(b"%d" % (number % 10) * size, count, number)


def balanced(totals: SinkTotals) -> bool:
    made, *parts, _ = astuple(totals)
    return made == sum(parts) and min(parts) >= 0


@dataclass
class Sink:
    cursor: int
    base: int
    became: dict[int, list[int]] = field(default_factory=dict)  # seq → [refused, dropped, superseded]
    replayed: int = 0


@dataclass
class Model:
    counts: dict[int, int] = field(default_factory=dict)
    end: int = 0
    checkpoints: list[int] = field(default_factory=lambda: [0])
    sinks: dict[str, Sink] = field(default_factory=dict)

    def total(self, sink: Sink) -> SinkTotals:
        """Count a sink's points, entry by entry."""
        behind = sum(count for seq, count in self.counts.items() if sink.base < seq <= sink.cursor)
        waiting = sum(count for seq, count in self.counts.items() if seq > sink.cursor)
        refused, dropped, superseded = (sum(b[i] for b in sink.became.values()) for i in range(3))
        stored = behind - refused - dropped - superseded
        return SinkTotals(behind + waiting, stored, waiting, refused, dropped, superseded, sink.replayed)


class Run:
    """One log and its model, driven by drawn numbers."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "outbox.db"
        self.log = open_log(self.path, 500)
        self.model = Model()

    def append(self, a: int, b: int) -> None:
        """Append a few entries of a few points each."""
        entries = [entry(self.model.end + n + 1, count=(a + n) % 4, size=100) for n in range(b % 4 + 1)]
        self.log.append(entries)
        for new in entries:
            self.model.end += 1
            self.model.counts[self.model.end] = new.count
        sink = self.model.sinks.get("drop")
        while sink is not None and self.model.end - sink.cursor > 5:
            sink.cursor += 1
            sink.became[sink.cursor] = [0, self.model.counts[sink.cursor], 0]

    def send(self, a: int, b: int) -> None:
        """Let a sink take entries and answer for some; sometimes an append comes between."""
        if not self.model.sinks:
            return
        name = sorted(self.model.sinks)[a % len(self.model.sinks)]
        sink = self.model.sinks[name]
        handed = self.log.next(name, b % 9 + 1, MANY)
        if not handed:
            assert sink.cursor == self.model.end
            return
        assert [seq for seq, _ in handed] == list(range(sink.cursor + 1, sink.cursor + 1 + len(handed)))
        through = handed[b % len(handed)][0]
        if a % 3 == 0:  # something comes between
            self.append(b, a)
        had = [seq for seq, _ in handed if seq <= through]
        points = sum(self.model.counts[seq] for seq in had)
        refused = a % (points + 1)
        superseded = b % (points + 1 - refused)
        self.log.advance(name, through, refused=refused, superseded=superseded)
        for seq in had:
            here = min(refused, self.model.counts[seq])
            over = min(superseded, self.model.counts[seq] - here)
            refused, superseded = refused - here, superseded - over
            sink.became[seq] = [here, 0, over]
        sink.cursor = max(sink.cursor, through)

    def register(self, a: int, _: int) -> None:
        """Register one of two sinks."""
        name = ("hold", "drop")[a % 2]
        self.log.register(name, {"hold": "hold", "drop": "drop-oldest"}[name])
        self.model.sinks.setdefault(name, Sink(self.model.end, self.model.end))

    def unregister(self, a: int, _: int) -> None:
        """Take one away, seldom."""
        name = ("hold", "drop")[a % 2]
        if a % 5 == 0:
            self.log.unregister(name)
            self.model.sinks.pop(name, None)

    def checkpoint(self, _: int, b: int) -> None:
        """Hold the end, and sometimes the one before."""
        self.model.checkpoints.append(self.model.end)
        oldest = self.model.checkpoints[-1 - b % 2]
        self.log.checkpoint(self.model.end, oldest)
        self.model.checkpoints = [end for end in self.model.checkpoints if end >= oldest]

    def purge(self, *_: int) -> None:
        """Delete what nobody needs."""
        self.log.purge()

    def reopen(self, *_: int) -> None:
        """Crash: what is on the disk now, opened again, is what was committed."""
        copy = self.path.parent / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        for suffix in ("", "-wal"):
            shutil.copyfile(f"{self.path}{suffix}", copy / f"outbox.db{suffix}")
        self.log.close()
        for suffix in ("", "-wal"):
            shutil.copyfile(copy / f"outbox.db{suffix}", f"{self.path}{suffix}")
        self.log = open_log(self.path, 500)

    def recover(self, a: int, _: int) -> None:
        """Crash, then go back to one of the checkpoints that are kept."""
        self.reopen()
        end = self.model.checkpoints[-1 - a % len(self.model.checkpoints)]
        cursors = {name: min(sink.cursor, end) for name, sink in self.model.sinks.items()}
        recovered = self.log.recover(end, cursors)
        assert (recovered.end, recovered.lost, dict(recovered.resent)) == (end, 0, {})
        for sink in self.model.sinks.values():
            for seq in range(max(end, sink.base) + 1, sink.cursor + 1):
                _, dropped, superseded = sink.became.pop(seq, [0, 0, 0])
                sink.replayed += self.model.counts[seq] - dropped - superseded
            sink.cursor, sink.base = min(sink.cursor, end), min(sink.base, end)
        self.model.counts = {seq: count for seq, count in self.model.counts.items() if seq <= end}
        self.model.checkpoints = [kept for kept in self.model.checkpoints if kept <= end]
        self.model.end = end

    def check(self) -> None:
        """Compare every figure."""
        assert self.log.end.seq == self.model.end
        outbox = Outbox.__new__(Outbox)  # its figures alone: no thread
        outbox._log = self.log
        for name, sink in self.model.sinks.items():
            assert outbox.totals(name) == self.model.total(sink)
            assert balanced(outbox.totals(name))
            assert outbox.depth(name).entries == self.model.end - sink.cursor
            assert outbox.depth(name).points == outbox.totals(name).waiting


ACTIONS = ["append", "append", "send", "send", "send", "register", "unregister", "checkpoint", "purge"]
STEPS = st.lists(
    st.tuples(st.sampled_from([*ACTIONS, "reopen", "recover"]), st.integers(0, 99), st.integers(0, 99)),
    max_size=25,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_the_books_balance_whatever_happens(tmp_path: Path, steps: list[tuple[str, int, int]]) -> None:
    """Sends, refusals, drops, checkpoints, crashes and recoveries in any order: equal to the model."""
    folder = tmp_path / "log"
    shutil.rmtree(folder, ignore_errors=True)
    run = Run(folder)
    run.register(0, 0)
    try:
        for action, a, b in steps:
            getattr(run, action)(a, b)
            run.check()
    finally:
        run.log.close()
