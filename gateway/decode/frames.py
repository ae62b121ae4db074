"""The payloads of one profile's uplinks, with what stands beside each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.model import Int64

NO_PORT = -1


@dataclass(frozen=True, slots=True)
class Frames:
    """n payloads: what a device has said, without any envelope.

    `ports` int64[n] is the LoRaWAN port (FPort) of each, `NO_PORT` where there is none; `received_ns`
    int64[n] the receive time, ns UTC.
    """

    payloads: list[bytes]
    ports: Int64
    received_ns: Int64

    @classmethod
    def bare(cls, payloads: Sequence[bytes]) -> Frames:
        """Return payloads that have nothing beside them."""
        return cls(
            list(payloads), np.full(len(payloads), NO_PORT, np.int64), np.zeros(len(payloads), np.int64)
        )

    def __len__(self) -> int:
        return len(self.payloads)

    def take(self, places: Sequence[int]) -> Frames:
        """Return some of them, in the order told."""
        if len(places) == len(self) and list(places) == list(range(len(self))):
            return self
        chosen = np.array(places, dtype=np.int64)
        return Frames([self.payloads[at] for at in places], self.ports[chosen], self.received_ns[chosen])
