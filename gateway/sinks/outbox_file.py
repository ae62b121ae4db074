"""The file behind an outbox: what outlives the process. Synchronous; one thread at a time.

A change is one transaction. Only those that say so are synced: after a power cut the file is as some
change left it, no older than the last synced one, since SQLite's WAL keeps their order.

At any such place the file has every entry that waits for a sink, by the cursors in it, up to its newest mark.
Behind the mark, entries may be missing where memory had them: recovery cuts them off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway import damage, durable
from gateway.errors import StateError
from gateway.sinks import outbox_rescue
from gateway.sinks import outbox_rows as rows
from gateway.sinks.outbox_model import LIVE, Found, Loaded, Mark
from gateway.sinks.outbox_rows import END

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence
    from pathlib import Path

    from gateway.damage import Aside
    from gateway.sinks.outbox_cursor import Cursor, Stretch
    from gateway.sinks.outbox_model import Change

PURGE_ENTRIES = 64
"""Entries deleted in one transaction: a few milliseconds between two calls that someone waits for."""
SPARE_PAGES = 4096
"""Free pages (32 MB) that the file may keep for its next use before it gives some back."""


class OutboxFile:
    """Methods raise sqlite3.Error or OSError where it cannot be read or written: use it no more then."""

    def __init__(self, connection: sqlite3.Connection, aside: Aside | None) -> None:
        """Use `OutboxFile.open`."""
        self.aside = aside
        """The damaged file that stood here before, where there was one."""
        self._connection = connection
        self._synced = True  # as `durable.connect` leaves it

    @classmethod
    def open(cls, path: Path) -> tuple[OutboxFile, Loaded]:
        """Open a file, made where it does not exist. A damaged one is set aside: what is sound of it is kept.

        Raises sqlite3.Error, OSError; StateError where it is of another version.
        """
        aside = damage.mended(path, rows.FORMAT, judge=outbox_rescue.judge, rescue=outbox_rescue.rescue)
        connection = durable.open_or_create(path, rows.FORMAT, StateError)
        try:
            opened = cls(connection, aside)
            return opened, opened._load()
        except BaseException:
            connection.close()
            raise

    def write(self, change: Change) -> None:
        """Write a change in one transaction."""
        self._sync(on=change.synced)
        with durable.transaction(self._connection):
            if change.cut is not None:
                self._connection.execute("DELETE FROM entries WHERE seq > ?", (change.cut,))
                self._connection.execute("DELETE FROM outcomes WHERE seq > ?", (change.cut,))
                rows.cut_newer(self._connection, change.cut)
            rows.insert_entries(self._connection, change.held)
            rows.save_marks(self._connection, change.end, change.marks)
            rows.save_cursors(self._connection, change.cursors.values())
            rows.save_outcomes(self._connection, change.outcomes)
            rows.save_newer(self._connection, change.newer, change.cursors)
            self._connection.execute("DELETE FROM outcomes WHERE seq <= ?", (change.marks[0].seq,))
            self._connection.execute("DELETE FROM outcomes WHERE sink NOT IN (SELECT sink FROM cursors)")

    def read(self, after: int, through: Mark, max_points: int, max_bytes: int) -> Found:
        """Return what is right behind `after`, up to both limits; `through`: the last place to read.

        Where the first entry cannot be read: how far not. The sums of the next sound one tell it.
        """
        taken = rows.read_entries(self._connection, after, through.seq, max_points, max_bytes)
        return Found(after, taken, None if taken else self._gap(after, through))

    def places(self, after: int, enough_bytes: int) -> tuple[list[tuple[Mark, int]], int | None]:
        """Return the places behind `after`, with their points, to the first that has so many bytes.

        And the receive time of the oldest uplink in the entry behind them.
        """
        found = rows.places(self._connection, after, enough_bytes)
        return found, rows.oldest_ns(self._connection, found[-1][0].seq if found else after)

    def purge(self, stretches: Sequence[Stretch]) -> Sequence[Stretch]:
        """Delete some entries of the first stretch that has any; return what is left.

        Gives back pages that have long been free.
        """
        left: Sequence[Stretch] = ()
        for number, (after, through) in enumerate(stretches):
            first = rows.first_row(self._connection, after, through)
            if first is None:
                continue
            upto = min(through, first + PURGE_ENTRIES - 1)
            self._sync(on=False)
            with durable.transaction(self._connection):
                self._connection.execute("DELETE FROM entries WHERE seq BETWEEN ? AND ?", (first, upto))
            left = (upto, through), *stretches[number + 1 :]
            break
        if self._connection.execute("PRAGMA freelist_count").fetchone()[0] > SPARE_PAGES:
            self._connection.execute("PRAGMA incremental_vacuum(256)").fetchall()
        return left

    def close(self) -> None:
        """Bring the WAL into the file and close it."""
        self._connection.close()

    def _load(self) -> Loaded:
        marks = rows.load_marks(self._connection)
        if not marks:  # new: as if a checkpoint had held the empty log
            marks = {END: Mark(), "0": Mark()}
            with durable.transaction(self._connection):
                rows.save_marks(self._connection, marks[END], [marks["0"]])
        if END not in marks or len(marks) == 1:
            raise StateError("the outbox's books are damaged: its marks are gone", hint=rows.DAMAGE_HINT)
        cursors = rows.load_cursors(self._connection)
        return Loaded(
            end=marks.pop(END),
            marks=tuple(marks.values()),
            cursors=cursors,
            outcomes=rows.load_outcomes(self._connection),
            oldest_ns={sink: self._oldest_ns(cursor) for sink, cursor in cursors.items()},
            newer=rows.load_newer(self._connection),
            rows_through=rows.last_row(self._connection),
        )

    def _oldest_ns(self, cursor: Cursor) -> dict[int, int | None]:
        """Return the receive time of the oldest uplink in the first entry of each span that waits."""
        begins = {gap.until.seq: gap.after.seq for gap in cursor.gaps} | {LIVE: cursor.seq}
        return {name: rows.oldest_ns(self._connection, after) for name, after in begins.items()}

    def _gap(self, after: int, through: Mark) -> Mark:
        """Return the place before the first sound entry behind `after`; `through` where none is before it."""
        for seq in range(after, through.seq):
            found = rows.first_sound(self._connection, seq)
            if found is not None:
                before = found[0].less(found[1])
                return before if before.seq < through.seq else through
        return through

    def _sync(self, *, on: bool) -> None:
        """Choose whether the next commits wait for the disk. A synced one syncs all before it."""
        if on != self._synced:
            self._connection.execute(f"PRAGMA synchronous={'FULL' if on else 'NORMAL'}")
            self._synced = on
