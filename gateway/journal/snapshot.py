"""The state at its last checkpoint, read beside the gateway that goes on: nothing is changed or recovered."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from gateway import durable
from gateway.errors import StateError
from gateway.journal.checkpoint import FORMAT, NAME, altered

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from pathlib import Path


class StateSnapshot:
    """What one checkpoint holds, whatever is committed meanwhile. To be closed soon: it keeps the WAL large.

    Loads raise StateError where something is not what was written.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Use `snapshot`."""
        self._connection = connection

    def load(self, kind: str, owner: str, start: int) -> list[bytes]:
        """Return the parts of a cell in order of part; an empty list where there is none."""
        rows = self._rows(
            "SELECT kind, owner, start, part, crc, body FROM cells"
            " WHERE kind = ? AND owner = ? AND start = ? ORDER BY part",
            kind,
            owner,
            start,
        )
        for row in rows:
            if altered(row):
                raise StateError(f"a cell of the state is damaged: {row[:4]}", hint=_HINT)
        return [row[-1] for row in rows]

    def starts(self, kind: str, owner: str) -> list[int]:
        """Return the starts that have cells of this kind, ascending."""
        query = "SELECT DISTINCT start FROM cells WHERE kind = ? AND owner = ? ORDER BY start"
        return [row[0] for row in self._rows(query, kind, owner)]

    def owners(self, kind: str) -> list[str]:
        """Return the owners that have cells of this kind, sorted."""
        query = "SELECT DISTINCT owner FROM cells WHERE kind = ? ORDER BY owner"
        return [row[0] for row in self._rows(query, kind)]

    def meta(self, key: str) -> bytes | None:
        """Return a meta value; None where it was never committed."""
        rows = self._rows("SELECT key, crc, value FROM meta WHERE key = ?", key)
        if rows and altered(rows[0]):
            raise StateError(f"the state's value {key} is damaged", hint=_HINT)
        return bytes(rows[0][2]) if rows else None

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with durable.translated(StateError, "the state cannot be read"):
            return self._connection.execute(query, values).fetchall()


_HINT = "start the gateway: it takes the newest sound copy of the state"


@contextlib.contextmanager
def snapshot(folder: Path) -> Iterator[StateSnapshot]:
    """Give the state of a folder. Raises StateError: there is none, or it cannot be read."""
    path = folder / NAME
    if not path.is_file():
        raise StateError(
            f"no gateway has run with the state folder {folder}", hint="is --config the one of the gateway?"
        )
    with (
        durable.translated(StateError, f"the state {path} cannot be read"),
        contextlib.closing(durable.connect(path, read_only=True)) as connection,
    ):
        durable.require_format(connection, path, FORMAT, StateError)
        connection.execute("BEGIN")  # all that is read is of one moment
        yield StateSnapshot(connection)
