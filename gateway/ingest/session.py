"""One MQTT connection as a state machine: bytes in, events out, bytes to send. Pure.

    new ──CONNECT──▶ waiting ──CONNACK 0──▶ open ──▶ Uplinks, Granted, Oversize … Ended
                        └──CONNACK other──▶ Refused

The session at the broker outlives the connection; what is known of it (the filters that it holds)
is handed from one `Session` to the next by the adapter.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final

from gateway.ingest import requests
from gateway.ingest.answers import Answer, ConnAck, Disconnect, Grant, Oversize, SubAck
from gateway.ingest.packets import QOS, QOS_1, QOS_2, Scan, Scanner
from gateway.ingest.wire import SERVER_KEEP_ALIVE, SESSION_EXPIRY, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gateway.ingest.requests import Connect


class Refusal(Enum):
    """What can be done about a refused CONNECT."""

    PROTOCOL = "another protocol level may do"
    FOR_GOOD = "a person must change something"
    FOR_NOW = "later"


@dataclass(frozen=True, slots=True)
class Opened:
    """The broker accepted us; `session_present` says that it kept what came meanwhile."""

    session_present: bool
    keepalive_s: int
    session_expiry_s: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The broker did not accept us."""

    refusal: Refusal
    text: str


@dataclass(frozen=True, slots=True)
class Granted:
    """The broker answered a SUBSCRIBE."""

    grants: tuple[Grant, ...]


@dataclass(frozen=True, slots=True)
class Ended:
    """The broker ends the connection, and says why (MQTT 5)."""

    taken_over: bool
    text: str


Event = Opened | Refused | Granted | Ended | Oversize | Scan

_TAKEN_OVER: Final = 0x8E
_FAILURE: Final = 0x80

# MQTT 3.1.1, table 3.1, and MQTT 5.0, table 3.2: what a broker says instead of a welcome.
_REFUSALS: Final[Mapping[int, tuple[Refusal, str]]] = {
    0x01: (Refusal.PROTOCOL, "the broker does not speak this level of MQTT"),
    0x02: (Refusal.FOR_GOOD, "the broker does not allow this client identifier"),
    0x03: (Refusal.FOR_NOW, "the broker is not available"),
    0x04: (Refusal.FOR_GOOD, "the broker does not accept this user and password"),
    0x05: (Refusal.FOR_GOOD, "the broker does not let this user in: check user, password and certificate"),
    0x84: (Refusal.PROTOCOL, "the broker does not speak this level of MQTT"),
    0x85: (Refusal.FOR_GOOD, "the broker does not allow this client identifier"),
    0x86: (Refusal.FOR_GOOD, "the broker does not accept this user and password"),
    0x87: (Refusal.FOR_GOOD, "the broker does not let this user in: check user, password and certificate"),
    0x88: (Refusal.FOR_NOW, "the broker is not available"),
    0x89: (Refusal.FOR_NOW, "the broker is busy"),
    0x8A: (Refusal.FOR_GOOD, "the broker has banned this client"),
    0x8C: (Refusal.FOR_GOOD, "the broker wants another authentication method"),
    0x95: (Refusal.FOR_GOOD, "the broker finds our CONNECT too large"),
    0x97: (Refusal.FOR_NOW, "a quota of the broker is used up"),
    0x9C: (Refusal.FOR_GOOD, "the broker wants us to use another server"),
    0x9D: (Refusal.FOR_GOOD, "the broker has moved to another server"),
    0x9F: (Refusal.FOR_NOW, "the broker limits how often we may connect"),
}
_FAREWELLS: Final[Mapping[int, str]] = {
    0x82: "it found an error in our MQTT",
    0x87: "we are not authorized any more",
    0x89: "it is busy",
    0x8B: "it shuts down",
    0x8D: "it heard nothing from us in time",
    0x93: "it had more than it may have in flight",
    0x95: "it found a packet of ours too large",
    0x97: "a quota is used up",
    0x98: "its administrator ended the connection",
    0x9C: "it wants us to use another server",
    0x9D: "it has moved to another server",
}


