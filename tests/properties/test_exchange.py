"""QoS 2 from end to end, without a socket: a model of a broker, the real session, journal and identities.

Whatever happens in whatever order (sent again, cut off with anything under way, a session lost, a crash of
the gateway at any point), each message that was journalled counts exactly once, and each that the broker
still has comes in the end. All messages of a topic look the same, and identifiers are few: nothing but the
exchange itself tells one message from another.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.decode.identity import Identities
from gateway.ingest.packets import Scan, batch_of
from gateway.ingest.requests import Connect
from gateway.ingest.session import Session
from gateway.ingest.unreleased import Unreleased
from gateway.ingest.wire import MQTT_5
from gateway.model import Frames, RawBatch
from tests.ingest.peer import Message, pubrel

PUBREC, PUBCOMP, PUBACK = 0x50, 0x70, 0x40
IDENTIFIERS = (1, 2, 3)
NOWHERE = np.zeros(0, dtype=np.int64)


@dataclass(eq=False)
class Letter:
    """A message of which only the test knows which one it is."""

    number: int
    qos: int
    sent: bool = False
    received: bool = False
    """The broker has its PUBREC."""


@dataclass
class Broker:
    """A sender by the letter of MQTT: its half of the exchange (5.0, section 4.3 and 4.4)."""

    level: int
    waiting: deque[Letter] = field(default_factory=deque)
    in_flight: dict[int, Letter] = field(default_factory=dict)
    wire: deque[tuple[bytes, Letter | None]] = field(default_factory=deque)
    """What it has sent and nobody has read: a PUBLISH with its letter, or a PUBREL."""

    def send(self) -> None:
        """Send what has an identifier to go under."""
        for packet_id in IDENTIFIERS:
            if self.waiting and packet_id not in self.in_flight:
                letter = self.in_flight[packet_id] = self.waiting.popleft()
                self._say(packet_id, letter)

    def say_again(self, packet_ids: list[int]) -> None:
        """Send again what was not answered: at a new connection all of it, in between as it pleases."""
        for packet_id in packet_ids:
            if packet_id in self.in_flight:
                self._say(packet_id, self.in_flight[packet_id])

    def hear(self, answers: bytes) -> None:
        """Take acknowledgements."""
        while answers:
            first, size = answers[0], 2 + answers[1]
            packet_id, code = int.from_bytes(answers[2:4], "big"), answers[4] if size > 4 else 0
            answers = answers[size:]
            letter = self.in_flight.get(packet_id)
            if letter is None:
                continue  # the answer to something that it had sent twice
            if first == PUBREC and letter.qos == 2:
                assert code == 0
                if not letter.received:
                    letter.received = True
                    self._say(packet_id, letter)
            elif first == PUBCOMP and letter.qos == 2 and letter.received:
                assert code in (0, 0x92 if self.level == MQTT_5 else 0)
                del self.in_flight[packet_id]
            elif first == PUBACK and letter.qos == 1:
                del self.in_flight[packet_id]
        self.send()

    def _say(self, packet_id: int, letter: Letter) -> None:
        if letter.received:
            self.wire.append((pubrel(packet_id), None))
            return
        message = Message("t", b"same", qos=letter.qos, packet_id=packet_id, dup=letter.sent)
        letter.sent = True
        self.wire.append((message.frame(self.level), letter))


@dataclass
class Record:
    """What stands in the journal: a batch with the letters in it, or that a session was lost."""

    frames: Frames | None
    letters: tuple[Letter, ...] = ()
    lost_at: int = 0


class Exchange(RuleBasedStateMachine):
    """What can happen, in any order."""

    @initialize(level=st.sampled_from((4, 5)))
    def begin(self, level: int) -> None:
        """Connect for the first time."""
        self.level = level
        self.broker = Broker(level)
        self.journal: list[Record] = []
        self.checkpoint = (0, Identities().state(), Counter[int]())
        self.letters: list[Letter] = []
        self.gone: set[int] = set()
        self.connection = 0
        self._start()
        self._connect(present=False)

    # --- the devices and the broker ---

    @rule(qos=st.sampled_from((2, 2, 2, 1)))
    def publish(self, qos: int) -> None:
        """Give the broker a message; one at QoS 1 uses identifiers up."""
        letter = Letter(len(self.letters), qos)
        self.letters.append(letter)
        self.broker.waiting.append(letter)
        self.broker.send()

    @rule(packet_ids=st.lists(st.sampled_from(IDENTIFIERS), max_size=3))
    def say_again(self, packet_ids: list[int]) -> None:
        """As nats-server does after a while, on the same connection."""
        of_qos_2 = [n for n in packet_ids if n in self.broker.in_flight and self.broker.in_flight[n].qos == 2]
        self.broker.say_again(of_qos_2)

    # --- the gateway ---

    @precondition(lambda self: self.broker.wire)
    @rule(packets=st.integers(1, 6))
    def read(self, packets: int) -> None:
        """Take what came, some packets at once."""
        taken = [self.broker.wire.popleft() for _ in range(min(packets, len(self.broker.wire)))]
        letters = tuple(letter for _, letter in taken if letter is not None)
        (scan,) = self.session.receive(b"".join(frame for frame, _ in taken))
        assert isinstance(scan, Scan)
        assert len(scan) == len(letters)
        record = Frames("m", self.connection, "s", self.level, 1, len(scan), scan.frames)
        self.read_ahead.append((batch_of(record, position=0), letters))

    @precondition(lambda self: self.read_ahead)
    @rule(answered=st.booleans(), heard=st.floats(0, 1))
    def journal_one(self, answered: bool, heard: float) -> None:  # noqa: FBT001 - hypothesis gives it
        """Make a batch durable; then answer, unless a crash or the end of the connection comes between."""
        batch, letters = self.read_ahead.popleft()
        record = Frames("m", batch.connection, "s", self.level, 1, len(batch), batch.frames)
        self.journal.append(Record(record, letters))
        self._treat(self.identities, self.counted, self.journal[-1])
        if not answered:
            self.crash()
            return
        answers = self.unreleased.answers(batch)
        if batch.connection != self.connection:
            return
        packets = _split(answers)
        self.broker.hear(b"".join(packets[: round(heard * len(packets))]))
        if heard < 1:
            self.disconnect()

    @rule()
    def save(self) -> None:
        """Make a checkpoint."""
        self.checkpoint = (len(self.journal), self.identities.state(), Counter(self.counted))

    @rule()
    def disconnect(self) -> None:
        """Whatever is on the wire is gone; what was read is still journalled."""
        self._connect(present=True)

    @rule()
    def crash(self) -> None:
        """What was read and not journalled is gone, too."""
        self._start()
        self._connect(present=True)

    @rule()
    def lose_session(self) -> None:
        """What the broker had in flight and waiting is nobody's any more; the gateway is told by CONNACK."""
        had = [*self.broker.waiting, *self.broker.in_flight.values()]
        self.gone.update(letter.number for letter in had)
        self.broker.waiting.clear()
        self.broker.in_flight.clear()
        self._connect(present=False)
        self.unreleased.begin_anew(self.connection)
        self.journal.append(Record(None, lost_at=self.connection))
        self._treat(self.identities, self.counted, self.journal[-1])

    # --- what must hold ---

    @invariant()
    def each_counts_once(self) -> None:
        """At QoS 2."""
        letters = [letter for record in self.journal for letter in record.letters]
        journalled = {letter.number for letter in letters if letter.qos == 2}
        assert all(self.counted[number] == 1 for number in journalled), self.counted
        assert not self.counted.keys() - {letter.number for letter in self.letters}

    @invariant()
    def both_sides_of_the_journal_agree(self) -> None:
        """On what is not released."""
        assert self.unreleased.packet_ids == set(self.identities.unreleased("m", "s"))

    def teardown(self) -> None:
        """In the end everything comes, and a replay of the whole journal counts the same."""
        if not hasattr(self, "journal"):
            return
        for _ in range(1_000):
            if self.read_ahead:
                self.journal_one(answered=True, heard=1.0)
            elif self.broker.wire:
                self.read(packets=6)
            elif self.broker.in_flight or self.broker.waiting:
                self.disconnect()
            else:
                break
        wanted = {letter.number for letter in self.letters if letter.qos == 2}
        assert wanted - self.gone <= self.counted.keys()
        self.each_counts_once()
        again, identities = Counter[int](), Identities()
        for record in self.journal:
            self._treat(identities, again, record)
        assert again == self.counted

    # --- how ---

    def _start(self) -> None:
        """Recover: the last checkpoint, and the journal from there."""
        position, state, counted = self.checkpoint
        self.identities, self.counted = Identities(), Counter(counted)
        self.identities.restore(state)
        for record in self.journal[position:]:
            self._treat(self.identities, self.counted, record)
        self.unreleased = Unreleased(self.identities.unreleased("m", "s"))
        self.read_ahead: deque[tuple[RawBatch, tuple[Letter, ...]]] = deque()
        known = [record.frames.connection if record.frames else record.lost_at for record in self.journal]
        self.connection = max(known, default=0)

    def _connect(self, *, present: bool) -> None:
        self.broker.wire.clear()
        self.connection += 1
        self.session = Session.begin(Connect(self.level, "s", 30, max_packet=1_000))
        code = b"\x00" if self.level == MQTT_5 else b""
        list(self.session.receive(bytes((0x20, 2 + len(code), present, 0)) + code))
        self.broker.say_again(list(self.broker.in_flight))
        self.broker.send()

    @staticmethod
    def _treat(identities: Identities, counted: Counter[int], record: Record) -> None:
        if record.frames is None:
            identities.lost("m", "s", record.lost_at)
            return
        batch = batch_of(record.frames, position=1)
        again = identities.sent_again(batch)
        identities.duplicates(batch, NOWHERE, [], [])
        for place, letter in enumerate(record.letters):
            if again is None or not again[place]:
                counted[letter.number] += 1


def _split(answers: bytes) -> list[bytes]:
    packets = []
    while answers:
        size = 2 + answers[1]
        packets.append(answers[:size])
        answers = answers[size:]
    return packets


Exchange.TestCase.settings = settings(max_examples=300, stateful_step_count=60, deadline=None)
TestExchange = Exchange.TestCase
