"""Lets refused uplinks in again from quarantine, through the journal, while the river flows.

Delivery guarantees: an uplink is taken out of quarantine by the treatment of the journal record that lets it
in again, so a crash anywhere leaves it in quarantine, or leaves the record, whose replay takes it out. One
request after the other, and each ends only when its rows are gone: no uplink can be let in twice. A client
that goes away meanwhile changes nothing of that.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import structlog

from gateway.errors import NotReady, StateError
from gateway.ingest.packets import batch_of, frame_of
from gateway.model import Readmitted
from gateway.quarantine.reader import BROKER
from gateway.rehearsal import Rehearsal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.books import Outcome
    from gateway.model import Chosen
    from gateway.pipeline import River
    from gateway.ports import Clock
    from gateway.quarantine.reader import QuarantineRow
    from gateway.quarantine.store import QuarantineStore
    from gateway.treatment import Treatment

MOST_ROWS = 1_000
"""Rows of one request: what is in memory, and how long the river's order is held up, are bounded by it."""
MOST_BYTES = 4 << 20
"""Bytes of payload of one request, about."""
MOST_WAITING = 16
"""Requests that wait for their turn."""
_LONGEST_TOPIC = 65_535
_LARGEST_PLACE = 2**32 - 1
log = structlog.get_logger("ecluse")


@dataclass(slots=True)
class _Request:
    """What somebody asked for, and where the answer goes."""

    chosen: Chosen
    limit: int
    answer: asyncio.Future[Mapping[str, Any]]

    def refuse(self, error: NotReady | StateError) -> None:
        """Tell whoever waits, if somebody still does."""
        if not self.answer.done():
            self.answer.set_exception(error)


class Readmission:
    """`ports.Quarantine` of a running gateway. `run` must be running for anything to be let in."""

    def __init__(self, *, store: QuarantineStore, river: River, treatment: Treatment, clock: Clock) -> None:
        self._store = store
        self._river = river
        self._treatment = treatment
        self._clock = clock
        self._requests: asyncio.Queue[_Request] = asyncio.Queue(MOST_WAITING)
        self._flows = False
        self._rehearsing = asyncio.Lock()

    async def run(self) -> None:
        """Let in what is asked for until cancelled; whoever waits then is told.

        To be cancelled only where nothing more is journalled afterwards: see `gateway.pipeline`.
        """
        self._flows = True
        request: _Request | None = None
        try:
            while True:
                request = await self._requests.get()
                await self._serve(request)
        finally:
            self._flows = False
            waiting = [request] if request is not None else []
            while not self._requests.empty():
                waiting.append(self._requests.get_nowait())
            for one in waiting:
                one.refuse(NotReady("the gateway stops", hint="what it has let in stays so; ask again later"))

    async def replay(self, chosen: Chosen, *, limit: int, rehearse: bool) -> Mapping[str, Any]:
        """Let in the oldest uplinks that are chosen, or see what would become of them. Raises NotReady.

        At most `limit` rows, and `MOST_ROWS`. Rows that hold no whole uplink are left where they are, and
        counted: `points` that a sink refused, `packets` of which the broker gave too much, `damaged` ones.
        """
        if not self._flows:
            raise NotReady("the gateway is not flowing yet", hint="it replays its journal: ecluse status")
        limit = min(limit, MOST_ROWS)
        if rehearse:
            async with self._rehearsing:
                return await self._rehearse(chosen, limit)
        request = _Request(chosen, limit, asyncio.get_running_loop().create_future())
        try:
            self._requests.put_nowait(request)
        except asyncio.QueueFull as full:
            raise NotReady(f"{MOST_WAITING} others wait already", hint="ask again later") from full
        return await request.answer

    async def drop(self, chosen: Chosen, *, limit: int) -> Mapping[str, Any]:
        """Delete the oldest rows that are chosen, for good: at most `limit`, and `MOST_ROWS`."""
        dropped = await self._store.drop(chosen, limit=min(limit, MOST_ROWS))
        if dropped:
            asked = {name: value for name, value in asdict(chosen).items() if value}
            log.warning("dropped from quarantine", rows=dropped, **asked)
        return {"rows": dropped, "next": chosen.after if dropped else None}

    async def _serve(self, request: _Request) -> None:
        """Answer one request. What is fatal (the journal) is raised; what is not is told."""
        try:
            taken = await self._take(request.chosen, request.limit)
            self._treatment.take_outcome()
            await self._river.readmit(taken.records)
        except (NotReady, StateError) as error:
            request.refuse(error)
            return
        outcome = self._treatment.take_outcome()
        if outcome.uplinks:
            log.info("let in again from quarantine", uplinks=outcome.uplinks, refused_again=outcome.again)
        if not request.answer.done():
            request.answer.set_result(taken.answer(outcome))

    async def _rehearse(self, chosen: Chosen, limit: int) -> Mapping[str, Any]:
        taken = await self._take(chosen, limit)
        batches = [batch_of(record, position=0) for record in taken.records]
        rehearsal = Rehearsal.of(self._treatment)  # here: the rules are replaced in this thread
        return taken.answer(await asyncio.to_thread(rehearsal.outcome, batches))

    async def _take(self, chosen: Chosen, limit: int) -> _Taken:
        rows = await self._store.page(chosen, limit=limit, max_bytes=MOST_BYTES)
        return _Taken.of(rows, self._clock.now_ns())


@dataclass(frozen=True, slots=True)
class _Taken:
    """Some rows, and the records that let their uplinks in again."""

    rows: Sequence[QuarantineRow]
    records: Sequence[Readmitted]
    points: int
    packets: int
    damaged: int

    @classmethod
    def of(cls, rows: Sequence[QuarantineRow], at_ns: int) -> _Taken:
        """Sort rows by what can be done with them."""
        uplinks = [row for row in rows if not row.sink]
        whole = [row for row in uplinks if _is_whole(row)]
        return cls(
            rows=rows,
            records=records_of(whole, at_ns),
            points=sum(row.sink not in ("", BROKER) for row in rows),
            packets=sum(row.sink == BROKER for row in rows),
            damaged=len(uplinks) - len(whole),
        )

    def answer(self, outcome: Outcome) -> Mapping[str, Any]:
        """Return what the client is told."""
        told = {"points": self.points, "packets": self.packets, "damaged": self.damaged}
        after = self.rows[-1].id if self.rows else None
        return {"rows": len(self.rows), "next": after} | told | outcome.as_dict()


def _is_whole(row: QuarantineRow) -> bool:
    """Tell whether a record can hold an uplink: the disk may have altered what no checksum is about."""
    return not row.damaged and 0 < len(row.topic) <= _LONGEST_TOPIC and 0 <= row.index <= _LARGEST_PLACE


def records_of(rows: Sequence[QuarantineRow], at_ns: int) -> list[Readmitted]:
    """Return the journal records that let uplinks in again: one for each record where they stood first.

    An uplink that was refused for several reasons comes in once. They come in the journal's order.
    """
    stood: dict[tuple[int, int], dict[int, QuarantineRow]] = {}
    for row in rows:
        stood.setdefault((row.position, row.received_ns), {})[row.index] = row
    return [
        Readmitted(
            at_ns=at_ns,
            origin=position,
            received_ns=received_ns,
            places=tuple(sorted(uplinks)),
            frames=b"".join(
                frame_of(row.topic, row.payload, retained=row.retained)
                for _, row in sorted(uplinks.items(), key=lambda pair: pair[0])
            ),
        )
        for (position, received_ns), uplinks in sorted(stood.items(), key=lambda pair: pair[0])
    ]
