"""Event time: the machine's clock, or a scaled one that is shared with a gateway through a file."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from firmware_sim.model import SECOND

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Scale:
    """Scaled time: event = event_origin + (wall − wall_origin) · factor; all in ns UTC."""

    wall_origin_ns: int
    event_origin_ns: int
    factor: float

    @classmethod
    def starting_now(cls, factor: float, *, event_origin_ns: int | None = None) -> Scale:
        """Return the scale on which it is `event_origin_ns` now (default: what the clock shows)."""
        wall = time.time_ns()
        return cls(wall, wall if event_origin_ns is None else event_origin_ns, factor)

    @classmethod
    def read(cls, path: Path) -> Scale:
        """Read a scale file.

        Raises:
            OSError: it cannot be read.
            ValueError: it is no scale file.
        """
        try:
            scale = cls(**json.loads(path.read_text(encoding="utf-8")))
        except TypeError as error:
            raise ValueError(f"{path} is no scale file: {error}") from error
        if not (math.isfinite(scale.factor) and scale.factor > 0):
            raise ValueError(f"{path} is no scale file: its factor is {scale.factor}")
        return scale

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    def event_ns(self, wall_ns: int) -> int:
        """Return the event time of a wall time."""
        return self.event_origin_ns + int((wall_ns - self.wall_origin_ns) * self.factor)


class Pace:
    """When a message is due: at its event time, or at once where the past is filled in (no scale)."""

    def __init__(self, scale: Scale | None) -> None:
        self.scale = scale

    def now_ns(self) -> int | None:
        """Event time now; None where nothing is waited for."""
        return self.scale.event_ns(time.time_ns()) if self.scale else None

    def seconds_until(self, event_ns: int) -> float:
        """Return the wall seconds until an event time: 0 or less where it is due; negative is the lag."""
        if self.scale is None:
            return 0.0
        return (event_ns - self.scale.event_ns(time.time_ns())) / self.scale.factor / SECOND


def now_ns() -> int:
    """Return the machine's time, ns UTC."""
    return time.time_ns()


def monotonic_s() -> float:
    """Return seconds that never step."""
    return time.monotonic()
