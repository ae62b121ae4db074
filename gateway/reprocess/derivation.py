"""One derivation: uplinks of the journal under some rules, treated as the river does, into a store aside.

Its aggregator has a state of its own in a temporary folder, and keeps to the budget of memory that the
gateway's has. Its points go to a store that is the embedded one: of each field the value written last, as
in every sink that overwrites.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from gateway.aggregate.aggregator import Aggregator
from gateway.books import Books
from gateway.decode.identity import Identities
from gateway.decode.rates import Rates
from gateway.journal.checkpoint import Checkpoint
from gateway.model import Column, ControlKind, FieldType
from gateway.profiles.plan import Kind
from gateway.quality.assess import assess
from gateway.quality.neighbours import Neighbours
from gateway.sinks import columns
from gateway.sinks.embedded_store import Store
from gateway.sinks.embedded_upkeep import EmbeddedSettings
from gateway.treatment import Treatment

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from gateway.model import Bool, Control, Int64, Points, RawBatch, Readings
    from gateway.ports import Clock, Codecs
    from gateway.profiles.plan import GroupPlan, ProfilePlan
    from gateway.reprocess.spans import Spans
    from gateway.rules import Rules

END = "own:end"
"""The field that carries a window's end in a store aside."""
UNSURE = "own:unsure"
"""The field that marks a window with the first reading of its series that was read at all."""
OWN = (END, UNSURE)
"""What no sink has of a point."""
STORE_MEMORY = "128MB"
NEVER = int(np.iinfo(np.int64).max)
HOUR_NS = 3_600 * 10**9
DAY_NS = 24 * HOUR_NS
FOR_EVER_NS = 50 * 365 * DAY_NS
"""As a lateness: every reading that the journal has belongs to its window."""


def without_lateness(rules: Rules) -> Rules:
    """Return the rules with profiles that know no late reading."""
    plans = {name: replace(plan, lateness_ns=FOR_EVER_NS) for name, plan in rules.plans.items()}
    return replace(rules, plans=plans)


