"""The MQTT source: batches from a broker, acknowledged once they are durable.

Delivery guarantees: an uplink at QoS 1 or 2 is acknowledged only by `acknowledge`; what was not is sent
again by the broker at the next connection, with DUP, as long as it keeps the session. At QoS 2 the same
holds of the PUBREL that ends the exchange: it is in a batch, and PUBCOMP goes out with `acknowledge`.
Batches of a connection that is gone are still given out: they may come twice, they are not lost. QoS 0
promises nothing, and is refused and counted while the river is held. Where the broker lost the session,
`SessionStatus.gap_possible_ns` says so, and that is durable before anything is subscribed in the new one.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
import structlog

from gateway.errors import SessionTakenOver
from gateway.ingest import heads
from gateway.ingest.answers import Oversize
from gateway.ingest.errands import Errands
from gateway.ingest.link import End, Link, Why
from gateway.ingest.packets import DUP, QOS, QOS_2, Scan, promised
from gateway.ingest.patience import Backoff, TakeoverGuard
from gateway.ingest.requests import Connect
from gateway.ingest.session import Granted, Opened
from gateway.ingest.settings import SessionState, SessionStatus
from gateway.ingest.stuck import StuckWatch, advice, topic_text
from gateway.ingest.subscriptions import Subscriptions
from gateway.ingest.unreleased import Unreleased
from gateway.ingest.wire import MQTT_3_1_1, MQTT_5
from gateway.model import Control, ControlKind, RawBatch, Reason, Refused
from gateway.waiting import first_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence

    from gateway.ingest.session import Event
    from gateway.ingest.settings import MqttSettings
    from gateway.ports import Clock

_HEAD_BYTES: Final = 8_192
"""Memory that the beginning of a packet takes until it is kept, about."""
_BATCH_BYTES: Final = 500
"""Memory that a batch takes beside its uplinks, about: one may hold a PUBREL alone."""
_STABLE_NS: Final = 10 * 10**9
_STATES: Final = {
    Why.REFUSED: SessionState.REFUSED,
    Why.UNTRUSTED: SessionState.REFUSED,
    Why.TAKEN_OVER: SessionState.TAKEN_OVER,
    Why.OURS: SessionState.CLOSED,
}
_UNFINISHED: Final = (Why.BROKEN, Why.ENDLESS)
"""Ends for which the packet in which they came is to blame."""


def weight(batch: RawBatch) -> int:
    """Estimate the memory of a batch: frames, their slices, and Python's own 80 bytes an uplink."""
    return _BATCH_BYTES + 2 * len(batch.frames) + 80 * len(batch)


