"""What is away, wrong or in the way: said in the status, waited for, and nothing lost of what was taken."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
import urllib.parse
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from tests.brokers import Broker, mosquitto, publish
from tests.databases import fetch, influxdb
from tests.integration import stored
from tests.integration.city import city, fleet, scale_from
from tests.integration.gateway_process import PROJECT, gateway, own_profiles, write_settings
from tests.integration.oracle import Truth
from tests.integration.quarantined import quarantined
from tests.processes import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.databases import Influx
    from tests.integration.gateway_process import GatewayProcess

BIN = "city/lyon/bin/bin-00001/up"
BROKER_REFUSED, STORAGE, CONFIGURATION = 4, 5, 3
BEGINS = "2026-06-15T06:00:00+00:00"

pytestmark = pytest.mark.mosquitto


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with mosquitto(tmp_path / "broker") as running:
        yield running


def uplink(seq: int = 0, **changes: Any) -> bytes:
    """Return a bin's payload of this moment; a second lies between numbers."""
    ts = time.time_ns() // 1_000_000 - 60_000 + seq * 1_000
    body = {"id": "bin-00001", "seq": seq, "ts": ts, "dist_mm": 900 + seq, "temp_c": 12.5}
    return orjson.dumps(body | {"battery_v": 3.6, "tilt": 0, "rssi": -90} | changes)


