"""Reading the quarantine: for the gateway itself, and for commands while the gateway runs."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from gateway import durable
from gateway.errors import StateError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence
    from pathlib import Path

FORMAT = durable.Format(
    application_id=0x45435155,  # "ECQU"
    version=1,
    page_bytes=8192,
    # The digest is over the whole row. The payload comes last: a search by the other columns then reads no
    # overflow page.
    schema="CREATE TABLE refused (id INTEGER PRIMARY KEY, sink TEXT NOT NULL, position INTEGER NOT NULL,"
    " idx INTEGER NOT NULL, reason TEXT NOT NULL, digest INTEGER NOT NULL, received_ns INTEGER NOT NULL,"
    " site TEXT NOT NULL, device TEXT NOT NULL, profile TEXT NOT NULL, topic BLOB NOT NULL,"
    " detail TEXT NOT NULL, size INTEGER NOT NULL, payload BLOB NOT NULL,"
    " UNIQUE (sink, position, idx, reason, digest));"
    " CREATE INDEX by_device ON refused (site, device, reason, position, idx, size);"
    " CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
)
BROKER = "the broker"
"""Stands in the place of a sink for packets of which only the first bytes are kept: no sink is called so."""
EVICTED = "evicted"
"""The counter of rows that gave way to newer ones, ever."""

_COLUMNS = (
    "SELECT id, sink, position, idx, received_ns, site, device, profile, topic, reason, detail, payload,"
    " digest FROM refused"
)


@dataclass(frozen=True, slots=True)
class QuarantineRow:
    """One refused uplink (`sink` is empty, `position` its journal record's) or point (its outbox entry's).

    Or a packet that was not taken whole: `sink` is BROKER, `position` 0. `received_ns` is ns UTC.
    `damaged`: it is not what was put; do not replay it.
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

    def list(
        self,
        *,
        reason: str | None = None,
        site: str | None = None,
        device: str | None = None,
        profile: str | None = None,
        since_ns: int | None = None,
        limit: int = 100,
    ) -> Sequence[QuarantineRow]:
        """Return the rows that match all that is given, newest first. `since_ns`: received then or later."""
        wanted = {
            "reason = ?": reason,
            "site = ?": site,
            "device = ?": device,
            "profile = ?": profile,
            "received_ns >= ?": since_ns,
        }
        given = {clause: value for clause, value in wanted.items() if value is not None}
        where = " WHERE " + " AND ".join(given) if given else ""
        return self._rows(f"{_COLUMNS}{where} ORDER BY id DESC LIMIT ?", (*given.values(), limit))

    def show(self, row: int) -> QuarantineRow | None:
        """Return the row with that id; None where there is none (any more)."""
        found = self._rows(_COLUMNS + " WHERE id = ?", (row,))
        return found[0] if found else None

    def counts(self) -> dict[str, int]:
        """Return how many rows wait, by reason, sorted by reason."""
        with durable.translated(StateError, "the quarantine cannot be read"):
            query = "SELECT reason, count(*) FROM refused GROUP BY reason ORDER BY reason"
            return dict(self._connection.execute(query))

    def evicted(self) -> int:
        """Return how many rows have given way to newer ones, ever."""
        with durable.translated(StateError, "the quarantine cannot be read"):
            query = "SELECT value FROM counters WHERE name = ?"
            row = self._connection.execute(query, (EVICTED,)).fetchone()
        return 0 if row is None else int(row[0])

    def close(self) -> None:
        """Close the connection (`contextlib.closing` does)."""
        self._connection.close()

    def _rows(self, query: str, values: tuple[Any, ...]) -> Sequence[QuarantineRow]:
        with durable.translated(StateError, "the quarantine cannot be read"):
            found = self._connection.execute(query, values).fetchall()
        return [QuarantineRow(*(*row[:-1], not is_sound(*row[2:]))) for row in found]


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
    types = (int, int, int, str, str, str, bytes, str, str, bytes)
    # Rows of before were put with a digest of the payload alone.
    return all(map(isinstance, told, types)) and known in (digest(*told), _digest(told[-1]))
