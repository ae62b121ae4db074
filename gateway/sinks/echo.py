"""What is written once more after a server left a write unanswered. Pure.

Such a request may still be carried out, minutes later, over newer writings of its points that the server
has stored meanwhile. So these are kept, in their order, and written once more when it must have ended: the
last one stands then, whatever the server did. A restart of the gateway forgets them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.sinks.outbox_newer import MOST_POINTS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.sinks.outbox_model import Bodies, Entry

ALIVE_NS = 600 * 10**9
"""So long after a time-out a server may still carry a request out."""
MOST_BYTES = 8_000_000
"""What is kept; beyond, it is written at once, and again later what comes then."""


class Echo:
    """Newer writings of the points of unanswered requests, for one sink. Times are monotonic, in ns.

    Of more than `MOST_POINTS` such points the first ones are forgotten.
    """

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self._doubted: dict[bytes, None] = {}
        self._until_ns = 0
        self._kept: list[bytes] = []
        self._size = 0

    def doubt(self, entries: Iterable[Entry], now_ns: int) -> None:
        """Note that a request with these entries may be carried out later than it seemed."""
        self._until_ns = now_ns + ALIVE_NS
        for entry in entries:
            for _, key in self._bodies.keys(entry.body):
                self._doubted.pop(key, None)
                self._doubted[key] = None
        for key in list(self._doubted)[: max(0, len(self._doubted) - MOST_POINTS)]:
            del self._doubted[key]

    def stored(self, entries: Iterable[Entry]) -> None:
        """Keep what of these entries, which are stored, is a newer writing of such a point."""
        if not self._doubted:
            return
        for entry in entries:
            keys = self._bodies.keys(entry.body) if entry.again else []
            others = {place for place, key in keys if key not in self._doubted}
            if len(others) < len(keys):
                body = self._bodies.without(entry.body, others) if others else entry.body
                self._kept.append(body)
                self._size += len(body)

    def wait_s(self, now_ns: int) -> float | None:
        """Return in how many seconds `take` is due; None: there is nothing to write."""
        if not self._kept:
            return None
        return 0.0 if self._size > MOST_BYTES else max(0.0, (self._until_ns - now_ns) / 1e9)

    def take(self, now_ns: int) -> list[bytes]:
        """Return what is to be written once more, in this order, and forget it."""
        kept, self._kept, self._size = self._kept, [], 0
        if now_ns >= self._until_ns:
            self._doubted = {}
        return kept