class MqttSource:
    """A `Source` that owns one MQTT session and reconnects by itself.

    `last_connection` is the number of the last connection of an earlier run, as the journal knows
    it (0: this gateway never connected, so no session is expected); `known_filters` are those that
    the session held then, `unreleased` its QoS 2 deliveries that were under way. `keep` puts what cannot be
    journalled into quarantine, before it is acknowledged; without it such packets are dropped. `note`
    journals that the broker lost the session. `on_change` is called with a copy after each
    change of state. One reader at a time. Raises ValueError where a filter is not valid.
    """

    def __init__(
        self,
        *,
        settings: MqttSettings,
        clock: Clock,
        source: str = "mqtt",
        last_connection: int = 0,
        known_filters: Sequence[str] = (),
        unreleased: Iterable[int] = (),
        keep: heads.Keep | None = None,
        note: Callable[[Control], Awaitable[None]] | None = None,
        on_change: Callable[[SessionStatus], None] | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.status = SessionStatus(connection=last_connection, since_ns=clock.now_ns())
        self._settings = settings
        self._clock = clock
        self._source = source
        self._on_change = on_change
        self._jitter = jitter
        self._log = structlog.get_logger("ecluse.ingest").bind(source=source)
        self._level = MQTT_3_1_1 if settings.protocol == "3.1.1" else MQTT_5
        self._unreleased = Unreleased(unreleased)
        self.status.unreleased = len(self._unreleased)
        self._subscriptions = Subscriptions(self.status, known=known_filters)
        self._want(settings.filters)
        self._backoff = Backoff(settings.retry_first_s, settings.retry_max_s)
        self._guard = TakeoverGuard()
        self._stuck = StuckWatch()
        self._queue: deque[RawBatch] = deque()
        self._wake = asyncio.Event()
        self._heads = Errands[Refused]("heads", keep, on_failure=self._wake.set)
        self._losses = Errands[Control]("lost session", note, on_failure=self._wake.set)
        self._stopping = False
        self._held = False
        self._renewed = asyncio.Event()
        """The next connection is to be made at once: its settings are new."""
        self._retiring: asyncio.Task[None] | None = None
        self._link: Link | None = None
        self._task: asyncio.Task[None] | None = None
        self._opened_ns = 0

    async def batches(self) -> AsyncGenerator[RawBatch, None]:
        """Yield what was read together; end after `stop_reading`, once all that was read is given out.

        Raises `SessionTakenOver` where another client uses our identifier, and what `keep` raises.
        """
        if self._task is None:
            self._task = asyncio.create_task(self._keep_connected(), name=f"ingest {self._source}")
            self._task.add_done_callback(lambda _: self._wake.set())
        while True:
            while self._queue:
                yield self._queue.popleft()
            self._heads.check()
            self._losses.check()
            if self._stopping:
                return
            if self._task.done():
                self._task.result()
                return
            self._wake.clear()
            await self._wake.wait()

    async def acknowledge(self, batch: RawBatch) -> None:
        """Answer for a durable batch, unless its connection is gone; free its memory.

        With PUBACK at QoS 1; at QoS 2 with PUBREC, and PUBCOMP for what was released in it.
        """
        status = self.status
        answers = self._unreleased.answers(batch)
        status.unreleased = len(self._unreleased)
        status.unacknowledged = max(0, status.unacknowledged - len(batch))
        status.unacknowledged_bytes = max(0, status.unacknowledged_bytes - weight(batch))
        self._balance()
        link = self._link
        if link is None or not link.is_open or batch.connection != status.connection:
            return
        link.send(answers)
        await link.drain()

    def hold(self, *, held: bool) -> None:
        """While held, refuse and count what comes at QoS 0, and what was read of it and not given out."""
        if held and not self._held:
            self._queue = deque(kept for kept in map(self.promised, self._queue) if not kept.is_empty)
        self._held = held

    def promised(self, batch: RawBatch) -> RawBatch:
        """Refuse and count the uplinks of a batch that nobody sends again (QoS 0); return the rest."""
        status, kept = self.status, promised(batch)
        if kept is not batch:
            refused = len(batch) - len(kept)
            freed = weight(batch) - (0 if kept.is_empty else weight(kept))
            status.refused_qos0 += refused
            status.unacknowledged = max(0, status.unacknowledged - refused)
            status.unacknowledged_bytes = max(0, status.unacknowledged_bytes - freed)
            self._balance()
        return kept

    async def subscribe(self, filters: Sequence[tuple[str, int]]) -> None:
        """Want these (filter, QoS) pairs from now on, in the same session. Raises ValueError."""
        new = self._want(filters)
        if self._link is not None and self._link.is_open and not self._losses.waiting:
            self._subscriptions.renew(self._link, new)

    def renew(self, settings: MqttSettings) -> None:
        """Connect anew with these credentials and this trust; the session stays, and all other settings.

        In good order: first, what was read is acknowledged, so that nothing comes twice.
        """
        self._settings = replace(
            self._settings, tls=settings.tls, username=settings.username, password=settings.password
        )
        self._renewed.set()
        if self._link is not None:
            retiring = self._link.retire(lambda: not self.status.unacknowledged)
            self._retiring = asyncio.create_task(retiring, name=f"retire {self._source}")

    async def stop_reading(self) -> None:
        """Read no more; the connection stays for acknowledgements until `close`."""
        self._stopping = True
        if self._link is not None:
            self._link.hold(held=True)
        self._wake.set()

    async def close(self) -> None:
        """Say good-bye; the session, and what was not acknowledged, stays with the broker."""
        self._stopping = True
        self._wake.set()
        if self._retiring is not None:
            self._retiring.cancel()
        await self._heads.drain()
        await self._losses.give_up()
        if self._link is not None:
            await self._link.say_goodbye()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
            if not self._task.cancelled():
                self._task.exception()  # `batches` has raised it, or nobody reads any more
        self._say(SessionState.CLOSED, "")

    # --- the connection, again and again ---

    async def _keep_connected(self) -> None:
        while not self._stopping:
            if self.status.state is SessionState.NEW:
                self._say(SessionState.CONNECTING, "")
            self._opened_ns = 0
            self._renewed.clear()
            self._link = Link(
                settings=self._settings, connect=self._connect(), clock=self._clock, on_event=self._event
            )
            end = await self._link.run()
            self._link = None
            self.status.paused = False
            self._keep_head(end)
            delay_s = self._judge(end)
            if not self._stopping:
                await first_of(asyncio.sleep(delay_s), self._renewed.wait())

    def _connect(self) -> Connect:
        settings = self._settings
        return Connect(
            level=self._level,
            client_id=settings.client_id,
            keepalive_s=settings.keepalive_s,
            username=settings.username,
            password=settings.password,
            session_expiry_s=settings.session_expiry_s,
            receive_maximum=settings.receive_maximum,
            max_packet=settings.max_packet,
        )

    def _judge(self, end: End) -> float:
        """Note how a connection ended; return how long to wait. Raises `SessionTakenOver`."""
        now = self._clock.monotonic_ns()
        if end.why is Why.OTHER_LEVEL and self._settings.protocol == "auto" and self._level == MQTT_5:
            self._level = MQTT_3_1_1
            self._log.info("the broker refuses MQTT 5; using 3.1.1")
            return 0.0
        why = Why.REFUSED if end.why is Why.OTHER_LEVEL else end.why
        if why is Why.UNREACHABLE:
            self._guard.explained()
        elif why is Why.CLOSED and self._opened_ns and self._guard.closed(now):
            why = Why.TAKEN_OVER
        self.status.protocol_errors += why is Why.BROKEN
        self.status.silences += why is Why.SILENT
        self._note_stuck(end)
        if why is Why.OURS and not self._stopping:
            self._say(SessionState.CONNECTING, "")
            return 0.0
        self._say(_STATES.get(why, SessionState.AWAY), end.text)
        if why is Why.TAKEN_OVER:
            raise SessionTakenOver(
                f"another client uses the identifier {self._settings.client_id!r} at the broker; "
                "this gateway stops, and the other goes on",
                hint="two gateways need two client identifiers; was this one started twice?",
            )
        if why in (Why.REFUSED, Why.UNTRUSTED):
            return self._settings.refused_retry_s * (0.5 + self._jitter())
        if self._opened_ns and now - self._opened_ns >= _STABLE_NS and not self.status.stuck:
            self._backoff.reset()
        return self._backoff.delay_s(self._jitter())

    def _note_stuck(self, end: End) -> None:
        """See whether connection after connection ends at one packet; say so once."""
        if not self._opened_ns:
            return  # no connection, or no broker: nothing was learnt
        to_blame = end.head is not None or end.why is Why.BROKEN
        what = f"{end.why.value}: {'' if end.head else end.text}" if to_blame else ""
        if self._stuck.stopped(what, end.head):
            told = advice(end.text, end.head, self._settings.client_id)
            if told != self.status.stuck:
                self._log.error("stuck", error=told)
            self.status.stuck = told
        else:
            self.status.stuck = ""

    def _keep_head(self, end: End) -> None:
        """Keep the beginning of the packet that ended a connection, or that was passing by as it ended."""
        head = end.head
        if head is None:
            return
        over = head.size > self._settings.max_packet
        if over or end.why in _UNFINISHED:
            reason = Reason.TOO_LARGE if over else Reason.BROKEN_PACKET
            row = heads.refused(head, reason, end.text, at_ns=self._clock.now_ns())
            self._heads.put(row, lambda: None)

    # --- what the session says ---

    def _event(self, event: Event) -> None:
        match event:
            case Scan():
                self._uplinks(event)
            case Opened():
                self._opened(event)
            case Granted():
                trouble = self._subscriptions.granted(event)
                if trouble:
                    self._say(SessionState.CONNECTED, trouble)
            case Oversize():
                self._oversize(event)

    def _opened(self, event: Opened) -> None:
        status = self.status
        expected = status.connection > 0
        status.connection += 1
        status.connects += 1
        status.reconnects += status.connects > 1
        status.protocol = self._level
        status.session_present = event.session_present
        status.session_expiry_s = event.session_expiry_s
        status.grants = ()
        self._opened_ns = status.opened_mono_ns = self._clock.monotonic_ns()
        self._say(SessionState.CONNECTED, "")
        if not event.session_present:
            self._subscriptions.begin_anew()
        if expected and not event.session_present:
            self._session_lost()
        else:
            self._subscribe()
        self._balance()

    def _session_lost(self) -> None:
        """Say that the broker had nothing of our session any more; go on once that is in the journal."""
        status = self.status
        status.session_lost += 1
        self._guard.explained()  # the broker began anew; two gateways keep the session between them
        status.gap_possible_ns = self._clock.now_ns()
        dropped = self._unreleased.begin_anew(status.connection)
        status.unreleased = 0
        self._log.warning("gap possible: the broker no longer had our session", dropped_deliveries=dropped)
        what = {
            "source": self._source,
            "session": self._settings.client_id,
            "connection": status.connection,
        }
        record = Control(ControlKind.SESSION_LOST, status.gap_possible_ns, json.dumps(what).encode())
        self._losses.put(record, self._subscribe)

    def _subscribe(self) -> None:
        """Renew all subscriptions, unless another loss has yet to be journalled."""
        if self._link is not None and self._link.is_open and not self._losses.waiting:
            self._subscriptions.renew(self._link, self._subscriptions.wanted)

    def _oversize(self, event: Oversize) -> None:
        """Keep the first bytes of an uplink that was passed by, then acknowledge it."""
        head, status, link = event.head, self.status, self._link
        status.oversize += 1
        status.unacknowledged_bytes += _HEAD_BYTES
        most = self._settings.max_packet
        detail = f"a packet of {head.size} bytes; the maximum is {most} (broker.max_packet); cut here"
        self._log.warning("an uplink was too large", topic=topic_text(head.topic), bytes=head.size, most=most)

        def kept() -> None:
            status.unacknowledged_bytes -= _HEAD_BYTES
            self._balance()
            if link is not None and link is self._link and link.is_open:
                if head.header & QOS == QOS_2:
                    self._unreleased.add(head.packet_id)
                    status.unreleased = len(self._unreleased)
                link.session.acknowledge(event)
                link.flush()

        self._heads.put(heads.refused(head, Reason.TOO_LARGE, detail, at_ns=self._clock.now_ns()), kept)
        self._balance()

    def _uplinks(self, scan: Scan) -> None:
        status = self.status
        batch = RawBatch(
            source=self._source,
            connection=status.connection,
            session=self._settings.client_id,
            protocol=self._level,
            received_ns=self._clock.now_ns(),
            frames=scan.frames,
            topics=scan.topics,
            payloads=scan.payloads,
            headers=scan.headers,
            packet_ids=scan.packet_ids,
            releases=scan.releases,
            era=self._clock.era,
        )
        if len(batch):
            status.last_heard_ns, status.heard_mono_ns = batch.received_ns, self._clock.monotonic_ns()
        status.messages += len(batch)
        status.bytes += len(batch.frames)
        status.duplicates += int(np.count_nonzero(scan.headers & DUP))
        status.unacknowledged += len(batch)
        status.unacknowledged_bytes += weight(batch)
        if self._held:
            batch = self.promised(batch)
        if not batch.is_empty:
            self._queue.append(batch)
            self._wake.set()
        self._balance()

    def _balance(self) -> None:
        """Pause reading at the byte budget; go on once a quarter of it is free."""
        status, budget = self.status, self._settings.memory
        bound = budget * 3 // 4 if status.paused else budget
        paused = status.unacknowledged_bytes > bound
        if self._link is None or paused == status.paused:
            return
        status.paused = paused
        status.pauses += paused
        self._link.hold(held=paused or self._stopping)

    def _want(self, filters: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
        new = self._subscriptions.want(filters)
        if self.status.widened:
            self._log.warning("filters that overlap are widened", subscribed=self.status.widened)
        return new

    def _say(self, state: SessionState, error: str) -> None:
        """Set the state; what is the same as before is not said twice."""
        status = self.status
        before, said = status.state, status.last_error
        status.state, status.last_error = state, error
        if state is not before:
            status.since_ns = self._clock.now_ns()
        if state is SessionState.TAKEN_OVER:
            pass  # raised, and said by whoever catches it
        elif error and (error != said or before is SessionState.CONNECTED):
            self._log.warning(str(state), error=error, broker=f"{self._settings.host}:{self._settings.port}")
        elif state is not before:
            self._log.info(str(state), connection=status.connection, protocol=status.protocol)
        if self._on_change is not None:
            self._on_change(replace(status))
