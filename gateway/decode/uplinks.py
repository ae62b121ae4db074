"""The uplinks of one or more batches, laid side by side for decoding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.model import Int32, Int64, RawBatch, UInt8


@dataclass(frozen=True, slots=True)
class Uplinks:
    """n uplinks as columns; batches follow each other in the order given.

    `received_ns` int64[n] is the receive time of the record where each one first stood, `place` int64[n] its
    number there, `headers` uint8[n] its frame's first byte, `codes` int32[n] its route.
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
    return _joined([batch.topics for batch in batches])


def _joined(columns: list[list[bytes]]) -> list[bytes]:
    """Return one list of several; a list that stands alone is not copied."""
    if len(columns) == 1:
        return columns[0]
    joined: list[bytes] = []
    for column in columns:
        joined += column
    return joined


def lay_out(batches: Sequence[RawBatch], topics: list[bytes], codes: Int32) -> Uplinks:
    """Lay batches side by side; `codes` int32[n] are the routes of `topics_of(batches)`."""
    lengths = [len(batch) for batch in batches]
    return Uplinks(
        topics=topics,
        payloads=_joined([batch.payloads for batch in batches]),
        received_ns=np.repeat(np.array([batch.received_ns for batch in batches], dtype=np.int64), lengths),
        place=np.concatenate(
            [
                np.arange(len(one), dtype=np.int64) if one.origin is None else one.origin.places
                for one in batches
            ]
        ),
        headers=np.concatenate([batch.headers for batch in batches]),
        codes=codes,
    )
