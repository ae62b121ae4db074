"""What can still be used of an outbox file that is damaged. Synchronous.

Its books (marks, cursors, what became of points) are taken over as a whole or not at all: where they are not
sound, recovery takes them from the checkpoint. Entries are sound one by one; where one is missing, its sinks
are passed over it, and its points count as dropped. So are the writings that were sent before older ones:
where one is missing, the older one may be sent after it.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from gateway import damage, durable
from gateway.errors import StateError
from gateway.sinks import outbox_rows as rows

if TYPE_CHECKING:
    import sqlite3

TOGETHER = 16
"""Entries written in one transaction: some 15 MB."""


def judge(connection: sqlite3.Connection) -> str:
    """Say what is wrong with a file's books; empty where nothing is. Raises sqlite3.Error."""
    try:
        marks = rows.load_marks(connection)
        rows.load_cursors(connection)
        rows.load_newer(connection)
    except StateError as damaged:
        return str(damaged)
    return "" if not marks or (rows.END in marks and len(marks) > 1) else "its marks are gone"


def rescue(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    """Bring sound books and sound entries of a damaged file to an empty one. Raises sqlite3.Error: its."""
    with damage.passing():
        if not judge(source):
            _take_books(source, target)
    _take_newer(source, target)
    sound = filter(None, map(rows.held, damage.rows(source, "entries", "seq")))
    while group := list(itertools.islice(sound, TOGETHER)):
        with durable.transaction(target):
            rows.insert_entries(target, group)


def _take_books(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    marks = rows.load_marks(source)
    cursors = rows.load_cursors(source)
    outcomes = rows.load_outcomes(source)
    if not marks:
        return
    with durable.transaction(target):
        rows.save_marks(target, marks.pop(rows.END), marks.values())
        rows.save_cursors(target, cursors.values())
        rows.save_outcomes(
            target, ((sink, seq, one) for sink, known in outcomes.items() for seq, one in known.items())
        )


def _take_newer(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    found: list[tuple[str, bytes, int]] = []
    with damage.passing():
        found.extend(rows.sound_newer(source))  # up to the first page that cannot be read
    with durable.transaction(target):
        rows.insert_newer(target, found)
