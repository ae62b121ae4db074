"""Times of devices: numbers and RFC 3339 texts become int64 nanoseconds UTC.

Each value is converted by itself: what stands beside it in the batch never changes the result.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from gateway.decode.local_clock import to_utc
from gateway.decode.scalars import FLOAT, WHOLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.decode.scalars import Scalars
    from gateway.model import Bool, Float64, Int64

NS_PER_UNIT = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}

_TO_THE_MINUTE = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d", re.ASCII)
MAX_TIME_NS = 9 * 10**18
"""Times beyond ± this (the years 1684 and 2255) are refused: int64 ends soon after."""
MAX_SPAN_NS = 10**17
"""Longest interval and step: 3 years. A time and a span never overflow together."""

# A double of seconds resolves 0.24 µs today, one of milliseconds 0.24 ns × 1,000: a microsecond is
# what a device can have meant; what lies below is the double's own noise.
_RESOLUTION = {"s": 1_000, "ms": 1_000, "us": 1, "ns": 1}


def to_ns(found: Scalars, unit: str, clock: str = "") -> tuple[Int64, Bool, Bool]:
    """Convert times in `unit` (s, ms, us, ns as numbers, or iso as moments with offset or texts).

    `clock` is the zone of clocks that show local time; a text that tells its offset is believed.

    Returns int64[n] ns UTC (0 where not usable), bool[n] present, bool[n] bad: present but no time or out
    of bounds. Whole numbers are exact, floats rounded. Texts are read to the microsecond.
    """
    if unit == "iso":
        return _texts_to_ns(found.values(), clock)
    times, present, bad = _numbers_to_ns(found, unit)
    return (to_utc(times, clock) if clock else times), present, bad


def _numbers_to_ns(found: Scalars, unit: str) -> tuple[Int64, Bool, Bool]:
    scale = NS_PER_UNIT[unit]
    whole = found.types == WHOLE
    good = whole & (np.abs(found.wholes) <= MAX_TIME_NS // scale)
    if good.all():
        return found.wholes * scale, good, ~good
    times = np.where(good, found.wholes, 0) * scale
    rounded, beyond = floats_to_ns(found.numbers, scale, _RESOLUTION[unit])
    floating = found.types == FLOAT
    present = ~found.absent
    good |= floating & ~beyond
    return np.where(floating, rounded, times), present, present & ~good


def floats_to_ns(values: Float64, scale: int, resolution: int) -> tuple[Int64, Bool]:
    """Scale floats to whole ns, rounded to `resolution`. Returns int64[n] and bool[n] bad."""
    bad = ~(np.abs(values) <= MAX_TIME_NS // scale)  # NaN is bad too
    values = np.where(bad, 0.0, values)
    # Whole and fraction apart: their product with the scale would need more than a double's 53 bits.
    whole = np.floor(values)
    fraction = np.rint((values - whole) * (scale / resolution)).astype(np.int64) * resolution
    return whole.astype(np.int64) * scale + fraction, bad


def _texts_to_ns(values: Sequence[Any], clock: str) -> tuple[Int64, Bool, Bool]:
    moments = [
        value if value is None or type(value) is datetime else _moment(value, local=bool(clock))
        for value in values
    ]
    bare = np.array([moment is not None and moment.tzinfo is None for moment in moments], dtype=np.bool_)
    if bare.any():
        moments = [moment and (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) for moment in moments]
    stamps = [np.nan if moment is None else moment.timestamp() for moment in moments]
    micros = np.array([0 if moment is None else moment.microsecond for moment in moments], dtype=np.int64)
    # A double cannot hold every microsecond: its whole seconds count, offsets being whole minutes.
    seconds, bad = floats_to_ns(np.rint(np.array(stamps) - micros * 1e-6), NS_PER_UNIT["s"], 1)
    times = seconds + micros * 1_000
    if bare.any():
        times[bare] = to_utc(times[bare], clock)
    present = np.array([value is not None for value in values], dtype=np.bool_)
    return times, present, present & bad


def _moment(value: Any, *, local: bool) -> datetime | None:  # noqa: ANN401 - any scalar, where the field is shared
    """Read a time from a field that something else reads too, or that may lack an offset; None: no time."""
    if not isinstance(value, str):
        return None
    if local and _TO_THE_MINUTE.fullmatch(value):
        value += ":00"
    try:
        moment = msgspec.convert(value, datetime)
    except msgspec.ValidationError:
        return None
    return moment if moment.tzinfo or local else None
