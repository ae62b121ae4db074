"""Durations, rates and instants as people write them: `15min`, `60/h`, `2026-11-22T10:15:00Z`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

NS_PER_DAY = 86_400 * 10**9

_NS: dict[str, int] = {
    "ns": 1,
    "us": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "min": 60 * 10**9,
    "h": 3_600 * 10**9,
    "d": NS_PER_DAY,
    "w": 7 * NS_PER_DAY,
    "a": 365 * NS_PER_DAY,
}

_DURATION = re.compile(r"(\d{1,9})\s*(ns|us|ms|s|min|m|h|d|w|a)", re.ASCII)
_RATE = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)\s*/\s*(\d{0,9})\s*(s|min|m|h|d)", re.ASCII)
_LONGEST = 100 * _NS["a"]


def duration_ns(text: str) -> int:
    """Return the nanoseconds of a duration such as `30s`, `15min`, `72h`, `7d`, `2a` (of 365 days).

    Raises ValueError with a sentence where it is none, is zero or is longer than a century.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"«{text:.40}» is not a duration: write 30s, 15min, 72h or 7d")
    nanoseconds = int(match[1]) * _NS[match[2]]
    if not 0 < nanoseconds <= _LONGEST:
        raise ValueError(f"the duration «{text:.40}» must be longer than nothing and at most 100a")
    return nanoseconds


def rate_per_s(text: str) -> float:
    """Return the change per second of a rate such as `60/h`, `5/10min`, `0.5/s`.

    Raises ValueError with a sentence where it is none.
    """
    match = _RATE.fullmatch(text.strip())
    if match is None or match[2] == "0":
        raise ValueError(f"«{text:.40}» is not a rate: write 60/h, 5/10min or 0.5/s")
    return float(match[1]) / (int(match[2] or "1") * _NS[match[3]] / 1e9)


def duration_name(nanoseconds: int) -> str:
    """Return the shortest exact way to write a duration, as it ends a measurement: `15m`, `1h`, `1d`."""
    for unit in ("d", "h", "m", "s", "ms", "us"):
        if nanoseconds % _NS[unit] == 0:
            return f"{nanoseconds // _NS[unit]}{unit}"
    return f"{nanoseconds}ns"


def instant_ns(text: str) -> int:
    """Return the ns UTC of an RFC 3339 instant, to the microsecond.

    Raises ValueError with a sentence where it is none, or where its offset is missing.
    """
    try:
        instant = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise ValueError(f"«{text:.40}» is not an instant: write 2026-11-22T10:15:00Z") from error
    if instant.tzinfo is None:
        raise ValueError(f"«{text:.40}» has no offset: end it with Z or +01:00")
    return (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1_000


def instant_text(nanoseconds: int) -> str:
    """Return ns UTC as an RFC 3339 instant that `instant_ns` reads back, to the microsecond."""
    instant = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=nanoseconds // 1_000)
    return instant.isoformat().replace("+00:00", "Z")
