"""The only reader of time."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def rfc3339(at_ns: int) -> str:
    """Write a time, to the second: `2026-11-22T10:00:00Z`; `never` for 0."""
    return (
        datetime.fromtimestamp(at_ns // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        if at_ns
        else "never"
    )


@dataclass(frozen=True, slots=True)
class Scale:
    """Scaled time: event = event_origin + (wall − wall_origin) · factor; all in ns UTC.

    Written to a file so that gateway and simulator share it, and a restart resumes it.
    """

    wall_origin_ns: int
    event_origin_ns: int
    factor: float

    def event_ns(self, wall_ns: int) -> int:
        """Return the event time of a wall time."""
        return self.event_origin_ns + int((wall_ns - self.wall_origin_ns) * self.factor)

    @classmethod
    def read(cls, path: Path) -> Scale:
        """Read the file that `write` made. Raises OSError, ValueError, TypeError."""
        scale = cls(**json.loads(path.read_text(encoding="utf-8")))
        if not scale.factor > 0:
            raise ValueError(f"factor must be above 0, not {scale.factor}")
        return scale

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")


class SystemClock:
    """The machine's clock, scaled where `scale` is given."""

    def __init__(self, scale: Scale | None = None) -> None:
        self.scale = scale

    @property
    def factor(self) -> float:
        """Event seconds a second: 1 where time is not scaled."""
        return self.scale.factor if self.scale else 1.0

    def now_ns(self) -> int:
        """Event time, ns UTC."""
        wall = time.time_ns()
        return self.scale.event_ns(wall) if self.scale else wall

    def monotonic_ns(self) -> int:
        """Nanoseconds that never step."""
        return time.monotonic_ns()

    def since_s(self, event_ns: int) -> float:
        """Real seconds since that event time."""
        return (self.now_ns() - event_ns) / 1e9 / self.factor


class ManualClock:
    """A clock that tests advance by hand."""

    def __init__(self, now_ns: int = 0) -> None:
        self._now = now_ns
        self._monotonic = 0

    def now_ns(self) -> int:
        """The time last set."""
        return self._now

    def monotonic_ns(self) -> int:
        """The sum of all advances."""
        return self._monotonic

    def since_s(self, event_ns: int) -> float:
        """Seconds since that time."""
        return (self._now - event_ns) / 1e9

    def advance(self, seconds: float) -> None:
        """Let both clocks go on."""
        step = int(seconds * 1e9)
        self._now += step
        self._monotonic += step
