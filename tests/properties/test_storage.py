"""Journal, outbox, checkpoint and quarantine together, as a river uses them, against a model in plain Python.

The files are real. They are closed and opened, and copied as a kill leaves them, at any point between two
calls; then the outbox goes back to the checkpoint, and what follows is made again from the journal.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.journal.checkpoint import POSITION, Checkpoint
from gateway.journal.journal import Journal
from gateway.model import Changes, Frames, Reason, Refused
from gateway.outlets import LogOutlet
from gateway.quarantine.store import QuarantineStore
from gateway.sinks.outbox import Entry, Outbox

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

SINKS = {"near": "hold", "far": "hold"}
MANY = 10**9
SEGMENT_BYTES = 6_000
"""A few records: segments are begun and trimmed all the time."""
MEMORY_BYTES = 1_500
PER_DEVICE, TOTAL = 5, 12


@dataclass
class Model:
    """What must be true. Positions count from 1; everything behind the journal follows from it."""

    journal: dict[int, bytes] = field(default_factory=dict)
    treated: int = 0
    saved: int = 0
    """The position of the last checkpoint."""
    cells: dict[int, int] = field(default_factory=dict)
    """Of the last checkpoint: kind of record → how many, of those up to it."""
    got: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SINKS, 0))
    """The newest record that each sink was given and answered for, ever."""

    @property
    def end(self) -> int:
        """The last position."""
        return len(self.journal)


def kind_of(position: int) -> int:
    """Every third record is refused; the others become points."""
    return position % 3


def body_of(frames: bytes) -> bytes:
    return b"point of " + frames


def counted(through: int) -> dict[int, int]:
    return {kind: sum(kind_of(p) == kind for p in range(1, through + 1)) for kind in range(3)}


class Storage:
    """The four, open in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal: Journal
        self.state: Checkpoint
        self.outbox: Outbox
        self.log: LogOutlet
        self.quarantine: QuarantineStore
        self.position = 0

    async def open(self) -> None:
        """Open everything in the order of a gateway, and go back to the checkpoint."""
        folder = self.folder
        self.state = Checkpoint.open_newest_sound(folder)
        self.position = self.state.position
        self.journal = await Journal.open(
            folder / "journal",
            segment_bytes=SEGMENT_BYTES,
            retention_ns=0,
            retention_bytes=0,
            floor=self.position,
        )
        self.outbox = await Outbox.open(folder / "outbox.db", max_bytes=MANY, memory_bytes=MEMORY_BYTES)
        for name, policy in SINKS.items():
            await self.outbox.register(name, policy)
        self.log = LogOutlet("lines", self.outbox, encode=lambda _: (b"", 0), once=False, sinks=list(SINKS))
        self.quarantine = await QuarantineStore.open(
            folder / "quarantine.db", per_device=PER_DEVICE, total=TOTAL
        )
        await self.log.recover(orjson.loads(self.state.meta("marks") or b"{}"))

    async def close(self) -> None:
        """Close everything."""
        await self.quarantine.close()
        await self.outbox.close()
        await self.journal.close()
        self.state.close()

    async def quiet(self) -> None:
        """Return once no thread writes: what was under way has gone to the system."""
        outbox = self.outbox
        while under_way := [work for work in (outbox._writing, outbox._purging) if work is not None]:
            await asyncio.wait(under_way)

    async def records(self, after: int) -> list[tuple[int, bytes]]:
        """Return what the journal holds behind a place."""
        async with aclosing(self.journal.read(after)) as found:
            return [
                (position, record.frames) async for position, record in found if isinstance(record, Frames)
            ]

    async def treat(self, records: Sequence[tuple[int, bytes]]) -> None:
        """Make of each record what it must become."""
        for position, frames in records:
            if kind_of(position):
                await self.outbox.append([Entry(body_of(frames), 1, position)])
            else:
                await self.quarantine.put([refused(position, frames)])
            self.position = position

    async def checkpoint(self) -> None:
        """Tie everything to a place in the journal."""
        mark = await self.log.settle()
        cells = {
            ("count", "", kind, 0): str(count).encode() for kind, count in counted(self.position).items()
        }
        meta = {POSITION: str(self.position).encode(), "marks": orjson.dumps(mark)}
        self.state.commit(Changes(dict(cells)), meta)
        await self.log.checkpointed(mark)
        await self.journal.trim(min(self.position, self.state.needed_after) + 1)


def refused(position: int, frames: bytes) -> Refused:
    return Refused(
        position=position,
        index=0,
        received_ns=position,
        topic=b"t",
        payload=frames,
        reason=Reason.NOT_JSON,
        detail="",
        site="s",
        device=f"d{position % 2}",
        profile="p",
    )


