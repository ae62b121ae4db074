"""`ecluse replay` beside a gateway that runs: what it tells, and that it disturbs nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from tests.brokers import mosquitto, publish
from tests.integration.city import fleet
from tests.integration.gateway_process import PROJECT, gateway, own_profiles

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.mosquitto
BIN = "city/lyon/bin/bin-00001/up"
DAY_S = 86_400


def uplink(at_s: float, seq: int, distance: int) -> tuple[str, bytes]:
    body = {"id": "bin-00001", "seq": seq, "ts": int(at_s * 1000), "dist_mm": distance, "temp_c": 12.5}
    return BIN, orjson.dumps(body | {"battery_v": 3.6, "tilt": 0, "rssi": -90})


def replay(folder: Path, *words: str) -> dict[str, Any]:
    """Run it as an operator does; return what it tells, by measurement."""
    command = [sys.executable, "-m", "gateway", "replay", "--config", str(folder / "ecluse.toml"), "--json"]
    command += ["--from", "6d", "--to", "4d", "--profile", "bin-level", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=PROJECT, timeout=90)
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
