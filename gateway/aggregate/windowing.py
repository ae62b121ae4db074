"""Which windows to write now, and what they say: computed from the blocks, one block in memory at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gateway.aggregate.carry import NEVER
from gateway.aggregate.finish import fields_of
from gateway.aggregate.reductions import Partial, chunk
from gateway.model import Column, Windows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.aggregate.blocks import Block
    from gateway.aggregate.shelf import Shelf
    from gateway.model import Int32, Int64, SeriesTable
    from gateway.profiles.plan import WindowPlan


@dataclass(frozen=True, slots=True)
class Window:
    """One window of a shelf in one zone, and the starts of its blocks, int64[b] ascending."""

    zone: int
    start: int
    end: int
    ready: int
    blocks: Int64


class Windowing:
    """Writes the windows of one shelf."""

    def __init__(self, shelf: Shelf, texts: SeriesTable) -> None:
        self._shelf = shelf
        self._texts = texts
        self.undelivered = 0
        """Corrections that `due` gave of windows that were delivered once and for all."""

    def due(self, until_ns: int) -> Iterator[Windows]:
        """Yield windows that were ready by `until_ns` and never written, and corrections of older ones.

        By length, so that a fleet's day, hour and quarter, which end together, need not be in memory at once.
        """
        written = self._shelf.written
        pending = written.take_pending()
        for plan in self._shelf.profile.windows:
            length = plan.length_ns
            behind = written.written_until(length)
            ahead = max(behind, until_ns)  # a clock set back writes no window anew, and corrects as before
            pieces = []
            for window in self._windows(length):
                series = pending.get((length, window.zone, window.start))
                if window.ready > behind:
                    series = None
                elif series is None:
                    continue
                if window.ready <= ahead:
                    piece = self._piece(plan, window, series, is_revised=True)
                    pieces.append(piece)
                    if window.ready <= written.delivered_until.get(length, NEVER):
                        self.undelivered += len(piece)
                    del piece  # else it would stay until the next length's is made
            written.until[length] = ahead
            yield from _joined(pieces)

    def settled(self, until_ns: int) -> Iterator[Windows]:
        """Yield windows that were ready by `until_ns` and never delivered: each once, by length."""
        delivered = self._shelf.written.delivered_until
        for plan in self._shelf.profile.windows:
            behind = delivered.get(plan.length_ns, NEVER)
            pieces = [
                self._piece(plan, window, None, is_revised=False)
                for window in self._windows(plan.length_ns)
                if behind < window.ready <= until_ns
            ]
            delivered[plan.length_ns] = max(behind, until_ns)
            yield from _joined(pieces)

    def drop(self, *, are_delivered: bool) -> None:
        """Forget blocks that nothing can change any more, all of whose windows are written.

        That is so once the river has passed the last of their windows by the lateness. `are_delivered`:
        whether some sink takes windows once and for all, so that they must have been delivered too.
        """
        shelf = self._shelf
        starts = np.array(shelf.blocks.starts(), dtype=np.int64)
        if not len(starts):
            return
        lengths = shelf.lengths
        last = starts + shelf.shortest
        done = np.ones(len(starts), np.bool_)
        for length in lengths or [shelf.shortest]:
            for zone in shelf.zones_of(length):
                _, _, ready = shelf.windows(length, zone, starts)
                last = np.maximum(last, ready)
                if lengths:
                    done &= ready <= shelf.written.written_until(length)
                    done &= (ready <= shelf.written.delivered_until.get(length, NEVER)) | (not are_delivered)
        gone = done & (shelf.river_ns > last + shelf.profile.lateness_ns)
        if gone.any():
            for start in starts[gone].tolist():
                shelf.blocks.drop(start)
            shelf.dropped_until = max(shelf.dropped_until, int(starts[gone].max()) + shelf.shortest)
            self._forget(starts[~gone])

    def _forget(self, kept: Int64) -> None:
        """Forget the writings of windows none of whose blocks is kept."""
        shelf = self._shelf
        oldest = kept[:1] if len(kept) else np.array([shelf.dropped_until], dtype=np.int64)
        for length in shelf.lengths:
            begun = [int(shelf.windows(length, zone, oldest)[0][0]) for zone in shelf.zones_of(length)]
            shelf.written.forget_before(length, min(begun))

    def _windows(self, length: int) -> Iterator[Window]:
        """Yield the windows of a length whose blocks are all kept, by zone, ascending."""
        shelf = self._shelf
        starts = np.array(shelf.blocks.starts(), dtype=np.int64)
        for zone in shelf.zones_of(length):
            begun, end, ready = shelf.windows(length, zone, starts)
            first = np.flatnonzero(np.diff(begun, prepend=NEVER)) if len(begun) else begun
            for low, high in zip(first.tolist(), [*first[1:].tolist(), len(starts)], strict=False):
                if begun[low] < shelf.dropped_until:
                    continue  # some of its blocks may be gone: it was written when they were there
                yield Window(zone, int(begun[low]), int(end[low]), int(ready[low]), starts[low:high])

    def _piece(self, plan: WindowPlan, window: Window, series: Int32 | None, *, is_revised: bool) -> Windows:
        """Return one window of all its series (None) or of some of them, and count its writing."""
        shelf = self._shelf
        # Sums of huge values may be infinite: such a field is left out, without a warning.
        with np.errstate(over="ignore", invalid="ignore"):
            found = self._combined(window, series)
            fields = fields_of(
                found,
                shelf.group,
                start=window.start,
                end=window.end,
                every_ns=shelf.profile.every_ns,
                texts=self._texts,
            )
        counts = shelf.written.counts(plan.length_ns, window.start, len(shelf.table))
        # A window in which a correction has left nothing usable is written all the same.
        kept = (found.used > 0) | (found.seen & is_revised & (counts[found.series] > 0))
        if window.zone >= 0:
            kept &= np.isin(found.series, shelf.in_zone(found.series, window.zone))
        rows = np.flatnonzero(kept)
        chosen = found.series[rows]
        n = len(rows)
        return Windows(
            profile=shelf.profile,
            group=shelf.group,
            table=shelf.table,
            window=plan.name,
            series=chosen,
            start=np.full(n, window.start, np.int64),
            end=np.full(n, window.end, np.int64),
            revision=shelf.written.count(plan.length_ns, window.start, chosen)
            if is_revised
            else np.zeros(n, np.int32),
            fields=fields if n == len(kept) else {name: _taken(c, rows) for name, c in fields.items()},
        )

    def _combined(self, window: Window, series: Int32 | None) -> Partial:
        """Return what the window's blocks give together, of all series or of some (ascending)."""
        shelf = self._shelf
        if series is None and len(window.blocks) == 1:
            return self._whole(shelf.blocks.get(int(window.blocks[0])))
        found = Partial.empty(
            shelf.group, np.arange(len(shelf.table), dtype=np.int32) if series is None else series
        )
        for start in window.blocks.tolist():
            self._absorb(found, start, series)
            shelf.blocks.relieve()
        return found

    def _absorb(self, found: Partial, start: int, series: Int32 | None) -> None:
        """Take up what a block gives. A frame of its own: nothing of it stays while the next one is read."""
        shelf = self._shelf
        block = shelf.blocks.read(start)
        if series is None:
            part = self._whole(block)
        else:
            rows, _ = block.select(series)
            if not len(rows):
                return
            part = chunk(rows, shelf.layout, shelf.group, shelf.profile.every_ns, block.pasts)
        found.absorb(np.searchsorted(found.series, part.series), part)

    def _whole(self, block: Block) -> Partial:
        """Return what all rows of a block give; kept with a block in memory, where there is room."""
        if block.partial is not None:
            return block.partial
        shelf = self._shelf
        rows = block.rows()
        found = (
            chunk(rows, shelf.layout, shelf.group, shelf.profile.every_ns, block.pasts)
            if len(rows)
            else Partial.empty(shelf.group, np.empty(0, np.int32))
        )
        if shelf.blocks.may_keep(block, found.nbytes):
            block.partial = found
            shelf.blocks.touch(block)
        return found


