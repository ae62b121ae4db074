"""Traffic counters: two rush hours, quiet nights, weekends, and incidents that slow and thin the flow.

A counter tells, per lane and class, how many vehicles passed in a quarter of an hour and their mean
speed, and per lane its occupancy: the share of time during which a vehicle stood over it,
flow · effective length / speed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from firmware_sim.model import DAY, QUARTER, SECOND, Body, Happening, Reading, Sample, Span, Spec
from firmware_sim.rhythm import SATURDAY, LocalDay, Tick, local_day, ticks
from firmware_sim.seeds import generator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

PERIODS = 96
CLASSES = ("car", "truck", "two_wheeler")
SHARES = np.array([0.83, 0.07, 0.10])
SPEED_OF_CLASS = np.array([0.0, -6.0, 2.0])
"""How a class's speed differs from the cars', km/h."""
LENGTH_M = 6.5
"""Effective length: vehicle and detection zone."""
INCIDENTS_PER_DAY = 0.2
PER_HOUR = 4

WORKDAY = (6, 4, 3, 3, 5, 12, 35, 82, 98, 68, 52, 52, 58, 56, 52, 58, 74, 97, 92, 62, 40, 28, 20, 12)
WEEKEND = (14, 10, 8, 6, 5, 6, 10, 16, 26, 40, 52, 58, 56, 54, 56, 58, 60, 60, 56, 46, 36, 30, 26, 20)
"""Flow of a lane by local hour, in percent of its peak."""


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that blocks one direction from a period of a day to another (exclusive)."""

    direction: str
    first: int
    last: int
    cause: str


@dataclass(frozen=True, slots=True)
class Counter:
    """What a counter's seed decided: its lanes (lane, direction), their peak flow and free speed."""

    lanes: tuple[tuple[str, str], ...]
    peak: tuple[float, ...]
    free_kmh: float
    mains: bool
    age_days: float

    @classmethod
    def of(cls, spec: Spec, seed: int) -> Counter:
        """Return the counter of a spec: one or two lanes each way."""
        rng = generator(seed, "counter", spec.index)
        each_way = 1 if rng.random() < 0.7 else 2
        directions = [direction for direction in ("in", "out") for _ in range(each_way)]
        lanes = tuple((str(number), direction) for number, direction in enumerate(directions, 1))
        base = float(rng.uniform(240, 820))
        peak = tuple(float(base * rng.uniform(0.8, 1.2)) for _ in lanes)
        free = float(rng.choice([30.0, 50.0, 50.0, 70.0]) * rng.uniform(0.88, 0.98))
        return cls(lanes, peak, free, bool(rng.random() < 0.3), float(rng.uniform(0, 600)))


