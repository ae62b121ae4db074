"""Rewriting records of a segment that nobody appends to: what erasure needs, and nothing else may do.

Delivery guarantees: a segment changes in one transaction, or not at all, whenever the process or the power
goes; positions stay, and so do all other records, byte for byte. What was there before is in no free page
and no WAL of the file afterwards. A gateway may read the segment meanwhile, as it was or as it is then.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway import durable
from gateway.errors import JournalError
from gateway.journal import records
from gateway.journal.salvage import read_chunk
from gateway.journal.segments import FORMAT, first_position
from gateway.model import Control, Record

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Change = Callable[[int, Record], Record | None]
    """A record at a position → what takes its place; None: it stays."""

READ_BYTES = 4 << 20
_UPDATE = "UPDATE records SET at_ns = ?, count = ?, blob = ? WHERE position = ?"


@dataclass(frozen=True, slots=True)
class Rewritten:
    """What became of a segment: records that were changed, and positions that could not be read."""

    changed: int = 0
    unreadable: int = 0


def rewrite(path: Path, change: Change, *, read: Callable[[int], None]) -> Rewritten:
    """Let `change` look at each sound record of a segment; what it returns takes the record's place.

    `read` is told how many bytes more were read. Nothing was done where the segment is not there any more:
    it was trimmed. Raises JournalError: of another version; sqlite3.Error, OSError.
    """
    try:
        with durable.forgetting(path) as connection:
            durable.require_format(connection, path, FORMAT, JournalError)
            last = connection.execute("SELECT max(position) FROM records").fetchone()[0] or 0
            with durable.transaction(connection):
                return _rewritten(connection, path, last, change, read)
    except sqlite3.Error as failure:
        if not path.exists():
            return Rewritten()
        if not durable.is_damage(failure):
            raise
        return Rewritten(unreadable=1)


def _rewritten(
    connection: sqlite3.Connection, path: Path, last: int, change: Change, read: Callable[[int], None]
) -> Rewritten:
    changed = unreadable = 0
    after = first_position(path) - 1
    while after < last:
        chunk = read_chunk(connection, after, last, READ_BYTES)
        unreadable += sum(damage.last + 1 - damage.first for damage in chunk.damages)
        size = 0
        for position, record in chunk.rows:
            size += len(record.body if isinstance(record, Control) else record.frames)
            new = change(position, record)
            if new is not None:
                row = (records.time_ns(new), records.uplinks(new), records.encode(position, new), position)
                connection.execute(_UPDATE, row)
                changed += 1
        after = chunk.through
        read(size)
    if changed:
        connection.execute(f"PRAGMA user_version={FORMAT.version}")
    return Rewritten(changed, unreadable)