@dataclass(slots=True)
class Session:
    """The protocol of one connection; the caller sends what `take_output` returns."""

    connect: Connect
    scanner: Scanner
    is_open: bool = False
    _out: bytearray = field(default_factory=bytearray)
    _last_id: int = 0
    _asked: dict[int, Sequence[tuple[str, int]]] = field(default_factory=dict)

    @classmethod
    def begin(cls, connect: Connect) -> Session:
        """Return a session whose output begins with CONNECT."""
        session = cls(connect, Scanner(level=connect.level, max_packet=connect.max_packet))
        session._out += connect.encode()
        return session

    def receive(self, data: bytes) -> Iterator[Event]:
        """Yield what these bytes mean. Raises `ProtocolError`, after all that stood before the error."""
        for scan in self.scanner.feed(data):
            answers = scan.answers
            if not self.is_open:
                if not answers or not isinstance(answers[0], ConnAck):
                    raise ProtocolError("the broker's first packet is not CONNACK")
                welcome = self._welcome(answers[0])
                yield welcome
                if isinstance(welcome, Refused):
                    return
                answers = answers[1:]
            if scan.frames:
                yield scan
            for answer in answers:
                yield from self._answer(answer)

    def take_output(self) -> bytes:
        """Return what is to be sent, once."""
        out = bytes(self._out)
        self._out.clear()
        return out

    def subscribe(self, filters: Sequence[tuple[str, int]]) -> None:
        """Ask for filters; renewing one that the session holds is harmless."""
        if filters:
            packet_id = self._next_id()
            self._asked[packet_id] = tuple(filters)
            self._out += requests.subscribe(packet_id, filters, self.connect.level)

    def unsubscribe(self, filters: Sequence[str]) -> None:
        """Give up filters that the session holds."""
        if filters:
            self._out += requests.unsubscribe(self._next_id(), filters, self.connect.level)

    def acknowledge(self, oversize: Oversize) -> None:
        """Let the broker forget a PUBLISH that was passed by."""
        answer = {QOS_1: requests.puback, QOS_2: requests.pubrec}.get(oversize.head.header & QOS)
        if answer is not None and oversize.head.packet_id:
            self._out += answer(oversize.head.packet_id)

    def ping(self) -> None:
        """Ask for a sign of life."""
        self._out += requests.PINGREQ

    def disconnect(self) -> None:
        """Say good-bye; the session stays with the broker."""
        self._out += requests.DISCONNECT

    def _welcome(self, answer: ConnAck) -> Opened | Refused:
        if answer.code:
            refusal, text = _REFUSALS.get(answer.code, (Refusal.FOR_NOW, "the broker refused the connection"))
            return Refused(refusal, f"{text} (code 0x{answer.code:02x})")
        self.is_open = True
        keepalive = answer.properties.get(SERVER_KEEP_ALIVE, self.connect.keepalive_s)
        expiry = answer.properties.get(SESSION_EXPIRY, self.connect.session_expiry_s)
        return Opened(answer.session_present, int(str(keepalive)), int(str(expiry)))

    def _answer(self, answer: Answer) -> Iterator[Event]:
        match answer:
            case Oversize():
                yield answer
            case SubAck():
                yield self._granted(answer)
            case Disconnect():
                farewell = answer.text or _FAREWELLS.get(answer.code, "no reason given")
                yield Ended(
                    answer.code == _TAKEN_OVER,
                    f"the broker ended the connection: {farewell} (code 0x{answer.code:02x})",
                )
            case ConnAck():
                raise ProtocolError("a second CONNACK")

    def _granted(self, answer: SubAck) -> Granted:
        asked = self._asked.pop(answer.packet_id, None)
        if asked is None or len(asked) != len(answer.codes):
            raise ProtocolError(f"a SUBACK with {len(answer.codes)} codes that answers no SUBSCRIBE of ours")
        return Granted(
            tuple(
                Grant(name, qos, code if code < _FAILURE else None)
                for (name, qos), code in zip(asked, answer.codes, strict=True)
            )
        )

    def _next_id(self) -> int:
        self._last_id = self._last_id % 0xFFFF + 1
        return self._last_id
