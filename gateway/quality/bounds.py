"""The test of time: what cannot have been measured when it says it was.

A device's clock may run ahead a little and its buffer may be old; beyond the profile's `max_ahead`
and `max_age` its time is not believed, and the reading is refused, never moved. Both are judged
against the receive time in the journal, so that a replay refuses the same readings.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from gateway.model import Reason, Rejection

if TYPE_CHECKING:
    from gateway.model import Bool, Readings

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def bound(readings: Readings) -> tuple[Readings, list[Rejection]]:
    """Return the readings whose event time is believed, and one rejection an uplink and reason.

    Refused are rows with time > received_ns + max_ahead_ns (`IN_THE_FUTURE`) and with
    time < received_ns − max_age_ns (`TOO_OLD`); both bounds are inclusive for what is kept. A
    rejection's `readings` counts the values present in the uplink's rows refused for that reason;
    whether the rest of the uplink was kept is for the caller to see. Where nothing is refused, the
    very object given is returned. Rejections come in order of uplink, the future first.
    """
    profile = readings.profile
    ahead = readings.time > readings.received_ns + profile.max_ahead_ns
    old = readings.time < readings.received_ns - profile.max_age_ns
    refused = ahead | old
    if not refused.any():
        return readings, []
    rejections = _rejections(readings, ahead, Reason.IN_THE_FUTURE, profile.max_ahead_ns)
    rejections += _rejections(readings, old, Reason.TOO_OLD, profile.max_age_ns)
    rejections.sort(key=lambda rejection: rejection.index)
    return readings.take(~refused), rejections


def _rejections(readings: Readings, refused: Bool, reason: Reason, limit_ns: int) -> list[Rejection]:
    """One rejection an uplink; its sentence tells the first refused row's times."""
    rows = np.flatnonzero(refused)
    uplinks, first, inverse = np.unique(readings.uplink[rows], return_index=True, return_inverse=True)
    counts = np.bincount(inverse, weights=readings.present[:, rows].sum(axis=0), minlength=len(uplinks))
    return [
        Rejection(index, reason, _sentence(time, received, limit_ns), readings=int(count))
        for index, time, received, count in zip(
            uplinks.tolist(),
            readings.time[rows[first]].tolist(),
            readings.received_ns[rows[first]].tolist(),
            counts.tolist(),
            strict=True,
        )
    ]


def _sentence(time: int, received: int, limit_ns: int) -> str:
    side, bound_name = ("after", "max_ahead") if time > received else ("before", "max_age")
    return (
        f"event time {_rfc3339(time)} lies {_span(abs(time - received))} {side} "
        f"the receive time {_rfc3339(received)}; {bound_name} is {_span(limit_ns)}"
    )


def _rfc3339(time_ns: int) -> str:
    """RFC 3339 in UTC, to the millisecond: every int64 count of nanoseconds is such a date."""
    moment = _EPOCH + timedelta(microseconds=time_ns // 1_000)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _span(nanoseconds: int) -> str:
    return str(timedelta(seconds=nanoseconds // 1_000_000_000))
