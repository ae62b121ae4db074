"""The QoS 2 deliveries that are durable and not over, as the connection knows them. Pure.

What was journalled decides whether a PUBLISH is a repetition (`gateway.decode.exchanges`); this is the same
state on the other side of the journal: for what the broker is answered, and for the status.

    PUBLISH, journalled ──▶ PUBREC … unreleased … PUBREL, journalled ──▶ PUBCOMP

Source: MQTT 3.1.1 and 5.0, section 4.3.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gateway.ingest.packets import acknowledgements
from gateway.ingest.requests import PACKET_ID_NOT_FOUND, pubcomp
from gateway.ingest.wire import MQTT_5

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.model import RawBatch


class Unreleased:
    """Packet identifiers from our PUBREC to our PUBCOMP: at most 65,535."""

    def __init__(self, packet_ids: Iterable[int] = ()) -> None:
        self._packet_ids = set(packet_ids)
        self._since = 0
        """The connection with which the session began: what came on earlier ones is not of it."""

    def __len__(self) -> int:
        return len(self._packet_ids)

    @property
    def packet_ids(self) -> frozenset[int]:
        """Which they are."""
        return frozenset(self._packet_ids)

    def begin_anew(self, connection: int) -> int:
        """Forget everything: the broker has lost the session. Returns how many deliveries that was."""
        forgotten = len(self._packet_ids)
        self._packet_ids.clear()
        self._since = connection
        return forgotten

    def add(self, packet_id: int) -> None:
        """Note a delivery that is durable but not in the journal: a packet that was passed by."""
        self._packet_ids.add(packet_id)

    def answers(self, batch: RawBatch) -> bytes:
        """Note what a durable batch begins and ends; return its PUBACK, PUBREC and PUBCOMP packets.

        They are in the order of what they answer: of a PUBREL that was sent twice and a PUBLISH under its
        identifier behind it, the broker would else take the wrong one for done.
        """
        acks = acknowledgements(batch.packet_ids, batch.headers)
        if not batch.has_qos_2:
            return acks
        completed = self._take(batch)
        if batch.releases is None:
            return acks
        ends = 4 * np.concatenate(([0], np.cumsum(batch.packet_ids != 0)))[batch.releases.places]
        out, at = [], 0
        for end, answer in zip(ends.tolist(), completed, strict=True):
            out += [acks[at:end], answer]
            at = end
        return b"".join((*out, acks[at:]))

    def _take(self, batch: RawBatch) -> list[bytes]:
        """Go through a batch; return a PUBCOMP for each PUBREL."""
        known = self._packet_ids if batch.connection >= self._since else set[int]()
        unknown = PACKET_ID_NOT_FOUND if batch.protocol == MQTT_5 else 0
        completed = []
        for packet_id, place in batch.qos_2_steps():
            if place >= 0:
                known.add(packet_id)
            else:
                completed.append(pubcomp(packet_id, 0 if packet_id in known else unknown))
                known.discard(packet_id)
        return completed
