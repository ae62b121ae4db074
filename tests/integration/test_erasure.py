"""Erasing a device beside a gateway that runs, out of real databases; all else stays, and it goes on."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.brokers import client, mosquitto
from tests.cli.command import ecluse
from tests.databases import fetch, influxdb, victoria_metrics
from tests.integration.gateway_process import gateway
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import paho.mqtt.client as paho

    from tests.brokers import Broker
    from tests.databases import Influx, VictoriaMetrics

PROFILE = """\
profile: talker
version: 1
family: talk
topics: ["talk/{site}/{device}"]
time: {path: ts, unit: ms}
qos: 2
windows: [1min]
quantities:
  level: {path: level, unit: "1"}
  total: {path: total, kind: counter, unit: L}
  words: {path: words, kind: text}
"""
GONE, OTHER = "meter-00042", "meter-00043"
EACH = 40


class Talking:
    """Two devices that publish, as often as they are told to."""

    def __init__(self, broker: Broker) -> None:
        self.said: dict[str, list[bytes]] = {GONE: [], OTHER: []}
        self._client: paho.Client = client(broker, "devices")
        self._client.connect(broker.host, broker.port)
        self._client.loop_start()

    def speak(self, device: str, payload: bytes) -> None:
        """Publish at QoS 2; return once the broker has it."""
        self.said[device].append(payload)
        self._client.publish(f"talk/lyon/{device}", payload, qos=2).wait_for_publish(30)

    def readings(self, device: str, count: int = EACH) -> None:
        """Publish some readings, and something that is refused."""
        begin = time.time_ns() // 10**6 - 240_000
        for n in range(len(self.said[device]), len(self.said[device]) + count):
            told = {"ts": begin + 500 * n, "level": 3.5 + n, "total": 100 + n, "words": f"{device} says {n}"}
            self.speak(device, json.dumps(told).encode())
        self.speak(device, b'{"never finished by ' + device.encode())

    @property
    def count(self) -> int:
        """How many uplinks they have sent."""
        return sum(map(len, self.said.values()))

    def end(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def profiles(tmp_path: Path) -> Path:
    (tmp_path / "profiles" / "talker").mkdir(parents=True)
    (tmp_path / "profiles" / "talker" / "profile.yaml").write_text(PROFILE)
    return tmp_path / "profiles"


def holding(folder: Path, *wanted: bytes) -> list[str]:
    """Return the files of a folder that hold some bytes."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path.name for path in paths if any(each in path.read_bytes() for each in wanted))


def _treated(now: dict[str, Any]) -> int:
    return int(now["uplinks"]["journalled"] - now["uplinks"]["pending"])


def of(influx: Influx, device: str) -> list[dict[str, Any]]:
    """Return all points of a device."""
    return influx.query(f"SELECT * FROM /.*/ WHERE device = '{device}'")  # noqa: S608 - our own name


def readings_of(influx: Influx, device: str) -> list[tuple[Any, ...]]:
    """Return a device's raw points, oldest first."""
    return [
        tuple(row[field] for field in ("time", "level", "total", "words"))
        for row in of(influx, device)
        if row["name"] == "talk"
    ]


def sinks(influx: Influx, metrics: VictoriaMetrics) -> Iterator[dict[str, Any]]:
    yield {"name": "influx", "kind": "influxdb1", "url": influx.url}
    yield {"name": "metrics", "kind": "victoriametrics", "url": metrics.url}
    yield {"name": "embedded", "kind": "embedded"}


