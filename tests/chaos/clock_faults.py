"""Clocks of devices that are off by years; days of 23 and 25 hours; the 29th of February."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from firmware_sim.model import DAY, HOUR, MINUTE
from tests.brokers import mosquitto
from tests.chaos.life import check_books, living, rest, weigh
from tests.chaos.outcome import Outcome, together
from tests.chaos.own_uplinks import bin_says, send
from tests.databases import influxdb
from tests.integration import stored
from tests.integration.oracle import ZONE, Truth, bounds

if TYPE_CHECKING:
    import random
    from pathlib import Path

    from firmware_sim.ledger import Entry
    from firmware_sim.model import Spec
    from tests.chaos.outcome import Scenario

YEAR = 365 * DAY
OFF = (-50 * YEAR, -20 * YEAR, -2 * YEAR, -31 * DAY, 3 * DAY, 30 * DAY, YEAR, 50 * YEAR, 200 * YEAR)
"""By how much a clock is off: beyond the bounds `max_age` and `max_ahead`, however long the way takes."""
BY_RESET = ("2000-01-01T00:00:00+00:00", "1980-01-06T00:00:00+00:00")
"""Where clocks begin again that have lost their battery, or their satellites."""


@dataclass(frozen=True, slots=True)
class Day:
    """A civil day of Paris, from shortly before it to its end, and how many hours it has."""

    date: str
    begins: str
    hours: int


SPRING = Day("2026-03-29", "2026-03-28T21:00:00+00:00", 23)
AUTUMN = Day("2026-10-25", "2026-10-24T20:00:00+00:00", 25)
LEAP = Day("2028-02-29", "2028-02-28T21:00:00+00:00", 24)


def civil_day(folder: Path, rng: random.Random, day: Day, *, devices: int, speed: float) -> Outcome:
    """Live through a day, while clocks are off by years: each window is that of the civil day."""
    end_ns = int(datetime.fromisoformat(f"{day.date}T23:00:00+00:00").timestamp()) * 10**9 + HOUR
    sent: list[Entry] = []
    with mosquitto(folder) as broker, influxdb(folder / "influx") as influx:
        sink = {"name": "influx", "kind": "influxdb1", "url": influx.url}
        with living(folder, broker, sink, devices=devices, idle=10, begins=day.begins, speed=speed) as life:
            for number, off in enumerate(rng.sample(OFF, len(OFF))):
                life.flows(10)
                sent += _off(life.one("waste"), life.now_ns(), off, number)
                send(broker, sent[-4:])
                rest(rng.uniform(0.0, 0.3))
            life.running.wait(lambda now: now["now_ns"] > end_ns, "the day is over", within_s=180)
            ledger, status = life.calm()
            assert life.running.stop() == 0, life.running.log[-3000:]
        had = stored.from_influx(influx)
    ledger.entries += sent
    truth = Truth.of(ledger, life.specs)
    again = check_books(life.running.state, ledger, life.specs, status)
    refused = sum(entry.expect != "stored" for entry in sent)
    assert again.reasons["in the future"] + again.reasons["too old"] >= refused
    days = {key[2]: bounds("1d", key[2]) for key in had["waste_1d"]}
    lengths = {end - start for start, end in days.values() if _date(start) == day.date}
    assert lengths == {day.hours * HOUR}, f"{day.date}: {lengths}"
    cost = weigh(truth, had, by=status["over_ns"])
    return Outcome(len(OFF) + len(BY_RESET) + 1, len(ledger.entries), cost.lost, cost.doubled)


def _off(spec: Spec, now_ns: int, off: int, number: int) -> list[Entry]:
    """Return four uplinks of a clock that is off, the last of them after it was set right."""
    why, seq = "quarantined:too old" if off < 0 else "quarantined:in the future", 10 * number
    wrong = [bin_says(spec, now_ns + off + n * MINUTE, seq + n, expect=why) for n in range(2)]
    if off < 0:
        reset = datetime.fromisoformat(BY_RESET[number % 2])
        wrong.append(bin_says(spec, int(reset.timestamp()) * 10**9 + seq * MINUTE, seq + 2, expect=why))
    else:
        wrong.append(bin_says(spec, now_ns + off + 5 * HOUR, seq + 2, expect=why))
    return [*wrong, bin_says(spec, now_ns - HOUR - seq * MINUTE, seq + 3)]


def _date(start_ns: int) -> str:
    return datetime.fromtimestamp(start_ns // 10**9, ZONE).strftime("%Y-%m-%d")


def _all(folder: Path, rng: random.Random) -> Outcome:
    outcomes = []
    for day in (SPRING, AUTUMN, LEAP):
        part = folder / day.date
        part.mkdir()
        outcomes.append(civil_day(part, rng, day, devices=100, speed=3_000))
    return together(outcomes)


SCENARIOS: dict[str, Scenario] = {"clocks and calendars": _all}
