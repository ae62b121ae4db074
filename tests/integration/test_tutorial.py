"""The tutorial's commands, one after the other, as somebody types them: from a sensor to its points."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from tests.brokers import Broker, mosquitto, publish
from tests.databases import influxdb
from tests.integration import stored
from tests.integration.city import fleet
from tests.integration.gateway_process import PROJECT, gateway, own_profiles
from tests.processes import binary

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.gateway_process import GatewayProcess

PAGE = (PROJECT / "docs" / "tutorial.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for fence in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    for line in fence.splitlines()
]
BIN = "city/lyon/bin/bin-00001/up"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with mosquitto(tmp_path / "broker") as running:
        yield running


def air(device: str, seq: int) -> tuple[str, bytes]:
    """Return topic and payload of the new sensor, of this moment."""
    body = {
        "id": device,
        "ts": int(time.time()) - 600 + seq,
        "no2_ugm3": 17.5 + seq,
        "temp_c": 12.5 - seq / 10,
    }
    return f"city/lyon/air/{device}/up", json.dumps(body).encode()


def bins(seq: int) -> tuple[str, bytes]:
    ts = time.time_ns() // 1_000_000 - 600_000 + seq * 1_000
    return BIN, json.dumps({"seq": seq, "ts": ts, "dist_mm": 900, "battery_v": 3.6}).encode()


class Walk:
    """Types the tutorial's commands into a shell in the folder of the gateway."""

    def __init__(self, folder: Path, broker: Broker) -> None:
        self._folder = folder
        self._broker = broker
        self._commands = iter(COMMANDS)
        tools = folder / "tools"
        tools.mkdir()
        command = tools / "ecluse"
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gateway "$@"\n', encoding="utf-8")
        command.chmod(0o755)
        self._environment = os.environ | {
            "PATH": f"{tools}:{os.environ['PATH']}",
            "PYTHONPATH": str(PROJECT),
            "COLUMNS": "200",
        }

    def type(self, begins: str) -> str:
        """Run the next command of the page, which must begin so; return what it printed."""
        command = next(self._commands)
        assert command.startswith(begins), command
        here = command.replace("-h broker", f"-h 127.0.0.1 -p {self._broker.port}")
        done = subprocess.run(
            ["sh", "-c", here],
            capture_output=True,
            text=True,
            check=False,
            cwd=self._folder,
            env=self._environment,
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def ended(self) -> bool:
        """Whether the page has no more commands."""
        return next(self._commands, None) is None


@pytest.mark.mosquitto
@pytest.mark.influxdb
def test_from_an_unknown_sensor_to_its_points(broker: Broker, tmp_path: Path) -> None:
    """With the page's commands alone; no restart, and nothing of other sensors is lost."""
    binary("mosquitto_sub", "mosquitto-clients")
    fleet(tmp_path / "devices.csv", 3)
    profiles = own_profiles(tmp_path)
    with influxdb(tmp_path / "influx") as influx:
        sinks = (
            {"name": "influx", "kind": "influxdb1", "url": influx.url},
            {"name": "embedded", "kind": "embedded"},
        )
        with gateway(tmp_path, broker, *sinks, profiles=profiles) as running:
            walk = Walk(tmp_path, broker)
            publish(broker, [bins(seq) for seq in range(10)])
            with _publishing(broker):
                walk.type("mosquitto_sub")
            assert "6 samples read" in walk.type("ecluse profile new")
            walk.type("sed -i")
            assert "1 profile, 0 problems" in walk.type("ecluse profile check")
            _sample(tmp_path)
            assert "no2=" in walk.type("ecluse profile try")
            walk.type("mv")
            _until_heard(broker, running)
            publish(broker, [bins(seq) for seq in range(10, 20)])
            running.wait(lambda now: now["fleet"]["unknown"] == 2, "both are noticed")
            assert "acme-air" in walk.type("ecluse device unknown")
            walk.type("ecluse device adopt lyon air-1")
            walk.type("ecluse device adopt lyon air-2")
            running.wait(lambda now: now["fleet"]["known"] == 5, "taken in", within_s=15)
            assert "0 in quarantine again" in walk.type("ecluse quarantine replay")
            status = running.drained()
            assert "air-2" in walk.type("ecluse query")
            assert walk.ended()
            assert status["balanced"]
            assert running.starts == 1
            assert running.log.count('"event": "connected"') == 1, "on the same session"
            had: Any = stored.from_influx(influx)
            assert len(had["waste"]) == 20, "all of the other sensor's"
            measured = influx.query("SELECT count(no2) FROM air GROUP BY device")
            assert {row["device"] for row in measured} == {"air-1", "air-2"}


@contextlib.contextmanager
def _publishing(broker: Broker) -> Iterator[None]:
    """Let both new sensors send all the while."""
    stopping = threading.Event()

    def send() -> None:
        for seq in range(600):
            publish(broker, [air("air-1", seq % 9), air("air-2", seq % 9)], name="sensors")
            if stopping.wait(0.2):
                return

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def _until_heard(broker: Broker, running: GatewayProcess) -> None:
    """Let both send until the gateway has noticed them: it is subscribed to their topic by then."""
    numbers = count()

    def heard(now: dict[str, Any]) -> bool:
        seq = next(numbers)
        publish(broker, [air("air-1", seq), air("air-2", seq)], name="sensors")
        return bool(now["fleet"]["unknown"] == 2)

    running.wait(heard, "the new topic is subscribed to")


def _sample(folder: Path) -> None:
    line = (folder / "samples.txt").read_text(encoding="utf-8").splitlines()[0]
    (folder / "sample.json").write_text(line.partition(" ")[2], encoding="utf-8")
