"""Erases from the files of a gateway, then from its databases: a device, or what a profile has that is old.

In three steps. `Erasure.beforehand` rewrites the segments of the journal that are full: it may go on beside
the gateway, which only reads them. `Erasure.files` does the rest, and needs the state folder for itself.
`Erasure.databases` asks the databases, whoever has the folder by then: what waited for them is gone.

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
from typing import TYPE_CHECKING, Protocol

from gateway import durable, saving
from gateway.aggregate.shelf import shortest_of
from gateway.backup import held
from gateway.erasure import audit, databases, journal, state
from gateway.erasure.aged import Aged, require_final
from gateway.erasure.search import Search
from gateway.erasure.target import Belonging
from gateway.errors import EcluseError, JournalError, SinkUnavailable, StateError
from gateway.journal import checkpoint, segments
from gateway.journal.lock import FolderLock
from gateway.journal.snapshot import snapshot
from gateway.quarantine import erasing as quarantine_erasing
from gateway.registry.unknown import UnknownDevices
from gateway.reprocess import dry_run
from gateway.sinks import embedded_store, outbox_erasing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from gateway.backup.files import Progress
    from gateway.config import Settings
    from gateway.erasure.target import Target
    from gateway.model import Record
    from gateway.quarantine.reader import QuarantineRow
    from gateway.rules import Rules
    from gateway.saving import Saved
    from gateway.sinks.erasing import Which

QUARANTINE, UNKNOWN = "quarantine.db", "unknown.db"
_LEFTOVERS = ("state.db.copy*", "*.new", "*.new-wal", "*.new-shm", "*.new-journal")
"""What crashes have left: nobody reads it, and it may hold the device."""
_SPILLED = "*.duckdb.tmp"
_DAMAGED = "*.damaged-*"


class Scope(Protocol):
    """What is erased: `target.Belonging` or `aged.Aged`."""

    which: Which
    """Its points."""

    def renew(self, rules: Rules, position: int) -> None:
        """Judge by these rules, which hold at that position."""
        ...

    def learn(self, profile: str, topics: Iterable[str]) -> None:
        """Take the topics that a profile had."""
        ...

    def without(self, position: int, record: Record) -> tuple[Record, int] | None:
        """Return a record without it, and how many uplinks went; None where the record has nothing of it."""
        ...

    def row(self, row: QuarantineRow) -> bool:
        """Tell whether a row of the quarantine is of it."""
        ...


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
    files: int = 0
    """Files that were gone through; where a device is erased, they were searched afterwards, byte by byte."""
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Known:
    """What a gateway knows: at its last checkpoint, and on its list of unknown devices."""

    saved: Saved
    names: frozenset[tuple[str, str]]
    """(site, identifier) of every device."""

    @classmethod
    def of(cls, settings: Settings) -> Known:
        """Look, beside a gateway that runs or at the folder of a stopped one. Raises StateError."""
        with snapshot(settings.state_dir) as seen:
            saved = saving.restore(seen)
            names = state.names_in(seen, saved)
        with _strangers(settings) as strangers:
            names |= {(each.site, each.device) for each in strangers.list()}
        return cls(saved, frozenset(names))

    def device(self, target: Target) -> tuple[Scope, Search]:
        """Return a device as what is erased, and how it is looked for afterwards."""
        rules = self.saved.rules
        belonging = Belonging(target, rules=rules, others=self.sites(target.device))
        texts = [plan.text for plan in rules.kept_plans()]
        return belonging, Search(belonging, self.names, texts)

    def aged(self, profile: str, age_ns: int, now_ns: int) -> Scope:
        """Return what a profile has that is older. Raises EcluseError: unknown, or windows still need it."""
        rules = self.saved.rules
        plan = rules.plans.get(profile) or rules.retired.get(profile)
        if plan is None:
            named = ", ".join(sorted({*rules.plans, *rules.retired}))
            raise EcluseError(f"no profile {profile} is or was in force", hint=f"there are: {named}")
        require_final(plan, age_ns)
        return Aged(plan, now_ns - age_ns, rules=rules, through=self.saved.cut.position)

    def sites(self, device: str) -> set[str]:
        """Return the sites at which a device of that identifier stands."""
        return {site for site, known in self.names if known == device}


class Erasure:
    """One erasure. Raises StateError, JournalError: a file cannot be read or written; what is done stays so.

    What else could not be erased stands in the report's problems.
    """

    def __init__(self, settings: Settings, scope: Scope, search: Search | None, progress: Progress) -> None:
        self.report = Report()
        self._settings = settings
        self._folder = settings.state_dir
        self._scope = scope
        self._search = search
        self._progress = progress
        self._journal = journal.Erasing(scope, self.report, search, progress)

    def beforehand(self) -> None:
        """Erase from the segments of the journal to which no more is appended: a gateway may be running."""
        self._erase_segments(self._segments()[:-1])

    def files(self) -> None:
        """Erase from all files of the state folder. The caller holds the gateway's lock on it."""
        report, folder = self.report, self._folder
        with durable.translated(StateError, f"{folder} cannot be erased from"):
            self._clear_leftovers()
            with _opened(folder) as (_, saved):
                self._recover_journal(saved.cut.position)
                self._scope.renew(saved.rules, saved.cut.position)
            self._erase_segments(self._segments())
            self._outboxes()
            if (folder / QUARANTINE).is_file():
                report.quarantined = quarantine_erasing.erase(folder / QUARANTINE, self._scope.row)
            if isinstance(self._scope, Belonging):
                self._device(self._scope)
            elif isinstance(self._scope, Aged):
                self._blocks(self._scope)
            self._renew_copies()
        self._stores()
        if self._search is not None:
            with durable.translated(StateError, f"{folder} cannot be searched"):
                self._look(self._search)

    def databases(self) -> None:
        """Delete from every database of the settings."""
        databases.erase(self._settings, self._scope.which, self.report.sinks, self.report.problems)

    def _segments(self) -> list[Path]:
        where = self._folder / "journal"
        return segments.segment_paths(where) if where.is_dir() else []

    def _erase_segments(self, paths: list[Path]) -> None:
        with durable.translated(JournalError, "the journal cannot be erased from"):
            self._journal.erase(paths)

    def _recover_journal(self, floor: int) -> None:
        """Bring into the last segment what a crash has left in its WAL; say what is lost, as a start does."""
        with durable.translated(JournalError, "the journal cannot be opened"):
            opened, damages = segments.open_segments(
                self._folder / "journal", self._settings.journal.segment, floor
            )
            opened.close()
        self.report.notes += [
            f"the journal's records {each.first} to {each.last} cannot be read: {each.why}"
            for each in damages
        ]

    def _clear_leftovers(self) -> None:
        for pattern in _LEFTOVERS:
            for path in [*self._folder.glob(pattern), *(self._folder / "journal").glob(pattern)]:
                path.unlink(missing_ok=True)
        for folder in (self._folder / held.FOLDER, *self._folder.glob(_SPILLED)):
            shutil.rmtree(folder, ignore_errors=True)
        try:
            alone = FolderLock(self._folder, f"{dry_run.FOLDER}.lock")
        except JournalError:
            self.report.problems.append("a replay is going on, and may hold it: wait, and erase again")
            return
        shutil.rmtree(self._folder / dry_run.FOLDER, ignore_errors=True)
        alone.release()

    def _outboxes(self) -> None:
        for path in sorted(self._folder.glob("outbox-*.db")):
            self.report.waiting += outbox_erasing.erase(path, self._scope.which)

    def _device(self, device: Belonging) -> None:
        """Erase a device from what knows it by name: the state, and the list of unknown devices."""
        with _opened(self._folder) as (store, saved):
            self.report.state = state.erase(store, saved, device)
        with _strangers(self._settings, mend=True) as strangers:
            self.report.unknown = strangers.forget(*device.target.key)
        for name in (UNKNOWN, checkpoint.NAME):
            durable.compact(self._folder / name)

    def _blocks(self, aged: Aged) -> None:
        """Erase what the state has of a profile that has not been heard for long."""
        with _opened(self._folder) as (store, _):
            self.report.state.blocks = state.erase_blocks(
                store, aged.plan.name, aged.before_ns, shortest_of(aged.plan)
            )
        durable.compact(self._folder / checkpoint.NAME)

    def _stores(self) -> None:
        for path in sorted(self._folder.glob("*.duckdb")):
            try:
                self.report.stores[path.stem] = embedded_store.erase(path, self._scope.which)
            except SinkUnavailable as error:
                self.report.problems.append(f"{error} ({error.hint})")

    def _renew_copies(self) -> None:
        """Put one copy of the state as it is now in the place of those that were."""
        store = checkpoint.Checkpoint.open_newest_sound(self._folder)
        try:
            for copy in store.copies():
                durable.remove(copy)
            durable.sync_folder(self._folder)
            store.copy()
        finally:
            store.close()

    def _look(self, search: Search) -> None:
        """Search every file that was not searched yet, and name what was set aside as damaged."""
        report, damaged = self.report, sorted(self._folder.rglob(_DAMAGED))
        paths = [
            path
            for path in sorted(self._folder.rglob("*"))
            if path.is_file() and path not in self._journal.done and not path.match(audit.UNFINISHED)
        ]
        for path in paths:
            report.files += 1
            left = search.in_file(path, read=partial(self._progress.done, path.name))
            if left and path in damaged:
                left += ": it was set aside as damaged, and nobody needs it any more: remove it"
            if left:
                report.problems.append(left)
        report.notes += [
            f"{path} was set aside as damaged: what is in it cannot be told for sure" for path in damaged
        ]


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[tuple[checkpoint.Checkpoint, Saved]]:
    """Open the state, as the gateway would, and restore what is in it. Raises StateError."""
    store = checkpoint.Checkpoint.open_newest_sound(folder)
    try:
        yield store, saving.restore(store)
    finally:
        store.close()


def _strangers(settings: Settings, *, mend: bool = False) -> contextlib.closing[UnknownDevices]:
    path, most = settings.state_dir / UNKNOWN, max(settings.devices.max_unknown, 1)
    return contextlib.closing(UnknownDevices(path, max_devices=most, mend=mend))
