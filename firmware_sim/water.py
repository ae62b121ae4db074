"""Water meters: households, quiet nights, seeded leaks, a register that rolls over, a rare swap.

The register is a closed function of time: what a household uses in four weeks follows from its size
and the season, and is shared out over the hours by the seed. So a meter can be asked about any hour
without living through those before, and a run can go on where another one ended.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from firmware_sim.model import DAY, HOUR, SECOND, Body, Happening, Reading, Sample, Span, Spec
from firmware_sim.rhythm import LocalDay, Tick, Weather, local_day, ticks
from firmware_sim.seeds import generator

if TYPE_CHECKING:
    from collections.abc import Iterator

MODULUS_L = 100_000_000
LOGGED = 15
BLOCK = 28 * 24
"""Hours that share one quota."""
NIGHT_HOUR = 3
"""The local hour in which every sound household sleeps: it tells a leak from a large family."""
CONTINUOUS = 24
"""A leak is told once water has flowed in each of this many hours."""
BURST_LPH = 250
LEAK_GAP_DAYS = 150.0
LEAK_HISTORY_DAYS = 60

WORKDAY = (3, 1.5, 1, 0, 1, 4, 22, 40, 32, 16, 11, 12, 18, 14, 9, 9, 13, 22, 34, 38, 30, 20, 12, 6)
WEEKEND = (5, 2, 1, 0, 1, 2, 6, 14, 30, 42, 40, 32, 28, 20, 15, 14, 16, 22, 32, 36, 30, 20, 14, 8)

BATTERY_LOW, TEMPORARY_ERROR = 1 << 2, 1 << 4
LEAK, BACKFLOW, FREEZING, BURST = 1, 3, 4, 5
"""Values of the status bits 5 to 7."""


@dataclass(frozen=True, slots=True)
class Leak:
    """Water that runs away, `lph` litres in every hour from `start` to `end` (hours since 1970)."""

    start: int
    end: int
    lph: int

    def lost(self, hour: int) -> int:
        """Return the litres lost before that hour."""
        return self.lph * (min(max(hour, self.start), self.end) - self.start)


@dataclass(frozen=True, slots=True)
class Household:
    """What a meter's seed decided. `base` is the register at `anchor` (hours since 1970)."""

    daily_l: float
    season: float
    anchor: int
    base: int
    leaks: tuple[Leak, ...]
    swapped: int | None
    swapped_base: int
    battery_low: bool

    @classmethod
    def of(cls, spec: Spec, span: Span) -> Household:
        """Return the household of a spec: one to six people, some with a garden."""
        rng = generator(span.seed, "household", spec.index)
        people = int(rng.choice([1, 2, 3, 4, 5, 6], p=[0.30, 0.32, 0.16, 0.14, 0.06, 0.02]))
        daily = people * float(rng.uniform(90, 170))
        anchor = span.origin_ns // HOUR
        # One meter in twenty-five is old: its register rolls over within about a day of the origin.
        rolls = bool(rng.random() < 0.04)
        below = int(rng.uniform(1, 6 + daily / 2))
        base = MODULUS_L - below if rolls else int(rng.uniform(2_000, 9_000_000))
        swaps = bool(rng.random() < 0.02)
        swapped = anchor + int(rng.uniform(2, 30 * 24)) if swaps else None
        garden = float(rng.uniform(0.1, 0.4)) if rng.random() < 0.3 else 0.03
        return cls(
            daily_l=daily,
            season=garden,
            anchor=anchor,
            base=base,
            leaks=_leaks(rng, anchor - LEAK_HISTORY_DAYS * 24),
            swapped=swapped,
            swapped_base=int(rng.uniform(0, 40)),
            battery_low=bool(rng.random() < 0.01),
        )

    def quota(self, block: int) -> int:
        """Return the litres used from 1970 to the start of a block: the daily use, more in summer."""
        days = block * BLOCK / 24
        summer = -math.cos(2 * math.pi * ((days % 365.25) - 105) / 365.25) * 365.25 / (2 * math.pi)
        return int(self.daily_l * (days + self.season * summer))


