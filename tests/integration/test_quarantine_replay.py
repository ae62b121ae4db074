"""From quarantine back into the database, with real servers: mended, killed meanwhile, refused again."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from gateway.quarantine.reader import QuarantineReader
from tests.brokers import Broker, mosquitto, publish
from tests.databases import Influx, fetch, influxdb
from tests.integration.city import city, fleet, scale_from
from tests.integration.gateway_process import PROJECT, gateway, own_profiles
from tests.integration.oracle import Truth
from tests.integration.quarantined import quarantined
from tests.integration.recount import recount
from tests.integration.stored import assert_same, check_quality, from_influx

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.integration.gateway_process import GatewayProcess

MINUTE, QUARTER = 60 * 10**9, 15 * 60 * 10**9
BINS = 6
MINUTES = 90
GOOD, BAD = "time: {path: ts, unit: ms}", "time: {path: when, unit: ms, required: true}"
KILLS = 5
SEED = 20261126

pytestmark = [pytest.mark.mosquitto, pytest.mark.influxdb, pytest.mark.timeout(300)]


@dataclass
class Street:
    """Bins that speak each minute of the last two hours."""

    begins: int

    @classmethod
    def now(cls) -> Street:
        """Begin at a quarter of an hour, two hours ago."""
        return cls((time.time_ns() - 8 * QUARTER) // QUARTER * QUARTER)

    def at(self, minute: int) -> int:
        """Return a minute's time, ns."""
        return self.begins + minute * MINUTE

    def uplink(self, number: int, minute: int) -> tuple[str, bytes]:
        """Return what a bin says in a minute."""
        said = {"seq": minute, "ts": self.at(minute) // 10**6, "dist_mm": self.distance(number, minute)}
        return f"city/lyon/bin/bin-{number}/up", json.dumps(said | {"battery_v": 3.6, "tilt": 0}).encode()

    @staticmethod
    def distance(number: int, minute: int) -> int:
        """Return what a bin measures in a minute."""
        return 500 + 100 * number + (minute * 37) % 101

    def uplinks(self, minutes: Iterable[int]) -> list[tuple[str, bytes]]:
        """Return what all bins say."""
        return [self.uplink(number, minute) for minute in minutes for number in range(BINS)]

    def raw(self, minutes: Iterable[int]) -> dict[tuple[str, int], float]:
        """Return what must be stored: the distance by bin and time."""
        return {
            (f"bin-{number}", self.at(minute)): float(self.distance(number, minute))
            for minute in minutes
            for number in range(BINS)
        }

    def windows(self, minutes: Iterable[int]) -> dict[tuple[str, int], tuple[int, float]]:
        """Return each quarter's count and mean."""
        held: dict[tuple[str, int], list[float]] = {}
        for (name, at), value in self.raw(minutes).items():
            held.setdefault((name, at // QUARTER * QUARTER), []).append(value)
        return {key: (len(values), sum(values) / len(values)) for key, values in held.items()}


def devices(folder: Path) -> None:
    lines = [f"lyon,bin-{number},bin-level,2000" for number in range(BINS)]
    (folder / "devices.csv").write_text(
        "\n".join(["site,id,profile,param.empty", *lines, ""]), encoding="utf-8"
    )


def stored_raw(influx: Influx) -> dict[tuple[str, int], float]:
    rows = influx.query('SELECT "distance", "device" FROM "waste"')
    assert len({(row["device"], row["time"]) for row in rows}) == len(rows)
    return {(str(row["device"]), int(str(row["time"]))): float(str(row["distance"])) for row in rows}


def stored_windows(influx: Influx) -> dict[tuple[str, int], tuple[int, float]]:
    rows = influx.query('SELECT "distance_count", "distance_mean", "device" FROM "waste_15m"')
    return {
        (str(row["device"]), int(str(row["time"]))): (
            int(str(row["distance_count"])),
            float(str(row["distance_mean"])),
        )
        for row in rows
    }


def ecluse(running: GatewayProcess, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `ecluse quarantine …` as an operator does."""
    command = [sys.executable, "-m", "gateway", "quarantine", *words]
    command += ["--config", str(running.folder / "ecluse.toml")]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=PROJECT, timeout=120)


def break_profile(profiles: Path, broker: Broker, running: GatewayProcess, street: Street) -> None:
    """Put a profile in force that refuses every bin; known uplinks are said again until one is refused."""
    change(profiles, GOOD, BAD)
    known = street.uplink(0, 0)

    def is_refused(now: dict[str, Any]) -> bool:
        if not now["uplinks"]["quarantined"]:
            publish(broker, [known])
        return bool(now["uplinks"]["quarantined"])

    running.wait(is_refused, "the wrong profile is in force")


def change(profiles: Path, old: str, new: str) -> None:
    file = profiles / "bin-level" / "profile.yaml"
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def mend_profile(profiles: Path, running: GatewayProcess) -> None:
    """Put the right profile in force: a dry run says when it is."""
    change(profiles, BAD, GOOD)
    for _ in range(100):
        told = ecluse(running, "replay", "--dry-run", "--profile", "bin-level")
        if told.returncode == 0:
            assert "0 would be in quarantine again" in told.stdout
            return
        assert told.returncode == 1, told.stderr
        threading.Event().wait(0.2)
    raise AssertionError(told.stdout)


def test_a_mended_profile_takes_back_what_was_refused(tmp_path: Path) -> None:
    """Readings at their own times, windows corrected, quarantine empty, books balanced; export, drop too."""
    devices(tmp_path)
    profiles, street = own_profiles(tmp_path), Street.now()
    even, odd = range(0, MINUTES, 2), range(1, MINUTES, 2)
    with (
        mosquitto(tmp_path) as broker,
        influxdb(tmp_path / "influx") as influx,
        gateway(
            tmp_path, broker, {"name": "influx", "kind": "influxdb1", "url": influx.url}, profiles=profiles
        ) as running,
    ):
        publish(broker, street.uplinks(even))
        running.wait(lambda now: now["windows"] >= BINS * 6, "windows are written")
        running.drained(uplinks=BINS * len(even))
        assert stored_windows(influx) == street.windows(even)
        break_profile(profiles, broker, running, street)
        publish(broker, street.uplinks(odd))
        before = running.drained()
        refused = before["uplinks"]["quarantined"]
        assert refused >= BINS * len(odd)
        assert stored_raw(influx) == street.raw(even)
        lines = ecluse(running, "export", "--profile", "bin-level").stdout.splitlines()
        assert {json.loads(line)["reason"] for line in lines} == {"time missing"}
        assert len(lines) == refused

        mend_profile(profiles, running)
        told = ecluse(running, "replay", "--profile", "bin-level")
        assert (told.returncode, told.stderr) == (0, "")
        assert f"{refused} uplinks let in again: {refused} well, 0 in quarantine again." in told.stdout
        running.wait(lambda now: now["corrections"] >= BINS * 6, "windows are corrected")
        after = running.drained()
        assert stored_raw(influx) == street.raw(range(MINUTES))
        windows = stored_windows(influx)
        for key, (count, mean) in street.windows(range(MINUTES)).items():
            assert windows[key] == (count, pytest.approx(mean, rel=1e-9)), key
        assert after["balanced"]
        assert after["quarantine_replayed"] == refused
        assert after["uplinks"]["journalled"] == before["uplinks"]["journalled"] + refused
        assert after["uplinks"]["quarantined"] == refused
        assert after["queues"]["quarantine"]["items"] == 0
        assert "Nothing in quarantine is like that." in ecluse(running, "replay").stdout

        publish(broker, [("city/lyon/bin/nobody/up", b"?")])
        running.wait(lambda now: now["queues"]["quarantine"]["items"] == 1, "a stranger")
        assert "1 row dropped." in ecluse(running, "drop", "--device", "nobody", "--yes").stdout
        dropped = running.status()
        assert dropped is not None
        assert (dropped["quarantine_dropped"], dropped["queues"]["quarantine"]["items"]) == (1, 0)
        assert running.stop() == 0


def test_kills_in_the_middle_of_a_replay(tmp_path: Path) -> None:
    """At seeded instants, in small parts: every uplink comes in exactly once, none is lost."""
    devices(tmp_path)
    profiles, street, rng = own_profiles(tmp_path), Street.now(), random.Random(SEED)
    more = {"checkpoint": {"every": "1s"}}
    with (
        mosquitto(tmp_path) as broker,
        influxdb(tmp_path / "influx") as influx,
        gateway(
            tmp_path,
            broker,
            {"name": "influx", "kind": "influxdb1", "url": influx.url},
            profiles=profiles,
            more=more,
        ) as running,
    ):
        break_profile(profiles, broker, running, street)
        publish(broker, street.uplinks(range(MINUTES)))
        refused = running.drained(uplinks=BINS * MINUTES)["uplinks"]["quarantined"]
        mend_profile(profiles, running)
        killed_within = 0
        for _ in range(KILLS):
            asking = threading.Thread(target=_ask_until_it_dies, args=(running.url,))
            asking.start()
            threading.Event().wait(rng.uniform(0.0, 0.15))
            running.kill()
            asking.join(timeout=60)
            killed_within += 0 < len(quarantined(running.state)) < refused
            running.start()
        assert killed_within
        told = ecluse(running, "replay")
        assert told.returncode == 0, told.stdout + told.stderr
        status = running.drained()
        raw, windows = stored_raw(influx), stored_windows(influx)
        assert running.stop() == 0
    assert raw == street.raw(range(MINUTES))
    assert {key: count for key, (count, _) in windows.items()} == {
        key: count for key, (count, _) in street.windows(range(MINUTES)).items()
    }
    assert status["balanced"]
    assert status["quarantine_replayed"] == refused
    assert status["uplinks"]["quarantined"] == refused
    assert status["quarantine_evicted"] == 0
    assert not quarantined(running.state)


def _ask_until_it_dies(url: str) -> None:
    """Let in five uplinks at a time until nobody answers, or nothing is left."""
    try:
        while json.loads(fetch(f"{url}/api/quarantine/replay?limit=5", data=b""))["rows"]:
            pass
    except (OSError, ValueError, AssertionError):
        return


async def test_what_stays_wrong_is_refused_again_once(tmp_path: Path) -> None:
    """A city's faults, let in twice under the same profiles, a kill between: the same rows, the same points.

    Books and quarantine are those that the journal gives, counted independently.
    """
    messages, people = 2_000, 40
    specs = fleet(tmp_path / "devices.csv", people)
    scale = scale_from("2026-11-22T10:00:00+00:00", speed=2_000.0)
    with mosquitto(tmp_path) as broker, influxdb(tmp_path / "influx") as influx:
        sink = {"name": "influx", "kind": "influxdb1", "url": influx.url}
        settings = {"broker": {"silence": "10min"}, "checkpoint": {"every": "1s"}}
        with gateway(tmp_path, broker, sink, scale=scale, more=settings) as running:
            with city(
                tmp_path, broker, scale=scale, devices=people, messages=messages, faults=0.1
            ) as inhabitants:
                ledger = inhabitants.wait(within_s=120)
            running.drained(uplinks=messages)
            with closing(QuarantineReader.open(running.state / "quarantine.db")) as reader:
                waiting = sum(reader.counts().values())
            assert ecluse(running, "replay").returncode == 1
            running.kill()
            running.start()
            assert ecluse(running, "replay").returncode == 1
            status = running.drained()
            assert running.stop() == 0
        had = from_influx(influx)
    again = await recount(running.state, ledger, specs)
    truth = Truth.of(ledger, specs)
    assert assert_same(truth.raw(), had, where="InfluxDB") > messages
    check_quality(truth, had)
    refused = quarantined(running.state)
    assert refused == again.refused
    assert sum(refused.values()) == waiting
    assert status["balanced"]
    assert status["quarantine_replayed"] == again.from_quarantine > 0
    assert status["uplinks"]["journalled"] == messages + again.from_quarantine
    for book, counted in (("uplinks", again.uplinks), ("readings", again.readings)):
        told = {name: count for name, count in status[book].items() if count}
        assert told == {name: count for name, count in counted.items() if count}, book
    assert status["reasons"] == dict(again.reasons)
