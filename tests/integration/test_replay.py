"""`ecluse replay` beside a gateway that runs: what it tells, and that it disturbs nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from gateway.profiles.durations import instant_ns
from tests.brokers import mosquitto, publish
from tests.databases import influxdb
from tests.integration.city import fleet
from tests.integration.gateway_process import PROJECT, gateway, own_profiles
from tests.processes import free_port, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.databases import Influx
    from tests.integration.gateway_process import GatewayProcess

pytestmark = pytest.mark.mosquitto
BIN = "city/lyon/bin/bin-00001/up"
DAY_S = 86_400


def uplink(at_s: float, seq: int, distance: int) -> tuple[str, bytes]:
    body = {"id": "bin-00001", "seq": seq, "ts": int(at_s * 1000), "dist_mm": distance, "temp_c": 12.5}
    return BIN, orjson.dumps(body | {"battery_v": 3.6, "tilt": 0, "rssi": -90})


def command(folder: Path, *words: str) -> list[str]:
    """What an operator gives."""
    given = [sys.executable, "-m", "gateway", "replay", "--config", str(folder / "ecluse.toml"), "--json"]
    return [*given, "--from", "6d", "--to", "4d", "--profile", "bin-level", *words]


def replay(folder: Path, *words: str) -> dict[str, Any]:
    """Run it as an operator does; return what it tells, by measurement."""
    given = command(folder, *words)
    done = subprocess.run(given, capture_output=True, text=True, check=False, cwd=PROJECT, timeout=90)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    return {found["measurement"]: found for found in told["measurements"]} | {"": told}


def test_what_was_late_and_a_profile_that_was_mended(tmp_path: Path) -> None:
    """A buffer of five days ago gave raw readings alone; it would give windows, and other flags."""
    fleet(tmp_path / "devices.csv", 60)
    profiles = own_profiles(tmp_path)
    began = time.time() - 5 * DAY_S
    late = [uplink(began + number * 600, number, 900 + number * 5) for number in range(40)]
    with (
        mosquitto(tmp_path / "broker") as broker,
        gateway(tmp_path, broker, profiles=profiles) as running,
    ):
        publish(broker, [*late, uplink(time.time() - 60, 99, 1_000)])
        running.drained(uplinks=41)
        rows = running.ask({"measurement": "waste", "limit": "1000"})["rows"]
        told = replay(tmp_path)
        assert (told["waste"]["added"], told["waste"]["removed"]) == (0, 0)
        assert told["waste"]["changed"] + told["waste"]["same"] == len(rows) - 1 == 40
        assert told["waste_15m"]["added"] > 20
        assert told["waste_1d"]["added"] in (1, 2)
        file = profiles / "bin-level" / "profile.yaml"
        text = file.read_text(encoding="utf-8").replace("range: [20, 4500]\n", "range: [20, 1000]\n")
        file.write_text(text, encoding="utf-8")
        mended = replay(tmp_path)
        assert mended["waste"]["fields"]["quality"] >= 19
        now = running.drained()
        assert now["balanced"]
        assert now["ready"]
        assert running.ask({"measurement": "waste", "limit": "1000"})["rows"] == rows
        assert running.stop() == 0
        assert not (running.state / "reprocessing").exists()
    again = replay(tmp_path)
    again[""].pop("records"), mended[""].pop("records")
    assert again == mended


@pytest.mark.influxdb
def test_applied_through_kills_and_a_database_that_is_away(tmp_path: Path) -> None:
    """Every sink has it in the end, once: then nothing would change any more, and both have the same."""
    fleet(tmp_path / "devices.csv", 60)
    profiles, port = own_profiles(tmp_path), free_port()
    began = time.time() - 5 * DAY_S
    late = [uplink(began + number * 600, number, 900 + number * 5) for number in range(40)]
    sinks = (
        {"name": "embedded", "kind": "embedded"},
        {"name": "influx", "kind": "influxdb1", "url": f"http://127.0.0.1:{port}", "bucket": "ecluse"},
    )
    with (
        mosquitto(tmp_path / "broker") as broker,
        gateway(tmp_path, broker, *sinks, profiles=profiles) as running,
    ):
        publish(broker, [*late, uplink(time.time() - 60, 99, 1_000)])
        running.drained(uplinks=41, of=["embedded"])
        told = replay(tmp_path, "--apply", "--yes")
        assert told[""]["applied"]["delivers"]
        assert told[""]["applied"]["written"] > 30
        running.kill()
        file = profiles / "bin-level" / "profile.yaml"
        text = file.read_text(encoding="utf-8").replace("  temperature:\n", "  warmth:\n")
        file.write_text(text.replace("family: waste", "family: garbage"), encoding="utf-8")
        running.start()
        with influxdb(tmp_path / "influx", port=port) as server:
            running.drained()
            assert stored(running, "waste_15m") == in_influxdb(server, "waste_15m")
            assert len(stored(running, "waste_15m")) > 20
            before = running.status()
            with subprocess.Popen(
                command(tmp_path, "--apply", "--yes"),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=PROJECT,
            ) as applying:
                wait_until(lambda: journalled_more(running, before), within_s=60, what="a record is taken")
                running.kill()
                assert applying.wait(timeout=60) in (0, 1)
            running.start()
            replay(tmp_path, "--apply", "--yes")
            assert running.drained()["balanced"]
            assert not replay(tmp_path)[""]["differs"]
            for measurement in ("garbage", "garbage_15m", "garbage_1h", "garbage_1d"):
                assert stored(running, measurement) == in_influxdb(server, measurement)
                assert len(stored(running, measurement)) >= (1 if measurement == "garbage_1d" else 5)
            for measurement in ("waste", "waste_15m", "waste_1h", "waste_1d"):
                left = [at_ns for at_ns in stored(running, measurement) if at_ns < (began + DAY_S / 2) * 1e9]
                assert left == []
                assert stored(running, measurement) == in_influxdb(server, measurement)
        assert running.stop() == 0


def journalled_more(running: GatewayProcess, before: dict[str, Any] | None) -> bool:
    """Whether some points were made since then."""
    now = running.status()
    assert before is not None
    return now is not None and now["sinks"]["embedded"]["made"] > before["sinks"]["embedded"]["made"]


def stored(running: GatewayProcess, measurement: str) -> dict[int, dict[str, Any]]:
    """Return the fields of the bin's points in the embedded store, by time."""
    answer = running.ask({"measurement": measurement, "limit": "1000"})
    found = {}
    for row in answer["rows"]:
        named = dict(zip(answer["columns"], row, strict=True))
        at_ns = instant_ns(named.pop("time"))
        found[at_ns] = {name: value for name, value in named.items() if value is not None}
    return found


def in_influxdb(server: Influx, measurement: str) -> dict[int, dict[str, Any]]:
    """The same of InfluxDB."""
    found = {}
    for row in server.query(f'SELECT * FROM "{measurement}"'):  # noqa: S608 - a name of ours
        at_ns = int(str(row.pop("time")))
        row.pop("name")
        found[at_ns] = {name: value for name, value in row.items() if value is not None}
    return found
