"""Opens the real parts of one gateway and wires them together; `app` runs them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog

from gateway import durable, memory, saving
from gateway.aggregate.aggregator import Aggregator
from gateway.clock import Scale, SystemClock
from gateway.errors import ConfigurationError, JournalError, Problem
from gateway.health.fleet import FleetRoll
from gateway.health.meters import LatencyMeters
from gateway.ingest.packets import batch_of
from gateway.journal.checkpoint import Checkpoint
from gateway.journal.journal import Journal
from gateway.journal.lock import FolderLock
from gateway.outlets import QuarantineOutlet
from gateway.pipeline import Pace, River
from gateway.plumbing import build_sinks, build_writers, open_logs, writes_once
from gateway.profiles.load import load
from gateway.quality.assess import assess
from gateway.quality.neighbours import Neighbours
from gateway.quarantine.store import QuarantineStore
from gateway.queues import Bounds
from gateway.registry.observer import RegistryObserver
from gateway.registry.unknown import UnknownDevices
from gateway.survey import Survey
from gateway.treatment import Treatment

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from gateway.closing import Closing
    from gateway.config import Settings
    from gateway.model import Refused
    from gateway.ports import Clock, Sink
    from gateway.saving import Saved
    from gateway.sinks.writer import Writer

LOCK_NAME = "gateway.lock"
log = structlog.get_logger("ecluse")


@dataclass(frozen=True, slots=True)
class Parts:
    """What the composition root moves."""

    state: Checkpoint
    journal: Journal
    treatment: Treatment
    sinks: Mapping[str, Sink]
    writers: Mapping[str, Writer]
    strangers: UnknownDevices
    river: River
    survey: Survey
    keep: Callable[[Refused], Awaitable[None]]
    """Puts the beginning of a packet that no journal could take into quarantine."""


def clock_of(settings: Settings) -> SystemClock:
    """Return the clock, scaled where the settings say so. Raises ConfigurationError."""
    path = settings.time_scale_file
    if path is None:
        return SystemClock()
    try:
        return SystemClock(Scale.read(path))
    except (OSError, ValueError, TypeError) as error:
        raise ConfigurationError([Problem(str(path), f"is no time scale: {error}")]) from error


def lock(settings: Settings, closing: Closing) -> None:
    """Make the state folder, and hold it alone. Raises JournalError where another gateway holds it."""
    with durable.translated(JournalError, f"the state folder {settings.state_dir} cannot be used"):
        settings.state_dir.mkdir(parents=True, exist_ok=True)
        closing.callback(FolderLock(settings.state_dir, LOCK_NAME).release)


async def open_parts(
    settings: Settings, *, closing: Closing, clock: SystemClock, caught_up: Callable[[], bool]
) -> Parts:
    """Open everything under the state folder, and build what stands on it.

    Raises ConfigurationError, JournalError, StateError; what was opened before is closed by `closing`.
    """
    folder = settings.state_dir
    sinks = _sinks(settings, clock, closing)
    state = await _state(settings, closing)
    with memory.collector_paused():
        saved = await asyncio.to_thread(saving.restore, state)
    _require_profiles(settings, saved)
    journal = await _journal(settings, saved, closing)
    strangers = UnknownDevices(folder / "unknown.db", max_devices=max(settings.devices.max_unknown, 1))
    closing.later(lambda: asyncio.to_thread(strangers.close))
    fleet = FleetRoll(started_ns=clock.now_ns())
    meters = LatencyMeters(tuple(sink.name for sink in settings.sinks))
    treatment = Treatment(
        rules=saved.rules,
        aggregator=_aggregator(settings, state, saved),
        identities=saved.identities,
        rates=saved.rates,
        books=saved.books,
        observer=RegistryObserver(fleet, strangers),
        accepted=saved.accepted,
    )
    logs = await open_logs(settings, closing)
    quarantine = await _quarantine(settings, closing)
    refused = QuarantineOutlet(quarantine, clock)
    writers = build_writers(
        settings, sinks=sinks, logs=logs, clock=clock, meters=meters, quarantine=refused.points
    )
    river = River(
        journal=journal,
        treatment=treatment,
        outlets=[*logs, refused],
        state=state,
        saved=saved,
        clock=clock,
        meters=meters,
        pace=Pace(checkpoint_s=settings.checkpoint.every / 1e9),
        scan=batch_of,
        keep_after=lambda: state.needed_after,
        caught_up=caught_up,
    )
    survey = Survey(
        clock=clock,
        factor=clock.factor,
        river=river,
        treatment=treatment,
        journal=journal,
        quarantine=quarantine,
        logs=logs,
        writers=writers,
        fleet=fleet,
        meters=meters,
        bounds=Bounds(
            received=settings.broker.memory,
            windows=settings.windows.memory,
            quarantine=settings.quarantine.total,
        ),
    )
    keep = _keeper(treatment, refused)
    return Parts(state, journal, treatment, sinks, writers, strangers, river, survey, keep)


def _keeper(treatment: Treatment, quarantine: QuarantineOutlet) -> Callable[[Refused], Awaitable[None]]:
    async def keep(refused: Refused) -> None:
        site, device, profile = treatment.whose(refused.topic)
        await quarantine.packet(replace(refused, site=site, device=device, profile=profile))

    return keep


def _sinks(settings: Settings, clock: Clock, closing: Closing) -> dict[str, Sink]:
    sinks = build_sinks(settings, clock)
    for sink in sinks.values():
        closing.later(sink.close)
    return sinks


async def _state(settings: Settings, closing: Closing) -> Checkpoint:
    state = await asyncio.to_thread(Checkpoint.open_newest_sound, settings.state_dir)
    closing.later(lambda: asyncio.to_thread(state.close))
    for name, problem in state.opened.refused:
        log.error("a state file is damaged", file=name, problem=problem, used=state.opened.source)
    return state


async def _journal(settings: Settings, saved: Saved, closing: Closing) -> Journal:
    journal = await Journal.open(
        settings.state_dir / "journal",
        segment_bytes=settings.journal.segment,
        retention_ns=settings.journal.retention,
        retention_bytes=settings.journal.retention_size,
        floor=saved.cut.position,
    )
    closing.later(journal.close)
    for damage in journal.damaged:
        log.error("the journal is damaged", first=damage.first, last=damage.last, problem=damage.why)
    return journal


async def _quarantine(settings: Settings, closing: Closing) -> QuarantineStore:
    quarantine = await QuarantineStore.open(
        settings.state_dir / "quarantine.db",
        per_device=settings.quarantine.per_device,
        total=settings.quarantine.total,
    )
    closing.later(quarantine.close)
    return quarantine


def _aggregator(settings: Settings, state: Checkpoint, saved: Saved) -> Aggregator:
    limits = saved.rules.limits
    aggregator = Aggregator(
        state,
        zones=limits.zones,
        default_zone=limits.default_zone,
        assess=assess,
        neighbours=Neighbours,
        grace_ns=settings.windows.grace,
        settle_ns=settings.windows.settle if writes_once(settings) else None,
        hot_bytes=settings.windows.memory,
    )
    aggregator.restore()
    aggregator.use(saved.rules.kept_plans())
    return aggregator


def _require_profiles(settings: Settings, saved: Saved) -> None:
    """Refuse to start where nothing could be decoded: no profile on disk, and none in force before."""
    loaded = load(settings.profiles_dir)
    if not loaded.plans and not saved.rules.plans:
        raise ConfigurationError(loaded.problems)
