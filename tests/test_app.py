"""The gateway as a process: how it starts, how it ends, what it says, and with which exit code."""

from __future__ import annotations

import json
import resource
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.brokers import nats, publish
from tests.integration.gateway_process import gateway
from tests.processes import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.brokers import Broker
    from tests.integration.gateway_process import GatewayProcess

PROJECT = Path(__file__).parents[1]
OK, CONFIGURATION, BROKER, STORAGE = 0, 3, 4, 5
NOWHERE = {"name": "influx", "kind": "influxdb1", "url": "http://127.0.0.1:9"}
"""A sink whose database is away."""
DEVICES = "site,id,profile,param.empty\nlyon,bin-1,bin-level,1800\n"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with nats(tmp_path / "broker") as running:
        yield running


def bins(count: int, *, size: int = 0) -> list[tuple[str, bytes]]:
    """Return uplinks without a time of their own."""
    more = {"note": "x" * size} if size else {}
    return [
        ("city/lyon/bin/bin-1/up", json.dumps({"dist_mm": 500 + n, **more}).encode()) for n in range(count)
    ]


def ends(running: GatewayProcess, **how: Any) -> tuple[int, str]:
    """Start a gateway that ends by itself; return its exit code and all that it said."""
    running.start(ready=False)
    return running.ended(**how), running.log


def paragraph(said: str) -> list[str]:
    """Return what was printed for a person; there is no traceback."""
    assert "Traceback" not in said, said
    return [line for line in said.splitlines() if line.startswith(("•", "  "))]


# --- how it does not start ---


def test_a_port_that_is_taken(tmp_path: Path, broker: Broker) -> None:
    """Exit 3, one line, and nothing is half started: no journal, no state, no session at the broker."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with gateway(tmp_path, broker, start=False, more={"http": {"port": port}}) as running:
            code, said = ends(running)
    assert code == CONFIGURATION
    assert f"cannot listen on 127.0.0.1:{port}" in paragraph(said)[0]
    assert {file.name for file in running.state.iterdir()} == {"gateway.lock"}


def test_no_profile_at_all(tmp_path: Path, broker: Broker) -> None:
    """Exit 3: nothing could be decoded."""
    with gateway(tmp_path, broker, start=False, profiles=tmp_path / "none") as running:
        code, said = ends(running)
    assert code == CONFIGURATION
    assert "there is no profile here" in paragraph(said)[0]
    assert not (running.state / "journal").exists()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"broker": {"url": "mqtts://127.0.0.1:1", "ca_file": "gone.pem"}}, "gone.pem"),
        ({"broker": {"url": "mqtt://127.0.0.1:1", "password_file": "gone"}}, "cannot read this secret"),
        ({"http": {"token_file": "gone"}}, "cannot read this secret"),
        ({"time_scale_file": "devices.csv"}, "is no time scale"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, broker: Broker, more: dict[str, Any], told: str) -> None:
    """Exit 3, before anything is opened."""
    with gateway(tmp_path, broker, start=False, more=more) as running:
        code, said = ends(running)
    assert code == CONFIGURATION
    assert told in paragraph(said)[0]
    assert not running.state.exists()


def test_two_gateways_on_one_folder(tmp_path: Path, broker: Broker) -> None:
    """The second one ends with 5 and names the first; the first one goes on."""
    with gateway(tmp_path, broker) as running:
        command = [sys.executable, "-m", "gateway", "run", "--config", str(tmp_path / "ecluse.toml")]
        second = subprocess.run(command, capture_output=True, text=True, check=False, cwd=PROJECT, timeout=60)
        assert second.returncode == STORAGE
        assert running.process is not None
        assert f"process ({running.process.pid})" in paragraph(second.stderr)[0]
        assert (running.status() or {})["connection"]["state"] == "connected"


# --- how it ends ---


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_when_told(tmp_path: Path, broker: Broker, number: signal.Signals) -> None:
    """Exit 0; everything received is treated and stored, and the next start has nothing to replay."""
    with gateway(tmp_path, broker) as running:
        running.devices.write_text(DEVICES)
        running.wait(lambda now: now["fleet"]["known"] == 1, "the device is known")
        publish(broker, bins(200))
        running.wait(lambda now: now["uplinks"]["journalled"] == 200, "received")
        assert running.process is not None
        running.process.send_signal(number)
        assert running.ended() == OK
        running.start()
        now = running.wait(lambda now: now["ready"], "ready")
        assert (now["uplinks"]["decoded"], now["uplinks"]["pending"]) == (200, 0)
        assert now["sinks"]["embedded"]["replayed"] == 0
        assert now["balanced"]
        assert running.stop() == OK
    paragraph(running.log)


def test_it_stops_though_broker_and_database_are_away(tmp_path: Path) -> None:
    """Within the sinks' grace: nobody is waited for who may never come."""
    away = _Away(free_port())
    with gateway(tmp_path, away, NOWHERE, start=False) as running:  # type: ignore[arg-type]
        running.start(ready=False)
        running.wait(lambda now: now["components"][-1]["state"] == "down", "the sink is down")
        assert running.stop() == OK
    paragraph(running.log)


class _Away:
    """A broker that is not there."""

    username = password = ca_file = None
    host = "127.0.0.1"

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"mqtt://127.0.0.1:{port}"


def test_it_stops_at_once_after_its_start(tmp_path: Path, broker: Broker) -> None:
    """Whatever it is just doing: opening, replaying, connecting."""
    with gateway(tmp_path, broker, start=False) as running:
        for _ in range(3):
            running.start(ready=False)
            wait_until(lambda: bool(running.url), within_s=30, what="it serves")
            assert running.stop() == OK
    paragraph(running.log)