class River(RuleBasedStateMachine):
    """Every call is awaited to its end; a crash comes between two."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.place = Path(tempfile.mkdtemp(prefix="ecluse-storage-"))
        self.lives = 0
        self.model = Model()
        self.storage = Storage(self.place / "0")

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Await something to its end."""
        return self.loop.run_until_complete(work)

    @initialize()
    def begin(self) -> None:
        """Open four new files."""
        self.run(self.storage.open())

    @rule(sizes=st.lists(st.integers(0, 900), min_size=1, max_size=6))
    def append(self, sizes: list[int]) -> None:
        """Journal some records together; they are durable then."""
        first = self.model.end + 1
        bodies = [b"%d:" % (first + n) + b"x" * size for n, size in enumerate(sizes)]
        records = [Frames("mqtt", 1, "c", 5, first + n, 1, body) for n, body in enumerate(bodies)]
        assert self.run(self.storage.journal.append_many(records)) == list(range(first, first + len(sizes)))
        self.model.journal |= dict(enumerate(bodies, start=first))

    @precondition(lambda self: self.model.treated < self.model.end)
    @rule(most=st.integers(1, 8))
    def treat(self, most: int) -> None:
        """Treat some records that were journalled."""
        self._treat(most)

    @rule(name=st.sampled_from(sorted(SINKS)), most=st.integers(1, 5))
    def send(self, name: str, most: int) -> None:
        """Let a sink take some entries, and answer for them: whole, and none before an earlier one.

        What was made again is given again.
        """
        given = self.run(self.storage.outbox.next(name, most, MANY))
        newest = self.model.got[name]
        for _, entry in given:
            position = entry.oldest_ns
            assert entry.body == body_of(self.model.journal[position])
            skipped = [other for other in range(newest + 1, position) if kind_of(other)]
            assert not skipped, f"{name} was never given {skipped}"
            newest = max(newest, position)
        if given:
            self.run(self.storage.outbox.advance(name, given[-1][0]))
        self.model.got[name] = newest

    @rule()
    def checkpoint(self) -> None:
        """Tie the state to the journal."""
        self.run(self.storage.checkpoint())
        self.model.saved, self.model.cells = self.storage.position, counted(self.storage.position)

    @rule()
    def copy_state(self) -> None:
        """Make a verified copy."""
        self.storage.state.copy()

    @rule()
    def reopen(self) -> None:
        """Stop in order, without a checkpoint, and start."""
        self.run(self.storage.close())
        self._open()

    @rule()
    def crash(self) -> None:
        """Be killed: what the files are now is all that is left."""
        self.run(self.storage.quiet())
        self.lives += 1
        left = self.place / str(self.lives)
        shutil.copytree(self.storage.folder, left)
        self.run(self.storage.close())  # of the old folder, so that no thread stays
        shutil.rmtree(self.storage.folder)
        self.storage = Storage(left)
        self._open()

    @precondition(lambda self: bool(self.storage.state.copies()))
    @rule()
    def lose_the_state(self) -> None:
        """Stop; the state rots: the newest copy is taken, and the journal still has all behind it."""
        self.run(self.storage.close())
        path = self.storage.folder / "state.db"
        with path.open("r+b") as file:
            file.write(b"\xff" * 64)
        self._open()
        assert [aside.name for aside in self.storage.state.opened.aside] == ["state.db"]

    @invariant()
    def state_is_that_of_the_checkpoint(self) -> None:
        """Whatever was done since."""
        if not hasattr(self.storage, "state"):
            return
        state = self.storage.state
        assert state.position == self.model.saved
        found = {kind: int(*state.load("count", "", kind)) for kind in state.starts("count", "")}
        assert found == self.model.cells

    @invariant()
    def books_balance(self) -> None:
        """What was made for a sink is stored or waits: nothing is dropped, nothing refused."""
        if not hasattr(self.storage, "outbox"):
            return
        for name in SINKS:
            totals = self.storage.outbox.totals(name)
            assert totals.made == totals.stored + totals.waiting
            assert (totals.refused, totals.dropped, totals.superseded) == (0, 0, 0)
        assert self.storage.outbox.damaged == ()
        assert self.storage.journal.damaged == []

    def teardown(self) -> None:
        """At last everything is sent, and everything is compared."""
        try:
            if hasattr(self.storage, "quarantine"):
                self._treat(MANY)
                for name in SINKS:
                    while self.run(self.storage.outbox.next(name, 1, MANY)):
                        self.send(name, 50)
                points = [p for p in self.model.journal if kind_of(p)]
                assert all(self.model.got[name] == max(points, default=0) for name in SINKS)
                self._compare_quarantine()
                self.books_balance()
                self.run(self.storage.close())
        finally:
            self.loop.close()
            shutil.rmtree(self.place)

    def _open(self) -> None:
        """Open, and make again what the checkpoint does not have: as the river's replay."""
        self.run(self.storage.open())
        self.model.saved = self.storage.position
        begun = self.storage.state.meta(POSITION) is not None
        self.model.cells = counted(self.model.saved) if begun else {}
        assert self.storage.journal.end == self.model.end
        held = self.run(self.storage.records(self.model.saved))
        assert held == [item for item in self.model.journal.items() if item[0] > self.model.saved]
        self.run(self.storage.treat([item for item in held if item[0] <= self.model.treated]))

    def _treat(self, most: int) -> None:
        through = min(self.model.treated + most, self.model.end)
        records = [
            (position, self.model.journal[position])
            for position in range(self.model.treated + 1, through + 1)
        ]
        self.run(self.storage.treat(records))
        self.model.treated = through

    def _compare_quarantine(self) -> None:
        """Every refused record is there or was evicted, once; the newest of each device are there."""
        put = [p for p in range(1, self.model.treated + 1) if not kind_of(p)]
        rows = self.run(self.storage.quarantine.list(limit=1_000))
        found = {row.position: row.payload for row in rows}
        assert not any(row.damaged for row in rows)
        assert len(found) == len(rows) == self.storage.quarantine.rows
        assert len(rows) + self.storage.quarantine.evicted == len(put)
        kept = [
            position for device in (0, 1) for position in [p for p in put if p % 2 == device][-PER_DEVICE:]
        ]
        assert found == {position: self.model.journal[position] for position in kept}


River.TestCase.settings = settings(
    max_examples=30,
    stateful_step_count=40,
    deadline=None,
    phases=[Phase.reuse, Phase.generate],  # to make a long story shorter would take minutes
    suppress_health_check=list(HealthCheck),
)
TestRiver = River.TestCase
