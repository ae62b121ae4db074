"""What a reprocessing rewrites goes the river's way: whatever is cut off, the same points in the end."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from gateway.clock import ManualClock
from gateway.errors import QueryError
from gateway.intake import RewriteIntake
from gateway.reprocess.rewriting import Needs, lots
from gateway.sinks import rewrites
from gateway.testing import MemoryBroker
from gateway.treatment import Product
from tests.reprocess.past import DAY, Past, Step, at, live
from tests.reprocess.test_dry_run import NARROW, hourly
from tests.reprocess.worlds import Recorder, apply, reopened
from tests.river import Flowing, bin_uplink, opened, topic
from tests.test_pipeline import Crossing, crossed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.river import Opened, Stored

NOW = 6 * DAY


def lines_of(past: Past) -> list[bytes]:
    """What is to be put in, record by record."""
    dry_run = past.dry_run(0, plans=NARROW)
    with dry_run.compared(lambda _: None) as compared:
        return [lot.body for lot in lots(compared.before, compared.after, Needs(once=True, imprecise=True))]


def intake_of(parts: Opened, clock: ManualClock, *, outbox_bytes: int = 10**9) -> RewriteIntake:
    intake = RewriteIntake(
        river=parts.river, journal=parts.journal, logs=[parts.log], clock=clock, outbox_bytes=outbox_bytes
    )
    intake.is_open = True
    return intake


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Past:
    """Six days of two bins, every six hours."""
    steps = [*hourly(0, 6 * DAY)[::12], Step(NOW)]
    return asyncio.run(live(tmp_path_factory.mktemp("past"), steps))


@pytest.fixture(scope="module")
def bodies(past: Past) -> list[bytes]:
    """What is to be applied of it."""
    return lines_of(past)


class Telling:
    """The command puts its records in while a bin speaks; cut off at one place at most, then both go on."""

    def __init__(self, folder: Path, bodies: Sequence[bytes], stop_at: int = 0) -> None:
        self.clock = ManualClock(at(NOW + 5))
        self.broker = MemoryBroker()
        self.crossing = Crossing(stop_at)
        self.lives = 0
        self._folder = folder
        self._left = list(bodies)
        self._said = False

    async def run(self) -> Stored:
        """Tell it to its end; return what the sink has."""
        while True:
            self.lives += 1
            async with opened(self._folder, clock=self.clock, around=crossed(self.crossing)) as parts:
                telling = asyncio.create_task(self._tell(parts))
                cut = asyncio.create_task(self.crossing.reached.wait())
                await asyncio.wait({telling, cut}, return_when=asyncio.FIRST_COMPLETED)
                cut.cancel()
                if telling.done():
                    await telling
                    return await parts.stored()
                self.crossing.reached.clear()
                telling.cancel()
                await asyncio.gather(telling, return_exceptions=True)

    async def _tell(self, parts: Opened) -> None:
        await parts.replay()
        flowing = Flowing(parts, self.broker, self.clock)
        intake = intake_of(parts, self.clock)
        try:
            flowing.connect()
            while self._left:
                if len(self._left) == 2 and not self._said:
                    self._said = True
                    self.broker.publish(topic("bin-1"), bin_uplink(NOW + 1, 700, seq=5_000))
                    self.broker.publish(topic("bin-1"), bin_uplink(30, 940, seq=0))  # late: into the span
                assert await intake.take(self._left[0]) == ""
                del self._left[0]
            await flowing.treated()
            await flowing.end()
        finally:
            await flowing.cut()


async def test_a_cut_at_any_await_changes_nothing(
    past: Past, bodies: Sequence[bytes], tmp_path: Path
) -> None:
    """Cancelled before or behind any call of journal or outlet, then recovered: the same points."""

    async def told(stop_at: int) -> tuple[Stored, Telling]:
        folder = tmp_path / str(stop_at)
        await asyncio.to_thread(shutil.copytree, past.folder, folder)
        telling = Telling(folder, bodies, stop_at)
        found = await telling.run()
        await asyncio.to_thread(shutil.rmtree, folder)
        return found, telling

    wanted, whole = await told(0)
    assert whole.lives == 1
    assert wanted != past.stored
    some = asyncio.Semaphore(6)

    async def cut_at(place: int) -> int:
        async with some:
            found, telling = await told(place)
        # The live readings may come before another record, or behind it: they are of other points.
        assert found == wanted, f"cut at {place}"
        return telling.lives - 1

    cuts = await asyncio.gather(*(cut_at(place) for place in range(1, whole.crossing.count + 1, 2)))
    assert sum(cuts) > whole.crossing.count // 4


async def test_a_state_of_days_ago_makes_it_again(tmp_path: Path) -> None:
    """A damaged state, a copy from before: what was rewritten is rewritten behind what it replaces."""
    steps = [*hourly(0, 6 * DAY)[::6], Step(NOW)]
    early = await live(tmp_path / "state", [step for step in steps if step.minute <= DAY])
    await asyncio.to_thread(shutil.copytree, early.folder, tmp_path / "early")
    past = await live(early.folder, [step for step in steps if step.minute > DAY])
    await asyncio.to_thread(apply, past, past.dry_run(0, plans=NARROW))
    wanted = await reopened(past.folder, minute=NOW + 2)
    assert wanted != past.stored
    await asyncio.to_thread(shutil.rmtree, tmp_path / "early" / "journal")
    await asyncio.to_thread(shutil.copytree, past.folder / "journal", tmp_path / "early" / "journal")
    assert await reopened(tmp_path / "early", minute=NOW + 2) == wanted


async def test_what_is_not_taken_now(past: Past, bodies: Sequence[bytes], tmp_path: Path) -> None:
    """Why: it starts, too much waits, the clock is suspect; and nothing of it is journalled."""
    folder = tmp_path / "state"
    await asyncio.to_thread(shutil.copytree, past.folder, folder)
    clock = ManualClock(at(NOW + 5))
    async with opened(folder, clock=clock) as parts:
        await parts.replay()
        flowing = Flowing(parts, MemoryBroker(), clock)
        end = parts.journal.end
        assert "too much waits for the sink lines" in await intake_of(parts, clock, outbox_bytes=4).take(
            bodies[0]
        )
        closed = intake_of(parts, clock)
        closed.is_open = False
        assert "starting or stopping" in await closed.take(bodies[0])
        intake = intake_of(parts, clock)
        for garbage in (b"", b"{}", bodies[0][:-40], bodies[0][100:], _of_another_kind()):
            with pytest.raises(QueryError, match="not the points"):
                await intake.take(garbage)
        assert parts.journal.end == end
        assert await intake.take(bodies[0]) == ""
        assert parts.journal.end == end + 1
        await flowing.cut()


def _of_another_kind() -> bytes:
    out = pa.BufferOutputStream()
    table: Any = pa.table({"time": [1], "x": ["y"]})
    with pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table)
    return bytes(out.getvalue())


def _points(**columns_: Any) -> pa.Table:
    """What a record may have, and what it may not."""
    made = {
        "own:time": pa.array([1, 2]),
        "tag:device": pa.array(["a", None]),
        "field:level": pa.array([1.0, None]),
        "own:revision": pa.array([1, 1], pa.int32()),
    } | columns_
    roles = {name: dict(zip(("role", "name"), name.split(":", 1), strict=True)) for name in made}
    described = [pa.field(name, values.type, metadata=roles[name]) for name, values in made.items()]
    return pa.table(list(made.values()), pa.schema(described, metadata={"measurement": "waste"}))


@pytest.mark.parametrize(
    "hostile",
    [
        {"own:time": pa.array([1, None])},
        {"own:time": pa.array(["1", "2"])},
        {"own:end": pa.array([1.0, 2.0])},
        {"own:else": pa.array([1, 2])},
        {"tag:device": pa.array([1, 2])},
        {"field:level": pa.array([True, False])},
        {"field:own:removed": pa.array(["x", "y"])},
        {"field:own:vanished": pa.array([1, None])},
        {"else:x": pa.array([1, 2])},
    ],
    ids=lambda hostile: next(iter(hostile)),
)
def test_a_hostile_record_is_refused(hostile: dict[str, pa.Array]) -> None:
    """Before the journal has it: what is in there must be treated, again and again."""
    assert len(rewrites.decode(rewrites.encode(_points(), rewrites.To.EVERY)).points) == 2
    with pytest.raises(ValueError, match="not the points"):
        rewrites.decode(rewrites.encode(_points(**hostile), rewrites.To.EVERY))


async def test_an_empty_record_gives_nothing(tmp_path: Path) -> None:
    """Such as is left where a device was erased."""
    clock = ManualClock(at(0))
    async with opened(tmp_path, clock=clock) as parts:
        await parts.replay()
        flowing = Flowing(parts, MemoryBroker(), clock)
        empty = rewrites.encode(_points().slice(0, 0), rewrites.To.EVERY)
        assert await intake_of(parts, clock).take(empty) == ""
        await flowing.end()
        assert await parts.stored() == {}
    recorder = Recorder()
    recorder.note(Product(rewritten=[rewrites.decode(empty)]))
    assert recorder.bodies == {"lines": [], "columns": [], "once": []}
