"""Publishing to real brokers: everything arrives, the ledger says what did, nothing is lost on the way."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from firmware_sim.clock import Pace, Scale
from firmware_sim.connection import Broker as Address
from firmware_sim.faults import Rates
from firmware_sim.fleet import Fleet
from firmware_sim.ledger import Contents, read
from firmware_sim.model import HOUR, MINUTE, SECOND, Span
from firmware_sim.publish import BrokerRefused
from firmware_sim.session import Plan, perform
from tests import brokers
from tests.processes import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WORD = secrets.token_hex(8)
START = 1_794_816_000 * SECOND  # 2026-11-16T08:00Z


class Heard:
    """Everything that a subscriber was given, in order."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self.ready = threading.Event()


@contextlib.contextmanager
def subscriber(broker: brokers.Broker) -> Iterator[Heard]:
    heard = Heard()
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="listener", clean_session=False)
    if broker.username is not None:
        client.username_pw_set(broker.username, broker.password)
    if broker.ca_file is not None:
        client.tls_set(ca_certs=str(broker.ca_file))
    client.reconnect_delay_set(1, 1)
    client.on_connect = lambda c, *_: c.subscribe("city/#", qos=1)
    client.on_subscribe = lambda *_: heard.ready.set()
    client.on_message = lambda _c, _d, message: heard.messages.append((message.topic, message.payload))
    client.connect(broker.host, broker.port)
    client.loop_start()
    try:
        assert heard.ready.wait(10)
        yield heard
    finally:
        client.disconnect()
        client.loop_stop()


def plan(to: brokers.Broker, ledger: Path, **changes: object) -> Plan:
    wanted = {
        "specs": Fleet.of(40).specs(1),
        "span": Span(seed=1, origin_ns=START, start_ns=START),
        "rates": Rates.of(0.05),
        "pace": Pace(None),
        "broker": Address(to.host, to.port, username=to.username, password=to.password),
        "end_ns": START + 6 * HOUR,
        "ledger": ledger,
        "patience_s": 10.0,
    }
    return Plan(**{**wanted, **changes})  # type: ignore[arg-type]


async def published(wanted: Plan, said: list[str] | None = None) -> Contents:
    tally = await perform(wanted, say=(said if said is not None else []).append, stop=asyncio.Event())
    assert tally.outstanding == 0
    assert wanted.ledger is not None
    return read(wanted.ledger)


def agree(heard: Heard, contents: Contents) -> None:
    """Wait until everything in the ledger was heard, and nothing else."""
    sent = Counter((entry.topic, entry.payload) for entry in contents.entries)
    wait_until(lambda: len(heard.messages) >= sent.total(), within_s=20, what="all messages heard")
    assert Counter(heard.messages) == sent
    assert contents.acknowledged == {entry.n for entry in contents.entries}
    assert contents.ended


@pytest.mark.mosquitto
@pytest.mark.parametrize(("connections", "version"), [(1, 4), (4, 5), (0, 4)])
async def test_everything_arrives(tmp_path: Path, connections: int, version: int) -> None:
    """What the ledger says was published is what a subscriber hears, over few connections or one each."""
    with brokers.mosquitto(tmp_path) as broker, subscriber(broker) as heard:
        address = Address(broker.host, broker.port, version=version)
        contents = await published(
            plan(broker, tmp_path / "ledger.jsonl", connections=connections, broker=address, window=50)
        )
        agree(heard, contents)
    assert len(contents.entries) > 600
    assert {"stored", "duplicate", "flagged"} < set(contents.expectations())
    by_device: dict[str, list[bytes]] = {}
    for entry in contents.entries:
        by_device.setdefault(entry.topic, []).append(entry.payload)
    arrived: dict[str, list[bytes]] = {}
    for topic, payload in heard.messages:
        arrived.setdefault(topic, []).append(payload)
    assert arrived == by_device  # the order of a device's messages is kept


async def test_nats(tmp_path: Path) -> None:
    """The demo's broker, which speaks MQTT 3.1.1, takes the city too."""
    with brokers.nats(tmp_path) as broker, subscriber(broker) as heard:
        agree(heard, await published(plan(broker, tmp_path / "ledger.jsonl", end_ns=START + 2 * HOUR)))


@pytest.mark.mosquitto
async def test_password_and_tls(tmp_path: Path) -> None:
    """With an authority, a user and a password the city is published over TLS."""
    with (
        brokers.mosquitto(tmp_path, users={"city": WORD}, tls=True) as broker,
        subscriber(broker) as heard,
    ):
        address = Address(
            "localhost", broker.port, username="city", password=WORD, tls=True, ca_file=broker.ca_file
        )
        wanted = plan(broker, tmp_path / "ledger.jsonl", broker=address, end_ns=START + 2 * HOUR)
        agree(heard, await published(wanted))


