"""Opens the real parts of one gateway and wires them together; `app` runs them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog

from gateway import durable, memory, saving
from gateway.aggregate.aggregator import Aggregator
from gateway.clock import Scale, SystemClock
from gateway.codec.sandbox import Sandbox
from gateway.erasure import audit
from gateway.errors import ConfigurationError, JournalError, Problem
from gateway.health.fleet import FleetRoll
from gateway.health.meters import LatencyMeters
from gateway.ingest.packets import batch_of
from gateway.intake import RewriteIntake
from gateway.journal.checkpoint import Checkpoint
from gateway.journal.journal import Journal
from gateway.journal.lock import GATEWAY, UNFINISHED, FolderLock
from gateway.outlets import QuarantineOutlet
from gateway.pipeline import Pace, River
from gateway.plumbing import build_sinks, build_writers, open_logs, writes_once
from gateway.profiles.load import load
from gateway.quality.assess import assess
from gateway.quality.neighbours import Neighbours
from gateway.quarantine.store import QuarantineStore
from gateway.queues import Bounds
from gateway.readmission import Readmission
from gateway.registry.observer import RegistryObserver
from gateway.registry.unknown import UnknownDevices
from gateway.retention import Retention
from gateway.sinks.embedded import EmbeddedSink
from gateway.survey import Survey
from gateway.treatment import Treatment

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from gateway.closing import Closing
    from gateway.config import Settings
    from gateway.damage import Aside
    from gateway.model import Refused
    from gateway.outlets import LogOutlet
    from gateway.ports import Clock, Sink
    from gateway.saving import Saved
    from gateway.sinks.writer import Writer

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
    intake: RewriteIntake
    retention: Retention
    readmission: Readmission
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
    """Make the state folder, and hold it alone.

    Raises JournalError where another gateway holds it, or where a restore into it did not end.
    """
    with durable.translated(JournalError, f"the state folder {settings.state_dir} cannot be used"):
        durable.make_folder(settings.state_dir)
        closing.callback(FolderLock(settings.state_dir, GATEWAY).release)
        if (settings.state_dir / UNFINISHED).exists():
            raise JournalError(
                f"a restore into {settings.state_dir} did not end",
                hint="empty that folder, and restore again",
            )


async def open_parts(
    settings: Settings, *, closing: Closing, clock: SystemClock, caught_up: Callable[[], bool]
) -> Parts:
    """Open everything under the state folder, and build what stands on it.

    Raises ConfigurationError, JournalError, StateError; what was opened before is closed by `closing`.
    """
    folder = settings.state_dir
    _say_unfinished_erasures(folder)
    sinks = _sinks(settings, clock, closing)
    state = await _state(settings, closing)
    with memory.collector_paused():
        saved = await asyncio.to_thread(saving.restore, state)
    _require_profiles(settings, saved)
    journal = await _journal(settings, saved, closing)
    strangers = UnknownDevices(
        folder / "unknown.db", max_devices=max(settings.devices.max_unknown, 1), mend=True
    )
    closing.later(lambda: asyncio.to_thread(strangers.close))
    _say(strangers.aside)
    fleet = FleetRoll(started_ns=clock.now_ns())
    meters = LatencyMeters(tuple(sink.name for sink in settings.sinks))
    codecs = Sandbox()
    closing.later(lambda: asyncio.to_thread(codecs.close))
    treatment = Treatment(
        rules=saved.rules,
        aggregator=_aggregator(settings, state, saved),
        identities=saved.identities,
        rates=saved.rates,
        books=saved.books,
        observer=RegistryObserver(fleet, strangers),
        accepted=saved.accepted,
        codecs=codecs,
    )
    logs = await open_logs(settings, closing)
    for one in logs:
        _say(one.outbox.aside)
    quarantine = await _quarantine(settings, journal, closing)
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
        pace=Pace(
            checkpoint_s=settings.checkpoint.every / 1e9, suspect_bytes=settings.journal.retention_size
        ),
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
        aside=_aside(state, logs, quarantine, strangers),
        bounds=Bounds(
            received=settings.broker.memory,
            windows=settings.windows.memory,
            quarantine=settings.quarantine.total,
            suspect=settings.journal.retention_size,
        ),
    )
    intake = RewriteIntake(
        river=river, journal=journal, logs=logs, clock=clock, outbox_bytes=settings.outbox.size
    )
    retention = Retention(
        plans=treatment.rules.kept_plans,
        stores=[sink for sink in sinks.values() if isinstance(sink, EmbeddedSink)],
        quarantine=quarantine,
        clock=clock,
    )
    readmission = Readmission(store=quarantine, river=river, treatment=treatment, clock=clock)
    keep = _keeper(treatment, refused)
    return Parts(
        state,
        journal,
        treatment,
        sinks,
        writers,
        strangers,
        river,
        survey,
        intake,
        retention,
        readmission,
        keep,
    )


def _aside(
    state: Checkpoint, logs: Sequence[LogOutlet], quarantine: QuarantineStore, strangers: UnknownDevices
) -> tuple[Aside, ...]:
    """Return the files that were found damaged as they were opened."""
    others = (*(one.outbox.aside for one in logs), quarantine.aside, strangers.aside)
    return (*state.opened.aside, *(aside for aside in others if aside is not None))


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
    for aside in state.opened.aside:
        _say(aside, used=state.opened.source)
    return state


def _say_unfinished_erasures(folder: Path) -> None:
    """Say which erasures were cut off: by their reference, not by whose they were."""
    for begun in audit.unfinished(folder):
        log.warning(
            "an erasure was cut off",
            reference=begun.reference,
            begun=begun.at,
            hint="give ecluse erase the same device or profile again: it goes on",
        )


def _say(aside: Aside | None, **more: str) -> None:
    if aside is not None:
        found = {"file": aside.name, "kept_as": aside.kept_as, "problem": aside.problem}
        log.error("a damaged file is set aside", **found, **more)


async def _journal(settings: Settings, saved: Saved, closing: Closing) -> Journal:
    journal = await Journal.open(
        settings.state_dir / "journal",
        segment_bytes=settings.journal.segment,
        retention_ns=settings.journal.retention,
        retention_bytes=settings.journal.retention_size,
        floor=saved.cut.position,
    )
    closing.later(journal.close)
    say_damage(journal)
    return journal


def say_damage(journal: Journal, known: int = 0) -> None:
    """Say what was found damaged in the journal, but for the first `known` places."""
    for damage in journal.damaged[known:]:
        log.error(
            "the journal is damaged",
            file=journal.file_of(damage.first),
            first=damage.first,
            last=damage.last,
            uplinks=damage.uplinks or "nothing tells",
            problem=damage.why,
        )


async def _quarantine(settings: Settings, journal: Journal, closing: Closing) -> QuarantineStore:
    quarantine = await QuarantineStore.open(
        settings.state_dir / "quarantine.db",
        per_device=settings.quarantine.per_device,
        total=settings.quarantine.total,
        journal_end=journal.end,
    )
    closing.later(quarantine.close)
    _say(quarantine.aside)
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
