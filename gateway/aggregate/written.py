"""What has been written of a shelf's windows: watermarks, numbers of writings, what waits for a correction.

A window is ready when it and its last block have ended. A length's watermark is the time up to which ready
windows have had their first writing; a reading that comes into one of them makes it wait for a correction.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from gateway import packing
from gateway.aggregate.carry import NEVER

if TYPE_CHECKING:
    from gateway.model import Changes, Int32
    from gateway.ports import StateStore

WRITTEN = "written"
PENDING = "pending"
_MOST_PARTS = 24
EVERYWHERE = -1
"""Stands for a zone where windows are the same in all of them."""


class Written:
    """The writings of one shelf's windows, by length in ns. Zones are named by number (`Calendar`)."""

    def __init__(self, owner: str, store: StateStore) -> None:
        self._owner = owner
        self._store = store
        self.until: dict[int, int] = {}
        """Per length: windows ready by then are written."""
        self.delivered_until: dict[int, int] = {}
        """Per length: windows ready by then are delivered to sinks that cannot overwrite."""
        self.pending: dict[tuple[int, int, int], list[Int32]] = {}
        """(length, zone, start) → series whose window changed behind the watermark."""
        self._counts: dict[tuple[int, int], Int32] = {}
        self._parts: dict[tuple[int, int], int] = {}
        """How many cells hold the numbers of writings in `_counts`; later ones say what has changed."""
        self._changed: dict[tuple[int, int], list[Int32]] = {}
        self._dropped: set[tuple[int, int]] = set()
        self._stored: dict[int, set[int]] = {}
        self._pending_changed = False

    def written_until(self, length: int) -> int:
        """Return the watermark of a length; `NEVER` before the first writing."""
        return self.until.get(length, NEVER)

    def wait(self, length: int, zone: int, start: int, series: Int32) -> None:
        """Let a window be corrected for some series."""
        self.pending.setdefault((length, zone, start), []).append(series)
        self._pending_changed = True

    def take_pending(self) -> dict[tuple[int, int, int], Int32]:
        """Return what waits (series ascending, each once), and forget it."""
        taken = {key: np.unique(np.concatenate(series)) for key, series in self.pending.items()}
        if taken:
            self.pending, self._pending_changed = {}, True
        return taken

    def counts(self, length: int, start: int, size: int) -> Int32:
        """Return the number of writings of a window by series code, int32[at least size], to be read."""
        counts = self._counts.get((length, start))
        if counts is None:
            counts = self._load(length, start)
        counts = self._counts[length, start] = _with_room(counts, size)
        return counts

    def _load(self, length: int, start: int) -> Int32:
        counts = np.zeros(0, np.int32)
        bodies = self._store.load(WRITTEN, f"{self._owner}/{length}", start)
        for body in bodies:
            part = packing.unpack(body)
            if "series" in part:
                counts = _with_room(counts, int(part["series"].max(initial=-1)) + 1)
                counts[part["series"]] = part["counts"]
            else:
                counts = part["counts"]
        self._parts[length, start] = len(bodies)
        return counts

    def count(self, length: int, start: int, series: Int32) -> Int32:
        """Return the revision of this writing of a window for each of some series, and count it."""
        counts = self.counts(length, start, int(series.max(initial=-1)) + 1)
        revision = counts[series]
        counts[series] += 1
        self._changed.setdefault((length, start), []).append(series)
        return revision

    def forget_before(self, length: int, start: int) -> None:
        """Forget the writings of windows that began before `start`: none of them can be written again."""
        stored = self._stored.get(length)
        if stored is None:
            stored = self._stored[length] = set(self._store.starts(WRITTEN, f"{self._owner}/{length}"))
        stored |= {begun for counted, begun in self._counts if counted == length}
        for begun in [begun for begun in stored if begun < start]:
            stored.discard(begun)
            self._counts.pop((length, begun), None)
            self._changed.pop((length, begun), None)
            self._dropped.add((length, begun))

    def save(self, changes: Changes, zones: list[str]) -> None:
        """Add what has changed since the last call; `zones` names the zones by number."""
        for length, start in self._dropped:
            changes.cells[WRITTEN, f"{self._owner}/{length}", start, -1] = None
        for (length, start), series in self._changed.items():
            self._save_counts(changes, length, start, np.unique(np.concatenate(series)))
        self._dropped.clear()
        self._changed.clear()
        if self._pending_changed:
            waiting = [
                [length, zones[zone] if zone != EVERYWHERE else "", start, np.concatenate(series).tolist()]
                for (length, zone, start), series in self.pending.items()
            ]
            changes.cells[PENDING, self._owner, 0, 0] = json.dumps(waiting).encode()
            self._pending_changed = False

    def _save_counts(self, changes: Changes, length: int, start: int, series: Int32) -> None:
        """Add the numbers of writings of some series: as one more part, or all of them as the only one."""
        counts, owner = self._counts[length, start], f"{self._owner}/{length}"
        parts = self._parts[length, start]
        if not parts or parts >= _MOST_PARTS or len(series) * 2 >= len(counts):
            changes.cells[WRITTEN, owner, start, -1] = None
            changes.cells[WRITTEN, owner, start, 0] = packing.pack({"counts": counts})
            self._parts[length, start] = 1
        else:
            body = packing.pack({"series": series, "counts": counts[series]})
            changes.cells[WRITTEN, owner, start, parts] = body
            self._parts[length, start] = parts + 1

    def committed(self) -> None:
        """Note that what `save` gave is durable: numbers of writings come back when they are needed."""
        self._counts = {key: self._counts[key] for key in self._changed}
        self._parts = {key: self._parts[key] for key in self._changed}

    def restore(self, zones: dict[str, int]) -> None:
        """Take back what waits for a correction; `zones` numbers the zones by name."""
        for body in self._store.load(PENDING, self._owner, 0):
            for length, zone, start, series in json.loads(body):
                key = length, zones.get(zone, EVERYWHERE), start
                self.pending[key] = [np.array(series, dtype=np.int32)]


def _with_room(counts: Int32, size: int) -> Int32:
    """Return the counts of `size` series at least; nothing is written yet of the new ones."""
    if size <= len(counts):
        return counts
    return np.concatenate([counts, np.zeros(size - len(counts), np.int32)])
