"""A river over real files, for tests: what a crash leaves is what the next `open` finds."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway import saving
from gateway.aggregate.aggregator import Aggregator
from gateway.health.fleet import FleetRoll
from gateway.health.meters import LatencyMeters
from gateway.ingest.packets import batch_of
from gateway.journal.checkpoint import Checkpoint
from gateway.journal.journal import Journal
from gateway.model import Device
from gateway.outlets import LogOutlet, QuarantineOutlet, line_protocol
from gateway.pipeline import Pace, River
from gateway.profiles.load import load
from gateway.quality.assess import assess
from gateway.quality.neighbours import Neighbours
from gateway.quarantine.store import QuarantineStore
from gateway.registry.observer import RegistryObserver
from gateway.registry.unknown import UnknownDevices
from gateway.roster import Roster
from gateway.rules import Limits
from gateway.sinks.line_protocol import decode
from gateway.sinks.outbox import MEMORY_BYTES, Outbox
from gateway.sinks.removal import REMOVED
from gateway.testing import MemorySource
from gateway.treatment import Treatment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from gateway.clock import ManualClock
    from gateway.model import Control
    from gateway.profiles.plan import ProfilePlan
    from gateway.testing import MemoryBroker

    Stored = dict[tuple[str, tuple[tuple[str, str], ...], int | None], dict[str, Any]]

START_NS = 1_795_341_600_000_000_000
"""2026-11-22T10:00:00Z."""
MINUTE_NS = 60 * 10**9
SINK = "lines"
EAGER = Pace(gather_s=0, flush_s=0.001, checkpoint_s=0)
PLANS = load(Path(__file__).parents[1] / "device_profiles").plans
DEVICES = {
    ("lyon", name): Device(site="lyon", id=name, profile=profile, parameters=parameters)
    for name, profile, parameters in (
        ("bin-1", "bin-level", {"empty": ((0, 1800.0),)}),
        ("bin-2", "bin-level", {"empty": ((0, 2000.0),)}),
        ("counter-1", "traffic-counter", {}),
        ("meter-1", "water-meter", {}),
    )
}
LIMITS = Limits(default_zone="Europe/Paris")


def bin_uplink(minute: float, distance: int, *, seq: int = 0, **more: object) -> bytes:
    """Return what a bin says that many minutes after START_NS."""
    at_ms = (START_NS + int(minute * MINUTE_NS)) // 10**6
    said = {"seq": seq, "ts": at_ms, "dist_mm": distance, "temp_c": 12.5, "tilt": 0, **more}
    return json.dumps(said).encode()


def topic(device: str, kind: str = "bin") -> str:
    """Return a device's topic."""
    return f"city/lyon/{kind}/{device}/up"


@dataclass
class Opened:
    """The parts of a river that is open."""

    journal: Journal
    state: Checkpoint
    log: LogOutlet
    quarantine: QuarantineStore
    treatment: Treatment
    river: River

    async def want(
        self,
        *,
        plans: Mapping[str, ProfilePlan] = PLANS,
        devices: Mapping[tuple[str, str], Device] = DEVICES,
        limits: Limits = LIMITS,
    ) -> Sequence[Control]:
        """Bring what is wanted into force; returns the records that it took. `work` must be running."""
        roster = Roster.of(devices.values())
        records = self.treatment.rules.changes_to(plans=plans, devices=roster, limits=limits, at_ns=START_NS)
        await self.river.change(records)
        return records

    async def stored(self) -> Stored:
        """Return the points in the outbox: of each field the last writing, unless it was removed since."""
        found: Stored = {}
        for _, entry in await self.log.outbox.next(SINK, 10**9, 10**12):
            for line in entry.body.split(b"\n") if entry.body else ():  # all of it may be erased
                point = decode(line)
                key = point.measurement, point.tags, point.time
                if REMOVED in point.fields:
                    found.pop(key, None)
                else:
                    found[key] = found.get(key, {}) | point.fields
        return found

    async def replay(self) -> None:
        """Recover to the end."""
        assert await self.river.recover(lambda _: None, asyncio.Event())


