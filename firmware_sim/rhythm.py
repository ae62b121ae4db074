"""The rhythms that all families share: local hours and weekdays, weather, and each device's schedule."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import numpy as np

from firmware_sim.model import DAY, HOUR, MINUTE, SECOND, Span, Spec
from firmware_sim.seeds import generator

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

ZONE = ZoneInfo("Europe/Paris")
SATURDAY, SUNDAY = 5, 6


@dataclass(frozen=True, slots=True)
class LocalDay:
    """A UTC day seen from the city: its weekday (0 = Monday) and how far local time is ahead.

    The offset is that of noon: on the two days of the year on which clocks change, the people of
    this city change theirs at midnight UTC.
    """

    number: int
    weekday: int
    offset_ns: int

    @property
    def start_ns(self) -> int:
        """When the UTC day starts."""
        return self.number * DAY

    def curve(self, hourly: Sequence[float], steps: int) -> NDArray[np.float64]:
        """Spread 24 values of the local hours over the day's `steps` equal steps, float64[steps].

        Values are read at the middle of each step, linearly between the middles of the hours.
        """
        middles = (np.arange(steps) + 0.5) * 24 / steps + self.offset_ns / HOUR
        return np.interp(middles % 24, np.arange(-0.5, 25), [hourly[-1], *hourly, hourly[0]])

    def at_local(self, hour: float) -> int:
        """Return the time of a local hour of this day, ns UTC."""
        return self.start_ns + int(hour * HOUR) - self.offset_ns


@lru_cache(maxsize=512)
def local_day(number: int) -> LocalDay:
    """Return the day with that number (days since 1970-01-01 UTC). All devices ask for the same few."""
    noon = datetime.fromtimestamp(number * DAY // SECOND + 43_200, tz=UTC).astimezone(ZONE)
    offset = noon.utcoffset()
    assert offset is not None
    return LocalDay(number, noon.weekday(), int(offset.total_seconds()) * SECOND)


class Weather:
    """Air temperature of the city, by season, hour and day; the same for all its devices."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._days: dict[int, float] = {}

    def celsius(self, at_ns: int) -> float:
        """Return the air temperature in °C: about −5 to 37 over the year, coldest before sunrise."""
        day, rest = divmod(at_ns, DAY)
        share = rest / DAY
        anomaly = self._anomaly(day) * (1 - share) + self._anomaly(day + 1) * share
        season = math.sin(2 * math.pi * ((day % 365.25) - 105) / 365.25)
        hour = math.sin(2 * math.pi * (share - 0.36))
        return 12.5 + 9.0 * season + (4.0 + 2.0 * season) * hour + anomaly

    def _anomaly(self, day: int) -> float:
        if day not in self._days:
            self._days[day] = float(np.clip(generator(self._seed, "weather", day).normal(0, 2.5), -6, 6))
        return self._days[day]


@dataclass(frozen=True, slots=True)
class Drift:
    """A device's clock against the true one: an offset that grows and is set right once a day.

    Never beyond `bound_ns` either way. device time = true time + `at(device time)`.
    """

    offset_ns: int
    per_day_ns: int
    bound_ns: int

    @classmethod
    def of(cls, spec: Spec, span: Span) -> Drift:
        """Return the drift of one device: an offset within 80 % of the bound, and up to 20 ppm."""
        rng = generator(span.seed, "drift", spec.family, spec.index)
        offset, ppm = rng.uniform(-0.8, 0.8), rng.uniform(-20, 20)
        return cls(int(offset * span.drift_ns), int(ppm * DAY / 1e6), span.drift_ns)

    def at(self, device_ns: int) -> int:
        """Return how far the device's clock is ahead of the true one when it shows `device_ns`."""
        drift = self.offset_ns + self.per_day_ns * (device_ns % DAY) // DAY
        return max(-self.bound_ns, min(self.bound_ns, drift))


@dataclass(frozen=True, slots=True)
class Tick:
    """A device's turn to send: the true time, and what its own clock shows (whole milliseconds)."""

    sent_ns: int
    device_ns: int
    boot: bool = False


def ticks(spec: Spec, span: Span, *, every_ns: int, labelled: bool) -> Iterator[Tick]:
    """Yield a device's turns for ever: one soon after the start, then one per interval at its own phase.

    Phases spread a fleet evenly over the interval. Where `labelled`, each uplink tells the interval
    before its turn, so that the first regular turn after the boot is that of the next interval.
    """
    drift = Drift.of(spec, span)
    rng = generator(span.seed, "phase", spec.family, spec.index)
    phase = int(rng.uniform(5 * SECOND, every_ns - 5 * SECOND)) // SECOND * SECOND
    boot = span.start_ns + int(rng.uniform(0, 1) * span.boot_spread_ns)
    shown = (boot + drift.at(boot)) // 1_000_000 * 1_000_000
    yield Tick(boot, shown, boot=True)
    number = shown // every_ns + 1 if labelled else (shown + MINUTE - phase) // every_ns + 1
    while True:
        shown = number * every_ns + phase
        yield Tick(shown - drift.at(shown), shown)
        number += 1
