"""Which points a reprocessing is about: whole windows, by profile and zone. Pure.

A longer window is the set of the shortest windows that begin in it. So a span that is whole begins with a
shortest window which is the first of each longer window that holds it, and ends likewise; it is widened
until that is so, for every version of the profile that held in it and every zone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gateway.aggregate.shelf import shortest_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.aggregate.civil import Calendar
    from gateway.model import Bool, Points
    from gateway.profiles.plan import ProfilePlan

    Lengths = tuple[int, ...]

_ROUNDS = 50
"""Each round widens by a window at least; all windows of a profile divide a day, so a few are enough."""


@dataclass(frozen=True, slots=True)
class Span:
    """Event time from `start` (included) to `end` (excluded), ns UTC."""

    start: int
    end: int


def lengths_of(plan: ProfilePlan) -> Lengths:
    """Return the lengths of a profile's windows, ns, shortest first; of its blocks where it has none."""
    return tuple(window.length_ns for window in plan.windows) or (shortest_of(plan),)


def widened(span: Span, versions: Iterable[Lengths], zone: int, calendar: Calendar) -> Span:
    """Return the smallest span around this one that is whole windows of every version, in a zone."""
    known = list(versions)
    for _ in range(_ROUNDS):
        start, end = span.start, span.end
        for lengths in known:
            for length in lengths:
                start = min(
                    start, _first_block(_bounds(calendar, length, zone, start)[0], lengths, zone, calendar)
                )
                last = _bounds(calendar, lengths[0], zone, end - 1)[0]
                end = max(
                    end, _first_block(_bounds(calendar, length, zone, last)[1], lengths, zone, calendar)
                )
        if (start, end) == (span.start, span.end):
            break
        span = Span(start, end)
    return span


def floored(at: int, versions: Iterable[Lengths], zone: int, calendar: Calendar) -> int:
    """Return the latest time up to `at` at which whole windows of every version end."""
    return widened(Span(at, at + 1), versions, zone, calendar).start


def _first_block(at: int, lengths: Lengths, zone: int, calendar: Calendar) -> int:
    """Return where the first shortest window begins from a time on."""
    start, end = _bounds(calendar, lengths[0], zone, at)
    return at if start == at else end


def _bounds(calendar: Calendar, length: int, zone: int, at: int) -> tuple[int, int]:
    start, end = calendar.bounds(length, zone, np.array([at], dtype=np.int64))
    return int(start[0]), int(end[0])


class Spans:
    """The spans by profile and zone: which of some points lie in them.

    `versions` has for each profile the lengths of its windows by their name, of all its versions.
    """

    def __init__(
        self,
        spans: Mapping[tuple[str, str], Span],
        *,
        windows: Mapping[str, Mapping[str, int]],
        calendar: Calendar,
    ) -> None:
        self.by_zone = dict(spans)
        self._windows = windows
        self._calendar = calendar

    @property
    def start(self) -> int:
        """Where the first of them begins."""
        return min(span.start for span in self.by_zone.values())

    @property
    def end(self) -> int:
        """Where the last of them ends."""
        return max(span.end for span in self.by_zone.values())

    def until(self, profile: str) -> int | None:
        """Return where the last span of a profile ends; None where it has none."""
        return max((s.end for (name, _), s in self.by_zone.items() if name == profile), default=None)

    def inside(self, points: Points, window: str | None) -> Bool:
        """Return which points lie in their span, bool[n]; `window` names their length, None: raw readings."""
        codes, places = np.unique(points.series, return_inverse=True)
        bounds = np.array([self._bounds_of(points.tags[code], window) for code in codes.tolist()], np.int64)
        if not len(codes):
            return np.zeros(0, np.bool_)
        inside: Bool = (points.time >= bounds[places, 0]) & (points.time < bounds[places, 1])
        return inside

    def _bounds_of(self, tags: Sequence[tuple[str, str]], window: str | None) -> tuple[int, int]:
        """Return from where on and up to where a series' points are meant, by their times."""
        named = dict(tags)
        profile = named.get("profile", "")
        zone = self._calendar.zone_of(named.get("site", ""))
        span = self.by_zone.get((profile, self._calendar.zones[zone].name))
        if span is None:
            return 0, 0
        if window is None:
            return span.start, span.end
        # A window is meant with its first block: where that begins at the span's start, it may itself before.
        length = self._windows[profile][window]
        return tuple(_bounds(self._calendar, length, zone, at)[0] for at in (span.start, span.end))  # type: ignore[return-value]
