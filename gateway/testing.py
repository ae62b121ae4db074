"""Doubles that pass the same contract tests as the real parts. A failure is a class, not a patch."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gateway.ingest.packets import DUP, batch_of
from gateway.ingest.settings import SessionState, SessionStatus
from gateway.ingest.wire import MQTT_5, binary, packet, varint
from gateway.model import Frames

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from gateway.model import Changes, RawBatch, Record
    from gateway.ports import Clock


class MemoryJournal:
    """`ports.Journal` that keeps its records in memory, for as long as it lives. Trims all that it may."""

    def __init__(self) -> None:
        self.records: dict[int, Record] = {}
        self.end = 0

    @property
    def newest_ns(self) -> int:
        """The time of the last record; 0 where there is none."""
        record = self.records.get(self.end)
        if record is None:
            return 0
        return record.received_ns if isinstance(record, Frames) else record.at_ns

    async def append(self, record: Record) -> int:
        """Return the record's position."""
        self.end += 1
        self.records[self.end] = record
        return self.end

    async def append_many(self, batch: Sequence[Record]) -> list[int]:
        """Return the records' positions, in order and without gaps."""
        return [await self.append(record) for record in batch]

    async def read(self, after: int) -> AsyncGenerator[tuple[int, Record], None]:
        """Yield the records behind `after`, in order, to the end as it was when reading began."""
        for position, record in list(self.records.items()):
            if position > after:
                yield position, record

    def set_aside(self, after: int, through: int) -> int:
        """Nothing is ever damaged here."""
        del after, through
        return 0

    async def trim(self, before: int) -> None:
        """Forget the records before `before`."""
        for position in [position for position in self.records if position < before]:
            del self.records[position]

    async def close(self) -> None:
        """Nothing is open."""


class MemoryStateStore:
    """`ports.StateStore` that keeps its cells in memory: what a crash leaves is `copy()`."""

    def __init__(self, cells: dict[tuple[str, str, int, int], bytes] | None = None) -> None:
        self.cells = cells if cells is not None else {}
        self.meta: dict[str, bytes] = {}

    def load(self, kind: str, owner: str, start: int) -> list[bytes]:
        """Return the parts of a cell, in order."""
        parts = [key for key in self.cells if key[:3] == (kind, owner, start)]
        return [self.cells[key] for key in sorted(parts)]

    def starts(self, kind: str, owner: str) -> list[int]:
        """Return the starts that have cells of this kind, ascending."""
        return sorted({key[2] for key in self.cells if key[:2] == (kind, owner)})

    def commit(self, changes: Changes, meta: dict[str, bytes]) -> None:
        """Take everything; deletions of whole cells come first."""
        for kind, owner, start, part in [key for key, body in changes.cells.items() if body is None]:
            for key in [
                key for key in self.cells if key[:3] == (kind, owner, start) and part in (-1, key[3])
            ]:
                del self.cells[key]
        self.cells |= {key: body for key, body in changes.cells.items() if body is not None}
        self.meta |= meta

    def copy(self) -> MemoryStateStore:
        """Return a store of its own with the same content."""
        return MemoryStateStore(dict(self.cells))


@dataclass(slots=True)
class _Kept:
    """An uplink whose exchange is not over.

    `given`: the broker's last connection on which its PUBLISH, or at QoS 2 its PUBREL, was given out;
    `received`: its PUBREC has come, and it is not given out any more.
    """

    packet_id: int
    topic: bytes
    payload: bytes
    qos: int
    given: int = 0
    received: bool = False


class MemoryBroker:
    """Keeps one session's uplinks, at QoS 1 or 2, until their exchange is over; what came before it too."""

    def __init__(self, *, source: str = "main", session: str = "ecluse-test", qos: int = 1) -> None:
        self.source = source
        self.session = session
        self.qos = qos
        self.waiting: dict[int, _Kept] = {}
        """By packet identifier, in the order in which they were published."""
        self.news = asyncio.Event()
        self.connections = 0
        self._identifiers = itertools.cycle(range(1, 65_536))

    def publish(self, topic: str, payload: bytes) -> None:
        """Take an uplink. At most 65,535 can wait."""
        packet_id = next(i for i in self._identifiers if i not in self.waiting)
        self.waiting[packet_id] = _Kept(packet_id, topic.encode(), payload, self.qos)
        self.news.set()


class MemorySource:
    """`ports.Source` on a `MemoryBroker`: one connection, from the first batch to `close`.

    Acknowledging what was acknowledged, or never given out, raises KeyError: it is a bug of the caller.
    """

    def __init__(
        self, broker: MemoryBroker, *, clock: Clock, last_connection: int = 0, at_most: int = 1_000
    ) -> None:
        self.status = SessionStatus(connection=last_connection)
        self._broker = broker
        self._clock = clock
        self._at_most = at_most
        self._stopping = False
        self._number = 0

    async def batches(self) -> AsyncGenerator[RawBatch, None]:
        """Yield what waits, `at_most` packets together; a PUBLISH that an earlier connection had is DUP."""
        if not self._stopping:
            self.status.connection += 1
            self.status.state = SessionState.CONNECTED
            self._broker.connections += 1
            self._number = self._broker.connections
        while not self._stopping:
            waiting = self._broker.waiting.values()
            given = [kept for kept in waiting if kept.given != self._number][: self._at_most]
            if given:
                yield self._batch(given)
                continue
            self._broker.news.clear()
            await self._broker.news.wait()

    async def acknowledge(self, batch: RawBatch) -> None:
        """Let the broker forget a batch, or release it at QoS 2, unless its connection is gone."""
        if self.status.state is not SessionState.CONNECTED or batch.connection != self.status.connection:
            return
        waiting = self._broker.waiting
        for packet_id in batch.packet_ids.tolist():
            if waiting[packet_id].qos < 2:
                del waiting[packet_id]
            else:
                waiting[packet_id].received, waiting[packet_id].given = True, 0
        for packet_id in batch.releases.packet_ids.tolist() if batch.releases is not None else ():
            del waiting[packet_id]
        self._broker.news.set()

    def hold(self, *, held: bool) -> None:
        """Nothing: none of its uplinks is at QoS 0."""

    def promised(self, batch: RawBatch) -> RawBatch:
        """Return the batch: none of its uplinks is at QoS 0."""
        return batch

    async def stop_reading(self) -> None:
        """Give nothing more out."""
        self._stopping = True
        self._broker.news.set()

    async def close(self) -> None:
        """End the connection."""
        await self.stop_reading()
        self.status.state = SessionState.CLOSED

    def _batch(self, given: Sequence[_Kept]) -> RawBatch:
        frames = b"".join(_frame(kept) for kept in given)
        for kept in given:
            kept.given = self._number
        record = Frames(
            source=self._broker.source,
            connection=self.status.connection,
            session=self._broker.session,
            protocol=MQTT_5,
            received_ns=self._clock.now_ns(),
            count=sum(not kept.received for kept in given),
            frames=frames,
        )
        return replace(batch_of(record, position=0), era=self._clock.era)


def _frame(kept: _Kept) -> bytes:
    """Write what is due: a PUBLISH without properties, or a PUBREL."""
    if kept.received:
        return b"\x62\x02" + kept.packet_id.to_bytes(2, "big")
    first = 0x30 | kept.qos << 1 | (DUP if kept.given else 0)
    body = binary(kept.topic) + kept.packet_id.to_bytes(2, "big") + varint(0) + kept.payload
    return packet(first, body)
