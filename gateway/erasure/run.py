"""Erases a device from the files of a stopped gateway, then from its databases, and looks whether it is gone.

Delivery guarantees: each file changes whole or not at all, and a gateway can go on from any mixture of
changed and unchanged ones: a crash leaves less to be erased by a second run. What was erased is in no
file of the state folder afterwards, nor in its free pages; the disk may still hold blocks that the file
system has given back.
"""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from gateway import durable, saving
from gateway.backup import held
from gateway.erasure import databases, records, search, state
from gateway.erasure.target import Belonging, Target
from gateway.errors import ConfigurationError, SinkUnavailable, StateError
from gateway.ingest.wire import ProtocolError
from gateway.journal import checkpoint, rewriting, segments
from gateway.model import Control, ControlKind, Frames
from gateway.profiles.compile import compile_text
from gateway.quarantine import erasing as quarantine_erasing
from gateway.registry.unknown import UnknownDevices
from gateway.sinks import embedded_store, outbox_erasing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.backup.files import Progress
    from gateway.config import Settings
    from gateway.saving import Saved

QUARANTINE, UNKNOWN = "quarantine.db", "unknown.db"
_LEFTOVERS = ("state.db.damaged*", "state.db.copy*", "*.new", "*.new-wal", "*.new-shm", "*.new-journal")
"""What crashes and damage have left: nobody reads it, and it may hold the device."""


@dataclass(slots=True)
class Report:
    """What was erased, and what could not be; `sinks` says it of each database, by its name."""

    uplinks: int = 0
    """Frames in the journal."""
    named: int = 0
    """Control records that named the device."""
    waiting: int = 0
    """Points in the outbox."""
    quarantined: int = 0
    unknown: bool = False
    """Whether it stood on the list of unknown devices."""
    state: state.Found = field(default_factory=state.Found)
    stores: dict[str, int] = field(default_factory=dict)
    """Rows of each embedded store."""
    sinks: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def sites(settings: Settings, device: str) -> set[str]:
    """Return the sites at which a gateway knows a device of that identifier. Raises StateError."""
    with _opened(settings.state_dir) as (store, saved):
        found = state.sites_of(store, saved, device)
    with _strangers(settings) as strangers:
        return found | {each.site for each in strangers.list() if each.device == device}


def erase(settings: Settings, target: Target, progress: Progress) -> Report:
    """Erase a device. The caller holds the gateway's lock on the state folder.

    Raises StateError, JournalError: a file cannot be read or written at all; what was done before stays
    done. What else could not be erased stands in the report's problems.
    """
    report, folder = Report(), settings.state_dir
    with durable.translated(StateError, f"{folder} cannot be erased from"):
        _clear_leftovers(folder)
        with _opened(folder) as (store, saved):
            plans = {**saved.rules.retired, **saved.rules.plans}
            belonging = Belonging(target, plans=plans, devices=saved.rules.devices)
            _Journal(belonging, report, progress).erase(folder / "journal")
            _outboxes(folder, target, report)
            if (folder / QUARANTINE).is_file():
                report.quarantined = quarantine_erasing.erase(folder / QUARANTINE, belonging.row)
            report.state = state.erase(store, saved, target)
        with _strangers(settings) as strangers:
            report.unknown = strangers.forget(*target.key)
        durable.compact(folder / UNKNOWN)
        durable.compact(folder / checkpoint.NAME)
        _renew_copies(folder)
    _stores(folder, target, report)
    databases.erase(settings, target, report.sinks, report.problems)
    with durable.translated(StateError, f"{folder} cannot be searched"):
        report.problems += search.left(folder, belonging, progress)
    return report


def _clear_leftovers(folder: Path) -> None:
    for pattern in _LEFTOVERS:
        for path in [*folder.glob(pattern), *(folder / "journal").glob(pattern)]:
            path.unlink(missing_ok=True)
    shutil.rmtree(folder / held.FOLDER, ignore_errors=True)


def _outboxes(folder: Path, target: Target, report: Report) -> None:
    for path in sorted(folder.glob("outbox-*.db")):
        points, unreadable = outbox_erasing.erase(path, site=target.site, device=target.device)
        report.waiting += points
        if unreadable:
            report.problems.append(f"{path}: {unreadable} damaged entries could not be looked into")


def _stores(folder: Path, target: Target, report: Report) -> None:
    for path in sorted(folder.glob("*.duckdb")):
        try:
            report.stores[path.name] = embedded_store.erase(path, site=target.site, device=target.device)
        except SinkUnavailable as error:
            report.problems.append(f"{error} ({error.hint})")


def _renew_copies(folder: Path) -> None:
    """Put one copy of the state as it is now in the place of those that were."""
    for copy in checkpoint.copies(folder):
        durable.remove(copy)
    store = checkpoint.Checkpoint.open_newest_sound(folder)
    try:
        store.copy()
    finally:
        store.close()


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[tuple[checkpoint.Checkpoint, Saved]]:
    """Open the state, as the gateway would, and restore what is in it. Raises StateError."""
    if not (folder / checkpoint.NAME).is_file():
        hint = "is --config the one of the gateway?"
        raise StateError(f"no gateway has run with the state folder {folder}", hint=hint)
    store = checkpoint.Checkpoint.open_newest_sound(folder)
    try:
        yield store, saving.restore(store)
    finally:
        store.close()


def _strangers(settings: Settings) -> contextlib.closing[UnknownDevices]:
    path = settings.state_dir / UNKNOWN
    return contextlib.closing(UnknownDevices(path, max_devices=max(settings.devices.max_unknown, 1)))


class _Journal:
    """Goes through the journal, learning from it which topics were whose."""

    def __init__(self, belonging: Belonging, report: Report, progress: Progress) -> None:
        self._belonging = belonging
        self._report = report
        self._progress = progress

    def erase(self, folder: Path) -> None:
        """Rewrite every record that holds something of the device."""
        paths = segments.segment_paths(folder) if folder.is_dir() else []
        self._progress.expect(2 * sum(path.stat().st_size for path in paths))
        for path in paths:
            done = rewriting.rewrite(path, self._changed, read=partial(self._progress.done, path.name))
            if done.unreadable:
                self._report.problems.append(
                    f"{path}: {done.unreadable} damaged records could not be looked into: where the device "
                    "must not be in them, move the file away (its uplinks are treated already, if the "
                    "state's place lies behind it)"
                )

    def _changed(self, position: int, record: Frames | Control) -> Frames | Control | None:
        if isinstance(record, Control):
            if record.kind is ControlKind.PROFILE:
                self._learn(record)
            left = records.without_device(record, self._belonging.target)
            self._report.named += left is not None
            return left
        try:
            found = records.without_uplinks(record, self._belonging.has)
        except ProtocolError as error:
            self._report.problems.append(f"journal record {position} could not be looked into: {error}")
            return None
        if found is None:
            return None
        self._report.uplinks += found[1]
        return found[0]

    def _learn(self, record: Control) -> None:
        """Take a profile's topics; one that this Écluse does not accept any more has none that it knows."""
        with contextlib.suppress(ConfigurationError):
            self._belonging.learn(compile_text(records.profile_text(record), name="a profile").topics)