@pytest.mark.mosquitto
@pytest.mark.parametrize("version", [4, 5])
async def test_wrong_password_ends_the_run(tmp_path: Path, version: int) -> None:
    """A refusal of the credentials is said at once, with the broker's words."""
    with brokers.mosquitto(tmp_path, users={"city": WORD}) as broker:
        address = Address(broker.host, broker.port, version=version, username="city", password=WORD[1:])
        with pytest.raises(BrokerRefused, match=r"refused .+(?i:not authori|password)"):
            await published(plan(broker, tmp_path / "ledger.jsonl", broker=address))


async def test_no_broker_ends_the_run(tmp_path: Path) -> None:
    """Where nobody listens the run ends after its patience, naming the address."""
    port = free_port()
    nobody = brokers.Broker("127.0.0.1", port, (), tmp_path / "log")
    with pytest.raises(BrokerRefused, match=str(port)):
        await published(plan(nobody, tmp_path / "ledger.jsonl", patience_s=0.3))


@pytest.mark.mosquitto
async def test_a_broker_that_goes_away_loses_nothing(tmp_path: Path) -> None:
    """While the broker is killed and comes back the run goes on; what was not acknowledged is sent again."""
    with brokers.mosquitto(tmp_path) as broker:
        said: list[str] = []
        wanted = plan(broker, tmp_path / "ledger.jsonl", end_ns=START + 60 * HOUR, connections=3, window=500)
        running = asyncio.create_task(published(wanted, said))
        ledger = tmp_path / "ledger.jsonl"
        begun = partial(wait_until, within_s=30, what="messages")
        await asyncio.to_thread(begun, lambda: ledger.exists() and ledger.stat().st_size > 1_000_000)
        broker.kill()
        broker.start()
        contents = await running
    assert contents.acknowledged == {entry.n for entry in contents.entries}
    assert contents.resent
    assert any("sent again" in line for line in said)
    assert len(contents.entries) > 6_000


@pytest.mark.mosquitto
async def test_pace(tmp_path: Path) -> None:
    """In scaled time nothing is sent before its time, and a short run hears every device."""
    with brokers.mosquitto(tmp_path) as broker, subscriber(broker) as heard:
        scale = Scale.starting_now(3_600.0, event_origin_ns=START)
        wanted = plan(
            broker,
            tmp_path / "ledger.jsonl",
            pace=Pace(scale),
            end_ns=START + 2 * HOUR,
            span=Span(seed=1, origin_ns=START, start_ns=START, boot_spread_ns=5 * MINUTE),
        )
        contents = await published(wanted)
        agree(heard, contents)
    assert all(entry.published_ns >= entry.due_ns for entry in contents.entries)
    assert {spec.id for spec in wanted.specs} <= {entry.device for entry in contents.entries}


@pytest.mark.mosquitto
def test_the_command_ends_cleanly_on_sigterm(tmp_path: Path) -> None:
    """SIGTERM waits for what is in flight, closes the ledger, and exits with 0."""
    ledger = tmp_path / "ledger.jsonl"
    with brokers.mosquitto(tmp_path) as broker:
        command = [sys.executable, "-m", "firmware_sim", "run", "--port", str(broker.port), "--devices", "50"]
        command += ["--speed", "600", "--ledger", str(ledger), "--fleet", str(tmp_path / "devices.csv")]
        command += ["--scale-file", str(tmp_path / "scale.json")]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            wait_until(
                lambda: ledger.exists() and ledger.stat().st_size > 50_000, within_s=30, what="messages"
            )
            os.kill(process.pid, signal.SIGTERM)
            out, errors = process.communicate(timeout=30)
        finally:
            process.kill()
            process.wait()
    assert process.returncode == 0, errors
    contents = read(ledger)
    assert contents.ended
    assert contents.acknowledged == {entry.n for entry in contents.entries}
    assert f"{len(contents.entries)} messages published".encode() in out
    assert (tmp_path / "devices.csv").exists()
    assert Scale.read(tmp_path / "scale.json").factor == 600


@pytest.mark.mosquitto
def test_a_killed_simulator_leaves_a_true_ledger(tmp_path: Path) -> None:
    """After SIGKILL every message that the broker delivered stands in the ledger."""
    ledger = tmp_path / "ledger.jsonl"
    with brokers.mosquitto(tmp_path) as broker, subscriber(broker) as heard:
        command = [
            sys.executable,
            "-m",
            "firmware_sim",
            "backfill",
            "--from",
            "5d",
            "--port",
            str(broker.port),
        ]
        process = subprocess.Popen([*command, "--ledger", str(ledger)], stdout=subprocess.DEVNULL)
        try:
            wait_until(lambda: len(heard.messages) > 1_000, within_s=30, what="messages")
        finally:
            process.kill()
            process.wait()
        known = Counter((entry.topic, entry.payload) for entry in read(ledger).entries)
        assert not Counter(heard.messages) - known
