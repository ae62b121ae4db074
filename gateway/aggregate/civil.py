"""Where windows begin and end: multiples in UTC below an hour, the site's civil time from an hour on.

The rule for a length L from one hour to one day, in a zone: a boundary stands where the wall clock, counted
from local midnight, first reaches k·L. A boundary that the clock jumps over stands at the jump. Where the
clock is turned back over a full hour, hours repeat: such a day has 25 windows of 1 h (and one that skips has
23), while longer windows take the repeated hour in. Lord Howe turns by half an hour: its hours there last
90 and 30 minutes.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import numpy as np

from gateway.model import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.model import Int64

HOUR = 3600 * NS_PER_S
DAY = 24 * HOUR

# zoneinfo shows no transitions: they are found by asking for the offset once a week and bisecting. A zone
# that changed twice within a week and back would be missed; none in the database does from 1970 on.
_FIRST_YEAR = 1970
_LAST_YEAR = 2100
_STEP_S = 7 * 86_400
_MARGIN = 40 * DAY


class Zone:
    """The offsets of one IANA zone, 1970 to 2100, as arrays: `offsets[i]` holds before `transitions[i]`."""

    def __init__(self, name: str) -> None:
        self.name = name
        zone = ZoneInfo(name)
        first = int(datetime(_FIRST_YEAR, 1, 1, tzinfo=UTC).timestamp())
        last = int(datetime(_LAST_YEAR, 1, 1, tzinfo=UTC).timestamp())
        transitions: list[int] = []
        offsets = [_offset_s(zone, first)]
        for second in range(first + _STEP_S, last, _STEP_S):
            offset = _offset_s(zone, second)
            if offset != offsets[-1]:
                transitions.append(_bisect(zone, second - _STEP_S, second))
                offsets.append(offset)
        self.transitions = np.array(transitions, dtype=np.int64) * NS_PER_S
        self.offsets = np.array(offsets, dtype=np.int64) * NS_PER_S

    def day_of(self, time: int) -> int:
        """Return the civil day (days since 1970-01-01) of a time in ns UTC."""
        offset = self.offsets[np.searchsorted(self.transitions, time, "right")]
        return int((time + offset) // DAY)

    def boundaries(self, length: int, first_day: int, last_day: int) -> Int64:
        """Return where windows of `length` ns begin on those civil days, both included: ns UTC, sorted."""
        days = np.arange(first_day, last_day + 1, dtype=np.int64) * DAY
        walls = (days[:, None] + np.arange(0, DAY, length, dtype=np.int64)).ravel()
        before, after = self.offsets[:-1], self.offsets[1:]
        # As in PEP 495: fold 0 keeps the old offset as long as it can, fold 1 takes the new one at once.
        early = np.searchsorted(self.transitions + np.maximum(before, after), walls, "right")
        late = np.searchsorted(self.transitions + np.minimum(before, after), walls, "right")
        first = walls - self.offsets[early]
        second = walls - self.offsets[late]
        skipped = np.flatnonzero(second < first)
        first[skipped] = self.transitions[early[skipped]]
        if length == HOUR:
            first = np.concatenate([first, second[second > first]])
        return np.unique(first)


class Calendar:
    """Window bounds for series of several zones, vectorised. Zones are numbered in order of first use."""

    def __init__(self, zones: Mapping[str, str], default_zone: str) -> None:
        self.sites = dict(zones)
        self.default_zone = default_zone
        self.zones: list[Zone] = []
        self._codes: dict[str, int] = {}
        self._boundaries: dict[tuple[int, int], Int64] = {}

    def zone_of(self, site: str) -> int:
        """Return the number of the site's zone. Raises `zoneinfo.ZoneInfoNotFoundError` on a wrong name."""
        name = self.sites.get(site, self.default_zone)
        code = self._codes.get(name)
        if code is None:
            code = self._codes[name] = len(self.zones)
            self.zones.append(Zone(name))
        return code

    def bounds(self, length: int, zone: int, times: Int64) -> tuple[Int64, Int64]:
        """Return the start and end (int64[n], ns UTC) of the windows of `length` that hold `times`."""
        if length < HOUR or not len(times):
            start = times - times % length
            return start, start + length
        boundaries = self._covering(length, zone, int(times.min()), int(times.max()))
        place = np.searchsorted(boundaries, times, "right")
        return boundaries[place - 1], boundaries[place]

    def _covering(self, length: int, zone: int, first: int, last: int) -> Int64:
        """Return boundaries from before `first` to after `last`; kept, and widened when needed."""
        kept = self._boundaries.get((zone, length))
        if kept is not None:
            if kept[0] <= first and last < kept[-1]:
                return kept
            first, last = min(first, int(kept[0])), max(last, int(kept[-1]))
        table = self.zones[zone]
        days = table.day_of(first - _MARGIN), table.day_of(last + _MARGIN)
        kept = self._boundaries[zone, length] = table.boundaries(length, *days)
        return kept


def _offset_s(zone: ZoneInfo, second: int) -> int:
    """Return the zone's offset from UTC at a Unix time, in seconds."""
    offset = datetime.fromtimestamp(second, zone).utcoffset()
    return int((offset or timedelta()).total_seconds())


def _bisect(zone: ZoneInfo, low: int, high: int) -> int:
    """Return the first second in (low, high] at which the offset is no longer that of `low`."""
    old = _offset_s(zone, low)
    while high - low > 1:
        middle = (low + high) // 2
        if _offset_s(zone, middle) == old:
            low = middle
        else:
            high = middle
    return high
