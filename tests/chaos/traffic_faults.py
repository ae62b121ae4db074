"""What comes twice, late, in any order, from the beginning again, too fast, or from nobody."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Self

import psutil

from firmware_sim.model import DAY, HOUR, MINUTE
from gateway.registry.unknown import UnknownDevices
from tests.brokers import mosquitto, publish
from tests.chaos.life import Life, check_books, living, weigh
from tests.chaos.outcome import Outcome
from tests.chaos.own_uplinks import bin_says, copies, meter_says, send
from tests.databases import influxdb
from tests.integration import stored
from tests.integration.oracle import Truth

if TYPE_CHECKING:
    import random
    from pathlib import Path

    from firmware_sim.ledger import Entry
    from firmware_sim.model import Spec
    from tests.brokers import Broker
    from tests.chaos.outcome import Scenario

CITY_FAULTS = 0.25
"""The simulator's most: a quarter malformed, as many sent twice or out of order, radios away, reboots."""
GROWTH = 300_000_000
"""So many bytes of memory may a flood cost the gateway: the bounds of broker.memory, decoding and outbox."""
QUARANTINE_ROWS = 100_000
LISTED, TOLD_APART = 1_000, 100_000
"""Strangers that are listed (`devices.max_unknown`), and those that are counted one by one."""
PUBLISHED_TOGETHER = 20_000


def disorder(folder: Path, rng: random.Random, *, readings: int) -> Outcome:
    """Copies, any order within lateness, what comes after it, counters that begin again, a city of faults."""
    with mosquitto(folder) as broker, influxdb(folder / "influx") as influx:
        sink = {"name": "influx", "kind": "influxdb1", "url": influx.url}
        with living(folder, broker, sink, devices=60, idle=20, faults=CITY_FAULTS) as life:
            life.flows(50)
            shuffled = _shuffled(life.one("waste"), life.now_ns(), rng, readings)
            rebooted = _rebooted(life.one("water"), life.now_ns(), rng)
            late = _late([spec for spec in life.idle if spec.family == "waste"][1], life.now_ns(), rng)
            for entries in (shuffled, rebooted, late):
                send(broker, entries)
                life.flows(20)
            ledger, status = life.calm()
            assert life.running.stop() == 0, life.running.log[-3000:]
        had = stored.from_influx(influx)
    ledger.entries += [*shuffled, *rebooted]
    cost = weigh(Truth.of(ledger, life.specs), _without(had, late), by=status["over_ns"])
    assert status["late"] == sum(len(row.fields) for entry in late for row in entry.readings)
    assert status["balanced"]
    beyond = Truth.of(ledger, life.specs)
    for entry in late:
        for row in entry.readings:
            beyond.tell(row)
    stored.assert_same({"waste": beyond.raw()["waste"]}, {"waste": had["waste"]}, where="late ones, raw")
    faults = len(copies(shuffled)) + len(rebooted) + len(late)
    return Outcome(faults, len(ledger.entries) + len(late), cost.lost, cost.doubled)


def _shuffled(spec: Spec, now_ns: int, rng: random.Random, readings: int) -> list[Entry]:
    """Return readings of the last sixty hours, each up to three times, in no order."""
    step = 60 * HOUR // readings
    first = [bin_says(spec, now_ns - HOUR - n * step, n) for n in range(readings)]
    rng.shuffle(first)
    sent = list(first)
    for copy in copies(first):
        for _ in range(rng.randint(0, 2)):
            sent.insert(rng.randint(0, len(sent)), copy)
    # Whichever of the copies comes first is the one that is stored.
    seen: set[bytes] = set()
    told = {entry.payload: entry for entry in first}
    ordered = []
    for entry in sent:
        ordered.append(copies([told[entry.payload]])[0] if entry.payload in seen else told[entry.payload])
        seen.add(entry.payload)
    return ordered


def _rebooted(spec: Spec, now_ns: int, rng: random.Random) -> list[Entry]:
    """Return hours of a meter that begins again at 0 with its register and its numbers, three times."""
    entries, index, seq = [], 5_000, 0
    at_ns = (now_ns - 40 * HOUR) // HOUR * HOUR
    before: tuple[int, int] | None = None
    for hour in range(36):
        if hour in (10, 20, 21):
            index, seq, before = rng.randint(0, 20), 0, None
        entries.append(meter_says(spec, at_ns, index, seq, before=before))
        before = at_ns, index
        at_ns, index, seq = at_ns + HOUR, index + rng.randint(0, 200), seq + 1
    return entries


def _late(spec: Spec, now_ns: int, rng: random.Random) -> list[Entry]:
    """Return readings of a bin that come after its lateness, of 72 h, and before they are too old."""
    return [bin_says(spec, now_ns - 4 * DAY - n * HOUR - rng.randint(0, 50) * MINUTE, n) for n in range(100)]


