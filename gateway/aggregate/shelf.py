"""A shelf: everything that is known of one group of one profile: series, blocks, last readings, writings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gateway.aggregate import carry as carries
from gateway.aggregate.carry import NEVER, Carry
from gateway.aggregate.civil import HOUR
from gateway.aggregate.hot import Blocks
from gateway.aggregate.latest import LatestLog
from gateway.aggregate.layout import Layout
from gateway.aggregate.rows import empty, joined
from gateway.aggregate.written import EVERYWHERE, Written

if TYPE_CHECKING:
    from gateway.aggregate.carry import NeighboursFactory
    from gateway.aggregate.civil import Calendar
    from gateway.aggregate.hot import Budget
    from gateway.aggregate.replay import Replayed
    from gateway.aggregate.rows import Rows
    from gateway.model import Changes, Int32, Int64, SeriesTable
    from gateway.packing import Arrays
    from gateway.ports import StateStore
    from gateway.profiles.plan import GroupPlan, ProfilePlan

WITHOUT_WINDOWS = HOUR // 4
"""A profile without windows still needs blocks: to know duplicates and neighbours within its lateness."""


def shortest_of(profile: ProfilePlan) -> int:
    """Return the length of a block under a profile, ns."""
    return profile.windows[0].length_ns if profile.windows else WITHOUT_WINDOWS


class Shelf:
    """The state of one group. `series` codes are those of `table`; arrays are indexed by them."""

    def __init__(
        self,
        owner: str,
        *,
        profile: ProfilePlan,
        group: GroupPlan,
        table: SeriesTable,
        calendar: Calendar,
        store: StateStore,
        budget: Budget,
        factory: NeighboursFactory,
    ) -> None:
        self.owner = owner
        self.profile = profile
        self.group = group
        self.table = table
        self.calendar = calendar
        self.layout = Layout.of(group)
        self.blocks = Blocks(owner, store=store, budget=budget, layout=self.layout, factory=factory)
        self.written = Written(owner, store)
        self.river_ns = NEVER
        """The greatest receive time of the readings taken: it alone makes a reading late."""
        self.dropped_until = NEVER
        """Where the last block ended that was dropped: a window that began before is not complete."""
        self.latest = Carry.empty(self.layout, 0, factory)
        self.latest_log = LatestLog(owner, store)
        self.saved_marks: dict[str, object] = {}
        self.replayed: Replayed | None = None
        """What a replay has touched so far; None where none is going on."""
        self._factory = factory
        self._latest_time = np.empty(0, np.int64)
        self._zone = np.empty(0, np.int32)
        self._zones: list[int] = []
        self._fitted = 0

    @property
    def shortest(self) -> int:
        """The length of a block, ns."""
        return shortest_of(self.profile)

    @property
    def lengths(self) -> list[int]:
        """The lengths of the profile's windows, ns, shortest first."""
        return [window.length_ns for window in self.profile.windows]

    @property
    def has_readings(self) -> bool:
        """Whether any reading was ever taken."""
        return self.river_ns != NEVER

    @property
    def latest_time(self) -> Int64:
        """int64[series]: event time of the newest reading of each series; `NEVER` where none."""
        return self._latest_time[: self._fitted]

    def adopt(self, profile: ProfilePlan, group: GroupPlan) -> None:
        """Go on with another version of the profile. Where its shortest window is another, see `recut`."""
        self.profile, self.group = profile, group
        layout, old = Layout.of(group), self.layout
        if layout != old:
            self.blocks.adopt(layout)
            self.latest = carries.remapped(self.latest, layout, old, self._factory)
            self.layout = layout
            self.latest_log.note(slice(0, self._fitted))

    def fit(self) -> None:
        """Make room for the series that the table has got since the last call."""
        size, old = len(self.table), self._fitted
        if size == old:
            return
        if size > len(self._latest_time):
            more = max(size, 2 * len(self._latest_time)) - len(self._latest_time)
            self._latest_time = np.concatenate([self._latest_time, np.full(more, NEVER, np.int64)])
            self._zone = np.concatenate([self._zone, np.zeros(more, np.int32)])
        zone_of = self.calendar.zone_of
        self._zone[old:size] = [zone_of(key[0]) for key in self.table.keys[old:size]]
        self._zones = np.unique(self._zone[:size]).tolist()
        if self.layout.ordered:
            self.latest.grow(size)
        self.latest_log.grow(size)
        self._fitted = size

    def rezone(self) -> None:
        """Look the series' zones up again: the calendar's sites have changed."""
        self._fitted = 0
        self.fit()

    def zones_of(self, length: int) -> list[int]:
        """Return the zones in which windows of this length differ; one number for all where they do not."""
        return [EVERYWHERE] if length < HOUR else self._zones

    def in_zone(self, series: Int32, zone: int) -> Int32:
        """Return those of `series` that are in a zone."""
        return series if zone == EVERYWHERE or len(self._zones) < 2 else series[self._zone[series] == zone]

    def windows(self, length: int, zone: int, starts: Int64) -> tuple[Int64, Int64, Int64]:
        """Return start, end and readiness of the windows that hold the blocks beginning at `starts`.

        A longer window is the set of the blocks that begin in it. Where the shortest windows do not
        divide it (half hours in Kathmandu's hours), its last block ends behind it: it is ready then.
        """
        start, end = self.calendar.bounds(length, zone, starts)
        if length == self.shortest:
            return start, end, end
        return start, end, np.maximum(end, self.calendar.bounds(self.shortest, zone, end - 1)[1])

    def blocks_of(self, series: Int32, time: Int64) -> tuple[Int64, Int64]:
        """Return the start and end of each row's block, int64[n]."""
        if self.shortest < HOUR or len(self._zones) < 2:
            return self.calendar.bounds(self.shortest, self._zones[0] if self._zones else 0, time)
        start, end = np.empty_like(time), np.empty_like(time)
        zone = self._zone[series]
        for each in np.unique(zone).tolist():
            rows = np.flatnonzero(zone == each)
            start[rows], end[rows] = self.calendar.bounds(self.shortest, each, time[rows])
        return start, end

    def advance(self, series: Int32, time: Int64) -> None:
        """Note the newest readings of some series (each once): time only ever grows."""
        self._latest_time[series] = np.maximum(self._latest_time[series], time)
        self.latest_log.note(series)

    def remember(self, series: Int32, past: Carry) -> None:
        """Replace the last readings of some series."""
        self.latest.put(series, past)
        self.latest_log.note(series)

    def mark(self, start: int, series: Int32) -> None:
        """Note that the readings of `series` (any order, repeats allowed) in a block have changed."""
        written = self.written
        for length in self.lengths:
            until = written.written_until(length)
            if start >= until:
                continue  # the block, and so each window that holds it, ends behind the watermark
            for zone in self.zones_of(length):
                begun, _, ready = self.windows(length, zone, np.array([start]))
                inside = self.in_zone(series, zone)
                if ready[0] <= until and len(inside):
                    written.wait(length, zone, int(begun[0]), inside)

    def past_before(self, series: Int32, start: int) -> Carry:
        """Return the past of series that have no rows in the block at `start`, as it is at that time.

        It is what the next later block that has a series remembers, or its last readings.
        """
        past = self.latest.take(series)
        missing = np.arange(len(series))
        for later in self.blocks.starts():
            if later <= start or not len(missing):
                continue
            block = self.blocks.get(later)
            known = block.has(series[missing])
            found = missing[known]
            past.put(found, block.pasts.recall(series[found]))
            missing = missing[~known]
        return past

    def stored(self, series: Int32, time: Int64) -> Rows:
        """Return the kept rows of (series, time), sorted as these are, as a copy."""
        starts, _ = self.blocks_of(series, time)
        pieces = [empty(self.layout)]
        for start in np.unique(starts).tolist():
            here = np.flatnonzero(starts == start)
            block = self.blocks.get(start)
            pieces.append(block.gather(block.find(series[here], time[here])))
        rows = joined(pieces)
        return rows.take(np.lexsort((rows.time, rows.series)))

    def save_latest(self, changes: Changes) -> None:
        """Add the last readings that have changed since the last call."""
        self.latest_log.save(changes, self._fitted, self._latest_columns)

    def _latest_columns(self, codes: Int64) -> Arrays:
        """Return the last readings of some series, to be stored."""
        columns: Arrays = {"time": self._latest_time[codes]}
        if self.layout.ordered:
            columns |= self.latest.take(codes).pack()
            columns["layout"] = self.layout.to_array()
        return columns

    def restore_latest(self) -> None:
        """Take back the last readings of all series from the state file."""
        self.latest_log.restore(self._take_latest)

    def _take_latest(self, codes: Int64, rows: Int64, columns: Arrays) -> None:
        """Take back the last readings of some series, which stand in some rows of the columns."""
        self._latest_time[codes] = columns["time"][rows]
        if self.layout.ordered and "layout" in columns:
            old = Layout.from_array(columns["layout"])
            past = carries.unpack(columns, self.layout, old, self._factory)
            self.latest.put(codes, past.take(rows))
