"""What the operator wants: the profiles' folder and the devices' file, read again when they change.

A profile or a device that cannot be used is refused with its reason, and what was in force goes on:
a bad profile keeps its last good version, a bad row its device's last good one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.errors import ConfigurationError, Problem
from gateway.profiles.difference import retyped
from gateway.profiles.load import load, profile_files
from gateway.profiles.together import check_together
from gateway.registry.devices import read_devices
from gateway.roster import Roster

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from gateway.profiles.load import Loaded
    from gateway.profiles.plan import ProfilePlan
    from gateway.rules import Rules

Stamp = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Profiles by name, devices by (site, id), and what was refused."""

    plans: Mapping[str, ProfilePlan]
    devices: Roster
    profile_problems: tuple[Problem, ...]
    device_problems: tuple[Problem, ...]
    referred: tuple[Path, ...] = ()
    """Files that profiles name."""


def read(profiles: Path, devices: Path, *, rules: Rules) -> Wanted:
    """Read folder and file. Never raises for what is in them."""
    loaded = load(profiles)
    plans = dict(loaded.plans)
    retypings = [problem for plan in loaded.plans.values() for problem in _retypings(plan, loaded, rules)]
    problems = (*loaded.problems, *(problem for _, problem in retypings))
    for plan, _ in retypings:
        plans.pop(plan.name, None)
    # Where something was refused nothing is taken away: it may be what was refused.
    if problems:
        for name, plan in rules.plans.items():
            if name not in plans and not check_together([*plans.values(), plan]):
                plans[name] = plan
    file = read_devices(devices, plans)
    return Wanted(
        plans=plans,
        devices=Roster().changed([*rules.devices.entries(), *file.devices.entries()])
        if file.problems
        else file.devices,
        profile_problems=problems,
        device_problems=file.problems,
        referred=loaded.referred,
    )


def _retypings(plan: ProfilePlan, loaded: Loaded, rules: Rules) -> Iterator[tuple[ProfilePlan, Problem]]:
    """Yield why a changed profile cannot take the place of the one in force: kinds change with versions."""
    known = rules.plans.get(plan.name)
    if known is None or plan.version > known.version:
        return
    for one in retyped(known, plan):
        what = f"«{one.where}» is {one.before} in version {known.version}, and would be {one.after}"
        hint = f"write version: {known.version + 1}, or give the quantity another name"
        yield plan, Problem(str(loaded.files[plan.name]), what, hint)


def require_profiles(profiles: Path) -> None:
    """Refuse a folder without one good profile, before anything is started. Raises ConfigurationError."""
    loaded = load(profiles)
    if not loaded.plans:
        raise ConfigurationError(loaded.problems)


def stamp(profiles: Path, devices: Path, referred: Iterable[Path] = ()) -> Stamp:
    """Return what changes when a file of either, or one that profiles name, changes: name, time, size."""
    stamps = []
    for file in (*profile_files(profiles), *referred, devices):
        try:
            status = file.stat()
        except OSError:
            continue
        stamps.append((str(file), status.st_mtime_ns, status.st_size))
    return tuple(stamps)
