"""The aggregator: readings in; what to write raw, windows, and the state to persist out.

A block keeps its readings, and a window is a pure function of the sorted readings in its blocks and of the
one just before. So the last writing of a window is the same whatever the batches, their order within
lateness, duplicates, crashes and replays; a checkpoint appends new rows; memory holds hot blocks.

Delivery: `dirty` is a cut between two calls. After a crash, a new aggregator that is restored from the last
committed changes and is given the readings since then comes to the same state.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.aggregate.civil import HOUR, Calendar
from gateway.aggregate.hot import Budget
from gateway.aggregate.intake import as_readings
from gateway.aggregate.recut import recut
from gateway.aggregate.replay import Replayed
from gateway.aggregate.settle import Settled, settle
from gateway.aggregate.shelf import Shelf, shortest_of
from gateway.aggregate.state import SERIES, SHELVES, TEXTS, SavedTable, restore_shelf, save_shelf
from gateway.aggregate.windowing import Windowing
from gateway.errors import StateError
from gateway.model import Changes, SeriesTable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from gateway.aggregate.carry import Assess, NeighboursFactory
    from gateway.model import Float64, Readings, Windows
    from gateway.ports import StateStore
    from gateway.profiles.plan import GroupPlan, ProfilePlan

    Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Figures:
    """How much the aggregator holds, for the health page.

    `watermarks` maps a profile to the event time (ns) before which its shortest windows are final.
    """

    blocks: int
    hot_blocks: int
    hot_bytes: int
    hot_rows: int
    series: int
    watermarks: Mapping[str, int]


class Aggregator:
    """All shelves. Synchronous; one caller. Call `restore` once and `use` before anything else.

    `zones` maps a site to its IANA zone; `assess` and `neighbours` are the quality room's; windows are
    first written `grace_ns` after their end, and delivered to sinks that cannot overwrite `settle_ns`
    after it (None: there are none such). Blocks beyond `hot_bytes` go to the state file.
    """

    def __init__(
        self,
        store: StateStore,
        *,
        zones: Mapping[str, str],
        default_zone: str,
        assess: Assess,
        neighbours: NeighboursFactory,
        grace_ns: int,
        settle_ns: int | None,
        hot_bytes: int,
    ) -> None:
        self.tables: dict[Key, SeriesTable] = {}
        """The series of each group, by profile name and dimensions joined by commas: shared with decode."""
        self._texts = SavedTable(TEXTS, "", store)
        self.texts: SeriesTable = self._texts.table
        self._store = store
        self._calendar = Calendar(zones, default_zone)
        self._assess = assess
        self._neighbours = neighbours
        self._grace_ns = grace_ns
        self._settle_ns = settle_ns
        self._budget = Budget(hot_bytes)
        self._shelves: dict[Key, Shelf] = {}
        self._saved: dict[Key, SavedTable] = {}
        self._undelivered = 0
        self._replays = False

    def restore(self) -> None:
        """Take back the series of all groups; the rest comes with `use` and when it is needed.

        From here on readings are taken to be a replay, until `replayed` is called. Raises `StateError`
        where the state file is damaged.
        """
        self._replays = True
        try:
            for body in self._store.load(SHELVES, "", 0):
                for name, dimensions in json.loads(body):
                    saved = SavedTable(SERIES, _owner((name, dimensions)), self._store)
                    self._saved[name, dimensions] = saved
                    self.tables[name, dimensions] = saved.table
        except (ValueError, TypeError) as error:
            raise StateError(f"the table of series cannot be read: {error}") from error

    def use(
        self,
        plans: Iterable[ProfilePlan],
        *,
        zones: Mapping[str, str] | None = None,
        default_zone: str | None = None,
    ) -> None:
        """Put these versions of the profiles (and zones, where given) in force, between two batches."""
        moved = self._rezone(zones, default_zone)
        for plan in plans:
            for group in plan.groups:
                shelf = self._shelf(plan, group)
                if shelf.shortest != shortest_of(plan) or (moved and shelf.shortest >= HOUR):
                    recut(shelf, plan, group, self._assess)
                elif shelf.profile is not plan:
                    shelf.adopt(plan, group)

    def add(self, readings: Readings, parameters: Mapping[str, Float64]) -> Settled:
        """Take readings of one group, range flags set; `parameters` float64[n] by name, NaN = missing.

        The readings' profile must be the one in `use`. Nothing given is written to.
        """
        key = _key(readings.profile, readings.group)
        shelf = self._shelves.get(key)
        if shelf is None or shelf.profile is not readings.profile:
            self.tables.setdefault(key, readings.table)
            self.use([readings.profile])
            shelf = self._shelves[key]
        settled = settle(shelf, readings, parameters, self._assess)
        self._budget.relieve()
        return settled

    def replayed(self) -> list[Readings]:
        """Note that all that stood in the journal has been taken again; returns rows to write raw once more.

        Windows that must be written again come with the next `due`. See `gateway.aggregate.replay`.
        """
        self._replays = False
        found = []
        for shelf in self._shelves.values():
            replayed, shelf.replayed = shelf.replayed, None
            keys = replayed.touched(shelf) if replayed else None
            if keys:
                found.append(as_readings(shelf, shelf.stored(*keys.once()), self.texts))
            self._budget.relieve()
        return found

    def due(self, now_ns: int) -> Iterator[Windows]:
        """Yield the windows to write at `now_ns`: those that have ended, and corrections of earlier ones.

        One `Windows` a group and length, both in order; to be gone through to the end, with no other call
        in between. Blocks that nothing can change any more go.
        """
        for shelf in self._shelves.values():
            windowing = Windowing(shelf, self.texts)
            yield from windowing.due(now_ns - self._grace_ns)
            self._undelivered += windowing.undelivered
            windowing.drop(are_delivered=bool(shelf.written.delivered_until))
            self._budget.relieve()

    def settled(self, now_ns: int) -> Iterator[Windows]:
        """Yield the windows that sinks which cannot overwrite get at `now_ns`: each once, revision 0.

        As `due`: one a group and length, to be gone through to the end.
        """
        if self._settle_ns is None:
            return
        for shelf in self._shelves.values():
            yield from Windowing(shelf, self.texts).settled(now_ns - self._settle_ns)
            self._budget.relieve()

    def take_undelivered(self) -> int:
        """Return how many corrections came after their window was delivered for good, since the last call."""
        count, self._undelivered = self._undelivered, 0
        return count

    def dirty(self) -> Changes:
        """Return what has changed since the last call, to be committed; calls imply that one's commit."""
        changes = Changes()
        known = len(self._saved)
        for key, shelf in self._shelves.items():
            if key not in self._saved:
                self._saved[key] = SavedTable(SERIES, shelf.owner, self._store, shelf.table)
            self._saved[key].save(changes)
            save_shelf(shelf, changes)
        self._texts.save(changes)
        if len(self._saved) > known:
            changes.cells[SHELVES, "", 0, 0] = json.dumps(sorted(self._saved)).encode()
        return changes

    def committed(self) -> None:
        """Note that what `dirty` gave is durable: those blocks may leave the memory."""
        for shelf in self._shelves.values():
            shelf.blocks.committed()
            shelf.written.committed()
        self._budget.relieve()

    def figures(self) -> Figures:
        """Return what is held now."""
        shelves = self._shelves.values()
        watermarks: dict[str, int] = {}
        for shelf in shelves:
            mark = shelf.river_ns - shelf.profile.lateness_ns if shelf.has_readings else 0
            watermarks[shelf.profile.name] = max(mark, watermarks.get(shelf.profile.name, 0))
        return Figures(
            blocks=sum(len(shelf.blocks) for shelf in shelves),
            hot_blocks=len(self._budget),
            hot_bytes=self._budget.bytes,
            hot_rows=sum(len(block) for shelf in shelves for block in shelf.blocks.hot()),
            series=sum(len(shelf.table) for shelf in shelves),
            watermarks=watermarks,
        )

    def _shelf(self, plan: ProfilePlan, group: GroupPlan) -> Shelf:
        """Return a group's shelf, from the state file where it is there."""
        key = _key(plan, group)
        shelf = self._shelves.get(key)
        if shelf is None:
            shelf = self._shelves[key] = Shelf(
                _owner(key),
                profile=plan,
                group=group,
                table=self.tables.setdefault(key, SeriesTable()),
                calendar=self._calendar,
                store=self._store,
                budget=self._budget,
                factory=self._neighbours,
            )
            restore_shelf(shelf, self._store)
            shelf.replayed = Replayed() if self._replays else None
        return shelf

    def _rezone(self, zones: Mapping[str, str] | None, default_zone: str | None) -> bool:
        """Take other zones; returns whether any has changed."""
        calendar = self._calendar
        sites = calendar.sites if zones is None else dict(zones)
        default = default_zone or calendar.default_zone
        if (sites, default) == (calendar.sites, calendar.default_zone):
            return False
        calendar.sites, calendar.default_zone = sites, default
        for shelf in self._shelves.values():
            shelf.rezone()
        return True


def _key(plan: ProfilePlan, group: GroupPlan) -> Key:
    return plan.name, ",".join(group.dimensions)


def _owner(key: Key) -> str:
    return f"{key[0]}/{key[1]}"
