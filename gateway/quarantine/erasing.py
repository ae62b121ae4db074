"""Taking a device's rows out of a quarantine's file that no gateway has open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway import damage, durable
from gateway.errors import StateError
from gateway.quarantine.reader import FORMAT
from gateway.quarantine.rescue import rescue

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def erase(path: Path, is_theirs: Callable[[str, str, str, bytes, bytes], bool]) -> int:
    """Delete the rows that are theirs: by sink, site, device, topic, payload; return how many.

    The books' column of quarantined uplinks stays as it was; the next start counts the rows as evicted.
    A damaged file is set aside first, as the gateway would at its start. Raises StateError: of another
    version; sqlite3.Error, OSError.
    """
    damage.mended(path, FORMAT, rescue=rescue)
    with durable.forgetting(path) as connection:
        durable.require_format(connection, path, FORMAT, StateError)
        query = "SELECT id, sink, site, device, topic, payload FROM refused"
        with durable.transaction(connection):
            gone = [(row[0],) for row in connection.execute(query) if is_theirs(*row[1:])]
            connection.executemany("DELETE FROM refused WHERE id = ?", gone)
    durable.compact(path)  # even where nothing went: rows that gave way lie in free pages
    return len(gone)
