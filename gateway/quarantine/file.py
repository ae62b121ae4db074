"""The quarantine's file: what is put, taken out, and gives way. Synchronous; one thread at a time."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from gateway import damage, durable
from gateway.errors import StateError
from gateway.quarantine.reader import DROPPED, EVICTED, FORMAT, LET_IN, QuarantineReader, digest, where
from gateway.quarantine.rescue import rescue

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from gateway.model import Chosen, Refused

    Group = tuple[str, str, str]
    """Site, device, reason."""
    Key = tuple[int, int]
    """Journal position and index there."""
    Gone = tuple[int, int, int]
    """An uplink that was let in again: journal position, index there, receive time (ns UTC)."""

NOWHERE = (-1, -1)
NEWEST_POSITION, NEWEST_INDEX = "newest position", "newest index"
"""The counters that hold the place of the last uplink that was ever put."""
_FLOOR_POSITION, _FLOOR_INDEX = "floor position", "floor index"
"""What files of version 1 hold instead: the place of the last uplink that gave way in all."""

_PUT = (
    "INSERT OR IGNORE INTO refused (sink, position, idx, reason, digest, received_ns, site, device, profile,"
    " topic, detail, size, retained, payload) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_IS_OLD = "profile = ? AND received_ns < ?"
_OLD = f"id IN (SELECT id FROM refused WHERE {_IS_OLD} ORDER BY id LIMIT ?)"  # noqa: S608 - texts of ours
_OF_GROUP = " FROM refused WHERE site = ? AND device = ? AND reason = ?"
_OF_UPLINK = "sink = '' AND position = ? AND idx = ? AND received_ns = ?"


class QuarantineFile:
    """The file and, in memory, how much every device holds of every reason, as last committed.

    Uplinks are put in the journal's order, so what comes at or before the last one that was ever put comes
    a second time, from a replay: it is here, or it gave way, was dropped, or was let in again. None of that
    is done twice.
    """

    def __init__(
        self, path: Path, per_device: int, total: int, total_bytes: int, journal_end: int | None = None
    ) -> None:
        """Open it. `journal_end` is the journal's last position: a file that knows more is another's."""
        self.aside = damage.mended(path, FORMAT, rescue=rescue)
        """The damaged file that stood here before, where there was one."""
        self._connection = durable.open_or_create(path, FORMAT, StateError)
        self.reader = QuarantineReader(self._connection)
        self._per_device = per_device
        self._total = total
        self._total_bytes = total_bytes
        self._counts: dict[Group, tuple[int, int]] = {}
        self._newest: Key = NOWHERE
        self.rows = self.bytes = self.evicted = self.dropped = self.let_in = 0
        self.ever = 0
        """Rows that there were, ever, as last committed: those that wait, and all that went."""
        try:
            self._load()
            if self.aside is not None or (journal_end is not None and self._newest[0] > journal_end):
                self._begin_anew()
        except BaseException:
            self._connection.close()
            raise

    def put(self, rows: Sequence[Refused], sink: str, gone: Collection[Gone] = ()) -> None:
        """Take out the uplinks that are `gone`, insert rows, evict what is too much; in one transaction."""
        newest = self._newest
        taken = {(position, index) for position, index, _ in gone}
        fresh = [
            row for row in sorted(rows, key=_key) if sink or (_key(row) > newest and _key(row) not in taken)
        ]
        if not sink:
            newest = max([newest, *map(_key, rows)])
        try:
            with durable.transaction(self._connection):
                self.let_in += sum(self._delete(_OF_UPLINK, uplink) for uplink in gone)
                self.evicted += self._insert_all(fresh, sink) + self._evict_in_all()
                self._save({EVICTED: self.evicted, LET_IN: self.let_in, **_counters(newest)})
        except BaseException:
            self._load()  # the transaction is undone, so what was counted is too
            raise
        self._newest = newest
        self._count_ever()

    def drop(self, chosen: Chosen, limit: int) -> int:
        """Delete the oldest rows that are chosen, at most `limit`; return how many."""
        clause, values = where(chosen)
        try:
            with durable.transaction(self._connection):
                gone = self._delete(
                    f"id IN (SELECT id FROM refused{clause} ORDER BY id LIMIT ?)",  # noqa: S608 - clauses of ours
                    (*values, limit),
                )
                self.dropped += gone
                self._save({DROPPED: self.dropped})
        except BaseException:
            self._load()
            raise
        self._count_ever()
        return gone

    def forget(self, profile: str, before_ns: int, most: int) -> int:
        """Delete the oldest rows of a profile that were received before a time; return how many.

        They count as evicted.
        """
        try:
            with durable.transaction(self._connection):
                gone = self._delete(_OLD, (profile, before_ns, most))
                self.evicted += gone
                self._save({EVICTED: self.evicted})
        except BaseException:
            self._load()
            raise
        self._count_ever()
        return gone

    def require(self, ever: int) -> int:
        """Count as evicted what is missing of so many rows, whatever became of them; return how many."""
        missing = max(0, ever - self.ever)
        if missing:
            with durable.transaction(self._connection):
                self._save({EVICTED: self.evicted + missing})
            self.evicted += missing
            self._count_ever()
        return missing

    def _insert_all(self, rows: Sequence[Refused], sink: str) -> int:
        """Insert rows in order, make room where a device has too many; return how many were evicted."""
        arriving = Counter(map(_group, rows))
        left, evicted = arriving.copy(), 0
        for row in rows:
            group = _group(row)
            if left[group] > self._per_device:  # it would go at once
                evicted += 1
            else:
                self._insert(row, group, sink)
            left[group] -= 1
        # Entries' numbers are given again: the age of refused points is the order in which they came.
        oldest = "id" if sink else "position, idx"
        for group in arriving:
            over = self._counts.get(group, (0, 0))[0] - self._per_device
            if over > 0:
                which = f"id IN (SELECT id{_OF_GROUP} ORDER BY {oldest} LIMIT ?)"
                evicted += self._delete(which, (*group, over))
        return evicted

    def _insert(self, row: Refused, group: Group, sink: str) -> None:
        """Insert a row where it is not there yet."""
        about = (row.received_ns, row.site, row.device, row.profile, row.topic, row.reason.value, row.detail)
        check = digest(row.position, row.index, *about, row.payload)
        values = (
            *(sink, row.position, row.index, row.reason.value, check, row.received_ns),
            *(row.site, row.device, row.profile, row.topic, row.detail, len(row.payload), row.retained),
            row.payload,
        )
        if self._connection.execute(_PUT, values).rowcount > 0:
            self._add(group, 1, len(row.payload))

    def _evict_in_all(self) -> int:
        """Delete the oldest rows of all until rows and bytes are within their limits; return how many."""
        rows, size, last = self.rows, self.bytes, 0
        if rows <= self._total and size <= self._total_bytes:
            return 0
        oldest = self._connection.execute("SELECT id, size FROM refused ORDER BY id")
        while rows > self._total or size > self._total_bytes:
            last, each = oldest.fetchone()
            rows, size = rows - 1, size - each
        oldest.close()
        return self._delete("id <= ?", (last,))

    def _delete(self, which: str, values: tuple[object, ...]) -> int:
        """Delete rows; return how many."""
        query = f"DELETE FROM refused WHERE {which} RETURNING site, device, reason, size"  # noqa: S608 - clauses of ours
        gone = self._connection.execute(query, values).fetchall()
        for site, device, reason, size in gone:
            self._add((site, device, reason), -1, -size)
        return len(gone)

    def _add(self, group: Group, rows: int, size: int) -> None:
        held, held_bytes = self._counts.get(group, (0, 0))
        self.rows += rows
        self.bytes += size
        self._counts[group] = (held + rows, held_bytes + size)
        if not held + rows:
            del self._counts[group]

    def _save(self, counters: Mapping[str, int]) -> None:
        self._connection.executemany("INSERT OR REPLACE INTO counters VALUES (?, ?)", counters.items())

    def _load(self) -> None:
        counters = dict(self._connection.execute("SELECT name, value FROM counters"))
        self.evicted, self.dropped = counters.get(EVICTED, 0), counters.get(DROPPED, 0)
        self.let_in = counters.get(LET_IN, 0)
        self._newest = self._known_newest(counters)
        query = "SELECT site, device, reason, count(*), sum(size) FROM refused GROUP BY site, device, reason"
        found = self._connection.execute(query).fetchall()
        self._counts = {(row[0], row[1], row[2]): (row[3], row[4]) for row in found}
        self.rows = sum(rows for rows, _ in self._counts.values())
        self.bytes = sum(size for _, size in self._counts.values())
        self._count_ever()

    def _count_ever(self) -> None:
        self.ever = self.rows + self.evicted + self.dropped + self.let_in

    def _known_newest(self, counters: Mapping[str, int]) -> Key:
        """Return the place of the last uplink that was put; where none is written down, of the last known."""
        if NEWEST_POSITION in counters and NEWEST_INDEX in counters:
            return counters[NEWEST_POSITION], counters[NEWEST_INDEX]
        query = "SELECT position, idx FROM refused WHERE sink = '' ORDER BY position DESC, idx DESC LIMIT 1"
        held = [(row[0], row[1]) for row in self._connection.execute(query)]
        return max([NOWHERE, (counters.get(_FLOOR_POSITION, -1), counters.get(_FLOOR_INDEX, -1)), *held])

    def _begin_anew(self) -> None:
        """Let uplinks come from the first place on.

        Some of those that were put are lost, or the journal is another one than that of the rows here.
        """
        with durable.transaction(self._connection):
            self._save(_counters(NOWHERE))
        self._newest = NOWHERE


def _counters(newest: Key) -> dict[str, int]:
    return {NEWEST_POSITION: newest[0], NEWEST_INDEX: newest[1]}


def _key(row: Refused) -> Key:
    return row.position, row.index


def _group(row: Refused) -> Group:
    return row.site, row.device, row.reason.value
