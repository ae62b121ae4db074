"""A gateway's past, lived in a moment: real files under a folder, and dry runs over them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway import saving
from gateway.clock import ManualClock
from gateway.decode.formats.codec import NOWHERE
from gateway.journal.reader import JournalReader
from gateway.journal.snapshot import snapshot
from gateway.reprocess.derivation import END, UNSURE
from gateway.reprocess.dry_run import Asked, DryRun, Known, Report
from gateway.roster import Roster
from gateway.rules import Rules
from gateway.testing import MemoryBroker
from tests.river import DEVICES, LIMITS, MINUTE_NS, PLANS, START_NS, Flowing, opened

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from gateway.model import Device
    from gateway.profiles.plan import ProfilePlan
    from gateway.reprocess.derivation import Derivation
    from tests.river import Stored

DAY = 1440
"""Minutes."""


@dataclass(frozen=True)
class Step:
    """At a minute after START_NS: other rules, then uplinks (topic, payload)."""

    minute: float
    uplinks: Sequence[tuple[str, bytes]] = ()
    plans: Mapping[str, ProfilePlan] | None = None
    devices: Mapping[tuple[str, str], Device] | None = None


@dataclass
class Past:
    """What was lived: where it is, and what was written of it."""

    folder: Path
    stored: Stored = field(default_factory=dict)

    def dry_run(
        self,
        start: float,
        end: float | None = None,
        *,
        plans: Mapping[str, ProfilePlan] = PLANS,
        devices: Mapping[tuple[str, str], Device] = DEVICES,
        profiles: Sequence[str] = ("bin-level",),
        before_minutes: float = DAY,
        without_damaged: bool = False,
    ) -> DryRun:
        """Return a dry run from a minute after START_NS to another one."""
        with snapshot(self.folder) as state:
            known = Known.of(state, saving.restore(state))
        return DryRun(
            asked=Asked(
                start_ns=at(start),
                end_ns=None if end is None else at(end),
                profiles=profiles,
                before_ns=int(before_minutes * MINUTE_NS),
                without_damaged=without_damaged,
            ),
            journal=JournalReader(self.folder / "journal"),
            known=known,
            today=Rules(plans=plans, devices=Roster.of(devices.values()), limits=LIMITS),
            folder=self.folder,
            grace_ns=10 * 10**9,
            hot_bytes=10**6,
            clock=ManualClock(START_NS),
            codecs=NOWHERE,
        )

    def in_span(self, dry_run: DryRun, profile: str = "bin-level") -> Stored:
        """Return what was written in a dry run's span, of a profile."""
        ((_, span),) = [item for item in dry_run.spans.by_zone.items() if item[0][0] == profile]
        return {
            (measurement, tags, time): fields
            for (measurement, tags, time), fields in self.stored.items()
            if time is not None and span.start <= time < span.end and dict(tags)["profile"] == profile
        }


def at(minute: float) -> int:
    """Return a time in ns."""
    return START_NS + int(minute * MINUTE_NS)


def content(derivation: Derivation) -> dict[Any, dict[str, Any]]:
    """Return the points of a derivation, as a river's `stored` has them."""
    found: dict[Any, dict[str, Any]] = {}
    for measurement in derivation.store.measurements():
        answer = derivation.store.query(measurement.name, limit=None)
        for row in answer.to_pylist():
            tags = tuple(sorted((tag, row[tag]) for tag in measurement.tags if row[tag] is not None))
            fields = {
                name: row[name]
                for name in measurement.fields
                if name not in (END, UNSURE) and row[name] is not None
            }
            found[measurement.name, tags, row["time"].value] = fields
    return found


def report_of(dry_run: DryRun) -> Report:
    """Run it."""
    return dry_run.run(lambda _: None)


async def live(
    folder: Path, steps: Sequence[Step], *, around: Callable[[str, Any], Any] = lambda _, part: part
) -> Past:
    """Let a gateway live through the steps, with the shipped profiles to begin with; then stop it.

    `around` as in `tests.river.opened`.
    """
    clock, broker = ManualClock(at(steps[0].minute)), MemoryBroker()
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    past = Past(folder)
    async with opened(folder, clock=clock, around=around) as parts:
        await parts.replay()
        flowing = Flowing(parts, broker, clock)
        plans, devices = PLANS, DEVICES
        first = steps[0]
        plans, devices = first.plans or plans, first.devices or devices
        await parts.want(plans=plans, devices=devices)
        flowing.connect()
        for step in steps:
            clock.advance((at(step.minute) - clock.now_ns()) / 1e9)
            await flowing.flushed()
            if step is not first and (step.plans or step.devices):
                plans, devices = step.plans or plans, step.devices or devices
                rules, roster = parts.treatment.rules, Roster.of(devices.values())
                changes = rules.changes_to(plans=plans, devices=roster, limits=LIMITS, at_ns=clock.now_ns())
                await parts.river.change(changes)
            for topic, payload in step.uplinks:
                broker.publish(topic, payload)
            await flowing.treated()
        clock.advance(60)
        await flowing.flushed()
        past.stored = await parts.stored()
        await asyncio.sleep(0)
        await flowing.end()
    return past
