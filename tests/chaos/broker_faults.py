"""Everything that a broker, and the way to it, can do to a gateway.

What the broker itself forgets is its own loss: it is counted apart, and must have been said ("gap possible")
where the gateway can know. What reached the gateway must be stored once in effect, whatever happens.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.brokers import mosquitto, shipped_settings
from tests.chaos.broker_proxy import BrokerProxy
from tests.chaos.life import Life, check_books, living, rest, weigh
from tests.chaos.outcome import Outcome, together
from tests.databases import influxdb
from tests.integration import stored
from tests.integration.oracle import Truth

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tests.brokers import Broker
    from tests.chaos.outcome import Scenario

KEEPALIVE_S = 2
"""A half-open connection is noticed after one and a half of these."""
NOT_AVAILABLE, BUSY, QUOTA = 0x88, 0x89, 0x97
"""Reasons after which the gateway asks again by itself."""
TAKEN_OVER = 4
"""The exit code."""
MORE = {"broker": {"silence": "10min", "keepalive": f"{KEEPALIVE_S}s", "client_id": "ecluse-test"}}
SHORT_EXPIRY_S = 1

Act = tuple[str, "Callable[[Life, Broker, BrokerProxy, random.Random], None]"]


def _half_open(life: Life, broker: Broker, proxy: BrokerProxy, rng: random.Random) -> None:
    """Nothing passes and nothing is closed: both sides believe in it until a keepalive is missed."""
    del broker, rng
    proxy.stall()


def _cut(life: Life, broker: Broker, proxy: BrokerProxy, rng: random.Random) -> None:
    del broker, rng
    proxy.cut()


def _refusing(life: Life, broker: Broker, proxy: BrokerProxy, rng: random.Random) -> None:
    """CONNACK says no, for a while."""
    del broker
    before = proxy.refused
    proxy.refuse(rng.choice((NOT_AVAILABLE, BUSY, QUOTA)))
    _until(lambda: proxy.refused > before, "refused")
    _until(lambda: life.running.component("broker").get("state") == "down", "said")
    rest(rng.uniform(0.0, 1.0))
    proxy.refuse(None)


def _frozen(life: Life, broker: Broker, proxy: BrokerProxy, rng: random.Random) -> None:
    """It listens, and does nothing."""
    del proxy
    broker.freeze()
    rest(rng.uniform(0.5, 2.5 * KEEPALIVE_S))
    broker.thaw()


def _restarted(life: Life, broker: Broker, proxy: BrokerProxy, rng: random.Random) -> None:
    """Stopped in order, so that it saves everything."""
    del proxy
    broker.stop()
    rest(rng.uniform(0.0, 1.5))
    broker.start()


def _taken_over(life: Life, broker: Broker, proxy: BrokerProxy, rng: random.Random) -> None:
    """Another client takes the session again and again, and answers nothing: it ends, and says why."""
    del proxy, rng
    process = life.running.process
    assert process is not None
    for _ in range(150):  # three times within a minute, and the gateway waits longer each time
        with _intruder(broker):
            rest(0.3)
        rest(1.0)
        if process.poll() is not None:
            break
    assert life.running.ended() == TAKEN_OVER, life.running.log[-2000:]
    assert "another client uses the identifier 'ecluse-test'" in life.running.log
    life.running.start()


@contextlib.contextmanager
def _intruder(broker: Broker) -> Iterator[None]:
    """Connect under the gateway's name, into its session, and answer nothing."""
    expiry = Properties(PacketTypes.CONNECT)
    expiry.SessionExpiryInterval = 7 * 86_400
    client = paho.Client(
        CallbackAPIVersion.VERSION2, client_id="ecluse-test", protocol=paho.MQTTv5, manual_ack=True
    )
    client.connect(broker.host, broker.port, clean_start=False, properties=expiry)
    client.loop_start()
    try:
        yield
    finally:
        client.loop_stop()
        sock = client.socket()
        if sock is not None:  # without a good-bye, which would end the session sooner
            sock.close()


KEEPING: tuple[Act, ...] = (
    ("half open", _half_open),
    ("cut", _cut),
    ("refusing", _refusing),
    ("frozen", _frozen),
    ("restarted", _restarted),
    ("taken over", _taken_over),
)
"""After these the broker still has everything: nothing may be lost."""


def keeping(folder: Path, rng: random.Random, acts: Sequence[Act]) -> Outcome:
    """Hurt the way to a broker that keeps what it has, in an order of the seed's: nothing at all is lost."""
    order = rng.sample(acts, len(acts))
    recoveries: list[float] = []
    with (
        mosquitto(folder) as broker,
        BrokerProxy(broker).running() as proxy,
        influxdb(folder / "influx") as influx,
    ):
        sink = {"name": "influx", "kind": "influxdb1", "url": influx.url}
        with living(folder, broker, sink, through=proxy.as_broker(folder), more=MORE) as life:
            for _, act in order:
                life.flows(20)
                rest(rng.uniform(0.0, 0.5))
                began = time.monotonic()
                act(life, broker, proxy, rng)
                _flows_again(life)
                recoveries.append(time.monotonic() - began)
            ledger, status = life.calm()
            assert status["connection"]["sessions_lost"] == 0
            assert life.running.stop() == 0, life.running.log[-3000:]
        had = stored.from_influx(influx)
    check_books(life.running.state, ledger, life.specs, status)
    cost = weigh(Truth.of(ledger, life.specs), had, by=status["over_ns"])
    return Outcome(len(order), len(ledger.entries), cost.lost, cost.doubled, tuple(recoveries))


