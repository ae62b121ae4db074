"""Looks at everything that can be wrong before a start: settings, profiles, devices, broker, sinks."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway import wanted
from gateway.clock import SystemClock
from gateway.errors import ConfigurationError, Problem, SinkUnavailable
from gateway.ingest.topics import cover
from gateway.plumbing import build_sinks, memory_for_waiting
from gateway.registry.broker_check import BrokerTrouble, try_broker
from gateway.rules import Rules
from gateway.upstream import filters_of, mqtt_settings

if TYPE_CHECKING:
    from gateway.config import Settings
    from gateway.wanted import Wanted

MESSAGE_BYTES = 200
"""What a broker counts for a usual message: payload, topic, and its own bookkeeping."""


@dataclass(slots=True)
class Report:
    """What was found: lines that are well, and problems."""

    well: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


async def examine(settings: Settings, *, offline: bool) -> Report:
    """Look at everything; never raises for what it finds."""
    report = Report()
    wish = wanted.read(settings.profiles_dir, settings.devices.file, rules=Rules())
    report.problems += [*wish.profile_problems, *wish.device_problems]
    report.well.append(f"profiles: {len(wish.plans)} ({', '.join(sorted(wish.plans))})")
    report.well.append(f"devices: {len(wish.devices)} in {settings.devices.file}")
    _state_folder(settings, report)
    _broker_queue(settings, wish, report)
    most = memory_for_waiting(settings)
    report.well.append(f"memory for what waits: at most about {most / 1e6:,.0f} MB, whatever comes")
    if not offline:
        await asyncio.gather(_broker(settings, wish, report), _sinks(settings, report))
    return report


def _state_folder(settings: Settings, report: Report) -> None:
    folder = settings.state_dir
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".check"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        report.problems.append(Problem("state_dir", f"{folder} cannot be written: {error.strerror}"))
    else:
        report.well.append(f"state folder: {folder}")


def _broker_queue(settings: Settings, wish: Wanted, report: Report) -> None:
    """Say how long the broker bridges a stop: the last bound of what nothing is lost within."""
    intervals = [
        wish.plans[device.profile].every_ns
        for device in wish.devices.values()
        if device.profile in wish.plans
    ]
    per_hour = sum(3600 * 10**9 / every for every in intervals if every)
    messages = settings.broker.queue // MESSAGE_BYTES
    told = f"broker queue: about {messages:,} messages of {MESSAGE_BYTES} bytes"
    if not per_hour:
        report.well.append(f"{told}; how fast devices report is not known")
        return
    hours = messages / per_hour
    report.well.append(f"{told}, {hours:,.1f} hours at {per_hour:,.0f} messages an hour")
    if hours < 1:
        what = f"the broker's queue bridges only {hours * 60:.0f} min of a stopped gateway"
        hint = "raise max_queued_bytes in the broker, and queue here"
        report.problems.append(Problem("broker.queue", what, hint))


async def _broker(settings: Settings, wish: Wanted, report: Report) -> None:
    try:
        session = mqtt_settings(settings.broker)
        trial = await try_broker(session, cover(filters_of(wish.plans)))
    except ConfigurationError as error:
        report.problems += error.problems
    except BrokerTrouble as trouble:
        report.problems.append(Problem(f"broker {settings.broker.url}", str(trouble), trouble.hint))
    else:
        report.well += [f"broker: {line}" for line in trial.lines]
        if trial.trouble is not None:
            report.problems.append(
                Problem(f"broker {settings.broker.url}", str(trial.trouble), trial.trouble.hint)
            )


async def _sinks(settings: Settings, report: Report) -> None:
    try:
        sinks = build_sinks(settings, SystemClock())
    except ConfigurationError as error:
        report.problems += error.problems
        return
    for name, sink in sinks.items():
        try:
            report.well.append(f"sink {name}: {await sink.check()}")
        except SinkUnavailable as error:
            report.problems.append(Problem(f"sink {name}", str(error), error.hint))
        finally:
            await sink.close()