def ecluse(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of ours to its end."""
    command = [sys.executable, "-m", "gateway", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=PROJECT, timeout=60)


def stored_rows(running: GatewayProcess) -> int:
    """Return how many raw points of bins the embedded store has."""
    with contextlib.suppress(AssertionError):
        return len(running.ask({"measurement": "waste", "limit": "10000"})["rows"])
    return 0


# --- databases ---


@pytest.mark.influxdb
def test_a_database_that_is_killed_is_waited_for(broker: Broker, tmp_path: Path) -> None:
    """Depth climbs and drains, the books return to zero, the other sink never waits, nothing is lost."""
    specs = fleet(tmp_path / "devices.csv", 60)
    port = free_port()
    scale = scale_from(BEGINS, speed=3_000)
    sinks = (
        {"name": "influx", "kind": "influxdb1", "url": f"http://127.0.0.1:{port}", "create": True},
        {"name": "embedded", "kind": "embedded"},
    )
    with (
        gateway(tmp_path, broker, *sinks, scale=scale) as running,
        city(tmp_path, broker, scale=scale, devices=60, messages=3_000) as people,
    ):
        with influxdb(tmp_path / "influx", port=port) as influx:
            running.wait(lambda now: now["sinks"]["influx"]["stored"] > 1_000, "it flows")
            influx.process.kill()
            before = running.wait(
                lambda now: now["sinks"]["influx"]["waiting"] > 3_000, "depth climbs", within_s=60
            )
            part = running.component("sink influx")
            assert part["state"] == "down"
            assert "cannot be reached" in part["last_error"]
            assert not before["ready"]
            assert before["balanced"]
            assert before["queues"]["outbox influx"]["bytes"] > 0
            goal = before["sinks"]["embedded"]["stored"] + 1_000
            running.wait(lambda now: now["sinks"]["embedded"]["stored"] > goal, "the other sink goes on")
        with influxdb(tmp_path / "influx", port=port) as influx:
            ledger = people.wait(within_s=60)
            status = running.drained(uplinks=3_000, within_s=90)
            assert status["ready"]
            assert status["balanced"]
            had = stored.from_influx(influx)
        assert running.stop() == 0
    truth = Truth.of(ledger, specs)
    stored.assert_same(truth.raw(), {family: had[family] for family in truth.raw()}, where="InfluxDB")


@pytest.mark.influxdb
def test_a_full_outbox_holds_the_river_and_loses_nothing(broker: Broker, tmp_path: Path) -> None:
    """Nothing more is acknowledged: the broker keeps it, the status says so; then all of it comes."""
    specs = fleet(tmp_path / "devices.csv", 60)
    port = free_port()
    scale = scale_from(BEGINS, speed=3_000)
    sink = {"name": "influx", "kind": "influxdb1", "url": f"http://127.0.0.1:{port}", "create": True}
    more = {"outbox": {"size": "200kB"}, "broker": {"memory": "100kB", "silence": "10min"}}
    with (
        gateway(tmp_path, broker, sink, scale=scale, more=more) as running,
        city(tmp_path, broker, scale=scale, devices=60, messages=1_200) as people,
    ):
        wait_until(lambda: running.component("river")["state"] == "degraded", within_s=60, what="held")
        assert "full" in running.component("river")["last_error"]
        ledger = people.wait(within_s=90)
        held = running.status() or {}
        assert held["uplinks"]["journalled"] < 1_200
        assert held["balanced"]
        running.kill()
        with influxdb(tmp_path / "influx", port=port) as influx:
            running.start()
            status = running.drained(uplinks=1_200, within_s=90)
            assert status["balanced"]
            assert status["sinks"]["influx"]["dropped"] == 0
            had = stored.from_influx(influx)
        assert running.stop() == 0
    truth = Truth.of(ledger, specs)
    stored.assert_same(truth.raw(), {family: had[family] for family in truth.raw()}, where="InfluxDB")


@pytest.mark.influxdb
def test_an_optional_sink_gives_up_its_oldest_points(broker: Broker, tmp_path: Path) -> None:
    """`drop-oldest`: counted, the books balance, and the river goes on for the others."""
    specs = fleet(tmp_path / "devices.csv", 60)
    port = free_port()
    scale = scale_from(BEGINS, speed=3_000)
    url = f"http://127.0.0.1:{port}"
    sinks = (
        {"name": "influx", "kind": "influxdb1", "url": url, "create": True, "policy": "drop-oldest"},
        {"name": "embedded", "kind": "embedded"},
    )
    more = {"outbox": {"size": "200kB"}}
    with (
        gateway(tmp_path, broker, *sinks, scale=scale, more=more) as running,
        city(tmp_path, broker, scale=scale, devices=60, messages=1_200) as people,
    ):
        running.wait(lambda now: now["sinks"]["influx"]["dropped"] > 500, "given up", within_s=90)
        ledger = people.wait(within_s=90)
        running.drained(uplinks=1_200, of=("embedded",))
        assert running.stop() == 0
        with influxdb(tmp_path / "influx", port=port) as influx:
            running.start()
            status = running.drained(uplinks=1_200)
            assert status["balanced"]
            book = status["sinks"]["influx"]
            assert book["made"] == book["stored"] + book["dropped"]
            assert book["stored"] > 0
            had = stored.from_influx(influx)
        assert running.stop() == 0
    truth = Truth.of(ledger, specs)
    raw = truth.raw()
    embedded = stored.from_embedded(running.state / "embedded.duckdb")
    stored.assert_same(raw, {family: embedded[family] for family in raw}, where="embedded store")
    for family, points in raw.items():
        assert had[family].keys() <= points.keys()


@pytest.mark.influxdb
def test_a_missing_database_is_said_and_nothing_is_lost(broker: Broker, tmp_path: Path) -> None:
    """The status names what to do; once a person has done it, everything arrives."""
    fleet(tmp_path / "devices.csv", 3)
    with influxdb(tmp_path / "influx", database="") as influx:
        sink = {"name": "influx", "kind": "influxdb1", "url": influx.url}
        with gateway(tmp_path, broker, sink) as running:
            publish(broker, [(BIN, uplink(n)) for n in range(20)])
            running.wait(lambda now: now["sinks"]["influx"]["waiting"] >= 20, "they wait")
            part = running.component("sink influx")
            assert part["state"] == "down"
            assert "database not found" in part["last_error"]
            assert "create ecluse" in part["last_error"]
            influx.create("ecluse")
            assert running.stop() == 0
            running.start()
            status = running.drained(uplinks=20)
            assert status["sinks"]["influx"]["stored"] >= 20
            assert status["balanced"]
        assert len(influx.query("SELECT distance FROM waste")) == 20


@pytest.mark.influxdb
def test_wrong_credentials_are_said_once_and_nothing_is_lost(broker: Broker, tmp_path: Path) -> None:
    """The status says that the server does not know them; with the right ones everything arrives."""
    fleet(tmp_path / "devices.csv", 3)
    with influxdb(tmp_path / "influx", auth=True) as influx:
        _ask(influx, "CREATE USER keeper WITH PASSWORD 'right' WITH ALL PRIVILEGES")
        _ask(influx, "CREATE DATABASE ecluse", u="keeper", p="right")
        sink = {
            "name": "influx",
            "kind": "influxdb1",
            "url": influx.url,
            "username": "keeper",
            "token": "wrong",
        }
        with gateway(tmp_path, broker, sink) as running:
            publish(broker, [(BIN, uplink(n)) for n in range(20)])
            running.wait(lambda now: now["sinks"]["influx"]["waiting"] >= 20, "they wait")
            part = running.component("sink influx")
            assert part["state"] == "down"
            assert "401" in part["last_error"]
            assert "check the sink's token" in part["last_error"]
            assert running.log.count("sink unavailable") == 1
            assert "wrong" not in part["last_error"]
            assert running.stop() == 0
            write_settings(tmp_path, broker, sink | {"token": "right"})
            running.start()
            status = running.drained(uplinks=20)
            assert status["balanced"]
        found = _ask(influx, "SELECT count(distance) FROM waste", u="keeper", p="right")
        assert b",20]" in found


def _ask(influx: Influx, text: str, **user: str) -> bytes:
    form = urllib.parse.urlencode({"q": text})
    return fetch(f"{influx.url}/query?{urllib.parse.urlencode(user | {'db': 'ecluse'})}", data=form.encode())


# --- the broker ---


def test_a_broker_that_is_killed_is_come_back_to(broker: Broker, tmp_path: Path) -> None:
    """While it is away the status says so; then uplinks flow again, without a restart."""
    fleet(tmp_path / "devices.csv", 3)
    with gateway(tmp_path, broker) as running:
        publish(broker, [(BIN, uplink(n)) for n in range(10)])
        running.drained(uplinks=10)
        broker.kill()
        wait_until(lambda: running.component("broker")["state"] == "down", within_s=20, what="said")
        assert running.component("broker")["last_error"]
        broker.start()
        running.wait(lambda now: now["connection"]["connects"] >= 2, "connected again", within_s=60)
        publish(broker, [(BIN, uplink(n)) for n in range(10, 30)])
        status = running.drained(uplinks=30)
        assert status["readings"]["duplicate"] == 0
        assert status["balanced"]
        assert stored_rows(running) == 30


def test_what_a_broker_holds_survives_both(broker: Broker, tmp_path: Path) -> None:
    """Published while the gateway is dead, over a restart of the broker: all of it comes."""
    fleet(tmp_path / "devices.csv", 3)
    with gateway(tmp_path, broker) as running:
        publish(broker, [(BIN, uplink(0))])
        running.drained(uplinks=1)
        running.kill()
        publish(broker, [(BIN, uplink(n)) for n in range(1, 200)])
        broker.stop()
        broker.start()
        running.start()
        status = running.drained(uplinks=200)
        assert status["connection"]["sessions_lost"] == 0
        assert stored_rows(running) == 200


def test_of_two_gateways_with_one_client_id_one_stops(broker: Broker, tmp_path: Path) -> None:
    """The one that was there ends with 4 and says why; the other one goes on."""
    for name in ("first", "second"):
        fleet(tmp_path / name / "devices.csv", 3)
    with gateway(tmp_path / "first", broker) as first, gateway(tmp_path / "second", broker) as second:
        assert first.ended() == BROKER_REFUSED
        assert "another client uses the identifier 'ecluse-test'" in first.log
        publish(broker, [(BIN, uplink(n)) for n in range(5)])
        second.drained(uplinks=5)
        assert stored_rows(second) == 5


# --- starting ---


def test_a_second_gateway_on_one_state_folder_is_refused(broker: Broker, tmp_path: Path) -> None:
    """It ends with 5 before it touches anything; the first one goes on, and is still asked at its address."""
    fleet(tmp_path / "devices.csv", 3)
    with gateway(tmp_path, broker, more={"broker": {"client_id": "first"}}) as first:
        write_settings(tmp_path, broker, more={"broker": {"client_id": "second"}})
        refused = ecluse("run", "--config", str(tmp_path / "ecluse.toml"))
        assert refused.returncode == STORAGE, refused.stderr
        assert "state" in refused.stderr
        assert "Traceback" not in refused.stderr
        publish(broker, [(BIN, uplink(n)) for n in range(5)])
        first.drained(uplinks=5)
        assert stored_rows(first) == 5


def test_wrong_settings_are_refused_with_every_problem(broker: Broker, tmp_path: Path) -> None:
    """Exit code 3, all problems at once, nothing started and nothing made."""
    more = {
        "broker": {"url": "http://nowhere", "keepalive": "soon"},
        "default_zone": "Europe/Lyon",
        "colour": 1,
    }
    path = write_settings(tmp_path, broker, {"name": "influx", "kind": "influxdb9"}, more=more)
    refused = ecluse("run", "--config", str(path))
    assert refused.returncode == CONFIGURATION, refused.stderr
    for told in ("broker", "keepalive", "default_zone", "colour", "sinks"):
        assert told in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "state").exists()


# --- while it runs ---


def test_a_bad_profile_is_refused_and_the_others_run(broker: Broker, tmp_path: Path) -> None:
    """Its file, line and reason are in the status; taken away again, all is well."""
    fleet(tmp_path / "devices.csv", 3)
    profiles = own_profiles(tmp_path)
    with gateway(tmp_path, broker, profiles=profiles) as running:
        bad = profiles / "smoke" / "profile.yaml"
        bad.parent.mkdir()
        bad.write_text("profile: smoke\nversion: 1\nfamily: air\ntopics: [smoke]\nquantities: {}\n")
        wait_until(lambda: running.component("profiles")["state"] == "degraded", within_s=20, what="refused")
        said = running.component("profiles")["last_error"]
        assert f"{bad}:4" in said
        publish(broker, [(BIN, uplink(n)) for n in range(5)])
        running.drained(uplinks=5)
        assert stored_rows(running) == 5
        bad.unlink()
        wait_until(lambda: running.component("profiles")["state"] == "ok", within_s=20, what="well again")


def test_a_changed_profile_takes_effect_without_a_restart(broker: Broker, tmp_path: Path) -> None:
    """From a record of the journal on: what came before was treated by the old version, and stays."""
    fleet(tmp_path / "devices.csv", 3)
    profiles = own_profiles(tmp_path)
    with gateway(tmp_path, broker, profiles=profiles) as running:
        publish(broker, [(BIN, uplink(0, lid=1))])
        running.drained(uplinks=1)
        file = profiles / "bin-level" / "profile.yaml"
        text = file.read_text(encoding="utf-8").replace("version: 1\n", "version: 2\n")
        file.write_text(text + "  lid: {path: lid, states: {0: closed, 1: open}}\n", encoding="utf-8")
        seen = time.monotonic()

        def takes_effect() -> bool:
            publish(broker, [(BIN, uplink(int((time.monotonic() - seen) * 50) + 1, lid=1))])
            rows = running.ask({"measurement": "waste", "limit": "10000"})
            return "lid" in rows["columns"]

        wait_until(takes_effect, within_s=20, what="the new quantity is stored")
        running.kill()
        running.start()
        status = running.drained()
        assert status["balanced"]
        assert status["readings"]["rejected"] == 0


def test_an_adopted_device_is_taken_in_without_a_restart(broker: Broker, tmp_path: Path) -> None:
    """Unknown: in quarantine and listed; adopted by the command: stored within seconds."""
    fleet(tmp_path / "devices.csv", 3)
    topic = "city/lyon/bin/bin-77777/up"
    with gateway(tmp_path, broker) as running:
        publish(broker, [(topic, uplink(0, id="bin-77777"))])
        running.wait(lambda now: now["fleet"]["unknown"] == 1, "noticed")
        config = ("--config", str(tmp_path / "ecluse.toml"))
        wait_until(
            lambda: "bin-77777" in ecluse("device", "unknown", *config).stdout, within_s=20, what="listed"
        )
        assert [reason for _, _, reason in quarantined(running.state)] == ["unknown device"]
        adopted = ecluse(
            *("device", "adopt", "lyon", "bin-77777", "--profile", "bin-level", "--param", "empty=1500"),
            *config,
        )
        assert adopted.returncode == 0, adopted.stderr
        running.wait(lambda now: now["fleet"]["known"] == 4, "taken in", within_s=15)
        publish(broker, [(topic, uplink(1, id="bin-77777"))])
        running.drained(uplinks=2)
        assert stored_rows(running) == 1
        assert running.starts == 1


def test_an_unknown_payload_is_seen_in_quarantine(broker: Broker, tmp_path: Path) -> None:
    """Acknowledged, counted, and there with its reason for a person to look at, while the gateway runs."""
    fleet(tmp_path / "devices.csv", 3)
    with gateway(tmp_path, broker) as running:
        publish(broker, [(BIN, b"hello"), ("city/lyon/bin/bin-00001/up", uplink(1))])
        status = running.drained(uplinks=2)
        assert status["reasons"] == {"not json": 1}
        assert status["uplinks"]["quarantined"] == 1
        listed = ecluse("quarantine", "list", "--config", str(tmp_path / "ecluse.toml"))
        assert listed.returncode == 0
        assert "not json" in listed.stdout
        assert "hello" in listed.stdout
