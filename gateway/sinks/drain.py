"""How fast a backlog may be sent. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.literals import Rate


class Drain:
    """Paces a sink's backlog: after so many points the next ones wait as long as the rate asks for them.

    Times are monotonic, in ns. What was not used is not saved up.
    """

    def __init__(self, rate: Rate | None) -> None:
        """`rate` None: as fast as the sink takes it."""
        self._ns_a_point = rate.interval_ns / rate.count if rate else 0.0
        self._free_ns = 0.0

    def wait_s(self, now_ns: int) -> float:
        """Return after how many seconds more backlog may be sent."""
        return max(0.0, (self._free_ns - now_ns) / 1e9)

    def sent(self, points: int, now_ns: int) -> None:
        """Note that so many points of backlog were sent."""
        self._free_ns = now_ns + points * self._ns_a_point
