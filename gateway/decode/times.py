"""Times of devices: numbers and RFC 3339 texts become int64 nanoseconds UTC.

Each value is converted by itself: what stands beside it in the batch never changes the result.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.model import Bool, Float64, Int64

NS_PER_UNIT = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}

MAX_TIME_NS = 9 * 10**18
"""Times beyond ± this (the years 1684 and 2255) are refused: int64 ends soon after."""
MAX_SPAN_NS = 10**17
"""Longest interval and step: 3 years. A time and a span never overflow together."""

# A double of seconds resolves 0.24 µs today, one of milliseconds 0.24 ns × 1,000: a microsecond is
# what a device can have meant; what lies below is the double's own noise.
_RESOLUTION = {"s": 1_000, "ms": 1_000, "us": 1, "ns": 1}


def to_ns(values: Sequence[Any], unit: str, *, mixed: bool = False) -> tuple[Int64, Bool, Bool]:
    """Convert times in `unit` (s, ms, us, ns as numbers, or iso).

    `values` holds int, float, datetime (with offset) or None; any scalar where `mixed`. Returns
    int64[n] ns UTC (0 where not usable), bool[n] present, bool[n] bad: present but no time or out
    of bounds. Texts are read to the microsecond.
    """
    if unit == "iso":
        return _texts_to_ns(values)
    scale = NS_PER_UNIT[unit]
    numbers = np.array(None if mixed else values)
    if numbers.dtype == np.int64:
        bad = np.abs(numbers) > MAX_TIME_NS // scale
        return np.where(bad, 0, numbers) * scale, np.ones(len(numbers), dtype=np.bool_), bad
    return _mixed_to_ns(values, unit)


def floats_to_ns(values: Float64, scale: int, resolution: int) -> tuple[Int64, Bool]:
    """Scale floats to whole ns, rounded to `resolution`. Returns int64[n] and bool[n] bad."""
    bad = ~(np.abs(values) <= MAX_TIME_NS // scale)  # NaN is bad too
    values = np.where(bad, 0.0, values)
    # Whole and fraction apart: their product with the scale would need more than a double's 53 bits.
    whole = np.floor(values)
    fraction = np.rint((values - whole) * (scale / resolution)).astype(np.int64) * resolution
    return whole.astype(np.int64) * scale + fraction, bad


def _mixed_to_ns(values: Sequence[Any], unit: str) -> tuple[Int64, Bool, Bool]:
    """Whole numbers exactly, whatever stands beside them; floats rounded; the rest is bad."""
    scale = NS_PER_UNIT[unit]
    limit = MAX_TIME_NS // scale
    wholes = [value if type(value) is int and abs(value) <= limit else None for value in values]
    whole = np.array([value is not None for value in wholes], dtype=np.bool_)
    times = np.array([value or 0 for value in wholes], dtype=np.int64) * scale
    floating = np.array([type(value) is float for value in values], dtype=np.bool_)
    rounded, beyond = floats_to_ns(
        np.array([value if type(value) is float else 0.0 for value in values], dtype=np.float64),
        scale,
        _RESOLUTION[unit],
    )
    present = np.array([value is not None for value in values], dtype=np.bool_)
    good = whole | (floating & ~beyond)
    return np.where(floating, rounded, times), present, present & ~good


def _texts_to_ns(values: Sequence[Any]) -> tuple[Int64, Bool, Bool]:
    moments = [value if value is None or type(value) is datetime else _moment(value) for value in values]
    stamps = [np.nan if moment is None else moment.timestamp() for moment in moments]
    micros = np.array([0 if moment is None else moment.microsecond for moment in moments], dtype=np.int64)
    # A double cannot hold every microsecond: its whole seconds count, offsets being whole minutes.
    seconds, bad = floats_to_ns(np.rint(np.array(stamps) - micros * 1e-6), NS_PER_UNIT["s"], 1)
    times = seconds + micros * 1_000
    present = np.array([value is not None for value in values], dtype=np.bool_)
    return times, present, present & bad


def _moment(value: Any) -> datetime | None:  # noqa: ANN401 - any scalar, where the field is shared
    """Read a time from a field that something else reads too; None where it is no time."""
    if not isinstance(value, str):
        return None
    try:
        moment = msgspec.convert(value, datetime)
    except msgspec.ValidationError:
        return None
    return moment if moment.tzinfo else None
