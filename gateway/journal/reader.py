"""Reading a journal's folder beside the gateway that writes it: synchronous, and nothing is changed.

What is given is what stood in the folder when it was opened. Segments may be trimmed meanwhile: that is
said, and never passed over.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway import durable
from gateway.errors import JournalError
from gateway.journal import records
from gateway.journal.salvage import Damage, add_damage, read_chunk, sound
from gateway.journal.segments import FORMAT, PREFIX, SUFFIX
from gateway.model import Control

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.model import Frames

READ_BYTES = 4 << 20
"""Read at a time: what is in memory of the journal."""
_LOOKED_AT = 1_000
"""Records tried for a time at either end of a segment: more than that in a row are never damaged alone."""


@dataclass(frozen=True, slots=True)
class _Segment:
    """One file: the first position that it may hold, the last one that is its own, and when it ended."""

    path: Path
    first: int
    last: int
    newest_ns: int | None


class JournalReader:
    """The records that a folder held when this was made. `damages` grows as `read` finds them."""

    def __init__(self, folder: Path) -> None:
        """Look at every segment's ends. Raises JournalError: it cannot be read, or is of another version."""
        self.damages: list[Damage] = []
        self._segments: list[_Segment] = []
        paths = sorted(folder.glob(f"{PREFIX}*{SUFFIX}"))
        firsts = [int(path.name[len(PREFIX) : -len(SUFFIX)]) for path in paths]
        for path, first, following in zip(paths, firsts, [*firsts[1:], None], strict=False):
            with _opened(path) as connection:
                last = _last_position(connection, first) if following is None else following - 1
                self._segments.append(_Segment(path, first, last, _time_of_end(connection)))

    @property
    def first(self) -> int:
        """The first position that is held; `end` + 1 where none is."""
        return self._segments[0].first if self._segments else 1

    @property
    def end(self) -> int:
        """The last position; 0 in an empty journal."""
        return self._segments[-1].last if self._segments else 0

    def held_since_ns(self) -> int | None:
        """Return when the first record that can be read was made; None where there is none."""
        for segment in self._segments:
            with _opened(segment.path) as connection:
                query = "SELECT position, blob FROM records ORDER BY position"
                if (found := _first_time(connection, query)) is not None:
                    return found
        return None

    def time_behind(self, position: int) -> int | None:
        """Return when the first record behind a position was made, or the last one where none is behind."""
        for segment in self._segments:
            if segment.last > position:
                with _opened(segment.path) as connection:
                    query = "SELECT position, blob FROM records WHERE position > ? ORDER BY position"
                    if (found := _first_time(connection, query, position)) is not None:
                        return found
        return next((s.newest_ns for s in reversed(self._segments) if s.newest_ns is not None), None)

    def before(self, at_ns: int) -> int:
        """Return a position behind which all stands that was made at that time or later.

        It is where a segment begins: a little more may stand behind it.
        """
        for segment in self._segments:
            if segment.newest_ns is None or segment.newest_ns >= at_ns:
                return segment.first - 1
        return self.end

    def read(self, after: int) -> Iterator[tuple[int, Frames | Control]]:
        """Yield the sound records behind a position, in order. Raises JournalError."""
        for segment in self._segments:
            done = max(after, segment.first - 1)
            while done < segment.last:
                with _opened(segment.path) as connection:
                    chunk = read_chunk(connection, done, segment.last, READ_BYTES)
                for damage in chunk.damages:
                    add_damage(self.damages, damage)
                yield from chunk.rows
                done = chunk.through

    def controls(self, after: int) -> list[tuple[int, Control]]:
        """Return the sound control records behind a position, in order: they are few. Raises JournalError."""
        found = []
        for segment in self._segments:
            if segment.last <= after:
                continue
            with _opened(segment.path) as connection:
                query = (
                    "SELECT position, blob FROM records WHERE count = 0 AND position > ? ORDER BY position"
                )
                for position, blob in connection.execute(query, (after,)):
                    record = sound(position, blob)
                    if isinstance(record, Control) and position <= segment.last:
                        found.append((position, record))
        return found


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Give a segment, read-only; translate what goes wrong."""
    if not path.exists():
        raise JournalError(
            f"{path} is gone: the journal was trimmed meanwhile", hint="ask again, for a later span of time"
        )
    with (
        durable.translated(JournalError, f"the journal's {path} cannot be read"),
        contextlib.closing(durable.connect(path, read_only=True)) as connection,
    ):
        durable.require_format(connection, path, FORMAT, JournalError)
        yield connection


def _last_position(connection: sqlite3.Connection, first: int) -> int:
    (last,) = connection.execute("SELECT max(position) FROM records").fetchone()
    return first - 1 if last is None else int(last)


def _time_of_end(connection: sqlite3.Connection) -> int | None:
    return _first_time(connection, "SELECT position, blob FROM records ORDER BY position DESC")


def _first_time(connection: sqlite3.Connection, query: str, *values: int) -> int | None:
    """Return the time of the first sound record that a query gives."""
    for position, blob in connection.execute(f"{query} LIMIT {_LOOKED_AT}", values):
        record = sound(position, blob)
        if record is not None:
            return records.time_ns(record)
    return None
