"""Taking rows out of a quarantine's file that no gateway has open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway import damage, durable
from gateway.errors import StateError
from gateway.model import Chosen
from gateway.quarantine.reader import FORMAT, QuarantineReader
from gateway.quarantine.rescue import rescue

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.quarantine.reader import QuarantineRow


def erase(path: Path, is_theirs: Callable[[QuarantineRow], bool]) -> int:
    """Delete the rows that are theirs; return how many.

    The books' column of quarantined uplinks stays as it was; the next start counts the rows as evicted.
    A damaged file is set aside first, as the gateway would at its start. Raises StateError: of another
    version; sqlite3.Error, OSError.
    """
    damage.mended(path, FORMAT, rescue=rescue)
    with durable.forgetting(path) as connection:
        durable.require_format(connection, path, FORMAT, StateError)
        with durable.transaction(connection):
            gone = [(row.id,) for row in QuarantineReader(connection).every(Chosen()) if is_theirs(row)]
            connection.executemany("DELETE FROM refused WHERE id = ?", gone)
    durable.compact(path)  # even where nothing went: rows that gave way lie in free pages
    return len(gone)
