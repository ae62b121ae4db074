"""Publishes the city: keeps pace with event time, never skips, and writes down what it did.

Delivery guarantees: a message is in the ledger before it is on the network; it is sent again until
the broker has acknowledged it; at the end the simulator waits for what is still in flight.
"""

from __future__ import annotations

import asyncio
import zlib
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from firmware_sim.clock import monotonic_s
from firmware_sim.connection import Broker, Connection
from firmware_sim.model import Happening

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from firmware_sim.clock import Pace
    from firmware_sim.ledger import Ledger
    from firmware_sim.model import Item, Message

TOGETHER = 250
"""Messages that are written down, then sent, between two turns of the event loop."""
OUTSTANDING = 20_000
"""Messages not yet acknowledged over all connections: beyond it the simulator waits. paho numbers 65,535."""
CONNECTING = 16
LATE_S, LEVEL_S, SAY_EVERY_S = 3.0, 0.5, 5.0
SYNC_EVERY_S = 1.0
GATHER_S = 0.005
"""The shortest wait: what falls due meanwhile goes out together."""


class BrokerRefused(Exception):  # noqa: N818 - says what the broker did
    """The broker does not want these devices, or is not there; the sentence says which and why."""


@dataclass(slots=True)
class Tally:
    """What a run has done so far."""

    messages: int = 0
    acknowledged: int = 0
    refused: int = 0
    resent: int = 0
    worst_lag_s: float = 0.0
    seconds: float = 0.0

    @property
    def outstanding(self) -> int:
        """Messages that the broker has not answered."""
        return self.messages - self.acknowledged - self.refused


class Pool:
    """The connections. A device always uses the same one, so that its messages keep their order."""

    def __init__(
        self,
        broker: Broker,
        names: Sequence[str],
        *,
        window: int,
        acknowledged: Callable[[int], None],
        resent: Callable[[list[int]], None],
    ) -> None:
        self._connections = [
            Connection(broker, name, window=window, acknowledged=acknowledged, resent=resent)
            for name in names
        ]
        self._by_name = dict(zip(names, self._connections, strict=True))
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, *, patience_s: float) -> None:
        """Connect; return once every connection stands.

        Raises:
            BrokerRefused: wrong credentials, or no broker within `patience_s`.
        """
        gate = asyncio.Semaphore(CONNECTING)
        self._tasks = [asyncio.create_task(one.keep(gate), name=one.client_id) for one in self._connections]
        self._tasks.append(asyncio.create_task(self._ticking(), name="keep-alive"))
        deadline = monotonic_s() + patience_s
        for connection in self._connections:
            while not connection.connected.is_set():
                if connection.refused or monotonic_s() > deadline:
                    await self.close()
                    raise BrokerRefused(connection.error or "the broker does not answer")
                with suppress(TimeoutError):
                    await asyncio.wait_for(connection.connected.wait(), timeout=0.2)

    def send(self, n: int, message: Message) -> None:
        """Publish message `n` on its device's connection."""
        connection = self._by_name.get(message.device)
        if connection is None:
            place = zlib.crc32(message.device.encode()) % len(self._connections)
            connection = self._connections[place]
        connection.send(n, message.topic, message.payload)

    def errors(self) -> list[str]:
        """Return why connections are down, each reason once."""
        return sorted({one.error for one in self._connections if one.error and not one.connected.is_set()})

    async def close(self) -> None:
        """Disconnect all."""
        for task in self._tasks[-1:]:
            task.cancel()
        await asyncio.gather(*(one.close() for one in self._connections))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _ticking(self) -> None:
        while True:
            await asyncio.sleep(1)
            for connection in self._connections:
                connection.tick()


