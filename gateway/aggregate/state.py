"""What of a shelf goes into the checkpoint beside its blocks, and how it comes back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from gateway import packing
from gateway.errors import StateError
from gateway.model import SeriesTable

if TYPE_CHECKING:
    from gateway.aggregate.shelf import Shelf
    from gateway.model import Changes
    from gateway.ports import StateStore

SHELVES = "shelves"
SERIES = "series"
MARKS = "marks"
TEXTS = "texts"


class SavedTable:
    """A series table and how much of it the state file holds. Tables only grow, so parts are appended."""

    def __init__(self, kind: str, owner: str, store: StateStore, table: SeriesTable | None = None) -> None:
        self._kind = kind
        self._owner = owner
        keys: list[tuple[str, ...]] = []
        for start in store.starts(kind, owner):
            for body in store.load(kind, owner, start):
                keys += packing.unpack_texts(body)
        self.table = SeriesTable(keys) if table is None else table
        self._saved = len(keys)

    def save(self, changes: Changes) -> None:
        """Add the keys that are new since the last call."""
        size = len(self.table)
        if size > self._saved:
            body = packing.pack_texts(self.table.keys[self._saved : size])
            changes.cells[self._kind, self._owner, self._saved, 0] = body
            self._saved = size


def save_shelf(shelf: Shelf, changes: Changes) -> None:
    """Add what has changed of a shelf since the last call."""
    shelf.blocks.save(changes)
    shelf.written.save(changes, [zone.name for zone in shelf.calendar.zones])
    shelf.save_latest(changes)
    marks = {
        "river_ns": shelf.river_ns,
        "dropped_until": shelf.dropped_until,
        "until": {str(length): until for length, until in shelf.written.until.items()},
        "delivered_until": {str(length): until for length, until in shelf.written.delivered_until.items()},
    }
    if marks != shelf.saved_marks:
        changes.cells[MARKS, shelf.owner, 0, 0] = json.dumps(marks).encode()
        shelf.saved_marks = marks


def restore_shelf(shelf: Shelf, store: StateStore) -> None:
    """Take back what `save_shelf` gave; blocks come when they are needed. Raises `StateError` on damage."""
    try:
        shelf.fit()
        for body in store.load(MARKS, shelf.owner, 0):
            marks = json.loads(body)
            shelf.saved_marks = marks
            shelf.river_ns = marks["river_ns"]
            shelf.dropped_until = marks["dropped_until"]
            shelf.written.until = {int(length): until for length, until in marks["until"].items()}
            delivered = marks["delivered_until"]
            shelf.written.delivered_until = {int(length): until for length, until in delivered.items()}
        shelf.restore_latest()
        shelf.written.restore({zone.name: code for code, zone in enumerate(shelf.calendar.zones)})
    except (ValueError, KeyError, TypeError) as error:
        raise StateError(f"the state of {shelf.owner} cannot be read: {error}") from error
