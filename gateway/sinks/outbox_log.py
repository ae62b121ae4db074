"""One log of encoded points with a cursor a sink, in a SQLite file. Synchronous; one thread at a time.

What a sink's cursor lies past is stored, refused, dropped or superseded; what lies behind it waits;
nothing can be in both. The books of a sink are differences of sums that the entries carry, so they
balance by construction, whatever is cut off, passed over or damaged.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from gateway import durable
from gateway.errors import StateError
from gateway.sinks import outbox_rows as rows
from gateway.sinks.outbox_rows import END, Cursor, Entry, Mark, Policy

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

PURGE_ENTRIES = 64
"""Entries deleted in one transaction: a few milliseconds between two calls that someone waits for."""
SPARE_PAGES = 4096
"""Free pages (32 MB) that the file may keep for its next use before it gives some back."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """What recovery did. `end`: where the log now ends. `lost`: entries that only the checkpoint knew.

    `replayed`: by sink, points that had been sent beyond the end and will be made again. `resent`: by
    sink, entries that had been sent according to the checkpoint and will be sent once more.
    """

    end: int
    lost: int = 0
    replayed: Mapping[str, int] = field(default_factory=dict)
    resent: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Hand:
    """What a sink was given and has not answered for: entry → its points and its place.

    `passed`: those of them that were dropped meanwhile, with their points.
    """

    given: dict[int, tuple[int, Mark]] = field(default_factory=dict)
    passed: dict[int, int] = field(default_factory=dict)


class OutboxLog:
    """The file and, in memory, its end and cursors, always as last committed.

    Methods raise sqlite3.Error or OSError where the file cannot be read or written; the log must then
    be used no more.
    """

    def __init__(self, connection: sqlite3.Connection, max_bytes: int) -> None:
        """Use `open_log`. Raises StateError where the file's books are damaged."""
        self.damaged: list[tuple[str, int, int]] = []
        """(sink, first, last): entries that could not be read and were passed over."""
        self._connection = connection
        self._max_bytes = max_bytes
        self._purged = 0
        marks = rows.load_marks(connection)
        if not marks:  # new: as if a checkpoint had held the empty log
            marks = {END: Mark(), "0": Mark()}
            with durable.transaction(connection):
                for name, mark in marks.items():
                    rows.save_mark(connection, name, mark)
        if END not in marks or len(marks) == 1:
            raise StateError("the outbox's books are damaged: its marks are gone", hint=rows.DAMAGE_HINT)
        self.end = marks.pop(END)
        self.checkpointed = max(marks.values(), key=lambda mark: mark.seq)
        self.cursors = rows.load_cursors(connection)
        self.oldest_ns = {sink: rows.oldest_ns(connection, c.seq) for sink, c in self.cursors.items()}
        self._hands = {sink: _Hand() for sink in self.cursors}

    @property
    def full(self) -> bool:
        """Whether a sink that must get everything waits for as much as the log may hold, or more."""
        return any(
            cursor.policy == Policy.HOLD and self.end.bytes - cursor.bytes >= self._max_bytes
            for cursor in self.cursors.values()
        )

    @property
    def purgeable(self) -> bool:
        """Whether there may be entries that no sink and no recovery needs."""
        return self._purged < self._unneeded()

    def register(self, sink: str, policy: Policy) -> None:
        """Give a sink a cursor at the end of the log; one that has a cursor keeps it, with this policy."""
        end = self.end
        new = Cursor(sink, policy, end.seq, end.points, end.bytes, base=end.points)
        cursor = replace(self.cursors.get(sink, new), policy=policy)
        with durable.transaction(self._connection):
            rows.save_cursor(self._connection, cursor)
        self._hands.setdefault(sink, _Hand())
        self._keep([cursor])

    def unregister(self, sink: str) -> None:
        """Forget a sink: what waits for it alone is deleted."""
        with durable.transaction(self._connection):
            self._connection.execute("DELETE FROM cursors WHERE sink = ?", (sink,))
            self._connection.execute("DELETE FROM outcomes WHERE sink = ?", (sink,))
        self.cursors = {known: cursor for known, cursor in self.cursors.items() if known != sink}
        self.oldest_ns.pop(sink, None)
        self._hands.pop(sink, None)

    def append(self, entries: Sequence[Entry]) -> int:
        """Write entries in one synced transaction; return the log's end."""
        with durable.transaction(self._connection):
            end = rows.insert_entries(self._connection, self.end, entries)
            moved = [
                self._pass_over(cursor, end)
                for cursor in self.cursors.values()
                if cursor.policy == Policy.DROP_OLDEST and end.bytes - cursor.bytes > self._max_bytes
            ]
        idle = [cursor for cursor in self.cursors.values() if cursor.seq == self.end.seq]
        self.end = end
        self._keep([*idle, *moved])  # for the idle ones there is a first entry now
        return end.seq

    def next(self, sink: str, max_points: int, max_bytes: int) -> list[tuple[int, Entry]]:
        """Return the sink's next entries: one at least where any waits, else up to both limits."""
        taken = rows.read_entries(self._connection, self.cursors[sink].seq, max_points, max_bytes)
        if not taken and self.cursors[sink].seq < self.end.seq:
            self._pass_over_damage(self.cursors[sink])
            taken = rows.read_entries(self._connection, self.cursors[sink].seq, max_points, max_bytes)
        self._hands[sink] = _Hand({mark.seq: (entry.count, mark) for mark, entry in taken})
        return [(mark.seq, entry) for mark, entry in taken]

    def advance(self, sink: str, through: int, *, refused: int, superseded: int) -> None:
        """Move a sink's cursor past `through`; its points are stored, but for those refused or superseded.

        Entries that were dropped while the sink had them in hand count as what became of them after
        all. Raises ValueError where more was refused than there is, or the log has no such entry.
        """
        cursor, hand = self.cursors[sink], self._hands[sink]
        late = {seq: count for seq, count in hand.passed.items() if seq <= through}
        mark = Mark(cursor.seq, cursor.points, cursor.bytes)
        if through > cursor.seq:
            mark = hand.given[through][1] if through in hand.given else self._entry_mark(through)
        if refused + superseded > mark.points - cursor.points + sum(late.values()):
            raise ValueError(f"{sink}: more points refused than there are up to {through}")
        moved = replace(
            _moved(cursor, mark),
            refused=cursor.refused + refused,
            superseded=cursor.superseded + superseded,
            dropped=cursor.dropped - sum(late.values()),
        )
        with durable.transaction(self._connection):
            rows.save_cursor(self._connection, moved)
            if refused or superseded or late:
                counts = {**late, **self._counts(cursor.seq, mark.seq)}
                outcomes = _spread(counts, refused=refused, superseded=superseded, late=late)
                rows.add_outcomes(self._connection, sink, outcomes)
        self._keep([moved])
        for answered in [seq for seq in hand.given if seq <= through]:
            del hand.given[answered]
            hand.passed.pop(answered, None)

    def checkpoint(self, end: int, oldest: int) -> None:
        """Note that a checkpoint holds this end, and that no recovery goes back before `oldest`."""
        mark = self._known(end)
        if mark.seq != end or oldest > end:
            raise ValueError(f"the outbox does not know of a checkpoint at {end} (back to {oldest})")
        with durable.transaction(self._connection):
            rows.save_mark(self._connection, str(end), mark)
            self._connection.execute("DELETE FROM marks WHERE name <> ? AND seq < ?", (END, oldest))
            self._connection.execute("DELETE FROM outcomes WHERE seq <= ?", (oldest,))
        self.checkpointed = mark

    def recover(self, end: int, cursors: Mapping[str, int]) -> Recovered:
        """Cut the log back to a checkpoint's end, and every cursor with it.

        Where that end is older than any that was kept, the log is cut at the first place behind it
        that is known: nothing is lost, and some points are made and sent twice. Where the log ends
        before it, what is missing is lost, and its numbers are not given again.
        """
        known = self._known(end)
        lost = max(0, end - known.seq)
        cut = Mark(known.seq + lost, known.points, known.bytes)
        resent = {
            sink: min(seq, known.seq) - self.cursors[sink].seq
            for sink, seq in cursors.items()
            if sink in self.cursors and self.cursors[sink].seq < min(seq, known.seq)
        }
        moved = [self._cut_back(cursor, known, cut) for cursor in self.cursors.values()]
        replayed = {cursor.sink: cursor.replayed - self.cursors[cursor.sink].replayed for cursor in moved}
        with durable.transaction(self._connection):
            self._connection.execute("DELETE FROM entries WHERE seq > ?", (cut.seq,))
            self._connection.execute("DELETE FROM marks WHERE seq > ?", (cut.seq,))
            self._connection.execute("DELETE FROM outcomes WHERE seq > ?", (cut.seq,))
            rows.save_mark(self._connection, END, cut)
            rows.save_mark(
                self._connection, str(cut.seq), cut
            )  # a crash before the next checkpoint comes here
            for cursor in moved:
                rows.save_cursor(self._connection, cursor)
        self.end = cut
        self.checkpointed = min(self.checkpointed, cut, key=lambda mark: mark.seq)
        self._purged = min(self._purged, cut.seq)
        self._hands = {sink: _Hand() for sink in self.cursors}
        self._keep(moved)
        return Recovered(cut.seq, lost, {sink: n for sink, n in replayed.items() if n}, resent)

    def purge(self) -> None:
        """Delete some entries that nobody needs any more, and give back pages that are long free."""
        unneeded = self._unneeded()
        first = self._connection.execute("SELECT min(seq) FROM entries").fetchone()[0]
        upto = unneeded if first is None else min(unneeded, first + PURGE_ENTRIES - 1)
        with durable.transaction(self._connection):
            self._connection.execute("DELETE FROM entries WHERE seq <= ?", (upto,))
        self._purged = upto
        if self._connection.execute("PRAGMA freelist_count").fetchone()[0] > SPARE_PAGES:
            self._connection.execute("PRAGMA incremental_vacuum(256)").fetchall()

    def close(self) -> None:
        """Bring the WAL into the file and close it."""
        self._connection.close()

    # What follows runs inside the methods above.

    def _unneeded(self) -> int:
        return min(self.checkpointed.seq, self.end.seq, *(cursor.seq for cursor in self.cursors.values()))

    def _keep(self, cursors: Iterable[Cursor]) -> None:
        # A new dict: others read the old one meanwhile, from the event loop's thread.
        kept = {cursor.sink: cursor for cursor in cursors}
        for sink, cursor in kept.items():
            self.oldest_ns[sink] = rows.oldest_ns(self._connection, cursor.seq)
        self.cursors = {**self.cursors, **kept}

    def _pass_over(self, cursor: Cursor, end: Mark) -> Cursor:
        """Drop a sink's oldest entries until what waits is within the limit."""
        counts: dict[int, int] = {}
        mark = Mark(cursor.seq, cursor.points, cursor.bytes)
        query = "SELECT seq, count, made_through, bytes_through FROM entries WHERE seq > ? ORDER BY seq"
        for seq, count, points, size in self._connection.execute(query, (cursor.seq,)):
            if end.bytes - mark.bytes <= self._max_bytes:
                break
            counts[seq] = count
            mark = Mark(seq, points, size)
        hand = self._hands[cursor.sink]
        hand.passed.update({seq: count for seq, count in counts.items() if seq in hand.given})
        return self._drop(cursor, mark, counts)

    def _pass_over_damage(self, cursor: Cursor) -> None:
        """Drop entries that cannot be read, to the next sound one: its sums tell what they held."""
        mark = self.end
        for after in range(cursor.seq, self.end.seq):
            found = rows.first_sound(self._connection, after)
            if found is not None:
                behind, entry = found
                mark = Mark(behind.seq - 1, behind.points - entry.count, behind.bytes - len(entry.body))
                break
        self.damaged.append((cursor.sink, cursor.seq + 1, mark.seq))
        with durable.transaction(self._connection):
            moved = self._drop(cursor, mark, {mark.seq: mark.points - cursor.points})
        self._keep([moved])

    def _drop(self, cursor: Cursor, mark: Mark, counts: Mapping[int, int]) -> Cursor:
        moved = replace(_moved(cursor, mark), dropped=cursor.dropped + mark.points - cursor.points)
        rows.save_cursor(self._connection, moved)
        outcomes = {seq: (0, count, 0) for seq, count in counts.items()}
        rows.add_outcomes(self._connection, cursor.sink, outcomes)
        return moved

    def _counts(self, after: int, through: int) -> dict[int, int]:
        query = "SELECT seq, count FROM entries WHERE seq > ? AND seq <= ? ORDER BY seq"
        return dict(self._connection.execute(query, (after, through)))

    def _entry_mark(self, seq: int) -> Mark:
        mark = self._known(seq)
        if mark.seq != seq:
            raise ValueError(f"the outbox has no entry {seq}")
        return mark

    def _known(self, seq: int) -> Mark:
        """Return the mark at `seq`; where it is not known any more, the first one behind; else the end."""
        marks = rows.load_marks(self._connection)
        checkpoints = [mark for name, mark in marks.items() if name != END]
        if seq < checkpoints[0].seq:
            return checkpoints[0]  # what became of the entries before it is forgotten
        if seq >= self.end.seq:
            return self.end
        query = "SELECT made_through, bytes_through FROM entries WHERE seq = ?"
        row = self._connection.execute(query, (seq,)).fetchone()
        if row is not None:
            return Mark(seq, *row)
        return next((mark for mark in checkpoints if mark.seq >= seq), self.end)

    def _cut_back(self, cursor: Cursor, known: Mark, cut: Mark) -> Cursor:
        """Return the cursor as it is once the log ends at `cut` (`known`, but for numbers that are lost)."""
        if cursor.seq < known.seq:
            return cursor
        beyond = cursor.points - max(cut.points, cursor.base)
        refused, dropped, superseded = rows.outcomes_beyond(self._connection, cursor.sink, known.seq)
        return replace(
            _moved(cursor, cut),
            base=min(cursor.base, cut.points),
            refused=cursor.refused - refused,
            dropped=cursor.dropped - dropped,
            superseded=cursor.superseded - superseded,
            replayed=cursor.replayed + beyond - dropped - superseded,
        )


def open_log(path: Path, max_bytes: int) -> OutboxLog:
    """Open a log, made where it does not exist.

    Raises sqlite3.Error, OSError; StateError where it is damaged or of another version.
    """
    connection = durable.open_or_create(path, rows.FORMAT, StateError)
    try:
        return OutboxLog(connection, max_bytes)
    except BaseException:
        connection.close()
        raise


def _moved(cursor: Cursor, mark: Mark) -> Cursor:
    return replace(cursor, seq=mark.seq, points=mark.points, bytes=mark.bytes)


def _spread(
    counts: Mapping[int, int], *, refused: int, superseded: int, late: Mapping[int, int]
) -> dict[int, tuple[int, int, int]]:
    """Lay refused and superseded points on entries, the first ones first; take the late ones off the dropped.

    Which entry they were in is not known; that no entry gets more than it has is what recovery needs.
    """
    outcomes = {}
    for seq, count in sorted(counts.items()):
        here = min(refused, count)
        over = min(superseded, count - here)
        refused, superseded = refused - here, superseded - over
        outcomes[seq] = (here, -late.get(seq, 0), over)
    return outcomes
