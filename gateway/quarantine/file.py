"""The quarantine's file: what is put, and what gives way. Synchronous; one thread at a time."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from gateway import damage, durable
from gateway.errors import StateError
from gateway.quarantine.reader import EVICTED, FORMAT, QuarantineReader, digest
from gateway.quarantine.rescue import rescue

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from gateway.model import Refused

    Group = tuple[str, str, str]
    """Site, device, reason."""
    Key = tuple[int, int]
    """Journal position and index there."""

NOWHERE = (-1, -1)
FLOOR_POSITION, FLOOR_INDEX = "floor position", "floor index"
"""The counters that hold the place of the last uplink that gave way in all."""

_PUT = "INSERT OR IGNORE INTO refused VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_OF_GROUP = " FROM refused WHERE site = ? AND device = ? AND reason = ?"


class QuarantineFile:
    """The file and, in memory, how much every device holds of every reason, as last committed.

    Evicting is a function of the rows that were ever put, for uplinks, since they are put in the
    journal's order: what comes a second time, and is not there, went before. So a replay finds the
    rows that a crash left, and counts no eviction twice.
    """

    def __init__(self, path: Path, per_device: int, total: int, total_bytes: int) -> None:
        self.aside = damage.mended(path, FORMAT, rescue=rescue)
        """The damaged file that stood here before, where there was one."""
        self._connection = durable.open_or_create(path, FORMAT, StateError)
        self.reader = QuarantineReader(self._connection)
        self._per_device = per_device
        self._total = total
        self._total_bytes = total_bytes
        self._counts: defaultdict[Group, tuple[int, int]] = defaultdict(lambda: (0, 0))
        self._floor = NOWHERE
        self.rows = self.bytes = self.evicted = 0
        try:
            self._load()
        except BaseException:
            self._connection.close()
            raise

    def put(self, rows: Sequence[Refused], sink: str) -> None:
        """Insert, then evict what is too much; all in one transaction."""
        # Uplinks at or before one that gave way in all were here before, or would be the first to go.
        fresh = sorted((row for row in rows if sink or _key(row) > self._floor), key=_key)
        arriving = Counter(_group(row) for row in fresh)
        crowded = {
            group: NOWHERE if sink else self._newest(group)
            for group, count in arriving.items()
            if self._counts[group][0] + count > self._per_device
        }
        try:
            with durable.transaction(self._connection):
                self.evicted += self._insert_all(fresh, sink, arriving, crowded)
                self.evicted += self._evict_in_all()
                self._save(
                    {EVICTED: self.evicted, FLOOR_POSITION: self._floor[0], FLOOR_INDEX: self._floor[1]}
                )
        except BaseException:
            self._load()  # the transaction is undone, so what was counted is too
            raise

    def require(self, ever: int) -> int:
        """Count as evicted what is missing of so many rows, held or evicted; return how many those are."""
        missing = max(0, ever - self.rows - self.evicted)
        if missing:
            with durable.transaction(self._connection):
                self._save({EVICTED: self.evicted + missing})
            self.evicted += missing
        return missing

    def _insert_all(
        self, rows: Sequence[Refused], sink: str, arriving: Counter[Group], crowded: Mapping[Group, Key]
    ) -> int:
        """Insert rows in order, make room where a device has too many; return how many were evicted."""
        left, evicted = arriving.copy(), 0
        again: Counter[Group] = Counter()
        for row in rows:
            group = _group(row)
            newest = crowded.get(group, NOWHERE)
            if left[group] > self._per_device:  # it would go at once
                evicted += _key(row) > newest
            elif self._insert(row, group, sink):
                again[group] += _key(row) <= newest
            left[group] -= 1
        for group in crowded:
            over = max(0, self._counts[group][0] - self._per_device)
            # Entries' numbers are given again: the age of refused points is the order in which they came.
            oldest = "id" if sink else "position, idx"
            self._evict(f"id IN (SELECT id{_OF_GROUP} ORDER BY {oldest} LIMIT ?)", (*group, over))
            evicted += over - min(over, again[group])  # those had gone once, and were counted then
        return evicted

    def _insert(self, row: Refused, group: Group, sink: str) -> bool:
        """Insert a row where it is not there yet; tell whether."""
        about = (row.received_ns, row.site, row.device, row.profile, row.topic, row.reason.value, row.detail)
        check = digest(row.position, row.index, *about, row.payload)
        values = (
            *(sink, row.position, row.index, row.reason.value, check, row.received_ns),
            *(row.site, row.device, row.profile, row.topic, row.detail, len(row.payload), row.payload),
        )
        inserted = self._connection.execute(_PUT, values).rowcount > 0
        if inserted:
            self._add(group, 1, len(row.payload))
        return inserted

    def _newest(self, group: Group) -> Key:
        """Return the place of the last uplink of a device and reason that is held."""
        query = "SELECT position, idx" + _OF_GROUP + " ORDER BY position DESC, idx DESC LIMIT 1"
        row = self._connection.execute(query, group).fetchone()
        return NOWHERE if row is None else (row[0], row[1])

    def _evict_in_all(self) -> int:
        """Delete the oldest rows of all until rows and bytes are within their limits; return how many."""
        rows, size, gone, last = self.rows, self.bytes, 0, 0
        oldest = self._connection.execute("SELECT id, size, sink, position, idx FROM refused ORDER BY id")
        while rows > self._total or size > self._total_bytes:
            last, each, sink, *place = oldest.fetchone()
            rows, size, gone = rows - 1, size - each, gone + 1
            if not sink:
                self._floor = max(self._floor, (place[0], place[1]))
        oldest.close()
        self._evict("id <= ?", (last,))
        return gone

    def _evict(self, which: str, values: tuple[object, ...]) -> None:
        query = f"DELETE FROM refused WHERE {which} RETURNING site, device, reason, size"  # noqa: S608 - clauses of ours
        for site, device, reason, size in self._connection.execute(query, values).fetchall():
            self._add((site, device, reason), -1, -size)

    def _add(self, group: Group, rows: int, size: int) -> None:
        held, held_bytes = self._counts[group]
        self.rows += rows
        self.bytes += size
        self._counts[group] = (held + rows, held_bytes + size)
        if not held + rows:
            del self._counts[group]

    def _save(self, counters: Mapping[str, int]) -> None:
        self._connection.executemany("INSERT OR REPLACE INTO counters VALUES (?, ?)", counters.items())

    def _load(self) -> None:
        counters = dict(self._connection.execute("SELECT name, value FROM counters"))
        self.evicted = counters.get(EVICTED, 0)
        self._floor = (counters.get(FLOOR_POSITION, NOWHERE[0]), counters.get(FLOOR_INDEX, NOWHERE[1]))
        query = "SELECT site, device, reason, count(*), sum(size) FROM refused GROUP BY site, device, reason"
        found = self._connection.execute(query).fetchall()
        self._counts.clear()
        self._counts.update({(row[0], row[1], row[2]): (row[3], row[4]) for row in found})
        self.rows = sum(rows for rows, _ in self._counts.values())
        self.bytes = sum(size for _, size in self._counts.values())


def _key(row: Refused) -> Key:
    return row.position, row.index


def _group(row: Refused) -> Group:
    return row.site, row.device, row.reason.value
