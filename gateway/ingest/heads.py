"""What cannot be journalled goes to quarantine with its first bytes; then it is acknowledged.

Delivery guarantees: the broker is answered once `Keep` has returned, and so has the bytes durably. A
packet that comes again is the same row: its key is what it is, not when it came.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from gateway.model import Refused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.ingest.answers import Head
    from gateway.model import Reason

    Keep = Callable[[Refused], Awaitable[None]]
    """Returns once the uplink is in quarantine. Raises StateError (fatal)."""

TOPIC: Final = 1_024
"""Bytes of a topic that are kept: no longer one fits a profile."""


def refused(head: Head, reason: Reason, detail: str, *, at_ns: int) -> Refused:
    """Return what quarantine keeps of a packet. It has no place in a journal: `index` tells which it is."""
    key = blake2b(head.topic + head.size.to_bytes(8, "big"), digest_size=6)
    return Refused(
        position=0,
        index=int.from_bytes(key.digest(), "big"),
        received_ns=at_ns,
        topic=head.topic[:TOPIC],
        payload=head.payload,
        reason=reason,
        detail=detail,
    )
