"""Reading a segment that may be damaged: the sound records, and what to say of the others.

Nothing in the file is believed but records whose checksum matches at their position: a page that
rots can also move rows, hide them, or show them twice.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway import durable
from gateway.journal import records

if TYPE_CHECKING:
    from gateway.model import Record

PROBES = 4096
"""Positions tried one by one before the chunk is handed over: about 40 ms."""

_NEXT = "SELECT position, count, blob FROM records WHERE position > ? AND position <= ? ORDER BY position"


@dataclass(frozen=True, slots=True)
class Damage:
    """Positions `first` to `last` that could not be read, and why.

    `uplinks` is how many uplinks their rows claim to hold; 0 where nothing tells.
    """

    first: int
    last: int
    why: str
    uplinks: int = 0


@dataclass(slots=True)
class Chunk:
    """Sound records in order, up to and including position `through`, but for the damages."""

    rows: list[tuple[int, Record]] = field(default_factory=list)
    through: int = 0
    damages: list[Damage] = field(default_factory=list)


def add_damage(damages: list[Damage], new: Damage) -> None:
    """Append a damage, joining it to the last one where it goes on from there; known ones are left out.

    What tells its uplinks and what does not are never joined: the sum would be taken for all of them.
    """
    if any(known.first <= new.first and new.last <= known.last for known in damages):
        return
    last = damages[-1] if damages else None
    goes_on = last is not None and last.last + 1 == new.first and last.why == new.why
    if last is not None and goes_on and bool(last.uplinks) == bool(new.uplinks):
        damages[-1] = Damage(last.first, new.last, last.why, last.uplinks + new.uplinks)
    else:
        damages.append(new)


def read_chunk(connection: sqlite3.Connection, after: int, stop: int, max_bytes: int) -> Chunk:
    """Read sound records from behind `after` to `stop`, until they come to `max_bytes`.

    Raises sqlite3.Error where the machine, not the file, is at fault.
    """
    chunk = Chunk(through=after)
    taken = 0
    try:
        for position, _, blob in connection.execute(_NEXT, (after, stop)):
            record = sound(position, blob) if position == chunk.through + 1 else None
            if record is None:
                break
            chunk.rows.append((position, record))
            chunk.through = position
            taken += len(blob)
            if taken >= max_bytes:
                return chunk
    except sqlite3.Error as failure:
        if not durable.is_damage(failure):
            raise
    if chunk.through < stop:
        _set_aside(connection, chunk, stop)
    return chunk


def _set_aside(connection: sqlite3.Connection, chunk: Chunk, stop: int) -> None:
    """Move over what cannot be read, to and with the next sound record, or to `stop`."""
    for _ in range(PROBES):
        if chunk.through >= stop:
            return
        found = _probe(connection, chunk.through + 1, stop)
        if not isinstance(found, Damage):
            # Taken here: sqlite3 steps ahead, and may fail on the row behind it before giving it.
            chunk.rows.append((chunk.through + 1, found))
            chunk.through += 1
            return
        add_damage(chunk.damages, found)
        chunk.through = found.last


def _probe(connection: sqlite3.Connection, position: int, stop: int) -> Damage | Record:
    """Return the record at a position, or what is wrong there."""
    try:
        row = connection.execute(_NEXT + " LIMIT 1", (position - 1, stop)).fetchone()
    except sqlite3.Error as failure:
        if not durable.is_damage(failure):
            raise
        return Damage(position, position, str(failure), _claimed(connection, position))
    if row is None:
        return Damage(position, stop, "missing")
    found, count, blob = row
    record = sound(found, blob)
    if found != position:
        # A row whose checksum fails does not even tell its position: step by one.
        return Damage(position, found - 1 if record is not None else position, "missing")
    return (
        record
        if record is not None
        else Damage(position, position, "checksum does not match", _positive(count))
    )


def _claimed(connection: sqlite3.Connection, position: int) -> int:
    """Return how many uplinks a row claims to hold whose content cannot be read; 0 where nothing tells."""
    try:
        row = connection.execute("SELECT count FROM records WHERE position = ?", (position,)).fetchone()
    except sqlite3.Error as failure:
        if not durable.is_damage(failure):
            raise
        return 0
    return 0 if row is None else _positive(row[0])


def _positive(count: object) -> int:
    return count if isinstance(count, int) and count > 0 else 0


def sound(position: int, blob: object) -> Record | None:
    """Return the record of a row; None where it is not what was written at that position."""
    if not isinstance(blob, bytes):
        return None
    try:
        return records.decode(position, blob)
    except records.Damaged:
        return None
