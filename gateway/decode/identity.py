"""Which uplinks came before, where no device time tells: the identity of an uplink as such.

What was sent again at QoS 2 is found first, before anything is decoded (`gateway.decode.exchanges`). Else a
reading is known by its event time; where that is the receive time, a repeated uplink would become a
second reading. Two rules find the repetition, in this order:

1. DUP at QoS 1: a publish with the DUP bit, equal in packet identifier, topic and payload to the last one
   that was journalled under that identifier in the same session. It may be taken for a repetition where it
   is none: a device that says the same thing again, under the identifier of before, sent again by the broker.
2. Sequence, where the profile has one: equal in device, sequence and payload to one of the last
   REMEMBERED uplinks of that device. The payload counts, because a device that starts again counts
   from 0 again; one that repeats payload and all within that span cannot be told from a repetition.

Delivery guarantees: uplinks without device time and sequence, sent again without DUP (by the device
itself, or through another connection), are taken twice. Nothing of a session that the broker has lost is
compared with what comes in the next one.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from gateway.decode.exchanges import Exchanges, mark

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from gateway.model import Bool, Int64, RawBatch

REMEMBERED = 16
"""Uplinks remembered a device, by sequence."""
MAX_DEVICES = 100_000
"""Devices remembered; then the one heard longest ago is forgotten. Some 1 kB each."""
MAX_SESSIONS = 16
"""Sessions remembered, half a megabyte each: one a broker connection is in use."""

_DUP_AND_QOS = 0x0E
_DUP_AT_QOS_1 = 0x0A
_QOS_2 = 0x04
_PACKET_IDS = 65_536


class _Saved(msgspec.Struct):
    """What a checkpoint keeps."""

    sessions: dict[str, tuple[bytes, bytes]]
    devices: list[tuple[str, str, list[int]]]
    exchanges: dict[str, list[tuple[int, int]]] = msgspec.field(default_factory=dict)
    begin: dict[str, list[int]] = msgspec.field(default_factory=dict)


class Identities:
    """Remembers QoS 2 exchanges, and uplinks without a device time. Its state is part of the checkpoint."""

    def __init__(self) -> None:
        self._sessions: dict[str, NDArray[np.uint64]] = {}
        self._devices: dict[tuple[str, str], list[int]] = {}
        self._exchanges = Exchanges()
        self._begin: dict[str, list[int]] = {}
        """Sessions that the broker has lost, with the connections that began others: until they speak."""

    def lost(self, source: str, session: str, connection: int) -> None:
        """Note that the broker had nothing of a session any more when that connection began.

        What is journalled of earlier connections may still come: what is known is dropped behind it.
        """
        begin = self._begin.setdefault(_name(source, session), [])
        begin.append(connection)
        del begin[:-MAX_SESSIONS]

    def unreleased(self, source: str, session: str) -> list[int]:
        """Return the packet identifiers of QoS 2 that a session has journalled and not released."""
        name = _name(source, session)
        return [] if name in self._begin else self._exchanges.unreleased(name)

    def sent_again(self, batch: RawBatch) -> Bool | None:
        """Return which uplinks came before, as QoS 2 tells it, bool[n]; None where none did.

        To be called for every batch, in the order of the journal, before `duplicates`.
        """
        name = _name(batch.source, batch.session)
        if name in self._begin:
            self._begin_anew(name, batch.connection)
        return self._exchanges.repeated(name, batch)

    def _begin_anew(self, name: str, connection: int) -> None:
        """Drop what is known of a session where another one had begun by the time of that connection."""
        later = [begin for begin in self._begin[name] if begin > connection]
        if len(later) == len(self._begin[name]):
            return
        self._sessions.pop(name, None)
        self._exchanges.forget(name)
        self._begin[name] = later
        if not later:
            del self._begin[name]

    def duplicates(
        self,
        batch: RawBatch,
        places: Int64,
        devices: Sequence[tuple[str, str]],
        sequences: Sequence[Any],
    ) -> Bool:
        """Return which of some uplinks came before, bool[m], and remember them.

        `places` int64[m], ascending, are the uplinks of `batch` that have no device time; `devices`
        and `sequences` (None where there is none) belong to them. To be called for every batch, even
        where `places` is empty: the other uplinks use packet identifiers as well.
        """
        marks = [mark(batch.topics[place], batch.payloads[place]) for place in places.tolist()]
        repeated = self._sent_again(batch, places, np.array(marks, dtype=np.uint64))
        if any(sequence is not None for sequence in sequences):
            for row, (device, sequence, said) in enumerate(zip(devices, sequences, marks, strict=True)):
                if sequence is not None and not repeated[row]:
                    repeated[row] = self._counted_before(device, _numbered(sequence, said))
        return repeated

    def state(self) -> bytes:
        """Return everything remembered, as bytes."""
        sessions = {}
        for name, marks in self._sessions.items():
            used = np.flatnonzero(marks).astype("<u2")
            sessions[name] = (used.tobytes(), marks[used].astype("<u8").tobytes())
        devices = [(site, device, marks) for (site, device), marks in self._devices.items()]
        saved = _Saved(sessions, devices, exchanges=self._exchanges.saved(), begin=self._begin)
        return msgspec.msgpack.encode(saved)

    def restore(self, state: bytes) -> None:
        """Remember what `state` gave, in place of everything else. Raises msgspec.DecodeError."""
        saved = msgspec.msgpack.decode(state, type=_Saved)
        self._sessions = {}
        for name, (used, marks) in saved.sessions.items():
            column = np.zeros(_PACKET_IDS, dtype=np.uint64)
            column[np.frombuffer(used, dtype="<u2")] = np.frombuffer(marks, dtype="<u8")
            self._sessions[name] = column
        self._devices = {(site, device): marks for site, device, marks in saved.devices}
        self._exchanges.restore(saved.exchanges)
        self._begin = saved.begin

    def _sent_again(self, batch: RawBatch, places: Int64, marks: NDArray[np.uint64]) -> Bool:
        last = self._session(_name(batch.source, batch.session), needed=bool(len(places)))
        if last is None:
            return np.zeros(len(places), dtype=np.bool_)
        # A mark of 0 stands for an uplink that needs none: it still takes its packet identifier over.
        of_uplink = np.zeros(len(batch), dtype=np.uint64)
        of_uplink[places] = marks
        of_uplink[batch.headers & _QOS_2 != 0] = 0
        again = np.zeros(len(batch), dtype=np.bool_)
        for place in np.flatnonzero(
            (batch.headers & _DUP_AND_QOS == _DUP_AT_QOS_1) & (of_uplink != 0) & (batch.packet_ids > 0)
        ).tolist():
            packet_id = batch.packet_ids[place]
            before = np.flatnonzero(batch.packet_ids[:place] == packet_id)
            again[place] = of_uplink[place] == (of_uplink[before[-1]] if len(before) else last[packet_id])
        last[batch.packet_ids] = of_uplink  # where an identifier stands twice, numpy keeps the later one
        last[0] = 0  # QoS 0 has no packet identifier
        chosen: Bool = again[places]
        return chosen

    def _session(self, name: str, *, needed: bool) -> NDArray[np.uint64] | None:
        """Return a session's marks by packet identifier; None where it has none and needs none."""
        marks = self._sessions.pop(name, None)
        if marks is None:
            if not needed:
                return None
            marks = np.zeros(_PACKET_IDS, dtype=np.uint64)
        self._sessions[name] = marks  # the one used last stands last
        while len(self._sessions) > MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        return marks

    def _counted_before(self, device: tuple[str, str], said: int) -> bool:
        marks = self._devices.pop(device, [])
        self._devices[device] = marks
        if said in marks:
            return True
        marks.append(said)
        del marks[:-REMEMBERED]
        while len(self._devices) > MAX_DEVICES:
            del self._devices[next(iter(self._devices))]
        return False


def _name(source: str, session: str) -> str:
    """Return what a session is known by: two sources can use one client identifier at two brokers."""
    return f"{source}\0{session}"


def _numbered(sequence: object, said: int) -> int:
    digest = blake2b(f"{sequence}".encode(), digest_size=8, salt=said.to_bytes(8, "little"))
    return int.from_bytes(digest.digest(), "little")
