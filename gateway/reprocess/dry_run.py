"""A dry run: what would change if the journal were treated by today's rules. Reads, and changes nothing.

The journal is gone through once, beside the gateway if it runs. Two derivations are fed with it: one by the
rules as the control records say they held, which is what was written; one by today's rules, without
lateness, which is what would be. What differs between the two is told. Whole windows only, of spans that
the journal holds from end to end and that the gateway itself corrects no more.

Records read: those of the span's readings were received from `start - max_ahead` on, and late ones up to
now; and as far again before as was asked for, since neighbours, counters and states need the reading just
before. A window whose reading before was not found is left as it is, and said.
"""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import orjson

from gateway import suspicion
from gateway.aggregate.civil import Calendar
from gateway.aggregate.hot import ROWS
from gateway.errors import EcluseError, JournalError
from gateway.ingest.packets import batch_of
from gateway.journal.lock import FolderLock
from gateway.journal.records import time_ns
from gateway.model import Control, ControlKind, RawBatch
from gateway.profiles.compile import compile_text
from gateway.profiles.durations import instant_text
from gateway.reprocess.comparing import Difference, differences
from gateway.reprocess.derivation import Derivation, without_lateness
from gateway.reprocess.history import rules_at
from gateway.reprocess.spans import Span, Spans, floored, lengths_of, widened

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from gateway.journal.reader import JournalReader
    from gateway.journal.snapshot import StateSnapshot
    from gateway.ports import Clock, Codecs
    from gateway.profiles.plan import ProfilePlan
    from gateway.rules import Rules
    from gateway.saving import Saved
    from gateway.sinks.embedded_store import Store

GATHER_UPLINKS = 10_000
GATHER_NS = 3_600 * 10**9
"""Uplinks treated together were received within this: so often windows are written as the gateway did."""
FOLDER = "reprocessing"
"""Where derivations have their files, in the state folder; removed at the end."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for: event times (`end_ns` None: as late as it can be), profiles (none: all of today's).

    `before_ns`: how far before the span readings are looked for that its first ones depend on.
    """

    start_ns: int
    end_ns: int | None
    profiles: Collection[str]
    before_ns: int
    without_damaged: bool


@dataclass(frozen=True, slots=True)
class Known:
    """The last checkpoint as far as it matters here; `oldest` maps a shelf to its oldest kept block."""

    saved: Saved
    oldest: Mapping[str, int]

    @classmethod
    def of(cls, store: StateSnapshot, saved: Saved) -> Known:
        """Read which blocks the state keeps."""
        starts = {owner: store.starts(ROWS, owner) for owner in store.owners(ROWS)}
        return cls(saved, {owner: found[0] for owner, found in starts.items() if found})


@dataclass(slots=True)
class Report:
    """What a dry run found; spans are event times by (profile, zone)."""

    spans: Mapping[tuple[str, str], Span]
    records: int = 0
    uplinks: int = 0
    damaged: int = 0
    differences: list[Difference] = field(default_factory=list)

    @property
    def changes(self) -> bool:
        """Whether anything would be written, deleted or left that differs."""
        return any(self.differences)


@dataclass(frozen=True, slots=True)
class Compared:
    """What a dry run found, and the points: those that were written, and those that would be."""

    report: Report
    before: Store
    after: Store


