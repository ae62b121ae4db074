"""The ends of the river before the sinks: outbox logs, each with its encoder, and the quarantine."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import structlog

from gateway.model import Column, Reason, Refused
from gateway.quarantine.reader import BROKER
from gateway.sinks import columns
from gateway.sinks.line_protocol import LineEncoder
from gateway.sinks.outbox import Entry, Standing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gateway.model import Bool, Points
    from gateway.ports import Clock
    from gateway.quarantine.store import QuarantineStore
    from gateway.sinks.outbox import Outbox
    from gateway.treatment import Product

    Encode = Callable[[Points], tuple[bytes, int]]
    """Points → body and how many points are in it."""

said = structlog.get_logger("ecluse")

POINTS_AN_ENTRY = 5_000
"""As many as a request to a sink has, unless set otherwise: an entry is never divided between two."""
ENTRY_BYTES = 900_000
"""About so large is an entry at most: to cut a text into lines for a request costs as much again."""
_LINE_BYTES, _FIELD_BYTES = 64, 24
"""What a line has besides its fields, and what a field has, roughly."""
APPEND_BYTES = 8_000_000
"""Entries are appended once they have this size: the outbox keeps as many in memory as it may."""


def pieces(points: Points) -> Iterator[Points]:
    """Yield the points in pieces of an entry's size, which share their columns."""
    most = min(POINTS_AN_ENTRY, ENTRY_BYTES // (_LINE_BYTES + _FIELD_BYTES * len(points.fields)) + 1)
    if len(points) <= most:
        yield points
        return
    for first in range(0, len(points), most):
        yield _rows_of(points, slice(first, first + most))


def first_and_again(points: Points, *, apart: bool) -> Iterator[tuple[Points, bool]]:
    """Yield the pieces of some points, and of each whether it may hold what was written before.

    `apart`: first writings come by themselves, before the others.
    """
    again = points.rewritten
    if again is None or not apart:
        yield from ((piece, again is not None) for piece in pieces(points))
        return
    for rows, written in ((~again, False), (again, True)):
        yield from ((piece, written) for piece in pieces(_rows_of(points, rows)) if len(piece))


def _rows_of(points: Points, rows: slice | Bool) -> Points:
    """Return some of the points; of a slice the columns are shared."""
    return replace(
        points,
        series=points.series[rows],
        time=points.time[rows],
        fields={name: _part(column, rows) for name, column in points.fields.items()},
        window_end=None if points.window_end is None else points.window_end[rows],
        revision=None if points.revision is None else points.revision[rows],
        again=None if points.again is None else points.again[rows],
    )


def _part(column: Column, rows: slice | Bool) -> Column:
    present = None if column.present is None else column.present[rows]
    return Column(column.type, column.values[rows], present)


def line_protocol(*, strings: bool) -> Encode:
    """Return an encoder to line protocol that remembers tag sets."""
    encoder = LineEncoder(strings=strings)

    def encode(points: Points) -> tuple[bytes, int]:
        body, count = encoder.encode(points)
        return body, count

    return encode


def arrow(points: Points) -> tuple[bytes, int]:
    """Encode for the embedded store."""
    return columns.encode(points), len(points)


class LogOutlet:
    """An outbox log. `once`: for sinks that cannot overwrite, so windows come when they have settled.

    `apart`: some sink takes what is new first, so what may have been written before stands in entries of
    its own: those alone must be looked into where they are sent before older ones.
    """

    def __init__(
        self,
        name: str,
        outbox: Outbox,
        *,
        encode: Encode,
        once: bool,
        sinks: Sequence[str],
        apart: bool = False,
    ) -> None:
        self.name = name
        self.outbox = outbox
        self.sinks = tuple(sinks)
        self._encode = encode
        self._apart = apart
        self.once = once

    async def take(self, product: Product) -> None:
        """Encode and append: raw points first, then windows. They are durable at the next `settle`.

        Piece by piece: at the end of a day a fleet's windows come all at once, and are too many to be in
        memory as text, or in one request.
        """
        entries, size = list[Entry](), 0
        for entry in self._entries(product):
            entries.append(entry)
            size += len(entry.body)
            if size >= APPEND_BYTES:
                await self.outbox.append(entries)
                entries, size = [], 0
        if entries:
            await self.outbox.append(entries)

    def _entries(self, product: Product) -> Iterator[Entry]:
        for piece, again in self._pieces(product):
            body, count = self._encode(piece)
            if count:
                yield Entry(body=body, count=count, oldest_ns=product.oldest_ns, again=again)

    def _pieces(self, product: Product) -> Iterator[tuple[Points, bool]]:
        """Yield what is to be written, and of each piece whether it may have been written before."""
        for points in (*product.raw, *(product.settled if self.once else product.windows)):
            yield from first_and_again(points, apart=self._apart)
        for rewrite in product.rewritten:  # what a reprocessing writes or removes surely was
            if rewrite.reaches(once=self.once):
                yield from ((piece, True) for piece in pieces(rewrite.points))

    @property
    def full(self) -> bool:
        """Whether a `hold` sink waits for as much as the log may hold."""
        return self.outbox.full

    async def room(self) -> None:
        """Wait while a `hold` sink's outbox is full."""
        await self.outbox.room()

    async def settle(self) -> dict[str, Any]:
        """Make what waits durable; the log's end, its cursors, and where all stood."""
        settled = await self.outbox.settle()
        standing = settled.standing.as_lists()
        return {"end": settled.end, "cursors": dict(settled.cursors), "standing": standing}

    async def recover(self, mark: dict[str, Any]) -> None:
        """Cut the log back to the checkpoint's end."""
        standing = Standing.from_lists(mark["standing"]) if "standing" in mark else None
        await self.outbox.recover(mark.get("end", 0), mark.get("cursors", {}), standing)

    async def checkpointed(self, mark: dict[str, Any]) -> None:
        """Let go what only an older checkpoint needed."""
        self.outbox.checkpointed(mark["end"])


class QuarantineOutlet:
    """The quarantine: refused uplinks from the river, points from sinks, heads of packets from the broker."""

    name = "quarantine"

    def __init__(self, store: QuarantineStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def take(self, product: Product) -> None:
        """Keep the refused uplinks, let go of those that came in again; a replay of it changes nothing."""
        await self._store.put(product.refused, gone=product.readmitted)

    async def points(self, sink: str, lines: Sequence[tuple[bytes, str]]) -> None:
        """Keep points that a sink refused, each with the sink's reason."""
        now = self._clock.now_ns()
        rows = [
            Refused(
                position=0,  # neither counts: a point that is sent again is the same row
                index=0,
                received_ns=now,
                topic=b"",
                payload=line,
                reason=Reason.REFUSED_BY_SINK,
                detail=why,
            )
            for line, why in lines
        ]
        await self._store.put(rows, sink=sink)

    async def packet(self, refused: Refused) -> None:
        """Keep the first bytes of a packet that no journal could take; the same one again is the same row."""
        await self._store.put([refused], sink=BROKER)

    @property
    def full(self) -> bool:
        """Never: the oldest rows give way."""
        return False

    async def room(self) -> None:
        """There is always room."""

    async def settle(self) -> dict[str, Any]:
        """How many rows there were, ever: durable already, and keyed by their place in the journal."""
        return {"ever": self._store.ever}

    async def recover(self, mark: dict[str, Any]) -> None:
        """Nothing to cut back; what the checkpoint knows of and the file has no more is said, and counted."""
        missing = await self._store.require(mark.get("ever", 0))
        if missing:
            said.error("rows of the quarantine are lost", rows=missing)

    async def checkpointed(self, mark: dict[str, Any]) -> None:
        """Nothing to let go."""
