"""A sparkline as inline SVG, with its text for those who do not see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH, HEIGHT = 120, 28


@dataclass(frozen=True, slots=True)
class Sparkline:
    """The points of an SVG polyline in a box of WIDTH × HEIGHT, and the figures that describe it."""

    points: str
    first: float
    last: float
    low: float
    high: float


def sparkline(values: Sequence[float]) -> Sparkline | None:
    """Return the line through values at equal distances; None of fewer than two."""
    if len(values) < 2:
        return None
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    step = WIDTH / (len(values) - 1)
    points = " ".join(
        f"{index * step:.1f},{HEIGHT - 2 - (value - low) / span * (HEIGHT - 4):.1f}"
        for index, value in enumerate(values)
    )
    return Sparkline(points=points, first=values[0], last=values[-1], low=low, high=high)