def _taken(column: Column, rows: Int64) -> Column:
    """Return some rows of a column."""
    present = None if column.present is None else column.present[rows]
    return Column(column.type, column.values[rows], present)


def _joined(pieces: list[Windows]) -> Iterator[Windows]:
    """Yield the windows of one length as one batch of columns; nothing of nothing. Empties the list."""
    kept = [piece for piece in pieces if len(piece)]
    pieces.clear()
    if len(kept) < 2:
        while kept:
            yield kept.pop()
        return
    yield _together(kept)


def _together(pieces: Sequence[Windows]) -> Windows:
    """Return windows of one length, two pieces or more, as one batch of columns."""
    first = pieces[0]
    return Windows(
        profile=first.profile,
        group=first.group,
        table=first.table,
        window=first.window,
        series=np.concatenate([piece.series for piece in pieces]),
        start=np.concatenate([piece.start for piece in pieces]),
        end=np.concatenate([piece.end for piece in pieces]),
        revision=np.concatenate([piece.revision for piece in pieces]),
        fields={name: _joined_column([piece.fields[name] for piece in pieces]) for name in first.fields},
    )


def _joined_column(columns: Sequence[Column]) -> Column:
    """Return columns of one field behind each other."""
    values = np.concatenate([column.values for column in columns])
    if all(column.present is None for column in columns):
        return Column(columns[0].type, values)
    present = [np.ones(len(c.values), np.bool_) if c.present is None else c.present for c in columns]
    return Column(columns[0].type, values, np.concatenate(present))
