"""Bins that fill by hour and weekday and are emptied by rounds, district by district; some are missed."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from firmware_sim.model import DAY, MINUTE, QUARTER, Body, Happening, Reading, Sample, Span, Spec
from firmware_sim.rhythm import Tick, Weather, local_day, ticks
from firmware_sim.seeds import generator

if TYPE_CHECKING:
    from collections.abc import Iterator

STEPS = 96
FULL_MM = 300.0
"""What the profile takes where a bin has no `full` of its own."""
NO_ECHO = (0, 65535)
"""What the sensor sends instead of a distance when no echo came back."""
MISSED = 0.04
LOOK_BACK_DAYS = 28

HOURLY = {
    "home": (2, 1, 1, 1, 1, 2, 4, 8, 7, 4, 4, 5, 7, 6, 4, 4, 5, 7, 10, 12, 11, 8, 5, 3),
    "shops": (1, 0.5, 0.5, 0.5, 0.5, 1, 3, 5, 8, 10, 11, 12, 12, 11, 11, 11, 12, 13, 12, 8, 5, 3, 2, 1),
    "park": (1, 1, 0.5, 0.5, 0.5, 0.5, 1, 2, 3, 4, 6, 8, 11, 11, 10, 11, 12, 13, 12, 10, 8, 6, 4, 2),
}
WEEKDAY = {
    "home": (1.05, 0.95, 0.95, 0.95, 0.95, 1.1, 1.25),
    "shops": (0.85, 1.0, 1.0, 1.05, 1.15, 1.45, 0.4),
    "park": (0.7, 0.75, 1.0, 0.8, 0.9, 1.4, 1.6),
}
ROUNDS = ((0, 2, 4), (1, 3, 5), (0, 3, 5), (1, 4), (2, 5), (0, 1, 2, 3, 4, 5))
"""On which weekdays the lorry comes; a district has one of them."""


@dataclass(frozen=True, slots=True)
class Bin:
    """What a bin's seed decided: who fills it, how fast, when the lorry passes, how its sensor fares."""

    kind: str
    per_day: float
    round_days: tuple[int, ...]
    round_hour: float
    age_days: float
    volts_per_day: float
    rssi: float
    empty_mm: float
    full_mm: float

    @classmethod
    def of(cls, spec: Spec, seed: int) -> Bin:
        """Return the bin of a spec."""
        rng = generator(seed, "bin", spec.index)
        kind = ("home", "shops", "park")[int(rng.choice(3, p=[0.6, 0.25, 0.15]))]
        days = ROUNDS[zlib.crc32(spec.district.encode()) % len(ROUNDS)]
        # A round is planned for what its bins collect: most are between a third and nearly full.
        per_day = float(rng.gamma(9, 0.055)) * len(days) / 7
        return cls(
            kind=kind,
            per_day=min(per_day, 0.9),
            round_days=days,
            round_hour=5.5 + float(rng.uniform(0, 5.5)),
            age_days=float(rng.uniform(0, 1500)),
            volts_per_day=float(rng.uniform(0.00012, 0.00030)),
            rssi=float(rng.uniform(-118, -78)),
            empty_mm=spec.parameters["empty"],
            full_mm=spec.parameters.get("full", FULL_MM),
        )