@pytest.mark.mosquitto
@pytest.mark.influxdb
@pytest.mark.victoriametrics
def test_beside_a_gateway_that_runs(tmp_path: Path, profiles: Path) -> None:
    """It steps aside, and comes back: the same process, the same session, the books balance."""
    folder = tmp_path / "gateway"
    folder.mkdir()
    rows = "".join(f"lyon,{device},talker\n" for device in (GONE, OTHER))
    (folder / "devices.csv").write_text(f"site,id,profile\n{rows}")
    with (
        mosquitto(tmp_path / "broker") as broker,
        influxdb(tmp_path / "influx") as influx,
        victoria_metrics(tmp_path / "metrics") as metrics,
        gateway(folder, broker, *sinks(influx, metrics), profiles=profiles) as running,
    ):
        talking = Talking(broker)
        talking.readings(GONE)
        talking.readings(OTHER)
        running.drained(uplinks=talking.count)
        assert len(of(influx, GONE)) >= EACH
        selector = f'{{device="{GONE}"}}'
        wait_until(lambda: bool(metrics.export(selector)), within_s=20, what="points in VictoriaMetrics")
        before = readings_of(influx, OTHER)
        # What waits for a sink when the gateway steps aside is erased from its outbox.
        fetch(f"{running.url}/api/sinks/influx/pause?seconds=600", data=b"")
        talking.readings(GONE, 5)
        talking.readings(OTHER, 5)
        running.wait(lambda now: _treated(now) == talking.count, "the rest is treated")
        # Taken out of the registry it is a stranger: quarantine, and the list of unknown devices.
        (folder / "devices.csv").write_text(f"site,id,profile\nlyon,{OTHER},talker\n")
        stranger = 0
        while not stranger:
            talking.speak(GONE, b'{"level": 1, "words": "a stranger to all"}')
            now = running.wait(lambda now: _treated(now) == talking.count, "that is treated")
            stranger = now["reasons"].get("unknown device", 0)
        pid = running.process.pid if running.process else 0

        # The other one goes on meanwhile; the broker keeps it.
        spoken = threading.Thread(target=talking.readings, args=(OTHER, 20))
        spoken.start()
        done = ecluse(
            "erase", "--device", GONE, "--site", "lyon", "--yes", "--config", folder / "ecluse.toml"
        )
        spoken.join()
        assert done.exit_code == 0, done.output + running.log[-3000:]
        assert holding(running.state, GONE.encode(), *talking.said[GONE]) == []
        assert holding(running.state, OTHER.encode()) != []

        now = running.drained(uplinks=talking.count)
        assert running.process is not None
        assert (running.process.pid, running.process.poll()) == (pid, None)
        assert now["balanced"]
        assert "gap possible" not in running.log
        assert of(influx, GONE) == []
        assert influx.query(f"SHOW SERIES WHERE device = '{GONE}'") == []
        wait_until(lambda: not metrics.export(selector), within_s=20, what="nothing in VictoriaMetrics")
        assert metrics.export(f'{{device="{OTHER}"}}')
        assert readings_of(influx, OTHER)[:EACH] == before
        assert len(readings_of(influx, OTHER)) == EACH + 5 + 20
        answer = running.ask({"measurement": "talk", "limit": "1000"})
        assert GONE not in json.dumps(answer)
        assert OTHER in json.dumps(answer)
        talking.end()
        assert running.stop() == 0
    assert holding(running.state, GONE.encode(), *talking.said[GONE]) == []


@pytest.mark.mosquitto
@pytest.mark.influxdb
def test_what_a_killed_gateway_had_not_treated(tmp_path: Path, profiles: Path) -> None:
    """Journalled, acknowledged, erased, then replayed: counted as erased, and nowhere."""
    folder = tmp_path / "gateway"
    folder.mkdir()
    (folder / "devices.csv").write_text(f"site,id,profile\nlyon,{GONE},talker\nlyon,{OTHER},talker\n")
    with (
        mosquitto(tmp_path / "broker") as broker,
        influxdb(tmp_path / "influx") as influx,
        gateway(
            folder,
            broker,
            {"name": "influx", "kind": "influxdb1", "url": influx.url},
            profiles=profiles,
            more={"checkpoint": {"every": "60s"}},
        ) as running,
    ):
        talking = Talking(broker)
        talking.readings(GONE)
        talking.readings(OTHER)
        running.drained(uplinks=talking.count)
        running.kill()
        (folder / "devices.csv").write_text(f"site,id,profile\nlyon,{OTHER},talker\n")
        done = ecluse(
            "erase", "--device", GONE, "--site", "lyon", "--yes", "--config", folder / "ecluse.toml"
        )
        assert done.exit_code == 0, done.output
        assert holding(running.state, GONE.encode(), *talking.said[GONE]) == []
        running.start()
        now = running.drained(uplinks=talking.count)
        assert now["balanced"]
        assert now["uplinks"]["erased"] == EACH + 1
        assert of(influx, GONE) == []
        assert len(of(influx, OTHER)) >= EACH
        talking.end()
        assert running.stop() == 0