def _without(had: stored.Tables, late: list[Entry]) -> stored.Tables:
    """Return what is stored but for the late raw points, which correct no window."""
    gone = {(row.device, (), row.time_ns) for entry in late for row in entry.readings}
    return had | {"waste": {key: fields for key, fields in had["waste"].items() if key not in gone}}


def flood(folder: Path, rng: random.Random, *, uplinks: int) -> Outcome:
    """Let some devices send as fast as the broker takes it: memory is bounded, all of it is stored."""
    with mosquitto(folder) as broker, influxdb(folder / "influx") as influx:
        sink = {"name": "influx", "kind": "influxdb1", "url": influx.url}
        with living(folder, broker, sink, devices=30, idle=20, faults=0.0) as life:
            life.flows(50)
            bins = [spec for spec in life.idle if spec.family == "waste"]
            now_ns = life.now_ns()
            step = 36 * HOUR // (uplinks // len(bins) + 1)
            sent = [
                bin_says(spec, now_ns - HOUR - n * step, n)
                for n in range(uplinks // len(bins))
                for spec in rng.sample(bins, len(bins))
            ]
            with _Memory(life) as memory:
                for first in range(0, len(sent), PUBLISHED_TOGETHER):
                    send(broker, sent[first : first + PUBLISHED_TOGETHER])
                life.running.wait(
                    lambda now: now["uplinks"]["decoded"] >= len(sent), "all decoded", within_s=180
                )
            memory.check()
            ledger, status = life.calm()
            assert life.running.stop() == 0, life.running.log[-3000:]
        had = stored.from_influx(influx)
    ledger.entries += sent
    check_books(life.running.state, ledger, life.specs, status)
    cost = weigh(Truth.of(ledger, life.specs), had, by=status["over_ns"])
    return Outcome(len(sent), len(ledger.entries), cost.lost, cost.doubled)


def strangers(folder: Path, rng: random.Random, *, topics: int) -> Outcome:
    """Let many unknown devices publish once each: memory, quarantine, list are bounded; the city goes on."""
    salt = rng.randrange(1 << 32)
    with mosquitto(folder) as broker, influxdb(folder / "influx") as influx:
        sink = {"name": "influx", "kind": "influxdb1", "url": influx.url}
        with living(folder, broker, sink, devices=30, faults=0.0) as life:
            life.flows(50)
            with _Memory(life) as memory:
                for first in range(0, topics, PUBLISHED_TOGETHER):
                    _publish(broker, range(first, min(first + PUBLISHED_TOGETHER, topics)), salt)
                life.running.wait(
                    lambda now: now["uplinks"]["quarantined"] == topics, "all refused", within_s=300
                )
            memory.check()
            ledger, status = life.calm()
            assert life.running.stop() == 0, life.running.log[-3000:]
        had = stored.from_influx(influx)
    rows = status["queues"]["quarantine"]["items"]
    print(f"  rows in quarantine: {rows}, gone: {status['quarantine_evicted']}")  # noqa: T201
    assert rows <= QUARANTINE_ROWS
    assert rows + status["quarantine_evicted"] == topics
    assert status["reasons"] == {"unknown device": topics}
    assert status["uplinks"]["quarantined"] == topics
    assert status["uplinks"]["journalled"] == topics + len(ledger.entries)
    assert status["fleet"]["unknown"] == min(topics, TOLD_APART)
    with contextlib.closing(UnknownDevices(life.running.state / "unknown.db")) as listed:
        assert listed.figures().listed == min(topics, LISTED)
    assert status["balanced"]
    cost = weigh(Truth.of(ledger, life.specs), had, by=status["over_ns"])
    return Outcome(topics, topics + len(ledger.entries), cost.lost, cost.doubled)


def _publish(broker: Broker, numbers: range, salt: int) -> None:
    messages = [(f"city/lyon/bin/x-{salt:08x}-{number}/up", b'{"hello": 1}') for number in numbers]
    publish(broker, messages, name="ecluse-test-strangers", within_s=120)


class _Memory:
    """Watches how much memory the gateway takes while something comes in."""

    def __init__(self, life: Life) -> None:
        assert life.running.process is not None
        self._process = psutil.Process(life.running.process.pid)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.before = self.most = self._process.memory_info().rss

    def __enter__(self) -> Self:
        self._thread.start()
        self.began = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.seconds = time.monotonic() - self.began

    def check(self) -> None:
        """Say it. Raises AssertionError where it was too much."""
        megabytes = [size / 1e6 for size in (self.before, self.most)]
        print(f"  memory: {megabytes[0]:.0f} MB before, {megabytes[1]:.0f} MB at most, {self.seconds:.0f} s")  # noqa: T201
        assert self.most - self.before < GROWTH, megabytes

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            self.most = max(self.most, self._process.memory_info().rss)


SCENARIOS: dict[str, Scenario] = {
    "disorder": lambda folder, rng: disorder(folder, rng, readings=2_000),
    "a flood": lambda folder, rng: flood(folder, rng, uplinks=100_000),
    "a million strangers": lambda folder, rng: strangers(folder, rng, topics=1_000_000),
}
