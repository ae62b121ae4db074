"""Whether an outbox's file can be gone on from at a place: what a backup is checked for. Synchronous."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from gateway import durable
from gateway.errors import StateError
from gateway.sinks import outbox_rows as rows

if TYPE_CHECKING:
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
            durable.require_format(connection, path, rows.FORMAT, StateError)
            marks, cursors = rows.load_marks(connection), rows.load_cursors(connection)
        except StateError as damage:
            return str(damage)
        known = [mark.seq for name, mark in marks.items() if name != rows.END]
        through = max((seq for seq in known if seq <= end), default=0)
        after = min((cursor.seq for cursor in cursors.values()), default=through)
        while after < through:
            taken = rows.read_entries(connection, after, 1 << 30, _READ_BYTES)
            if not taken:
                return f"entry {after + 1} cannot be read, and waits for a sink"
            after = taken[-1][0].seq
    return ""
