"""When to try again, when to ask for a sign of life, when to give up. Pure: time is an argument."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

NS: Final = 1_000_000_000
SLOWEST_BYTES_S: Final = 10_000
DEFAULT_KEEPALIVE_S: Final = 30.0
"""Where the broker wants no keepalive."""


@dataclass(slots=True)
class Backoff:
    """Exponential, from `first_s` to `max_s`, with jitter down to a half, so that clients spread."""

    first_s: float
    max_s: float
    _next_s: float = 0.0

    def reset(self) -> None:
        """Begin again at `first_s`."""
        self._next_s = 0.0

    def delay_s(self, jitter: float) -> float:
        """Return the next delay; `jitter` is a random number in [0, 1)."""
        base = self._next_s or self.first_s
        self._next_s = min(self.max_s, base * 2)
        return base * (0.5 + 0.5 * jitter)


@dataclass(slots=True)
class TakeoverGuard:
    """Sees that another client uses our identifier where the broker does not say so.

    MQTT 3.1.1 has no words for it, and Mosquitto before 2.0.15 does not use those of MQTT 5: the
    older connection is closed in silence. Three such ends within a minute, with the broker
    reachable in between, mean two clients that take the session from each other.
    """

    limit: int = 3
    within_ns: int = 60 * NS
    _ends: deque[int] = field(default_factory=deque)

    def closed(self, now_ns: int) -> bool:
        """Note an end that we did not cause; return whether it was one too many."""
        self._ends.append(now_ns)
        while self._ends[0] < now_ns - self.within_ns:
            self._ends.popleft()
        return len(self._ends) >= self.limit

    def explained(self) -> None:
        """Forget the ends: a broker that is away, or that has lost the session, explains them."""
        self._ends.clear()


@dataclass(slots=True)
class PacketWatch:
    """Sees that one packet goes on for ever: bytes that trickle in keep a connection alive.

    A packet may take as long as silence may last, and a second more for each 10 kB that it announces.
    """

    began_ns: int
    _finished: int = 0

    def read(self, now_ns: int, *, awaits: int, finished: int) -> None:
        """Note, before and after a read, how large the packet is that has begun (or 0), and `finished`."""
        if not awaits or finished != self._finished:
            self.began_ns = now_ns
            self._finished = finished

    def is_endless(self, now_ns: int, awaits: int, keepalive_s: float, *, paused: bool) -> bool:
        """Return whether the packet that has begun should have ended by now."""
        if paused or not awaits:
            self.began_ns = now_ns
        allowed_s = 1.5 * (keepalive_s or DEFAULT_KEEPALIVE_S) + awaits / SLOWEST_BYTES_S
        return now_ns - self.began_ns > allowed_s * NS


class Due(Enum):
    """What a connection needs now."""

    NOTHING = "nothing"
    PING = "a PINGREQ"
    DEAD = "the broker did not answer"
    SILENT = "connected, but no uplink"


@dataclass(slots=True)
class Liveness:
    """Keepalive and flow watchdog of one connection, in monotonic ns.

    PINGREQ goes out every 0.75 keepalives, and as much later without any byte the connection is
    dead: noticed after 1.5 keepalives, the time after which a broker gives us up, too. While
    reading is paused nothing can be heard, so both time-outs rest, and PINGREQ goes on.
    """

    keepalive_s: float
    watchdog_s: float
    now_ns: int
    _heard: int = 0
    _uplink: int = 0
    _pinged: int = 0

    def __post_init__(self) -> None:
        self._heard = self._uplink = self._pinged = self.now_ns

    def heard(self, now_ns: int, *, uplinks: bool) -> None:
        """Note that bytes came, and whether uplinks were among them."""
        self._heard = now_ns
        if uplinks:
            self._uplink = now_ns

    def due(self, now_ns: int, *, paused: bool) -> Due:
        """Return what is to be done now; a PINGREQ asked for counts as sent."""
        if paused:
            self._heard = self._uplink = now_ns
        step = 0.75 * self.keepalive_s * NS
        waiting = self._pinged > self._heard
        if step and waiting and now_ns - self._pinged >= step:
            return Due.DEAD
        if self.watchdog_s and now_ns - self._uplink >= self.watchdog_s * NS:
            return Due.SILENT
        if step and now_ns - self._pinged >= step:
            self._pinged = now_ns
            return Due.PING
        return Due.NOTHING