class Publisher:
    """One run: takes items in order, waits for their time, writes them down, sends them."""

    def __init__(self, *, pace: Pace, ledger: Ledger | None, say: Callable[[str], None]) -> None:
        self.tally = Tally()
        self._pace, self._ledger, self._say = pace, ledger, say
        self._answered: list[int] = []
        self._progress = asyncio.Event()
        self._following = 0
        self._late = False
        self._said_s = self._synced_s = monotonic_s()

    def acknowledged(self, n: int) -> None:
        """Note that the broker answered for message `n` (−1: that it refused one)."""
        if n < 0:
            self.tally.refused += 1
        else:
            self.tally.acknowledged += 1
            self._answered.append(n)
        self._progress.set()

    def resent(self, numbers: list[int]) -> None:
        """Note that these messages were sent again."""
        self.tally.resent += len(numbers)
        self._say(f"reconnected; {len(numbers)} unacknowledged messages were sent again")
        if self._ledger is not None:
            self._ledger.resent(numbers)

    async def run(self, items: Iterable[Item], pool: Pool, *, stop: asyncio.Event, drain_s: float) -> Tally:
        """Publish all items, or until `stop`; then wait up to `drain_s` for the broker's answers."""
        begun = monotonic_s()
        together: list[Item] = []
        for item in items:
            wait = self._pace.seconds_until(item.due_ns)
            if wait > 0 or len(together) >= TOGETHER:
                self._emit(together, pool)
                together = []
                await self._turn(item.due_ns, stop)
            if stop.is_set():
                break
            together.append(item)
        else:
            self._emit(together, pool)
        await self._drain(drain_s)
        self.tally.seconds = monotonic_s() - begun
        return self.tally

    def _emit(self, items: Sequence[Item], pool: Pool) -> None:
        """Write down, then send: nothing is on the network that is not in the ledger."""
        numbered: list[tuple[int, Message]] = []
        now = self._pace.now_ns()
        for item in items:
            if isinstance(item, Happening):
                if self._ledger is not None:
                    self._ledger.happening(item)
            else:
                published = item.due_ns if now is None else max(now, item.due_ns)
                numbered.append((self._number(item, published), item))
        if self._ledger is not None:
            self._ledger.flush()
        for n, message in numbered:
            pool.send(n, message)
        self.tally.messages += len(numbered)

    def _number(self, message: Message, published_ns: int) -> int:
        if self._ledger is not None:
            return self._ledger.message(message, published_ns)
        self._following += 1
        return self._following - 1

    async def _turn(self, due_ns: int, stop: asyncio.Event) -> None:
        """Let the network run; wait for the next item's time and for room."""
        await asyncio.sleep(0)
        self._write_answers()
        while self.tally.outstanding >= OUTSTANDING and not stop.is_set():
            await self._some_answer(1.0)
            self._tell(due_ns)
        self._tell(due_ns)
        while (wait := self._pace.seconds_until(due_ns)) > 0 and not stop.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), timeout=min(max(wait, GATHER_S), 1.0))
            self._write_answers()

    async def _some_answer(self, within_s: float) -> None:
        self._progress.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._progress.wait(), timeout=within_s)
        self._write_answers()

    async def _drain(self, within_s: float) -> None:
        deadline = monotonic_s() + within_s
        while self.tally.outstanding and (left := deadline - monotonic_s()) > 0:
            await self._some_answer(min(left, 1.0))
        self._write_answers()
        if self._ledger is not None:
            self._ledger.end(messages=self.tally.messages, acknowledged=self.tally.acknowledged)
            self._ledger.sync()

    def _write_answers(self) -> None:
        if self._ledger is None or not self._answered:
            self._answered.clear()
            return
        self._ledger.acknowledged(self._answered)
        self._answered = []
        if monotonic_s() - self._synced_s > SYNC_EVERY_S:
            self._ledger.flush()
            self._synced_s = monotonic_s()

    def _tell(self, due_ns: int) -> None:
        """Say when we fall behind event time and when we have caught up; nothing is skipped."""
        lag = -self._pace.seconds_until(due_ns)
        self.tally.worst_lag_s = max(self.tally.worst_lag_s, lag)
        now = monotonic_s()
        if lag > LATE_S and now - self._said_s > SAY_EVERY_S:
            self._late, self._said_s = True, now
            self._say(f"behind by {lag:.1f} s: publishing as fast as the broker takes it; nothing is skipped")
        elif self._late and lag < LEVEL_S:
            self._late = False
            self._say("caught up")


def until(items: Iterable[Item], *, end_ns: int | None, messages: int | None) -> Iterator[Item]:
    """Yield items up to an event time (exclusive), and no more than that many messages."""
    left = -1 if messages is None else messages
    for item in items:
        if (end_ns is not None and item.due_ns >= end_ns) or left == 0:
            return
        if not isinstance(item, Happening):
            left -= 1
        yield item


def names(devices: Iterable[str], *, seed: int, connections: int) -> list[str]:
    """Return client identifiers: `connections` of them, or one a device where it is 0."""
    if connections:
        return [f"firmware-sim-{seed}-{number}" for number in range(1, connections + 1)]
    return list(chain(devices))