class Derivation:
    """What the uplinks give under `rules`. Synchronous; feed it in the journal's order, then `finish`.

    `goes_along`: write windows as their time comes, and forget what nothing could change any more, as the
    gateway did; else all of them at the end, once. `unsure`: whether readings may lie before the first one
    that is fed, so that a counter's first increment, and the state that held, are not known.
    """

    def __init__(
        self,
        folder: Path,
        rules: Rules,
        *,
        spans: Spans,
        accepted: Iterable[tuple[str, str]],
        grace_ns: int,
        hot_bytes: int,
        clock: Clock,
        goes_along: bool,
        unsure: bool,
        codecs: Codecs,
    ) -> None:
        folder.mkdir(parents=True)
        self._state = Checkpoint.open_newest_sound(folder)
        self._spans = spans
        self._hot_bytes = hot_bytes
        self._fed = False
        self._closed_ns = 0
        """Up to when windows were written; before there are any, when the first uplink was journalled."""
        self._goes_along = goes_along
        self._firsts: dict[tuple[str, int], Int64] | None = {} if unsure else None
        settings = EmbeddedSettings(
            folder / "points.duckdb",
            name="points",
            retention_ns=0,
            window_retention_ns=0,
            memory=STORE_MEMORY,
        )
        self.store = Store(settings, clock=clock)
        aggregator = Aggregator(
            self._state,
            zones=rules.limits.zones,
            default_zone=rules.limits.default_zone,
            assess=assess,
            neighbours=Neighbours,
            grace_ns=grace_ns,
            settle_ns=None,
            hot_bytes=hot_bytes,
        )
        aggregator.restore()
        aggregator.replayed()
        aggregator.use(rules.kept_plans())
        self._treatment = Treatment(
            rules=rules,
            aggregator=aggregator,
            identities=Identities(),
            rates=Rates(),
            books=Books(),
            observer=_Nobody(),
            accepted=accepted,
            select=self._chosen,
            codecs=codecs,
        )

    def control(self, record: Control) -> None:
        """Put a control record in force; the windows that were due before it are written first."""
        if self._fed:  # once for all records that come together: a fleet comes in many
            self._close_windows(record.at_ns)
            self._fed = False
        self._treatment.control(record)
        if record.kind is ControlKind.REWRITE:
            self._put()

    def uplinks(self, batches: Sequence[RawBatch]) -> None:
        """Treat uplinks."""
        self._fed = True
        self._closed_ns = self._closed_ns or batches[0].at_ns
        self._treatment.uplinks(batches)
        if self._goes_along:
            self._close_windows(batches[-1].at_ns)
        self._put()
        aggregator = self._treatment.aggregator
        if aggregator.figures().hot_bytes > self._hot_bytes:
            self._state.commit(aggregator.dirty(), {})
            aggregator.committed()

    def finish(self) -> None:
        """Write all windows of the spans, hour by hour: those of days at once would fill the memory."""
        end = self._spans.end + 2 * DAY_NS
        for now_ns in range(self._closed_ns, end, HOUR_NS):
            self._close_windows(now_ns)
        self._close_windows(end)

    def close(self) -> None:
        """Close the files; the folder is the caller's to remove."""
        self.store.close()
        self._state.close()

    def _close_windows(self, now_ns: int) -> None:
        self._closed_ns = max(self._closed_ns, now_ns)
        for _ in self._treatment.close_windows(now_ns, settled=False):
            self._put()
        self._put()

    def _put(self) -> None:
        """Put what was made, as far as it is in the spans, into the store."""
        product = self._treatment.take()
        made = [*product.raw, *product.windows]
        bodies = [columns.encode(kept) for points in made if len(kept := self._kept(points))]
        rewritten = [self._rewritten(one.points) for one in product.rewritten if one.reaches(once=False)]
        bodies += [columns.encode(kept) for kept in rewritten if len(kept)]
        if bodies:
            self.store.write(bodies)

    def _kept(self, points: Points) -> Points:
        profile = dict(points.tags[int(points.series[0])]).get("profile", "") if len(points) else ""
        plan = self._plan(profile)
        if plan is None or self._spans.until(profile) is None:
            return taken(points, np.zeros(len(points), np.bool_))
        inside = self._spans.inside(points, window_of(points))
        if points.window_end is None:
            return taken(points, inside)
        fields = {**points.fields, END: Column(FieldType.INTEGER, points.window_end)}
        unsure = self._unsure(points, plan)
        if unsure.any():
            fields[UNSURE] = Column(FieldType.INTEGER, unsure.astype(np.int64), unsure)
        return taken(replace(points, fields=fields), inside)

    def _rewritten(self, points: Points) -> Points:
        """Return what a reprocessing wrote or removed in the spans: its windows were sure."""
        if points.window_end is not None:
            end = Column(FieldType.INTEGER, points.window_end)
            points = replace(points, fields={**points.fields, END: end})
        return taken(points, self._spans.inside(points, window_of(points)))

    def _plan(self, profile: str) -> ProfilePlan | None:
        rules = self._treatment.rules
        return rules.plans.get(profile) or rules.retired.get(profile)

    def _chosen(self, readings: Readings) -> Readings:
        """Take what the spans need: nothing of other profiles, nothing behind their end."""
        until = self._spans.until(readings.profile.name)
        if until is None:
            return readings.take(np.zeros(len(readings), np.bool_))
        # A window that begins in the span may reach a day beyond it, where windows do not nest; and the
        # next reading, whenever it comes, tells whether the last one was a spike.
        kept = readings.time < until + 2 * DAY_NS
        has_spikes = any(quantity.spike is not None for quantity in readings.group.quantities)
        chosen = readings if has_spikes or kept.all() else readings.take(kept)
        if self._firsts is not None and len(chosen) and _has_memory(chosen.group):
            self._note_firsts(chosen)
        return chosen

    def _note_firsts(self, readings: Readings) -> None:
        assert self._firsts is not None
        key = (readings.profile.name, readings.group.index)
        firsts = self._firsts.get(key, np.empty(0, np.int64))
        if len(readings.table) > len(firsts):
            more = np.full(len(readings.table) - len(firsts), NEVER, np.int64)
            firsts = self._firsts[key] = np.concatenate([firsts, more])
        np.minimum.at(firsts, readings.series, readings.time)

    def _unsure(self, points: Points, plan: ProfilePlan) -> Bool:
        """Return which windows hold the first reading of their series, whose past is not known: bool[n]."""
        found = np.zeros(len(points), np.bool_)
        for group in plan.groups if self._firsts is not None else ():
            names = {f"{quantity.name}_count" for quantity in group.quantities}
            firsts = (self._firsts or {}).get((plan.name, group.index))
            if firsts is not None and names & points.fields.keys() and points.window_end is not None:
                first = firsts[np.minimum(points.series, len(firsts) - 1)]
                found |= (points.time <= first) & (first < points.window_end)
        return found


class _Nobody:
    """`ports.DeviceObserver` of a derivation: what is heard was heard before."""

    def heard(self, site_devices: Iterable[tuple[str, str]], at_ns: int) -> None:
        """Nothing."""

    def unknown(self, site: str, device: str, topic: str, payload: bytes, at_ns: int) -> None:
        """Nothing."""


def window_of(points: Points) -> str | None:
    """Return the name of the windows' length, which ends their measurement; None of raw readings."""
    return None if points.window_end is None else points.measurement.rpartition("_")[2]


def taken(points: Points, rows: Bool) -> Points:
    """Return some of the points."""
    if rows.all():
        return points
    fields = {
        name: Column(c.type, c.values[rows], None if c.present is None else c.present[rows])
        for name, c in points.fields.items()
    }
    return replace(
        points,
        series=points.series[rows],
        time=points.time[rows],
        fields={name: c for name, c in fields.items() if c.present is None or c.present.any()},
        window_end=None if points.window_end is None else points.window_end[rows],
        revision=None if points.revision is None else points.revision[rows],
    )


def _has_memory(group: GroupPlan) -> bool:
    """Tell whether windows depend on the reading before their first one."""
    return any(quantity.kind in (Kind.COUNTER, Kind.STATE) for quantity in group.quantities)
