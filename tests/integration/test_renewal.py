"""SIGHUP: credentials and certificates are exchanged while it flows; the session stays, nothing is lost."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.brokers import certificates, mosquitto, publish
from tests.integration.gateway_process import gateway

if TYPE_CHECKING:
    from pathlib import Path

    from tests.brokers import Broker
    from tests.integration.gateway_process import GatewayProcess

pytestmark = [pytest.mark.mosquitto, pytest.mark.timeout(120)]
LOT = 300
BINS = "site,id,profile,param.empty\n" + "".join(f"lyon,bin-{n},bin-level,1800\n" for n in range(7))


@pytest.fixture(autouse=True)
def registered(tmp_path: Path) -> None:
    """The bins are known."""
    (tmp_path / "devices.csv").write_text(BINS, encoding="utf-8")


def said(running: GatewayProcess, broker: Broker, lot: int, *, name: str = "publisher") -> None:
    """Let bins speak, each uplink with a time of its own."""
    begin_ms = 1_000 * (((running.status() or {})["now_ns"] // 10**9) - 3_600)
    uplinks = [
        (f"city/lyon/bin/bin-{n % 7}/up", _bin(begin_ms + 1_000 * (lot * LOT + n), 500 + n))
        for n in range(LOT)
    ]
    publish(broker, uplinks, name=f"{name}-{lot}")


def _bin(at_ms: int, distance: int) -> bytes:
    return json.dumps({"seq": distance, "ts": at_ms, "dist_mm": distance}).encode()


def reload(running: GatewayProcess) -> None:
    """Send SIGHUP."""
    assert running.process is not None
    os.kill(running.process.pid, signal.SIGHUP)


def connected(now: dict[str, Any], times: int) -> bool:
    """Tell whether it has connected so often, and is."""
    link = now["connection"]
    return bool(link["state"] == "connected" and link["connects"] >= times)


def nothing_lost(running: GatewayProcess, uplinks: int) -> None:
    """Everything that was published is decoded, once; the broker kept the session throughout."""
    now = running.drained(uplinks=uplinks)
    assert now["uplinks"]["decoded"] == now["uplinks"]["journalled"], now["uplinks"]
    assert len(running.ask({"measurement": "waste", "limit": "10000"})["rows"]) == uplinks
    assert now["connection"]["sessions_lost"] == 0
    assert "gap possible" not in running.log
    assert now["balanced"]


def test_another_password(tmp_path: Path) -> None:
    """Changed at the broker first, then here; the broker keeps what comes between."""
    secret = tmp_path / "secret"
    secret.write_text("one\n")
    more = {
        "broker": {"username": "ecluse", "password_file": str(secret)},
    }
    with (
        mosquitto(tmp_path, users={"ecluse": "one"}) as broker,
        gateway(tmp_path, broker, more=more) as running,
    ):
        said(running, broker, 0)
        broker.reload(users={"ecluse": "two"})
        said(running, broker, 1)
        secret.write_text("two\n")
        reload(running)
        running.wait(lambda now: connected(now, 2), "connected with the new password")
        said(running, broker, 2)
        nothing_lost(running, 3 * LOT)
        assert running.component("credentials")["state"] == "ok"
        # Nothing has changed: nothing happens.
        connects = (running.status() or {})["connection"]["connects"]
        reload(running)
        running.wait(lambda _: running.log.count("credentials read again") == 2, "read again")
        assert (running.status() or {})["connection"]["connects"] == connects
        assert running.stop() == 0


def test_bad_files_change_nothing(tmp_path: Path) -> None:
    """They are said, with their names; the connection stays, and what is right again is taken."""
    secret, token = tmp_path / "secret", tmp_path / "token"
    secret.write_text("one\n")
    token.write_text("key\n")
    more = {
        "broker": {"username": "ecluse", "password_file": str(secret)},
    }
    influx = {
        "name": "influx",
        "kind": "influxdb2",
        "url": "http://127.0.0.1:9",
        "token_file": str(token),
        "policy": "drop-oldest",
    }
    embedded = {"name": "embedded", "kind": "embedded"}
    with (
        mosquitto(tmp_path, users={"ecluse": "one"}) as broker,
        gateway(tmp_path, broker, embedded, influx, more=more) as running,
    ):
        said(running, broker, 0)
        secret.write_text("")
        token.unlink()
        reload(running)
        running.wait(lambda _: running.component("credentials")["state"] == "degraded", "refused")
        error = running.component("credentials")["last_error"]
        assert "secret: this secret is empty" in error
        assert "token: cannot read this secret" in error
        said(running, broker, 1)
        now = running.wait(lambda now: now["uplinks"]["decoded"] == 2 * LOT, "it flows")
        assert now["connection"]["connects"] == 1
        secret.write_text("one\n")
        token.write_text("other\n")
        settings = running.folder / "ecluse.toml"
        text = settings.read_text(encoding="utf-8")
        settings.write_text(text.replace('default_zone = "Europe/Paris"', 'default_zone = "UTC"'))
        reload(running)
        running.wait(lambda _: running.component("credentials")["state"] == "ok", "taken")
        assert '"changed": ["sink influx"]' in running.log
        assert '"settings": ["default_zone"]' in running.log
        settings.write_text("no = toml = at all")
        reload(running)
        running.wait(lambda _: "is not TOML" in running.component("credentials")["last_error"], "refused")
        assert (running.status() or {})["connection"]["connects"] == 1
        assert running.stop() == 0


def test_another_authority(tmp_path: Path) -> None:
    """First both are trusted: connected anew in good order. Then the broker shows its new certificate."""
    with mosquitto(tmp_path, tls=True) as broker:
        assert broker.ca_file is not None
        (tmp_path / "next").mkdir()
        renewed = certificates(tmp_path / "next", name="Next authority")
        ours = tmp_path / "authority.pem"
        ours.write_bytes(broker.ca_file.read_bytes())
        with gateway(tmp_path, broker, more={"broker": {"ca_file": str(ours)}}) as running:
            said(running, broker, 0)
            ours.write_text("-----BEGIN NOTHING-----")
            reload(running)
            running.wait(lambda _: running.component("credentials")["state"] == "degraded", "refused")
            assert "authority.pem" in running.component("credentials")["last_error"]
            assert (running.status() or {})["connection"]["connects"] == 1
            ours.write_bytes(broker.ca_file.read_bytes() + renewed[0].read_bytes())
            reload(running)
            running.wait(lambda now: connected(now, 2), "connected, with trust in both")
            said(running, broker, 1)
            nothing_lost(running, 2 * LOT)
            assert (running.status() or {})["readings"]["duplicate"] == 0, "in good order: nothing came twice"
            for file in renewed:
                (broker.ca_file.parent / file.name).write_bytes(file.read_bytes())
            broker.stop()  # Mosquitto 2.0.11 reads certificates at its start alone
            broker.start()
            running.wait(lambda now: connected(now, 3), "connected under the new authority")
            said(running, broker, 2)
            nothing_lost(running, 3 * LOT)
            ours.write_bytes(renewed[0].read_bytes())
            reload(running)
            running.wait(lambda now: connected(now, 4), "connected, with trust in the new one alone")
            assert running.stop() == 0


def test_profiles_and_devices_at_once(tmp_path: Path) -> None:
    """Without waiting for the next look at the folder."""
    with mosquitto(tmp_path) as broker, gateway(tmp_path, broker) as running:
        running.devices.write_text(BINS + "lyon,bin-8,bin-level,1800\n")
        reload(running)
        running.wait(lambda now: now["fleet"]["known"] == 8, "the device is known", within_s=5)
        assert "reading again" in running.log
        assert running.stop() == 0
