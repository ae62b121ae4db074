"""Taking points out of an outbox's file that no gateway has open. Synchronous.

An entry keeps its number, and what it counts in the books: a point that was erased while it waited counts
as one that was stored, as those do that were erased after they had been.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway import durable
from gateway.sinks import erasing, outbox_rows
from gateway.sinks.outbox_file import OutboxFile

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.sinks.erasing import Which


def erase(path: Path, which: Which) -> int:
    """Return how many points went. A damaged file is set aside first, as the gateway would at its start.

    Raises StateError: of another version; sqlite3.Error, OSError.
    """
    OutboxFile.open(path)[0].close()
    points = 0
    with durable.forgetting(path) as connection:
        numbers = [row[0] for row in connection.execute("SELECT seq FROM entries ORDER BY seq")]
        with durable.transaction(connection):
            for number in numbers:
                held = outbox_rows.first_sound(connection, number - 1)
                if held is None:
                    continue
                body, gone = erasing.without_points(held[1].body, which)
                if gone:
                    outbox_rows.replace_body(connection, held, body)
                    points += gone
    durable.compact(path)  # even where nothing went: entries that were sent long ago lie in free pages
    return points