class CounterDay:
    """One UTC day of a counter: what passed in each of its 96 periods."""

    def __init__(self, counter: Counter, spec: Spec, seed: int, number: int) -> None:
        day = local_day(number)
        rng = generator(seed, "counter day", spec.index, number)
        self.start_ns = day.start_ns
        self.incidents = _incidents(rng)
        expected = self._expected(counter, day) * float(rng.uniform(0.93, 1.07))
        slow = np.ones_like(expected)
        for incident in self.incidents:
            held = [lane for lane, (_, way) in enumerate(counter.lanes) if way == incident.direction]
            expected[held, incident.first : incident.last] *= 0.3
            slow[held, incident.first : incident.last] = 0.2
        # counts: int64[lanes, classes, 96]; speeds: float64 of that shape, km/h
        counts = rng.poisson(expected[:, None, :] * SHARES[None, :, None])
        load = np.minimum(expected * PER_HOUR / np.array(counter.peak)[:, None], 1.2)
        flowing = counter.free_kmh * (1 - 0.35 * load**3) * slow
        speeds = _speeds(rng, flowing, counts)
        self.counts: list[list[list[int]]] = counts.tolist()
        self.speeds: list[list[list[float]]] = speeds.round(1).tolist()
        self.occupancy: list[list[float]] = self._occupancy(rng, counts, flowing, slow).round(1).tolist()

    @staticmethod
    def _expected(counter: Counter, day: LocalDay) -> NDArray[np.float64]:
        """Return the expected vehicles per lane and period, float64[lanes, 96].

        People come in in the morning and leave in the evening: each direction has its own tide.
        """
        weekend = day.weekday >= SATURDAY
        curve = day.curve(WEEKEND if weekend else WORKDAY, PERIODS) / 100
        tide = np.sin(2 * np.pi * (day.curve(tuple(range(24)), PERIODS) - 2) / 24) * (
            0.05 if weekend else 0.2
        )
        sign = np.array([1.0 if way == "in" else -1.0 for _, way in counter.lanes])
        peak: NDArray[np.float64] = np.array(counter.peak)
        expected: NDArray[np.float64] = peak[:, None] / PER_HOUR * curve * (1 + sign[:, None] * tide)
        return expected

    @staticmethod
    def _occupancy(
        rng: np.random.Generator,
        counts: NDArray[np.int64],
        flowing: NDArray[np.float64],
        slow: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Return the occupancy per lane and period, %, float64[lanes, 96]; a queue stands over the lane."""
        moving = counts.sum(axis=1) * PER_HOUR * LENGTH_M / (flowing * 1000) * 100
        queue = np.where(slow < 1, rng.uniform(35, 70, slow.shape), 0.0)
        percent: NDArray[np.float64] = moving * rng.uniform(0.92, 1.08, slow.shape) + queue
        return percent.clip(0.0, 95.0)


def _incidents(rng: np.random.Generator) -> tuple[Incident, ...]:
    found = []
    for _ in range(int(rng.poisson(INCIDENTS_PER_DAY))):
        first = int(rng.integers(20, 88))
        last = min(first + int(rng.integers(2, 8)), PERIODS)
        cause = ("collision", "breakdown", "road works", "demonstration")[int(rng.integers(4))]
        found.append(Incident(("in", "out")[int(rng.integers(2))], first, last, cause))
    return tuple(found)


def _speeds(
    rng: np.random.Generator, flowing: NDArray[np.float64], counts: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the mean speeds, km/h; a mean of few vehicles scatters more; 0 where none passed."""
    scatter = rng.normal(0, 6, counts.shape) / np.sqrt(np.maximum(counts, 1))
    of_class = SPEED_OF_CLASS[None, :, None] * (flowing[:, None, :] / 50)
    return np.where(counts > 0, np.maximum(flowing[:, None, :] + of_class + scatter, 2.0), 0.0)


def samples(spec: Spec, span: Span) -> Iterator[Sample | Happening]:
    """Yield what a healthy counter sends for ever, and the incidents as their first period is told."""
    counter = Counter.of(spec, span.seed)
    day: CounterDay | None = None
    told: set[tuple[int, Incident]] = set()
    for turn in ticks(spec, span, every_ns=QUARTER, labelled=True):
        end_ns = turn.device_ns // QUARTER * QUARTER
        number, rest = divmod(end_ns - QUARTER, DAY)
        if day is None or day.start_ns != number * DAY:
            day, told = CounterDay(counter, spec, span.seed, number), set()
        for incident in day.incidents:
            if incident.first <= rest // QUARTER < incident.last and (number, incident) not in told:
                told.add((number, incident))
                yield _happening(spec, day, incident, turn)
        yield _sample(spec, span, counter, day, turn)


def _happening(spec: Spec, day: CounterDay, incident: Incident, turn: Tick) -> Happening:
    start, end = (day.start_ns + step * QUARTER for step in (incident.first, incident.last))
    detail = {"direction": incident.direction, "cause": incident.cause}
    return Happening(turn.sent_ns, "incident", spec.site, spec.id, start, end, detail)


def _sample(spec: Spec, span: Span, counter: Counter, day: CounterDay, turn: Tick) -> Sample:
    end_ns = turn.device_ns // QUARTER * QUARTER
    period = (end_ns - QUARTER - day.start_ns) // QUARTER
    age = counter.age_days + (turn.device_ns - span.origin_ns) / DAY
    lanes = [
        {
            "lane": lane,
            "direction": direction,
            "occupancy": day.occupancy[index][period],
            "classes": {
                name: {"n": day.counts[index][code][period], "v": day.speeds[index][code][period]}
                for code, name in enumerate(CLASSES)
            },
        }
        for index, (lane, direction) in enumerate(counter.lanes)
    ]
    body: Body = {
        "seq": 0,
        "time": iso(end_ns),
        "period_s": QUARTER // SECOND,
        "battery_pct": 100 if counter.mains else max(5, round(100 - age * 0.08)),
        "lanes": lanes,
    }
    topic = f"city/{spec.site}/traffic/{spec.id}/up"
    return Sample(turn.sent_ns, topic, body, readings(spec, body), boot=turn.boot)


def iso(at_ns: int) -> str:
    """Return a time as RFC 3339, in UTC, to the second."""
    return datetime.fromtimestamp(at_ns // SECOND, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(text: str) -> int:
    """Return the time that `iso` wrote, ns UTC."""
    return int(datetime.fromisoformat(text).timestamp()) * SECOND


def readings(spec: Spec, body: Body) -> tuple[Reading, ...]:
    """Return what must be stored of a counter's payload, all at the start of its period.

    A class of which no vehicle passed has a count of 0 and no mean speed.
    """
    family, site, device = spec.family, spec.site, spec.id
    start_ns = moment(body["time"]) - int(body["period_s"]) * SECOND
    rows = [Reading(family, site, device, {}, start_ns, {"battery": float(body["battery_pct"])})]
    for lane in body["lanes"]:
        place = {"lane": lane["lane"], "direction": lane["direction"]}
        rows.append(Reading(family, site, device, place, start_ns, {"occupancy": float(lane["occupancy"])}))
        for name, passed in lane["classes"].items():
            fields: dict[str, float | int | str] = {"vehicles": int(passed["n"])}
            if passed["n"]:
                fields["mean_speed"] = float(passed["v"])
            rows.append(Reading(family, site, device, {**place, "class": name}, start_ns, fields))
    return tuple(rows)
