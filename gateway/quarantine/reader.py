"""Reading the quarantine: for the gateway itself, and for commands while the gateway runs."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from gateway import durable
from gateway.errors import StateError
from gateway.model import Chosen

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence
    from pathlib import Path

FORMAT = durable.Format(
    application_id=0x45435155,  # "ECQU"
    version=2,
    page_bytes=8192,
    # The digest is over the whole row. The payload comes last: a search by the other columns then reads no
    # overflow page.
    schema="CREATE TABLE refused (id INTEGER PRIMARY KEY, sink TEXT NOT NULL, position INTEGER NOT NULL,"
    " idx INTEGER NOT NULL, reason TEXT NOT NULL, digest INTEGER NOT NULL, received_ns INTEGER NOT NULL,"
    " site TEXT NOT NULL, device TEXT NOT NULL, profile TEXT NOT NULL, topic BLOB NOT NULL,"
    " detail TEXT NOT NULL, size INTEGER NOT NULL, retained INTEGER NOT NULL DEFAULT 0,"
    " payload BLOB NOT NULL,"
    " UNIQUE (sink, position, idx, reason, digest));"
    " CREATE INDEX by_device ON refused (site, device, reason, position, idx, size);"
    " CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    steps={1: ("ALTER TABLE refused ADD COLUMN retained INTEGER NOT NULL DEFAULT 0",)},
)
EVERYTHING = Chosen()
PAGE_ROWS, PAGE_BYTES = 500, 4 << 20
"""Rows, and bytes of payload, that are in memory at a time where many are gone through."""
BROKER = "the broker"
"""Stands in the place of a sink for packets of which only the first bytes are kept: no sink is called so."""
EVICTED = "evicted"
"""The counter of rows that gave way to newer ones, ever."""
DROPPED = "dropped"
"""The counter of rows that a person deleted, ever."""
LET_IN = "let in"
"""The counter of rows whose uplinks were let in again, ever."""

_COLUMNS = (
    "SELECT id, sink, position, idx, received_ns, site, device, profile, topic, reason, detail, payload,"
    " digest, retained FROM refused"
)
_TYPES = (int, str, int, int, int, str, str, str, bytes, str, str, bytes)
"""Of the columns up to the payload."""


@dataclass(frozen=True, slots=True)
class QuarantineRow:
    """One refused uplink (`sink` is empty, `position` its journal record's) or point (its outbox entry's).

    Or a packet that was not taken whole: `sink` is BROKER, `position` 0. `received_ns` is ns UTC.
    `damaged`: it is not what was put, and is never replayed. `retained`: the broker had kept it.
    """

    id: int
    sink: str
    position: int
    index: int
    received_ns: int
    site: str
    device: str
    profile: str
    topic: bytes
    reason: str
    detail: str
    payload: bytes
    damaged: bool
    retained: bool


class QuarantineReader:
    """Questions to a quarantine's file. Synchronous. Raises StateError where it cannot be read."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Use a connection of someone else's, or `QuarantineReader.open`."""
        self._connection = connection

    @classmethod
    def open(cls, path: Path) -> QuarantineReader:
        """Open a file read-only, whether its gateway runs or not. Raises StateError."""
        with durable.translated(StateError, f"the quarantine {path} cannot be read"):
            connection = durable.connect(path, read_only=True)
            try:
                durable.require_format(connection, path, FORMAT, StateError)
            except BaseException:
                connection.close()
                raise
        return cls(connection)

    def list(self, chosen: Chosen = EVERYTHING, *, limit: int = 100) -> Sequence[QuarantineRow]:
        """Return the rows that are chosen, newest first."""
        clause, values = where(chosen)
        return list(self._rows(f"{_COLUMNS}{clause} ORDER BY id DESC LIMIT ?", (*values, limit)))

    def page(
        self, chosen: Chosen, *, limit: int = PAGE_ROWS, max_bytes: int = PAGE_BYTES
    ) -> Sequence[QuarantineRow]:
        """Return the oldest rows that are chosen: at most `limit`, and until payloads come to `max_bytes`."""
        clause, values = where(chosen)
        found: list[QuarantineRow] = []
        size = 0
        for row in self._rows(f"{_COLUMNS}{clause} ORDER BY id LIMIT ?", (*values, limit)):
            found.append(row)
            size += len(row.payload)
            if size >= max_bytes:
                break
        return found

    def every(self, chosen: Chosen) -> Iterator[QuarantineRow]:
        """Yield the rows that are chosen, oldest first, a page of them in memory; nothing is held up.

        Rows that come meanwhile, or give way, may be among them or not.
        """
        while page := self.page(chosen):
            yield from page
            chosen = replace(chosen, after=page[-1].id)

    def show(self, row: int) -> QuarantineRow | None:
        """Return the row with that id; None where there is none (any more)."""
        return next(iter(self._rows(_COLUMNS + " WHERE id = ?", (row,))), None)

    def counts(self, chosen: Chosen = EVERYTHING) -> dict[str, int]:
        """Return how many of the rows that are chosen wait, by reason, sorted by reason."""
        clause, values = where(chosen)
        with durable.translated(StateError, "the quarantine cannot be read"):
            query = f"SELECT reason, count(*) FROM refused{clause} GROUP BY reason ORDER BY reason"  # noqa: S608 - clauses of ours
            return dict(self._connection.execute(query, values))

    def newest(self) -> int:
        """Return the greatest number of a row; 0 where there is none."""
        with durable.translated(StateError, "the quarantine cannot be read"):
            return int(self._connection.execute("SELECT ifnull(max(id), 0) FROM refused").fetchone()[0])

    def evicted(self) -> int:
        """Return how many rows have given way to newer ones, ever."""
        with durable.translated(StateError, "the quarantine cannot be read"):
            query = "SELECT value FROM counters WHERE name = ?"
            row = self._connection.execute(query, (EVICTED,)).fetchone()
        return 0 if row is None else int(row[0])

    def close(self) -> None:
        """Close the connection (`contextlib.closing` does)."""
        self._connection.close()

    def _rows(self, query: str, values: tuple[Any, ...]) -> Iterator[QuarantineRow]:
        """Yield rows as they are read; an iterator that is given up ends its reading."""
        with (
            durable.translated(StateError, "the quarantine cannot be read"),
            contextlib.closing(self._connection.execute(query, values)) as found,
        ):
            for row in found:
                yield _row(*row)


def where(chosen: Chosen) -> tuple[str, tuple[Any, ...]]:
    """Return the WHERE clause of a choice, empty where it is everything, and its values."""
    wanted = {
        "reason = ?": chosen.reason,
        "site = ?": chosen.site,
        "device = ?": chosen.device,
        "profile = ?": chosen.profile,
        "received_ns >= ?": chosen.since_ns,
        "received_ns < ?": chosen.until_ns,
        "id > ?": chosen.after or None,
        "id <= ?": chosen.through,
    }
    given = {clause: value for clause, value in wanted.items() if value is not None}
    return (" WHERE " + " AND ".join(given) if given else ""), tuple(given.values())


def digest(  # noqa: PLR0917 - the columns, in their order
    position: int,
    index: int,
    received_ns: int,
    site: str,
    device: str,
    profile: str,
    topic: bytes,
    reason: str,
    detail: str,
    payload: bytes,
) -> int:
    """Return 64 bits over a row, as SQLite's signed integer: a part of its key, and its checksum.

    What is in no journal (position 0) may come again at another time, in other words: it is the same row.
    """
    told = (reason, site, device, profile, *((position, index, received_ns, detail) if position else ()))
    return _digest(payload, b"\0".join((topic, *(str(part).encode() for part in told))))


def _digest(*parts: bytes) -> int:
    seen = blake2b(digest_size=8)
    for part in parts:
        seen.update(part)
    return int.from_bytes(seen.digest(), "little", signed=True)


def is_sound(*row: Any) -> bool:  # noqa: ANN401 - SQLite holds whatever a damaged file says
    """Tell whether a row is what was put: the arguments of `digest`, then the digest that stands in it."""
    *told, known = row
    # Rows of before were put with a digest of the payload alone.
    return all(map(isinstance, told, _TYPES[2:])) and known in (digest(*told), _digest(told[-1]))


def _row(*columns: Any) -> QuarantineRow:  # noqa: ANN401 - as above
    """Return what `_COLUMNS` gave; what is not even of its column's type is empty, and the row damaged."""
    *told, known, retained = columns
    typed: list[Any] = [v if isinstance(v, kind) else kind() for v, kind in zip(told, _TYPES, strict=True)]
    return QuarantineRow(*(*typed, not is_sound(*told[2:], known), bool(retained)))
