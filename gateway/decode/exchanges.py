"""QoS 2: which uplinks the broker has sent again, decided by what the journal holds of their exchange.

From its PUBLISH to its PUBREL a packet identifier belongs to one uplink. A PUBLISH under such an identifier
with DUP, equal in topic and payload to the one that was journalled under it, is that uplink again; it is not
decoded a second time. After the PUBREL the identifier is free: what comes under it then is new, whatever its
flags, even where nobody else could tell it from the uplink before (`gateway.decode.identity`, on QoS 1).

Delivery guarantees: where the broker keeps to MQTT, each uplink counts exactly once. Where it does not (it
was restarted from an older copy of its own state, say), what cannot be the uplink journalled is taken as new:
counted twice at the worst, never lost. Source: MQTT 3.1.1 and 5.0, section 4.3.3.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from gateway.model import Bool, RawBatch

MAX_SESSIONS = 16
"""Sessions remembered: one a broker connection is in use."""

_DUP = 0x08
_QOS = 0x06
_QOS_1 = 0x02


class Exchanges:
    """What is journalled and not released, by session and packet identifier. A part of the checkpoint.

    At most 65,535 identifiers a session, some 100 bytes each.
    """

    def __init__(self) -> None:
        self._sessions: dict[str, dict[int, int]] = {}

    def repeated(self, session: str, batch: RawBatch) -> Bool | None:
        """Return which uplinks of a batch were journalled before, bool[n], and remember the others.

        None stands for none. To be called for every batch of the journal, in its order.
        """
        held = self._sessions.pop(session, None)
        if held is None and not batch.has_qos_2:
            return None
        held = held or {}
        if held:
            _take_over(held, batch)
        again = np.zeros(len(batch), dtype=np.bool_)
        for packet_id, place in batch.qos_2_steps():
            if place < 0:
                held.pop(packet_id, None)
                continue
            known, held[packet_id] = held.get(packet_id), mark(batch.topics[place], batch.payloads[place])
            again[place] = bool(batch.headers[place] & _DUP) and known == held[packet_id]
        if held:
            self._sessions[session] = held  # the one used last stands last
            while len(self._sessions) > MAX_SESSIONS:
                del self._sessions[next(iter(self._sessions))]
        return again

    def unreleased(self, session: str) -> list[int]:
        """Return the packet identifiers of a session that wait for their PUBREL."""
        return list(self._sessions.get(session, ()))

    def forget(self, session: str) -> None:
        """Drop what is known of a session: the broker has lost it."""
        self._sessions.pop(session, None)

    def saved(self) -> dict[str, list[tuple[int, int]]]:
        """Return everything, for a checkpoint."""
        return {session: list(held.items()) for session, held in self._sessions.items()}

    def restore(self, saved: dict[str, list[tuple[int, int]]]) -> None:
        """Take back what `saved` gave, in place of everything else."""
        self._sessions = {session: dict(held) for session, held in saved.items()}


def mark(topic: bytes, payload: bytes) -> int:
    """Return 64 bits that stand for a topic and a payload, the same in every process; never 0."""
    digest = blake2b(payload, digest_size=8, key=blake2b(topic, digest_size=16).digest())
    return int.from_bytes(digest.digest(), "little") or 1


def _take_over(held: dict[int, int], batch: RawBatch) -> None:
    """Forget identifiers that the broker uses for QoS 1 by now: it cannot have them in use twice."""
    of_qos_1 = batch.packet_ids[batch.headers & _QOS == _QOS_1]
    waiting = np.fromiter(held, dtype=np.uint16, count=len(held))
    for packet_id in waiting[np.isin(waiting, of_qos_1)].tolist():
        del held[packet_id]
