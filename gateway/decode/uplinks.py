"""The uplinks of one or more batches, laid side by side for decoding."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.model import Int32, Int64, RawBatch, UInt8


@dataclass(frozen=True, slots=True)
class Uplinks:
    """n uplinks as columns; batches follow each other in the order given.

    `received_ns` int64[n] is the receive time of each one's record, `place` int64[n] its number in
    that record, `headers` uint8[n] its frame's first byte, `codes` int32[n] its route.
    """

    topics: list[bytes]
    payloads: list[bytes]
    received_ns: Int64
    place: Int64
    headers: UInt8
    codes: Int32

    def __len__(self) -> int:
        return len(self.topics)

    def receipt_ns(self, index: Int64) -> Int64:
        """Return the receive times that stand in for event times: one nanosecond apart in a record."""
        return self.received_ns[index] + self.place[index]


def topics_of(batches: Sequence[RawBatch]) -> list[bytes]:
    """Return the topics of all uplinks of some batches, in order."""
    return batches[0].topics if len(batches) == 1 else list(chain.from_iterable(b.topics for b in batches))


def lay_out(batches: Sequence[RawBatch], topics: list[bytes], codes: Int32) -> Uplinks:
    """Lay batches side by side; `codes` int32[n] are the routes of `topics_of(batches)`."""
    payloads = (
        batches[0].payloads if len(batches) == 1 else list(chain.from_iterable(b.payloads for b in batches))
    )
    lengths = [len(batch) for batch in batches]
    return Uplinks(
        topics=topics,
        payloads=payloads,
        received_ns=np.repeat(np.array([batch.received_ns for batch in batches], dtype=np.int64), lengths),
        place=np.concatenate([np.arange(length, dtype=np.int64) for length in lengths]),
        headers=np.concatenate([batch.headers for batch in batches]),
        codes=codes,
    )