class BinDay:
    """One UTC day of a bin: when what was thrown in, and the lorry's visit."""

    def __init__(self, bin_: Bin, spec: Spec, seed: int, number: int) -> None:
        day = local_day(number)
        rng = generator(seed, "bin day", spec.index, number)
        thrown = day.curve(HOURLY[bin_.kind], STEPS) * rng.gamma(1.2, 1 / 1.2, STEPS)
        share = bin_.per_day * WEEKDAY[bin_.kind][day.weekday] / (STEPS * np.mean(HOURLY[bin_.kind]))
        self.start_ns = day.start_ns
        self.cumulated: list[float] = [0.0, *np.cumsum(thrown * share).tolist()]
        due = day.weekday in bin_.round_days
        minutes = float(np.clip(rng.normal(0, 12), -30, 30))
        missed = bool(rng.random() < MISSED)
        visit = day.at_local(bin_.round_hour) + int(minutes * MINUTE)
        self.collected_ns = visit if due and not missed else None
        self.missed_ns = visit if due and missed else None
        self.residue = float(rng.uniform(0.0, 0.04))
        self.noise_mm = rng.normal(0, 5, STEPS).tolist()
        self.noise_c = rng.normal(0, 0.3, STEPS).tolist()
        self.noise_db = rng.normal(0, 2.5, STEPS).tolist()
        self.knocked = rng.random(STEPS) < 0.0005

    def step(self, at_ns: int) -> int:
        """Return the quarter of an hour of the day in which that time lies."""
        return min((at_ns - self.start_ns) // QUARTER, STEPS - 1)

    def thrown(self, at_ns: int) -> float:
        """Return the share of the bin thrown in since the day's start."""
        step = self.step(at_ns)
        share = (at_ns - self.start_ns) / QUARTER - step
        return self.cumulated[step] + share * (self.cumulated[step + 1] - self.cumulated[step])

    def fill(self, at_ns: int, carried: float) -> float:
        """Return the fill (0 = empty, 1 = full; more = heaped) at a time, given that of the day's start."""
        if self.collected_ns is not None and at_ns >= self.collected_ns:
            return self.residue + self.thrown(at_ns) - self.thrown(self.collected_ns)
        return carried + self.thrown(at_ns)


class BinLife:
    """A bin through its days. `at` must be asked in ascending order of days."""

    def __init__(self, spec: Spec, seed: int, from_ns: int) -> None:
        self.bin = Bin.of(spec, seed)
        self._spec, self._seed = spec, seed
        number = from_ns // DAY
        self.day = BinDay(self.bin, spec, seed, number)
        self._carried = self._look_back(number)

    def _look_back(self, number: int) -> float:
        """Return the fill at the start of a day: what was thrown in since the last collection."""
        fill = 0.0
        for earlier in range(number - 1, number - 1 - LOOK_BACK_DAYS, -1):
            day = BinDay(self.bin, self._spec, self._seed, earlier)
            fill += day.fill(day.start_ns + DAY, 0.0)
            if day.collected_ns is not None:
                break
        return fill

    def turn_to(self, at_ns: int) -> None:
        """Make the day of that time the present one."""
        while at_ns >= self.day.start_ns + DAY:
            following = self.day.start_ns + DAY
            self._carried = self.day.fill(following, self._carried)
            self.day = BinDay(self.bin, self._spec, self._seed, following // DAY)

    def fill(self, at_ns: int) -> float:
        """Return the fill at a time of the present day, at most 1.05: what overflows lies beside it."""
        return min(self.day.fill(at_ns, self._carried), 1.05)


def samples(spec: Spec, span: Span, weather: Weather) -> Iterator[Sample | Happening]:
    """Yield what a healthy bin sensor sends for ever, and the collections between its messages."""
    turns = ticks(spec, span, every_ns=QUARTER, labelled=False)
    life: BinLife | None = None
    seen = 0
    for turn in turns:
        if life is None:
            seen = turn.device_ns
            life = BinLife(spec, span.seed, turn.device_ns)
        for at_ns in sorted({life.day.start_ns, turn.device_ns // DAY * DAY}):
            life.turn_to(at_ns)
            yield from _visits(spec, life.day, seen, turn)
        seen = turn.device_ns
        yield _sample(spec, span, life, turn, weather)


def _visits(spec: Spec, day: BinDay, seen_ns: int, turn: Tick) -> Iterator[Happening]:
    for what, visit in (("collection", day.collected_ns), ("missed collection", day.missed_ns)):
        if visit is not None and seen_ns < visit <= turn.device_ns:
            yield Happening(turn.sent_ns, what, spec.site, spec.id, visit, visit)


def _sample(spec: Spec, span: Span, life: BinLife, turn: Tick, weather: Weather) -> Sample:
    bin_, day, at_ns = life.bin, life.day, turn.device_ns
    step = day.step(at_ns)
    depth = bin_.empty_mm - life.fill(at_ns) * (bin_.empty_mm - bin_.full_mm)
    collected = day.collected_ns is not None and abs(at_ns - day.collected_ns) < 4 * MINUTE
    celsius = weather.celsius(at_ns)
    age = bin_.age_days + (at_ns - span.origin_ns) / DAY
    body: Body = {
        "id": spec.id,
        "seq": 0,
        "ts": at_ns // 1_000_000,
        "dist_mm": max(20, round(depth + day.noise_mm[step])),
        "temp_c": round(celsius + 1.5 + day.noise_c[step], 1),
        "battery_v": round(max(2.4, 3.65 - age * bin_.volts_per_day - max(0.0, 5 - celsius) * 0.004), 2),
        "tilt": int(collected or bool(day.knocked[step])),
        "rssi": round(bin_.rssi + day.noise_db[step]),
    }
    topic = f"city/{spec.site}/bin/{spec.id}/up"
    return Sample(turn.sent_ns, topic, body, readings(spec, body), boot=turn.boot)


def readings(spec: Spec, body: Body) -> tuple[Reading, ...]:
    """Return what must be stored of a bin's payload.

    The filling level (%) is 100 · (empty − distance) / (empty − full), kept within 0 and 100; no
    echo gives neither distance nor filling level.
    """
    fields: dict[str, float | int | str] = {
        "temperature": float(body["temp_c"]),
        "battery": float(body["battery_v"]),
        "tilt": ("upright", "tilted")[int(body["tilt"])],
        "rssi": float(body["rssi"]),
    }
    distance = float(body["dist_mm"])
    if distance not in NO_ECHO:
        empty, full = spec.parameters["empty"], spec.parameters.get("full", FULL_MM)
        fields["distance"] = distance
        fields["filling_level"] = 100 * min(max((empty - distance) / (empty - full), 0.0), 1.0)
    time_ns = int(body["ts"]) * 1_000_000
    return (Reading(spec.family, spec.site, spec.id, {}, time_ns, fields),)