class DryRun:
    """One dry run. Construct it, which refuses what cannot be done; then `run` it once. Synchronous."""

    def __init__(
        self,
        *,
        asked: Asked,
        journal: JournalReader,
        known: Known,
        today: Rules,
        folder: Path,
        grace_ns: int,
        hot_bytes: int,
        clock: Clock,
        codecs: Codecs,
    ) -> None:
        """Raises EcluseError: nothing is held, the span is not held whole, or is not final yet."""
        self._asked = asked
        self._journal = journal
        self._known = known
        self._today = today
        self._folder = folder / FOLDER
        self._grace_ns = grace_ns
        self._codecs = codecs
        self._hot_bytes = hot_bytes
        self._clock = clock
        self._controls = journal.controls(0)
        self._corrections = [
            suspicion.corrections(position, record)
            for position, record in self._controls
            if record.kind is ControlKind.CLOCK_SETTLED
        ]
        self._calendar = Calendar(today.limits.zones, today.limits.default_zone)
        self._versions = self._all_versions()
        self.spans = self._widened()
        self._require_held()
        self._after = journal.before(self.spans.start - self._max_ahead() - asked.before_ns)

    @property
    def places(self) -> tuple[int, int]:
        """The positions between which the journal is read: (after, through]."""
        return self._after, self._journal.end

    @property
    def checkpoint(self) -> int:
        """The position of the last checkpoint."""
        return self._known.saved.cut.position

    @property
    def controls(self) -> list[ControlKind]:
        """The kinds of the journal's control records, in order."""
        return [record.kind for _, record in self._controls]

    def run(self, progress: Callable[[int], None]) -> Report:
        """Go through the journal, and compare. `progress` is told the position reached.

        Raises EcluseError: records of the span are damaged (unless it goes without them); JournalError.
        """
        with self.compared(progress) as compared:
            return compared.report

    @contextlib.contextmanager
    def compared(self, progress: Callable[[int], None]) -> Iterator[Compared]:
        """Give what `run` returns, with the two stores that it was told from. As `run`."""
        report = Report(self.spans.by_zone)
        with self.derived(report, progress) as (before, after):
            report.differences = list(differences(before.store, after.store))
            yield Compared(report, before.store, after.store)

    @contextlib.contextmanager
    def derived(
        self, report: Report, progress: Callable[[int], None]
    ) -> Iterator[tuple[Derivation, Derivation]]:
        """Give what was written, and what would be, each in its store; counts what was read. As `run`."""
        with contextlib.closing(_Alone(self._folder.parent)):
            shutil.rmtree(self._folder, ignore_errors=True)  # what a crash has left
            try:
                with (
                    contextlib.closing(self._derivation("before", self._then(), goes_along=True)) as before,
                    contextlib.closing(
                        self._derivation("after", without_lateness(self._today), goes_along=False)
                    ) as after,
                ):
                    self._feed(before, after, report, progress)
                    yield before, after
            finally:
                shutil.rmtree(self._folder, ignore_errors=True)

    def _feed(
        self, before: Derivation, after: Derivation, report: Report, progress: Callable[[int], None]
    ) -> None:
        for position, content in self._gathered(report):
            if isinstance(content, Control):
                before.control(content)
            else:
                before.uplinks(content)
                after.uplinks(content)
            progress(position)
        report.damaged = sum(damage.last + 1 - damage.first for damage in self._journal.damages)
        self._require_sound()
        before.finish()
        after.finish()

    def _gathered(self, report: Report) -> Iterator[tuple[int, Control | Sequence[RawBatch]]]:
        """Yield control records, and the uplinks between them many at a time."""
        batches, uplinks, position = list[RawBatch](), 0, self._after
        for position, record in self._journal.read(self._after):
            report.records += 1
            if isinstance(record, Control) and record.kind in suspicion.KINDS:
                continue  # they change receive times alone
            if batches and time_ns(record) - batches[0].at_ns >= GATHER_NS:
                yield position, batches
                batches, uplinks = [], 0
            if not isinstance(record, Control):
                batches.append(self._corrected(position, batch_of(record, position)))
                uplinks += len(batches[-1])
                report.uplinks += len(batches[-1])
            if batches and (isinstance(record, Control) or uplinks >= GATHER_UPLINKS):
                yield position, batches
                batches, uplinks = [], 0
            if isinstance(record, Control):
                yield position, record
        if batches:
            yield position, batches

    def _corrected(self, position: int, batch: RawBatch) -> RawBatch:
        """Return a batch with the receive time by which it was treated."""
        span = next((span for span in self._corrections if position <= span.through), None)
        return batch if span is None else span.corrected(position, batch)

    def _derivation(self, name: str, rules: Rules, *, goes_along: bool) -> Derivation:
        return Derivation(
            self._folder / name,
            rules,
            spans=self.spans,
            accepted=self._known.saved.accepted,
            grace_ns=self._grace_ns,
            hot_bytes=self._hot_bytes // 2,
            clock=self._clock,
            goes_along=goes_along,
            unsure=self._after > 0,
            codecs=self._codecs,
        )

    def _then(self) -> Rules:
        """Return the rules in force where the reading begins."""
        saved = self._known.saved
        return rules_at(self._after, known=saved.rules, known_at=saved.cut.position, controls=self._controls)

    def _all_versions(self) -> dict[str, list[ProfilePlan]]:
        """Return today's version of each profile that is meant, and all that the journal knows of."""
        saved = self._known.saved
        first = self._journal.first - 1
        then = rules_at(first, known=saved.rules, known_at=saved.cut.position, controls=self._controls)
        wanted = self._asked.profiles or self._today.plans.keys()
        texts: dict[str, dict[str, None]] = {name: {} for name in wanted}
        for plan in (*then.plans.values(), *saved.rules.plans.values()):
            if plan.name in texts:
                texts[plan.name][plan.text] = None
        for _, record in self._controls:
            body = orjson.loads(record.body) if record.kind is ControlKind.PROFILE else {}
            if body.get("name") in texts:
                texts[body["name"]][body["text"]] = None
        found = {
            name: [
                *([self._today.plans[name]] if name in self._today.plans else []),
                *(compile_text(text, name=f"profile {name} in the journal") for text in known),
            ]
            for name, known in texts.items()
        }
        if missing := [name for name, versions in found.items() if not versions]:
            there = ", ".join(sorted(self._today.plans)) or "none"
            raise EcluseError(f"no profile {missing[0]}", hint=f"there are: {there}")
        return found

    def _widened(self) -> Spans:
        """Return the spans, whole windows of every version and zone. Raises EcluseError."""
        spans: dict[tuple[str, str], Span] = {}
        for name, versions in self._versions.items():
            lengths = [lengths_of(plan) for plan in versions]
            final = self._final_until(name, versions)
            for zone in self._zones():
                latest = floored(final, lengths, zone, self._calendar)
                end = latest if self._asked.end_ns is None else self._asked.end_ns
                if end <= self._asked.start_ns:
                    raise EcluseError(
                        f"{name}: no whole window lies between {instant_text(self._asked.start_ns)} and "
                        f"{instant_text(end)}, up to where all are final",
                        hint="ask for an earlier --from",
                    )
                span = widened(Span(self._asked.start_ns, end), lengths, zone, self._calendar)
                if span.end > final:
                    raise EcluseError(
                        f"{name}: its windows from {instant_text(latest)} on can still be corrected by the "
                        f"gateway; whole windows of what is asked for end at {instant_text(span.end)}",
                        hint=f"ask up to --to {instant_text(latest)}, or leave --to out",
                    )
                spans[name, self._calendar.zones[zone].name] = span
        windows = {
            name: {window.name: window.length_ns for plan in versions for window in plan.windows}
            for name, versions in self._versions.items()
        }
        return Spans(spans, windows=windows, calendar=self._calendar)

    def _zones(self) -> list[int]:
        """Return the numbers of all zones that a site can have."""
        sites = ["", *self._today.limits.zones]
        return sorted({self._calendar.zone_of(site) for site in sites})

    def _final_until(self, name: str, versions: Sequence[ProfilePlan]) -> int:
        """Return the event time before which the gateway can write no window of a profile any more.

        Its blocks from there on are gone, and a reading that comes is late.
        """
        treated_ns = self._journal.time_behind(self._known.saved.cut.position)
        if treated_ns is None:
            raise EcluseError("the journal holds nothing yet", hint="see journal.retention in the settings")
        final = treated_ns - max(plan.lateness_ns for plan in versions)
        kept = [start for owner, start in self._known.oldest.items() if owner.partition("/")[0] == name]
        return min([final, *kept])

    def _max_ahead(self) -> int:
        return max(plan.max_ahead_ns for versions in self._versions.values() for plan in versions)

    def _require_held(self) -> None:
        """Refuse a span whose first uplinks were trimmed."""
        held = self._journal.held_since_ns()
        if self._journal.first <= 1 and held is not None:
            return  # nothing was ever trimmed
        needed = self.spans.start - self._max_ahead()
        if held is None or held > needed:
            first = "nothing" if held is None else f"records from {instant_text(held)} on"
            raise EcluseError(
                f"the journal no longer holds {instant_text(self.spans.start)} to "
                f"{instant_text(self.spans.end)}: it has {first}, from position {self._journal.first}, and "
                f"what was received from {instant_text(needed)} on is needed",
                hint="ask for a later --from; journal.retention and retention_size say how much is kept",
            )

    def _require_sound(self) -> None:
        """Refuse to go without uplinks that cannot be read, unless that is asked for."""
        damages = self._journal.damages
        if damages and not self._asked.without_damaged:
            named = ", ".join(f"{damage.first} to {damage.last} ({damage.why})" for damage in damages[:3])
            raise EcluseError(
                f"the journal is damaged in what must be read: records {named}",
                hint="--without-damaged goes without them: what they gave would then count as removed",
            )


class _Alone:
    """Holds the temporary folder alone. Raises EcluseError where another command does."""

    def __init__(self, folder: Path) -> None:
        try:
            self._lock = FolderLock(folder, f"{FOLDER}.lock")
        except JournalError as held:
            raise EcluseError(
                f"another replay reads the journal of {folder}", hint="wait until it has ended, or end it"
            ) from held

    def close(self) -> None:
        """Let another one begin."""
        self._lock.release()
