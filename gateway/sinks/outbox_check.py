"""Whether an outbox's file can be gone on from at a place: what a backup is checked for. Synchronous."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from gateway import durable
from gateway.errors import StateError
from gateway.sinks import outbox_rows as rows
from gateway.sinks.outbox_cursor import rest_of, unneeded

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

_READ_BYTES = 8 << 20


def unsoundness(path: Path, end: int) -> str:
    """Say why a file cannot be recovered to the place `end`; empty where it can. Reads what waits there.

    Raises sqlite3.Error where the machine is at fault.
    """
    found = durable.unsoundness(path)
    if found:
        return found
    with contextlib.closing(durable.connect(path)) as connection:
        try:
            application_id, version = durable.identity(connection)
            if application_id != rows.FORMAT.application_id:
                return "it is another kind of file"
            durable.require_version(path, version, rows.FORMAT, StateError)
            marks, cursors = rows.load_marks(connection), rows.load_cursors(connection)
        except StateError as damage:
            return str(damage)
        known = [mark.seq for name, mark in marks.items() if name != rows.END]
        through = max((seq for seq in known if seq <= end), default=0)
        for after, until in rest_of([(0, through)], unneeded(cursors.values(), through)):
            if (read := _read_through(connection, after, until)) < until:
                return f"entry {read + 1} cannot be read, and waits for a sink"
    return ""


def _read_through(connection: sqlite3.Connection, after: int, until: int) -> int:
    """Read entries up to `until`; return the last one that could be."""
    while after < until and (taken := rows.read_entries(connection, after, until, 1 << 30, _READ_BYTES)):
        after = taken[-1][0].seq
    return after
