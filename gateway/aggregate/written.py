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
        self._changed: set[tuple[int, int]] = set()
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
            bodies = self._store.load(WRITTEN, f"{self._owner}/{length}", start)
            counts = packing.unpack(bodies[0])["counts"] if bodies else np.zeros(size, np.int32)
        if size > len(counts):
            counts = np.concatenate([counts, np.zeros(size - len(counts), np.int32)])
        self._counts[length, start] = counts
        return counts

    def count(self, length: int, start: int, series: Int32) -> Int32:
        """Return the revision of this writing of a window for each of some series, and count it."""
        counts = self.counts(length, start, int(series.max(initial=-1)) + 1)
        revision = counts[series]
        counts[series] += 1
        self._changed.add((length, start))
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
            self._changed.discard((length, begun))
            self._dropped.add((length, begun))

    def save(self, changes: Changes, zones: list[str]) -> None:
        """Add what has changed since the last call; `zones` names the zones by number."""
        for length, start in self._dropped:
            changes.cells[WRITTEN, f"{self._owner}/{length}", start, -1] = None
        for length, start in self._changed:
            body = packing.pack({"counts": self._counts[length, start]})
            changes.cells[WRITTEN, f"{self._owner}/{length}", start, 0] = body
        self._dropped.clear()
        self._changed.clear()
        if self._pending_changed:
            waiting = [
                [length, zones[zone] if zone != EVERYWHERE else "", start, np.concatenate(series).tolist()]
                for (length, zone, start), series in self.pending.items()
            ]
            changes.cells[PENDING, self._owner, 0, 0] = json.dumps(waiting).encode()
            self._pending_changed = False

    def committed(self) -> None:
        """Note that what `save` gave is durable: numbers of writings come back when they are needed."""
        self._counts = {key: self._counts[key] for key in self._changed}

    def restore(self, zones: dict[str, int]) -> None:
        """Take back what waits for a correction; `zones` numbers the zones by name."""
        for body in self._store.load(PENDING, self._owner, 0):
            for length, zone, start, series in json.loads(body):
                key = length, zones.get(zone, EVERYWHERE), start
                self.pending[key] = [np.array(series, dtype=np.int32)]