def _leaks(rng: np.random.Generator, hour: int) -> tuple[Leak, ...]:
    """Return the leaks of the two years from that hour on; most are small and last for days."""
    found: list[Leak] = []
    start = hour
    while True:
        start += 1 + int(rng.exponential(LEAK_GAP_DAYS) * 24)
        if start > hour + 2 * 365 * 24:
            return tuple(found)
        lph = int(np.clip(rng.lognormal(2.6, 0.9), 3, 400))
        end = start + 24 + int(rng.exponential(9.0) * 24)
        found.append(Leak(start, end, lph))
        start = end


class Meter:
    """A meter that can be asked about any hour (hours since 1970)."""

    def __init__(self, spec: Spec, span: Span) -> None:
        self.household = Household.of(spec, span)
        self._spec, self._seed = spec, span.seed
        self._blocks: dict[int, list[int]] = {}
        self._zero = self._gross(self.household.anchor)

    def register(self, hour: int) -> int:
        """Return the register at the start of an hour, litres, below the modulus."""
        home = self.household
        if home.swapped is not None and hour >= home.swapped:
            return (home.swapped_base + self._gross(hour) - self._gross(home.swapped)) % MODULUS_L
        return (home.base + self._gross(hour) - self._zero) % MODULUS_L

    def used(self, hour: int) -> int:
        """Return the litres that pass in an hour."""
        block, place = divmod(hour, BLOCK)
        sums = self._sums(block)
        return sums[place + 1] - sums[place] + self.leaking(hour)

    def leaking(self, hour: int) -> int:
        """Return the litres that a leak takes in that hour; a meter has one leak at a time."""
        return next((leak.lph for leak in self.household.leaks if leak.start <= hour < leak.end), 0)

    def continuous(self, hour: int) -> bool:
        """Tell whether water flowed in each of the 24 hours before that hour."""
        return all(self.used(earlier) for earlier in range(hour - 1, hour - 1 - CONTINUOUS, -1))

    def _gross(self, hour: int) -> int:
        """Return the litres used and lost from 1970 to the start of an hour."""
        block, place = divmod(hour, BLOCK)
        lost = sum(leak.lost(hour) for leak in self.household.leaks)
        return self.household.quota(block) + self._sums(block)[place] + lost

    def _sums(self, block: int) -> list[int]:
        """Return the litres used since the block's start, at each of its hours, BLOCK + 1 values."""
        if block not in self._blocks:
            if len(self._blocks) > 3:
                self._blocks.clear()
            self._blocks[block] = self._shared_out(block)
        return self._blocks[block]

    def _shared_out(self, block: int) -> list[int]:
        rng = generator(self._seed, "meter block", self._spec.index, block)
        days = [local_day(block * BLOCK // 24 + day) for day in range(BLOCK // 24)]
        curves = np.concatenate([_wanted(day) for day in days])
        # People draw water in few hours and much at once: a skewed weight per hour, and sleep at night.
        weights = curves * rng.gamma(0.6, 1.0, BLOCK)
        weights[rng.random(BLOCK) > np.minimum(0.15 + curves / 25, 0.95)] = 0.0
        quota = self.household.quota(block + 1) - self.household.quota(block)
        litres = rng.multinomial(quota, weights / weights.sum())
        return [0, *np.cumsum(litres).tolist()]


def _wanted(day: LocalDay) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return a day's 24 weights by UTC hour; exactly 0 in the local night hour."""
    local = np.array(WORKDAY if day.weekday < 5 else WEEKEND, dtype=np.float64)
    return np.roll(local, -(day.offset_ns // HOUR))


def samples(spec: Spec, span: Span, weather: Weather) -> Iterator[Sample | Happening]:
    """Yield what a healthy meter sends for ever, and its leaks, rollovers and swaps as they show."""
    meter = Meter(spec, span)
    told: set[tuple[str, int]] = set()
    for turn in ticks(spec, span, every_ns=HOUR, labelled=False):
        for happening in _happenings(spec, meter, turn):
            if (happening.what, happening.start_ns) not in told:
                told.add((happening.what, happening.start_ns))
                yield happening
        yield _sample(spec, span, meter, turn, weather)


def _happenings(spec: Spec, meter: Meter, turn: Tick) -> Iterator[Happening]:
    hour = turn.device_ns // HOUR
    home = meter.household
    for leak in home.leaks:
        if leak.start <= hour < leak.end:
            start, end = leak.start * HOUR, leak.end * HOUR
            detail = {"lph": leak.lph}
            yield Happening(turn.sent_ns, "leak", spec.site, spec.id, start, end, detail)
    if home.swapped is not None and hour == home.swapped:
        at_ns = hour * HOUR
        yield Happening(turn.sent_ns, "meter swap", spec.site, spec.id, at_ns, at_ns)
    elif home.swapped != hour and meter.register(hour) < meter.register(hour - 1):
        yield Happening(turn.sent_ns, "rollover", spec.site, spec.id, (hour - 1) * HOUR, hour * HOUR)


def _sample(spec: Spec, span: Span, meter: Meter, turn: Tick, weather: Weather) -> Sample:
    seconds = turn.device_ns // SECOND
    hour, into = divmod(seconds, 3600)
    first = hour - LOGGED
    if meter.household.swapped is not None and first < meter.household.swapped <= hour:
        first = meter.household.swapped  # a new meter knows nothing of the old one's hours
    used = meter.used(hour)
    celsius = round(_water_celsius(weather, turn.device_ns), 1)
    body: Body = {
        "seq": 0,
        "ts": seconds,
        "index_l": (meter.register(hour) + used * into // 3600) % MODULUS_L,
        "flow_lph": _flow(spec, span.seed, meter, seconds, used),
        "temp_c": celsius,
        "status": _status(spec, span.seed, meter, hour, celsius),
        "log": {
            "ts": first * 3600,
            "index_l": meter.register(first),
            "deltas_l": [meter.used(logged) for logged in range(first, hour)],
        },
    }
    topic = f"city/{spec.site}/water/{spec.id}/up"
    return Sample(turn.sent_ns, topic, body, readings(spec, body), boot=turn.boot)


def _water_celsius(weather: Weather, at_ns: int) -> float:
    """Return the water's temperature: the ground follows the air slowly and by half."""
    days = [weather.celsius(at_ns - day * DAY) for day in (0, 3, 6)]
    return 12.5 + 0.45 * (sum(days) / len(days) - 12.5)


def _flow(spec: Spec, seed: int, meter: Meter, seconds: int, used: int) -> float:
    """Return the flow at that instant, L/h: the leak's, and now and then an open tap's."""
    leaking = meter.leaking(seconds // 3600)
    rng = generator(seed, "flow", spec.index, seconds)
    open_tap = used > leaking and rng.random() < min(0.9, (used - leaking) / 200)
    return round(leaking + (float(rng.uniform(120, 720)) if open_tap else 0.0), 1)


def _status(spec: Spec, seed: int, meter: Meter, hour: int, celsius: float) -> int:
    rng = generator(seed, "status", spec.index, hour)
    status = BATTERY_LOW if meter.household.battery_low else 0
    status |= TEMPORARY_ERROR if rng.random() < 0.001 else 0
    alarm = 0
    if celsius < 3:
        alarm = FREEZING
    elif meter.leaking(hour) >= BURST_LPH:
        alarm = BURST
    elif meter.continuous(hour):
        alarm = LEAK
    return status | alarm << 5


def readings(spec: Spec, body: Body) -> tuple[Reading, ...]:
    """Return what must be stored of a meter's payload.

    The present reading at `ts`, and the register at `log.ts` and after each further hour of the log.
    """
    family, site, device = spec.family, spec.site, spec.id
    status, alarm = int(body["status"]), int(body["status"]) >> 5 & 7
    switch = ("off", "on")
    present: dict[str, float | int | str] = {
        "index": int(body["index_l"]),
        "flow": float(body["flow_lph"]),
        "temperature": float(body["temp_c"]),
        "battery_low": switch[status >> 2 & 1],
        "permanent_error": switch[status >> 3 & 1],
        "temporary_error": switch[status >> 4 & 1],
        "leak": switch[alarm == LEAK],
        "backflow": switch[alarm == BACKFLOW],
        "freezing": switch[alarm == FREEZING],
        "burst": switch[alarm == BURST],
    }
    rows = [Reading(family, site, device, {}, int(body["ts"]) * SECOND, present)]
    index, at_ns = int(body["log"]["index_l"]), int(body["log"]["ts"]) * SECOND
    rows.append(Reading(family, site, device, {}, at_ns, {"index": index}))
    for delta in body["log"]["deltas_l"]:
        index, at_ns = (index + delta) % MODULUS_L, at_ns + HOUR
        rows.append(Reading(family, site, device, {}, at_ns, {"index": index}))
    return tuple(rows)
