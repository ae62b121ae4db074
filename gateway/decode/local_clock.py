"""Times of devices whose clocks show local time, and do not say so: to UTC, by the zone of their profile.

A zone is an IANA name, or a fixed distance such as `+01:00`: meters are often kept on winter time. Of an hour
that comes twice the first is meant; in the hour that never comes, the clock had not been set yet.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

import numpy as np

if TYPE_CHECKING:
    from gateway.model import Int64

_FIXED: Final = re.compile(r"(?P<sign>[+-])(?P<hours>\d\d):(?P<minutes>\d\d)", re.ASCII)
_NS: Final = 1_000_000_000
_BIN_S: Final = 900
"""Zones change at a quarter of an hour."""
_BOUND_S: Final = 8_000_000_000
"""Beyond it, about the year 2223, offsets are those of then: `datetime` ends."""


def to_utc(local_ns: Int64, zone: str) -> Int64:
    """Return UTC times, int64[n] ns, of clocks in a zone that show `local_ns` int64[n] as if it were UTC."""
    fixed = _FIXED.fullmatch(zone)
    if fixed:
        return local_ns - _fixed_s(fixed) * _NS
    bins, place = np.unique(local_ns // (_BIN_S * _NS), return_inverse=True)
    name = ZoneInfo(zone)
    offsets = np.array([_offset_s(name, second) for second in (bins * _BIN_S).tolist()], dtype=np.int64)
    return local_ns - offsets[place] * _NS if len(bins) else local_ns


def _fixed_s(fixed: re.Match[str]) -> int:
    seconds = int(fixed["hours"]) * 3600 + int(fixed["minutes"]) * 60
    return -seconds if fixed["sign"] == "-" else seconds


def _offset_s(zone: ZoneInfo, local_s: int) -> int:
    """Return how far a zone is before UTC where its clocks show a time, seconds."""
    second = min(max(local_s, -_BOUND_S), _BOUND_S)
    naive = datetime(1970, 1, 1, tzinfo=UTC).replace(tzinfo=None) + timedelta(seconds=second)
    offset = naive.replace(tzinfo=zone).utcoffset()
    return round(offset.total_seconds()) if offset else 0
