"""How the last readings of a shelf's series get into the state file: those that changed, and a little more.

A checkpoint appends the rows that changed since the last one as one cell, and writes some chunks of series
whole, in turn: about as many rows as it appends. Once every chunk was written after an appended cell, that
cell goes. So a checkpoint's size follows from what has changed alone; the file holds a row about twice.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from gateway import packing

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.model import Bool, Changes, Int32, Int64
    from gateway.packing import Arrays
    from gateway.ports import StateStore

LATEST = "latest"
"""Cells of whole chunks, by the code of their first series."""
NEWEST = "newest"
"""Cells of rows that were appended, by the number of their checkpoint."""
CHUNK = 1024
_CELL_ROWS = 64
"""What a cell costs beside its rows, counted in rows: bounds the cells that a restart must read."""
_MOSTLY = 4
"""A chunk of which one row in so many changed is written whole."""


class LatestLog:
    """Which series' last readings changed, and which cells hold them. `size` series, codes below it."""

    def __init__(self, owner: str, store: StateStore) -> None:
        self._owner = owner
        self._store = store
        self._changed: Bool = np.zeros(0, np.bool_)
        self._written: Int64 = np.zeros(0, np.int64)
        """By chunk: the number of the checkpoint that wrote it whole last; 0 where none has."""
        self._appended: deque[int] = deque()
        self._number = 0
        self._turn = 0
        self._owed = 0
        """Rows appended that no chunk was written for yet."""

    def grow(self, size: int) -> None:
        """Make room for `size` series."""
        if size > len(self._changed):
            capacity = max(size, 2 * len(self._changed))
            self._changed = np.concatenate([self._changed, np.zeros(capacity - len(self._changed), np.bool_)])
        chunks = -(-size // CHUNK)
        if chunks > len(self._written):
            self._written = np.concatenate([self._written, np.zeros(chunks - len(self._written), np.int64)])

    def note(self, series: Int32 | slice) -> None:
        """Note that the last readings of some series have changed."""
        self._changed[series] = True

    def save(self, changes: Changes, size: int, columns: Callable[[Int64], Arrays]) -> None:
        """Add what has changed since the last call; `columns` gives what is stored of some series."""
        codes = np.flatnonzero(self._changed[:size])
        if not len(codes):
            return
        self._changed[:] = False
        self._number += 1
        chunks, each = np.unique(codes // CHUNK, return_counts=True)
        rows = np.minimum(CHUNK, size - chunks * CHUNK)
        whole = set(chunks[each * _MOSTLY >= rows].tolist())
        rest = codes[~np.isin(codes // CHUNK, list(whole))]
        if len(rest):
            body = packing.pack({"series": rest.astype(np.int32), **columns(rest)})
            changes.cells[NEWEST, self._owner, self._number, 0] = body
            self._appended.append(self._number)
            self._owed += max(len(rest), _CELL_ROWS)
        for chunk in whole | self._in_turn():
            own = np.arange(chunk * CHUNK, min((chunk + 1) * CHUNK, size))
            number = np.array(self._number, np.int64)
            body = packing.pack({"number": number, **columns(own)})
            changes.cells[LATEST, self._owner, chunk * CHUNK, 0] = body
            self._written[chunk] = self._number
        oldest = int(self._written.min())
        while self._appended and self._appended[0] <= oldest:
            number_gone = self._appended.popleft()
            # One that was appended just now is not in the file yet: then it need not come there.
            if changes.cells.pop((NEWEST, self._owner, number_gone, 0), None) is None:
                changes.cells[NEWEST, self._owner, number_gone, -1] = None

    def restore(self, take: Callable[[Int64, Int64, Arrays], None]) -> None:
        """Give `take` what was saved: series, their rows in the columns, the columns; older ones first.

        Room must have been made.
        """
        for start in self._store.starts(LATEST, self._owner):
            for body in self._store.load(LATEST, self._owner, start):
                columns = packing.unpack(body)
                self._written[start // CHUNK] = int(columns.pop("number"))
                own = np.arange(len(columns["time"]))
                take(start + own, own, columns)
        for number in self._store.starts(NEWEST, self._owner):
            for body in self._store.load(NEWEST, self._owner, number):
                columns = packing.unpack(body)
                series = columns.pop("series")
                newer = np.flatnonzero(self._written[series // CHUNK] < number)
                take(series[newer].astype(np.int64), newer, columns)
                self._appended.append(number)
        self._number = max([*self._appended, *self._written.tolist(), 0])

    def _in_turn(self) -> set[int]:
        """Return the chunks whose turn it is to be written whole, for the rows that were appended."""
        turns: set[int] = set()
        while self._owed >= CHUNK and len(turns) < len(self._written):
            self._turn %= len(self._written)
            turns.add(self._turn)
            self._turn += 1
            self._owed -= CHUNK
        return turns