def _flows_again(life: Life) -> None:
    """Return once uplinks come; a gateway that was cut off three times in a minute calls it a takeover."""
    try:
        life.flows(20, within_s=90)
    except AssertionError:
        process = life.running.process
        if process is None or process.poll() != TAKEN_OVER:
            raise
        life.running.start()
        life.flows(20)


def forgetting(folder: Path, rng: random.Random, *, kills: int, persistence: bool) -> Outcome:
    """Kill a broker (SIGKILL), with and without its own persistence.

    What it had acknowledged to the devices and never delivered is counted apart. Without persistence the
    session is gone, and the gateway says so.
    """
    settings = shipped_settings()
    if not persistence:
        settings = settings.replace("persistence true", "persistence false")
    recoveries: list[float] = []
    with mosquitto(folder, settings=settings) as broker, influxdb(folder / "influx") as influx:
        sink = {"name": "influx", "kind": "influxdb1", "url": influx.url}
        with living(folder, broker, sink, more=MORE, faults=0.0) as life:
            for number in range(1, kills + 1):
                life.flows(20)
                rest(rng.uniform(0.0, 0.7))
                broker.kill()
                rest(rng.uniform(0.0, 1.0))
                broker.start()
                began = time.monotonic()
                _flows_again(life)
                recoveries.append(time.monotonic() - began)
                if not persistence:
                    _gap_is_said(life, number)
            ledger, status = life.calm(missing=True)
            assert life.running.stop() == 0, life.running.log[-3000:]
        had = stored.from_influx(influx)
    return _ours(life, ledger, status, had, faults=kills, recoveries=recoveries)


def expired(folder: Path, rng: random.Random) -> Outcome:
    """Be away for longer than the broker keeps the session: what came meanwhile is nobody's; that is said."""
    more = {"broker": {**MORE["broker"], "session_expiry": f"{SHORT_EXPIRY_S}s"}}
    with mosquitto(folder) as broker, influxdb(folder / "influx") as influx:
        sink = {"name": "influx", "kind": "influxdb1", "url": influx.url}
        with living(folder, broker, sink, more=more, faults=0.0) as life:
            life.flows(100)
            rest(rng.uniform(0.0, 0.5))
            life.running.kill()
            rest(SHORT_EXPIRY_S + 6.0)
            began = time.monotonic()
            life.running.start()
            recovery = time.monotonic() - began
            _gap_is_said(life, 1)
            life.flows(100)
            ledger, status = life.calm(missing=True)
            assert life.running.stop() == 0, life.running.log[-3000:]
        had = stored.from_influx(influx)
    return _ours(life, ledger, status, had, faults=1, recoveries=[recovery])


def _ours(
    life: Life, ledger: Any, status: Any, had: Any, *, faults: int, recoveries: Sequence[float]
) -> Outcome:
    """Hold what is stored to what reached the gateway; say what the broker lost."""
    again = check_books(life.running.state, ledger, life.specs, status)
    told = {(entry.topic.encode(), entry.payload) for entry in ledger.entries}
    assert again.heard <= told
    unheard = len(told - again.heard)
    print(f"  lost by the broker, though acknowledged: {unheard} of {len(told)}")  # noqa: T201
    cost = weigh(again.truth, had, by=status["over_ns"])
    return Outcome(faults, len(ledger.entries), cost.lost, cost.doubled, tuple(recoveries))


def _gap_is_said(life: Life, times: int) -> None:
    now = life.running.wait(lambda now: now["connection"]["sessions_lost"] == times, "the gap is counted")
    (part,) = (part for part in now["components"] if part["name"] == "broker")
    assert "gap possible" in part["last_error"], part
    assert "gap possible" in life.running.log


def _until(condition: Callable[[], bool], what: str, within_s: float = 60) -> None:
    ends = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < ends, f"{what}: not within {within_s} s"
        rest(0.05)


def _keeping(folder: Path, rng: random.Random) -> Outcome:
    return keeping(folder, rng, KEEPING * 3)


def _forgetting(folder: Path, rng: random.Random) -> Outcome:
    parts = []
    for persistence in (True, False):
        part = folder / ("persistent" if persistence else "forgetful")
        part.mkdir()
        parts.append(forgetting(part, rng, kills=6, persistence=persistence))
    return together(parts)


SCENARIOS: dict[str, Scenario] = {
    "the way to the broker": _keeping,
    "a broker that is killed": _forgetting,
    "a session that expires": expired,
}
