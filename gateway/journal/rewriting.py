"""Rewriting records of a segment that no gateway has open: what erasure needs, and nothing else may do.

Delivery guarantees: a segment changes in one transaction, or not at all; positions stay, and so do all
other records, byte for byte. What was there before is in no free page and no WAL of the file afterwards.
"""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway import durable
from gateway.errors import JournalError
from gateway.journal import records
from gateway.journal.salvage import read_chunk
from gateway.journal.segments import FORMAT, first_position
from gateway.model import Control, Frames

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_READ_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Rewritten:
    """What became of a segment: records that were changed, and positions that could not be read."""

    changed: int
    unreadable: int


def rewrite(
    path: Path,
    change: Callable[[int, Frames | Control], Frames | Control | None],
    *,
    read: Callable[[int], None],
) -> Rewritten:
    """Let `change` look at each sound record of a segment; what it returns takes the record's place.

    None leaves it. `read` is told how many bytes more were read. Raises JournalError: of another
    version; sqlite3.Error, OSError.
    """
    with contextlib.closing(durable.connect(path)) as connection:
        try:
            durable.require_format(connection, path, FORMAT, JournalError)
            last = connection.execute("SELECT max(position) FROM records").fetchone()[0]
        except sqlite3.Error as failure:
            if not durable.is_damage(failure):
                raise
            return Rewritten(0, 1)
        connection.execute("PRAGMA secure_delete=ON")
        with durable.transaction(connection):
            done = _rewritten(connection, path, last or 0, change, read)
    if done.changed:
        durable.compact(path)
    return done


def _rewritten(
    connection: sqlite3.Connection,
    path: Path,
    last: int,
    change: Callable[[int, Frames | Control], Frames | Control | None],
    read: Callable[[int], None],
) -> Rewritten:
    changed = unreadable = 0
    after = first_position(path) - 1
    while after < last:
        chunk = read_chunk(connection, after, last, _READ_BYTES)
        unreadable += sum(damage.last + 1 - damage.first for damage in chunk.damages)
        size = 0
        for position, record in chunk.rows:
            size += len(record.frames if isinstance(record, Frames) else record.body)
            new = change(position, record)
            if new is not None:
                row = (records.time_ns(new), records.uplinks(new), records.encode(position, new), position)
                connection.execute(
                    "UPDATE records SET at_ns = ?, count = ?, blob = ? WHERE position = ?", row
                )
                changed += 1
        after = chunk.through
        read(size)
    return Rewritten(changed, unreadable)