@contextlib.asynccontextmanager
async def opened(
    folder: Path,
    *,
    clock: ManualClock,
    pace: Pace = EAGER,
    outbox_bytes: int = 10**9,
    outbox_memory: int = MEMORY_BYTES,
    settle_ns: int | None = None,
    caught_up: Callable[[], bool] = lambda: True,
    around: Callable[[str, Any], Any] = lambda _, part: part,
) -> AsyncIterator[Opened]:
    """Open everything under a folder; close it without a checkpoint, as far as a crash does.

    `around` may put something around the journal and the outlets.
    """
    async with contextlib.AsyncExitStack() as closing:
        state = Checkpoint.open_newest_sound(folder)
        closing.callback(state.close)
        saved = saving.restore(state)
        journal = await Journal.open(
            folder / "journal", retention_ns=0, retention_bytes=0, floor=saved.cut.position
        )
        closing.push_async_callback(journal.close)
        outbox = await Outbox.open(
            folder / "outbox-lines.db", max_bytes=outbox_bytes, memory_bytes=outbox_memory
        )
        closing.push_async_callback(outbox.close)
        await outbox.register(SINK, "hold")
        quarantine = await QuarantineStore.open(folder / "quarantine.db", per_device=1_000, total=10_000)
        closing.push_async_callback(quarantine.close)
        strangers = UnknownDevices(folder / "unknown.db")
        closing.callback(strangers.close)
        aggregator = Aggregator(
            state,
            zones=saved.rules.limits.zones,
            default_zone=saved.rules.limits.default_zone,
            assess=assess,
            neighbours=Neighbours,
            grace_ns=10 * 10**9,
            settle_ns=settle_ns,
            hot_bytes=10**7,
        )
        aggregator.restore()
        aggregator.use(saved.rules.kept_plans())
        treatment = Treatment(
            rules=saved.rules,
            aggregator=aggregator,
            identities=saved.identities,
            rates=saved.rates,
            books=saved.books,
            observer=RegistryObserver(FleetRoll(started_ns=clock.now_ns()), strangers),
            accepted=saved.accepted,
        )
        log = LogOutlet(
            "outbox-lines",
            outbox,
            encode=line_protocol(strings=True),
            once=settle_ns is not None,
            sinks=[SINK],
        )
        river = River(
            journal=around("journal", journal),
            treatment=treatment,
            outlets=[around("log", log), around("quarantine", QuarantineOutlet(quarantine, clock))],
            state=state,
            saved=saved,
            clock=clock,
            meters=LatencyMeters((SINK,)),
            pace=pace,
            scan=batch_of,
            keep_after=lambda: saved.cut.position,
            caught_up=caught_up,
        )
        yield Opened(journal, state, log, quarantine, treatment, river)


class Flowing:
    """A river that flows from a broker in memory; `ended` does the orderly stop, `cut` a crash."""

    def __init__(self, parts: Opened, broker: MemoryBroker, clock: ManualClock) -> None:
        self.parts = parts
        self.broker = broker
        self.clock = clock
        self.source = MemorySource(broker, clock=clock, last_connection=parts.river.connection, at_most=3)
        self.receive: asyncio.Task[None] | None = None
        self.work: asyncio.Task[None] | None = None
        self.go_on()

    def go_on(self) -> None:
        """Let what was received be treated."""
        self.work = asyncio.create_task(self.parts.river.work(), name="work")

    def connect(self, source: Any = None) -> None:
        """Begin to receive."""
        self.receive = asyncio.create_task(self.parts.river.receive(source or self.source), name="receive")

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let the river flow until the condition holds; raise what a task raised."""
        async with asyncio.timeout(60):
            while not condition():
                for task in (self.work, self.receive):
                    if task is not None and task.done():
                        task.result()
                await asyncio.sleep(0.001)

    async def treated(self) -> None:
        """Wait until everything published is acknowledged, treated, and the checkpoint behind it."""
        river = self.parts.river
        await self.until(
            lambda: (
                not self.broker.waiting
                and not self.parts.treatment.books.uplinks.pending
                and river.saved_position == self.parts.journal.end
            )
        )

    async def flushed(self) -> None:
        """Wait until the windows that are due now are written."""
        river, clock = self.parts.river, self.clock
        await self.until(lambda: river._flushed_ns == clock.monotonic_ns())
        await self.treated()

    async def end(self) -> None:
        """Stop in order."""
        await self.source.stop_reading()
        self.parts.river.stop()
        if self.receive is not None:
            await self.receive
        await self.parts.river.queue.close()
        if self.work is not None:
            await self.work

    async def cut(self) -> None:
        """Cancel everything where it stands."""
        tasks = [task for task in (self.work, self.receive) if task is not None]
        self.work = self.receive = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
