"""Which uplinks came before, where no device time tells: the identity of an uplink as such.

A reading is known by its event time; where that is the receive time, a repeated uplink would become a
second reading. Two rules find the repetition, in this order:

1. DUP: a publish with the DUP bit, equal in packet identifier, topic and payload to the last one
   that was journalled under that identifier in the same session.
2. Sequence, where the profile has one: equal in device, sequence and payload to one of the last
   REMEMBERED uplinks of that device. The payload counts, because a device that starts again counts
   from 0 again; one that repeats payload and all within that span cannot be told from a repetition.

Delivery guarantees: uplinks without device time and sequence, sent again without DUP (by the device
itself, or through another connection), are taken twice.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

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

_DUP = 0x08
_PACKET_IDS = 65_536


class _Saved(msgspec.Struct):
    """What a checkpoint keeps."""

    sessions: dict[str, tuple[bytes, bytes]]
    devices: list[tuple[str, str, list[int]]]


class Identities:
    """Remembers uplinks without a device time. Its state is part of the checkpoint."""

    def __init__(self) -> None:
        self._sessions: dict[str, NDArray[np.uint64]] = {}
        self._devices: dict[tuple[str, str], list[int]] = {}

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
        marks = [_mark(batch.topics[place], batch.payloads[place]) for place in places.tolist()]
        repeated = self._sent_again(batch, places, np.array(marks, dtype=np.uint64))
        if any(sequence is not None for sequence in sequences):
            for row, (device, sequence, mark) in enumerate(zip(devices, sequences, marks, strict=True)):
                if sequence is not None and not repeated[row]:
                    repeated[row] = self._counted_before(device, _numbered(sequence, mark))
        return repeated

    def state(self) -> bytes:
        """Return everything remembered, as bytes."""
        sessions = {}
        for name, marks in self._sessions.items():
            used = np.flatnonzero(marks).astype("<u2")
            sessions[name] = (used.tobytes(), marks[used].astype("<u8").tobytes())
        devices = [(site, device, marks) for (site, device), marks in self._devices.items()]
        return msgspec.msgpack.encode(_Saved(sessions=sessions, devices=devices))

    def restore(self, state: bytes) -> None:
        """Remember what `state` gave, in place of everything else. Raises msgspec.DecodeError."""
        saved = msgspec.msgpack.decode(state, type=_Saved)
        self._sessions = {}
        for name, (used, marks) in saved.sessions.items():
            column = np.zeros(_PACKET_IDS, dtype=np.uint64)
            column[np.frombuffer(used, dtype="<u2")] = np.frombuffer(marks, dtype="<u8")
            self._sessions[name] = column
        self._devices = {(site, device): marks for site, device, marks in saved.devices}

    def forget(self, site: str, device: str) -> bool:
        """Forget a device's uplinks; tell whether any were remembered.

        Marks by packet identifier stay: they stand for no device, and tell nothing that was said.
        """
        return self._devices.pop((site, device), None) is not None

    def _sent_again(self, batch: RawBatch, places: Int64, marks: NDArray[np.uint64]) -> Bool:
        last = self._session(f"{batch.source}\0{batch.session}", needed=bool(len(places)))
        if last is None:
            return np.zeros(len(places), dtype=np.bool_)
        # A mark of 0 stands for an uplink that needs none: it still takes its packet identifier over.
        of_uplink = np.zeros(len(batch), dtype=np.uint64)
        of_uplink[places] = marks
        again = np.zeros(len(batch), dtype=np.bool_)
        for place in np.flatnonzero(
            (batch.headers & _DUP != 0) & (of_uplink != 0) & (batch.packet_ids > 0)
        ).tolist():
            packet_id = batch.packet_ids[place]
            before = np.flatnonzero(batch.packet_ids[:place] == packet_id)
            again[place] = of_uplink[place] == (of_uplink[before[-1]] if len(before) else last[packet_id])
        last[batch.packet_ids] = of_uplink  # where an identifier stands twice, numpy keeps the later one
        last[0] = 0  # QoS 0 has no packet identifier
        chosen: Bool = again[places]
        return chosen

    def _session(self, name: str, *, needed: bool) -> NDArray[np.uint64] | None:
        """Return a session's marks by packet identifier; None where it has none and needs none.

        Two sources can use one client identifier at two brokers: a name holds both.
        """
        marks = self._sessions.pop(name, None)
        if marks is None:
            if not needed:
                return None
            marks = np.zeros(_PACKET_IDS, dtype=np.uint64)
        self._sessions[name] = marks  # the one used last stands last
        while len(self._sessions) > MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        return marks

    def _counted_before(self, device: tuple[str, str], mark: int) -> bool:
        marks = self._devices.pop(device, [])
        self._devices[device] = marks
        if mark in marks:
            return True
        marks.append(mark)
        del marks[:-REMEMBERED]
        while len(self._devices) > MAX_DEVICES:
            del self._devices[next(iter(self._devices))]
        return False


def _mark(topic: bytes, payload: bytes) -> int:
    """Return 64 bits that stand for a topic and a payload, the same in every process; never 0."""
    digest = blake2b(payload, digest_size=8, key=blake2b(topic, digest_size=16).digest())
    return int.from_bytes(digest.digest(), "little") or 1


def _numbered(sequence: object, mark: int) -> int:
    digest = blake2b(f"{sequence}".encode(), digest_size=8, salt=mark.to_bytes(8, "little"))
    return int.from_bytes(digest.digest(), "little")
