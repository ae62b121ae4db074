"""What can still be used of a quarantine file that is damaged. Synchronous."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from gateway import damage, durable
from gateway.quarantine.reader import is_sound

if TYPE_CHECKING:
    import sqlite3

TOGETHER = 500
"""Rows written in one transaction."""
CHECKED = (
    *("position", "idx", "received_ns", "site", "device", "profile", "topic", "reason", "detail", "payload"),
    "digest",
)
"""The columns that the checksum is about, and it."""


def rescue(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    """Bring the counters and the sound rows of a damaged file to an empty one. Raises sqlite3.Error: its."""
    with damage.passing():
        counters = source.execute("SELECT name, value FROM counters").fetchall()
        with durable.transaction(target):
            target.executemany("INSERT OR REPLACE INTO counters VALUES (?, ?)", counters)
    with damage.passing():
        names = [row[1] for row in source.execute("PRAGMA table_info(refused)")]
        if set(CHECKED) <= set(names):
            _rows(source, target, names)


def _rows(source: sqlite3.Connection, target: sqlite3.Connection, names: list[str]) -> None:
    columns, places = ", ".join(names), ", ".join("?" for _ in names)
    put = f"INSERT OR IGNORE INTO refused ({columns}) VALUES ({places})"  # noqa: S608 - our own names
    checked = [names.index(name) for name in CHECKED]

    def is_row(row: tuple[Any, ...]) -> bool:
        return is_sound(*(row[place] for place in checked))

    sound = filter(is_row, damage.rows(source, "refused", "id"))
    while group := list(itertools.islice(sound, TOGETHER)):
        with durable.transaction(target):
            target.executemany(put, group)