def test_a_full_outbox_does_not_keep_it_from_stopping(tmp_path: Path, broker: Broker) -> None:
    """The river is held, and says so; what is in hand is left to the broker."""
    more = {"outbox": {"size": "1kB"}, "devices": {"unknown": "accept"}}
    with gateway(tmp_path, broker, NOWHERE, more=more) as running:
        publish(broker, bins(50))
        river = lambda now: next(part for part in now["components"] if part["name"] == "river")  # noqa: E731
        running.wait(lambda now: river(now)["state"] == "degraded", "held")
        publish(broker, bins(50))
        assert running.stop() == OK
    paragraph(running.log)


def test_another_gateway_takes_the_name(tmp_path: Path, broker: Broker) -> None:
    """The first ends in order, with 4, and says so; the second one goes on."""
    with gateway(tmp_path / "one", broker) as first, gateway(tmp_path / "two", broker, start=False) as second:
        second.start(ready=False)
        ended = lambda: [one for one in (first, second) if one.process and one.process.poll() is not None]  # noqa: E731
        wait_until(lambda: bool(ended()), within_s=60, what="one of them ends")
        (loser,) = ended()
        assert loser.ended() == BROKER
        assert "another client uses the identifier" in paragraph(loser.log)[0]
        assert "not closed" not in loser.log


def test_a_journal_that_cannot_be_written(tmp_path: Path) -> None:
    """Exit 5 and one paragraph; what was not durable is not acknowledged, and comes again."""
    accept = {"devices": {"unknown": "accept"}}
    with (
        nats(tmp_path / "broker", ack_wait="2s") as broker,
        gateway(tmp_path, broker, more=accept) as running,
    ):
        publish(broker, bins(10))
        running.wait(lambda now: now["uplinks"]["decoded"] == 10, "received")
        assert running.process is not None
        # As a full disk does: no file may grow any more.
        resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        sending = threading.Thread(target=publish, args=(broker, bins(300, size=3_000)))
        sending.start()
        assert running.ended() == STORAGE
        sending.join()
        told = paragraph(running.log)
        assert told, running.log
        assert any("cannot be written" in line for line in told), told
        running.start()
        now = running.wait(lambda now: now["uplinks"]["decoded"] >= 310, "all of them")
        assert now["uplinks"]["difference"] == now["readings"]["difference"] == 0


def test_what_changes_on_disk_takes_effect(tmp_path: Path, broker: Broker) -> None:
    """A device, a bad row that is told once and keeps its device, a profile that goes."""
    with gateway(tmp_path, broker) as running:
        running.devices.write_text(DEVICES)
        running.wait(lambda now: now["fleet"]["known"] == 1, "the device is known")
        running.devices.write_text(DEVICES.replace("1800", "deep"))
        running.wait(lambda now: _part(now, "devices")["state"] == "degraded", "a bad row is a status")
        running.devices.write_text(DEVICES.replace("1800", "deep") + "lyon,bin-2,bin-level,2000\n")
        now = running.wait(lambda now: now["fleet"]["known"] == 2, "the others change all the same")
        assert "is no number" in _part(now, "devices")["last_error"]
        assert running.stop() == OK
    assert running.log.count("is no number") == 1


def _part(now: dict[str, Any], name: str) -> dict[str, Any]:
    parts: Sequence[dict[str, Any]] = now["components"]
    return next(part for part in parts if part["name"] == name)


# --- a stop that takes its time ---


def test_told_twice_it_only_saves(tmp_path: Path, broker: Broker) -> None:
    """The database is away, and would be waited for: the second signal ends that. Nothing is lost."""
    with gateway(tmp_path, broker, NOWHERE, more={"stop_grace": "60s"}) as running:
        running.devices.write_text(DEVICES)
        running.wait(lambda now: now["fleet"]["known"] == 1, "the device is known")
        publish(broker, bins(200))
        running.wait(lambda now: now["uplinks"]["decoded"] == 200, "decoded")
        assert running.process is not None
        running.process.send_signal(signal.SIGTERM)
        wait_until(lambda: running.status() is None, within_s=10, what="its page is closed")
        running.process.send_signal(signal.SIGINT)
        assert running.ended(within_s=3) == OK
        assert "stopped before all was done" in running.log
        assert '"waiting": {"influx": ' in running.log
        running.start()
        now = running.wait(lambda now: now["sinks"]["influx"]["waiting"] >= 200, "it waits as before")
        assert (now["uplinks"]["decoded"], now["uplinks"]["pending"]) == (200, 0)
        assert now["balanced"]
    paragraph(running.log)


def test_a_grace_ends_decoding_too(tmp_path: Path, broker: Broker) -> None:
    """What is not decoded by then stays in the journal, is said, and is decoded by the next start."""
    with gateway(tmp_path, broker, more={"stop_grace": "0s"}) as running:
        running.devices.write_text(DEVICES)
        running.wait(lambda now: now["fleet"]["known"] == 1, "the device is known")
        publish(broker, bins(3_000))
        assert running.stop() == OK
        assert "stopped" in running.log
        running.start()
        now = running.drained(uplinks=3_000)
        assert now["uplinks"]["decoded"] + now["uplinks"]["duplicate"] == now["uplinks"]["journalled"]
        assert now["balanced"]
        rows = running.ask({"measurement": "waste", "limit": "10000"})["rows"]
        assert len(rows) == 3_000
        assert running.stop() == OK
    paragraph(running.log)
