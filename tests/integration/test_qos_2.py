"""QoS 2 under `kill -9` and cut connections, at each step of the exchange and at any instant.

The uplinks carry neither time nor sequence, and all look the same: whatever were lost or doubled would show
in the sum. The broker is Mosquitto; between it and the gateway stands a proxy that cuts at a packet.
"""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from tests.brokers import client, mosquitto, publish
from tests.integration.gateway_process import PROJECT, gateway, write_settings
from tests.step_proxy import Kind, Step, StepProxy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import paho.mqtt.client as paho

    from tests.brokers import Broker
    from tests.integration.gateway_process import GatewayProcess

PROFILE = """\
profile: clicker
version: 1
family: clicks
topics: ["clicks/{site}/{device}"]
qos: 2
windows: [15min]
quantities: {n: {path: n, kind: event, unit: "1"}}
"""
DEVICES = 3
EVERY_S = 0.004
SEED = 20261126
BY_CHANCE = 4
"""Faults at random instants, beside those at each step."""
PUBLISHED_FIRST = 20

pytestmark = pytest.mark.mosquitto


def ecluse(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of ours to its end."""
    command = [sys.executable, "-m", "gateway", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=PROJECT, timeout=60)


class Clicking:
    """Devices that publish the same at QoS 2, one after the other, until told to stop."""

    def __init__(self, broker: Broker) -> None:
        self.sent: list[paho.MQTTMessageInfo] = []
        self._client = client(broker, "devices")
        self._over = threading.Event()
        self._client.connect(broker.host, broker.port)
        self._client.loop_start()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> int:
        """Stop; return how many uplinks the broker has taken, which are all."""
        self._over.set()
        self._thread.join()
        for one in self.sent:
            one.wait_for_publish(30)
            assert one.is_published()
        self._client.disconnect()
        self._client.loop_stop()
        return len(self.sent)

    def _run(self) -> None:
        while not self._over.wait(EVERY_S):
            name = f"clicks/lyon/c-{len(self.sent) % DEVICES}"
            self.sent.append(self._client.publish(name, b'{"n": 1}', qos=2))


def faults(rng: random.Random, turn: int) -> Iterator[tuple[Step | None, bool]]:
    """Yield where to cut (None: after a while), and whether the gateway is killed there, too.

    Two turns, 0 and 1, cut and kill at each step, before it and after it.
    """
    found = [
        (Step(kind, rng.randint(1, 6), passes), (number + passes + turn) % 2 == 0)
        for number, kind in enumerate(Kind)
        for passes in (False, True)
    ]
    rng.shuffle(found)
    yield from found
    yield from ((None, bool(n % 2)) for n in range(BY_CHANCE))


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("protocol", "turn"), [("5", 0), ("3.1.1", 1)])
def test_each_uplink_counts_once(tmp_path: Path, protocol: str, turn: int) -> None:
    """Without time and without sequence, over every step of the exchange."""
    rng = random.Random(SEED)
    with mosquitto(tmp_path) as broker, StepProxy(broker).running() as proxy:
        more = {"broker": {"protocol": protocol, "silence": "10min"}, "checkpoint": {"every": "1s"}}
        with gateway(tmp_path, proxy.as_broker(tmp_path), profiles=_profiles(tmp_path), more=more) as running:
            (granted,) = running.wait(lambda now: bool(now["connection"]["subscriptions"]), "subscribed")[
                "connection"
            ]["subscriptions"]
            assert granted == {"filter": "clicks/+/+", "asked": 2, "granted": 2}
            clicking = Clicking(broker)
            _go_through(running, proxy, faults(rng, turn))
            sent = clicking.end()
            status = running.drained(uplinks=sent, within_s=60)
            now = running.wait(lambda now: now["connection"]["unreleased"] == 0, "every exchange is over")
            rows = running.ask({"measurement": "clicks", "limit": "1000000"})["rows"]
            assert running.stop() == 0
    uplinks = status["uplinks"]
    assert sent > PUBLISHED_FIRST * DEVICES
    assert (uplinks["decoded"], len(rows)) == (sent, sent)
    assert uplinks["duplicate"] > 0, "something was sent again"
    assert uplinks["journalled"] == sent + uplinks["duplicate"]
    assert status["balanced"]
    assert status["readings"]["duplicate"] == 0
    assert now["connection"]["sessions_lost"] == 0


def test_check_and_status_say_what_the_broker_grants(tmp_path: Path) -> None:
    """Each filter with its QoS; a lower one is a problem, with what to do about it."""
    profiles = _profiles(tmp_path)
    with mosquitto(tmp_path / "willing") as broker:
        file = write_settings(tmp_path, broker, profiles=profiles)
        told = ecluse("check", "--config", str(file))
        assert told.returncode == 0, told.stdout
        assert "broker: clicks/+/+ at QoS 2" in told.stdout
    with mosquitto(tmp_path / "unwilling", extra="max_qos 1") as broker:
        file = write_settings(tmp_path, broker, profiles=profiles)
        told = ecluse("check", "--config", str(file))
        assert told.returncode == 1
        assert "grants clicks/+/+ at QoS 1 instead of 2" in told.stdout
        assert "max_qos 2" in told.stdout
        with gateway(tmp_path, broker, profiles=profiles) as running:
            running.wait(lambda now: bool(now["connection"]["subscriptions"]), "answered")
            part = running.component("broker")
            assert part["state"] == "degraded"
            assert "clicks/+/+ at QoS 1 instead of 2" in part["last_error"]
            shown = ecluse("status", "--config", str(file)).stdout
            assert "QoS granted" in shown
            assert "clicks/+/+" in shown
            publish(broker, [("clicks/lyon/c-1", b'{"n": 1}')] * 3, qos=1)
            running.drained(uplinks=3)


def _go_through(running: GatewayProcess, proxy: StepProxy, hurts: Iterator[tuple[Step | None, bool]]) -> None:
    seen = 0
    for step, kills in hurts:
        before = seen
        now = running.wait(
            lambda now, before=before: now["uplinks"]["journalled"] > before + PUBLISHED_FIRST, "it flows"
        )
        seen = now["uplinks"]["journalled"]
        if step is None:
            threading.Event().wait(random.random() / 2)
        else:
            proxy.arm(step)
            assert step.reached.wait(20), f"{step} was reached"
        if kills:
            running.kill()
        proxy.go()
        if step is not None:
            step.go_on.set()
        if kills:
            proxy.come_back()
            running.start()
            continue
        # Nobody listens for a while: three ends within a minute would else look like a takeover.
        running.wait(lambda _: "no connection" in running.component("broker")["last_error"], "away")
        proxy.come_back()
        running.wait(lambda now: now["connection"]["state"] == "connected", "connected again")


def _profiles(folder: Path) -> Path:
    (folder / "profiles" / "clicker").mkdir(parents=True)
    (folder / "profiles" / "clicker" / "profile.yaml").write_text(PROFILE, encoding="utf-8")
    rows = "".join(f"lyon,c-{n},clicker\n" for n in range(DEVICES))
    (folder / "devices.csv").write_text(f"site,id,profile\n{rows}", encoding="utf-8")
    return folder / "profiles"
