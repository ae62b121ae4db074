"""One connection to the broker, from connecting to its end: session, socket and watch together."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Final

from gateway.ingest.answers import Oversize
from gateway.ingest.connection import Connection
from gateway.ingest.packets import Scan
from gateway.ingest.patience import Due, Liveness, PacketWatch
from gateway.ingest.session import Ended, Granted, Opened, Refusal, Refused, Session
from gateway.ingest.wire import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.ingest.answers import Head
    from gateway.ingest.requests import Connect
    from gateway.ingest.session import Event
    from gateway.ingest.settings import MqttSettings
    from gateway.ports import Clock

_TICK_S: Final = 1.0
_RETIRE_TICK_S: Final = 0.02


class Why(Enum):
    """How a connection ended, by what is to be done about it."""

    UNREACHABLE = "unreachable"
    UNTRUSTED = "its certificate is not trusted"
    REFUSED = "refused"
    OTHER_LEVEL = "protocol level refused"
    CLOSED = "closed by the broker without a word"
    FAREWELL = "closed by the broker with a reason"
    TAKEN_OVER = "taken over"
    DEAD = "no answer"
    ENDLESS = "a packet without an end"
    SILENT = "no uplink"
    BROKEN = "protocol error"
    OURS = "closed by us"


@dataclass(frozen=True, slots=True)
class End:
    """Why a connection is over, in words for a person; `head` is the packet in which it ended, if in one."""

    why: Why
    text: str = ""
    head: Head | None = None


_WHY: Final = {
    Refusal.PROTOCOL: Why.OTHER_LEVEL,
    Refusal.FOR_GOOD: Why.REFUSED,
    Refusal.FOR_NOW: Why.UNREACHABLE,
}


class Link:
    """A connection that has its session; `on_event` sees the session's events as they are read."""

    def __init__(
        self, *, settings: MqttSettings, connect: Connect, clock: Clock, on_event: Callable[[Event], None]
    ) -> None:
        self.session = Session.begin(connect)
        self._settings = settings
        self._clock = clock
        self._on_event = on_event
        self._live = Liveness(connect.keepalive_s, settings.watchdog_s, clock.monotonic_ns())
        self._packet = PacketWatch(clock.monotonic_ns())
        self._connection: Connection | None = None
        self._held = False
        self._retires = False
        self._end: End | None = None

    @property
    def is_open(self) -> bool:
        """Whether the broker has accepted us and nothing has ended since."""
        return self.session.is_open and self._end is None

    async def run(self) -> End:
        """Connect, and stay until the connection is over; return why. Raises only what is a bug."""
        try:
            async with asyncio.timeout(self._settings.connect_timeout_s):
                connection = await self._open_socket()
        except ssl.SSLCertVerificationError as error:
            return End(Why.UNTRUSTED, f"the broker's certificate is not trusted: {error.verify_message}")
        except TimeoutError:
            return End(Why.UNREACHABLE, f"no connection within {self._settings.connect_timeout_s:g} s")
        except OSError as error:
            return End(Why.UNREACHABLE, f"no connection: {error}")
        self._connection = connection
        connection.hold(held=self._held)
        if self._end is not None:  # a server that spoke before we did, such as one of SSH
            connection.abort()
        began = self._clock.monotonic_ns()
        try:
            self.flush()
            while not connection.lost.done():
                await asyncio.wait({connection.lost}, timeout=self._tick_s())
                self._watch(began)
        finally:
            connection.abort()
        return self._ended(connection.lost.result())

    def flush(self) -> None:
        """Send what the session wants to say."""
        if self._connection is not None:
            self._connection.write(self.session.take_output())

    def send(self, data: bytes) -> None:
        """Send acknowledgements."""
        if self._connection is not None and self.is_open:
            self._connection.write(data)

    async def drain(self) -> None:
        """Wait while the broker takes less than we send."""
        if self._connection is not None:
            await self._connection.drain()

    def hold(self, *, held: bool) -> None:
        """Stop reading, or go on; time-outs rest meanwhile. A link that retires reads no more."""
        held = held or self._retires
        self._held = held
        if self._connection is not None:
            self._connection.hold(held=held)

    async def retire(self, is_acknowledged: Callable[[], bool], within_s: float = 10.0) -> None:
        """Read no more; once all that was read is acknowledged, or time is up, say good-bye.

        What is not acknowledged then comes again at the next connection.
        """
        self._retires = self.is_open
        self.hold(held=self._held)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self.is_open and not is_acknowledged():  # noqa: ASYNC110 - rare, and others count
                    await asyncio.sleep(_RETIRE_TICK_S)
        await self.say_goodbye()

    async def say_goodbye(self, within_s: float = 2.0) -> None:
        """Send DISCONNECT and wait until the broker closes, or until time is up.

        The broker closes once it has worked through our last acknowledgements. Closing ourselves
        could lose them: with unread bytes on our side the socket is reset, and what the broker had
        not yet read of ours is gone.
        """
        connection = self._connection
        if connection is None:
            self._end = self._end or End(Why.OURS)
            return
        if self.is_open:
            self.session.disconnect()
            self.flush()
        self._end = self._end or End(Why.OURS)  # from here on what comes is read and ignored
        connection.hold(held=False)
        await asyncio.wait({connection.lost}, timeout=within_s)
        connection.abort()

    def finish(self, end: End) -> None:
        """Note why it is over (the first reason counts) and close the socket at once.

        Closing in good order would wait for a peer that may have stopped reading.
        """
        self._end = self._end or end
        if self._connection is not None:
            self._connection.abort()

    async def _open_socket(self) -> Connection:
        settings = self._settings
        _transport, connection = await asyncio.get_running_loop().create_connection(
            lambda: Connection(gather_s=settings.gather_ms / 1000, clock=self._clock, on_data=self._received),
            settings.host,
            settings.port,
            ssl=settings.tls,
            server_hostname=settings.host if settings.tls is not None else None,
        )
        return connection

    def _received(self, data: bytes) -> None:
        if self._end is not None:
            return
        uplinks, scanner = False, self.session.scanner
        self._packet.read(self._clock.monotonic_ns(), awaits=scanner.awaits(), finished=scanner.finished)
        try:
            for event in self.session.receive(data):
                uplinks = uplinks or (isinstance(event, Scan) and len(event) > 0)
                self._take(event)
        except ProtocolError as error:
            # An error of the session is no packet's at which the scanner stands.
            head = scanner.standing() if scanner.broken else None
            self.finish(End(Why.BROKEN, f"the broker broke the protocol: {error}", head))
        now = self._clock.monotonic_ns()
        self._live.heard(now, uplinks=uplinks)
        self._packet.read(now, awaits=scanner.awaits(), finished=scanner.finished)
        self.flush()

    def _take(self, event: Event) -> None:
        match event:
            case Opened():
                self._live = Liveness(
                    event.keepalive_s, self._settings.watchdog_s, self._clock.monotonic_ns()
                )
            case Refused():
                self.finish(End(_WHY[event.refusal], event.text))
            case Ended():
                self.finish(End(Why.TAKEN_OVER if event.taken_over else Why.FAREWELL, event.text))
            case Granted() | Oversize() | Scan():
                pass
        self._on_event(event)

    def _watch(self, began_ns: int) -> None:
        now = self._clock.monotonic_ns()
        if self._end is not None:
            return
        if not self.session.is_open:
            if now - began_ns > self._settings.connect_timeout_s * 1e9:
                self.finish(End(Why.DEAD, "the broker did not answer CONNECT"))
            return
        awaits = self.session.scanner.awaits()
        if self._packet.is_endless(now, awaits, self._live.keepalive_s, paused=self._held):
            self.finish(End(Why.ENDLESS, "a packet came too slowly to ever end"))
            return
        match self._live.due(now, paused=self._held):
            case Due.PING:
                self.session.ping()
                self.flush()
            case Due.DEAD:
                self.finish(End(Why.DEAD, "the broker no longer answers"))
            case Due.SILENT:
                self.finish(End(Why.SILENT, f"connected, but no uplink for {self._settings.watchdog_s:g} s"))
            case Due.NOTHING:
                pass

    def _tick_s(self) -> float:
        spans = [_TICK_S, self._settings.connect_timeout_s]
        spans += [span / 4 for span in (self._settings.keepalive_s, self._settings.watchdog_s) if span]
        return min(spans)

    def _ended(self, error: Exception | None) -> End:
        """Return why it is over, and in which packet where that tells something.

        Not where we closed it, nor where an ordinary packet was cut by an ordinary end.
        """
        end = self._reason(error)
        head = self.session.scanner.standing()
        if head is None or end.why in (Why.OURS, Why.BROKEN):
            return end
        if end.why not in (Why.DEAD, Why.ENDLESS) and head.size <= self._settings.max_packet:
            return end
        size = f" of {head.size} bytes" if head.size else ""
        return replace(end, text=f"{end.text}, in the middle of a packet{size}", head=head)

    def _reason(self, error: Exception | None) -> End:
        if self._end is not None:
            return self._end
        if error is not None and not isinstance(error, OSError):
            raise error
        what = f": {error}" if error is not None else ""
        return End(Why.CLOSED, f"the connection was closed by the broker{what}")
