"""What bad input gets, from a gateway as an operator runs it: refused within bounds, kept, counted, said."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING

import orjson
import pytest

from gateway.ingest.packets import KEPT
from tests.brokers import Broker, mosquitto, publish
from tests.ingest.peer import BadBroker, Message
from tests.integration.gateway_process import gateway
from tests.integration.quarantined import quarantined

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from tests.integration.gateway_process import GatewayProcess

DEVICES = "site,id,profile,param.empty\nlyon,bin-1,bin-level,2000\nlyon,bin-2,bin-level,2000\n"
RATE, SENT, STRANGERS = 20, 60, 300


def topic(device: str) -> str:
    return f"city/lyon/bin/{device}/up"


def uplink(seq: int) -> bytes:
    ts = time.time_ns() // 1_000_000 - 60_000 + seq * 500
    return orjson.dumps({"seq": seq, "ts": ts, "dist_mm": 900, "temp_c": 12.5, "battery_v": 3.6, "tilt": 0})


@pytest.mark.mosquitto
@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_each_bad_thing_beside_a_good_device(tmp_path: Path, protocol: str) -> None:
    """A flood of one device, unknown ids, an array of a million entries, a packet over the maximum.

    The books balance, quarantine stays within its bounds, and the good device has all its readings.
    """
    (tmp_path / "devices.csv").write_text(DEVICES, encoding="utf-8")
    more: dict[str, Any] = {
        "broker": {"protocol": protocol, "max_packet": "100kB"},
        "devices": {"max_rate": f"{RATE}/h"},
        "quarantine": {"per_device": 5, "total": 310},
    }
    million = b"[" + b",".join([b"1"] * 45_000) + b"]"  # as large as a packet may be
    with (
        mosquitto(tmp_path / "broker") as broker,
        gateway(tmp_path, broker, more=more) as running,
    ):
        good = [(topic("bin-2"), uplink(n)) for n in range(5)]
        flood = [(topic("bin-1"), uplink(n)) for n in range(SENT)]
        strangers = [(topic(f"x-{n}"), b"?") for n in range(STRANGERS)]
        oversize = [(topic("bin-2"), b"z" * 200_000)]
        publish(broker, [*good[:2], *flood, *strangers, *good[2:4], (topic("bin-2"), million), *oversize])
        publish(broker, good[4:])
        journalled = SENT + STRANGERS + len(good) + 1
        now = running.drained(uplinks=journalled)
        book = now["uplinks"]
        assert now["balanced"]
        # An hour that ends meanwhile lets as many through again.
        assert SENT - 2 * RATE <= book["rate_limited"] <= SENT - RATE
        assert now["reasons"]["rate limited"] == book["rate_limited"]
        assert now["reasons"]["unknown device"] == STRANGERS
        assert now["reasons"]["too large"] == 1
        assert book["decoded"] == SENT - book["rate_limited"] + len(good)
        # Under MQTT 5 Mosquitto keeps to the maximum that it was told, and drops the packet itself.
        assert now["connection"]["oversize"] == (protocol == "3.1.1")
        assert now["connection"]["connects"] == 1
        assert now["queues"]["quarantine"]["items"] <= 310
        assert now["series"] == 2
    kept = quarantined(tmp_path / "state")
    heads = [row for row in kept if row[1] == b"z" * KEPT]
    assert heads == ([(topic("bin-2").encode(), b"z" * KEPT, "too large")] if protocol == "3.1.1" else [])


def misbehave(
    level: int, folder: Path, check: Callable[[BadBroker, GatewayProcess], None], *says: bytes
) -> None:
    """Run a gateway against a broker that says this; call `check` beside them."""

    def against(bad: BadBroker) -> None:
        (folder / "devices.csv").write_text(DEVICES, encoding="utf-8")
        place = Broker("127.0.0.1", bad.port, (), folder / "none")
        more = {"broker": {"protocol": "5" if level == 5 else "3.1.1"}}
        with gateway(folder, place, more=more, start=False) as running:
            running.start(ready=False)
            check(bad, running)

    async def run() -> None:
        async with BadBroker(level, *says).running() as bad:
            await asyncio.to_thread(against, bad)

    asyncio.run(run())


def test_a_broker_that_ignores_our_maximum(tmp_path: Path) -> None:
    """Under MQTT 5: passed by, kept with its device, acknowledged, on one connection; once, however often."""
    long = Message(topic("bin-1"), b"", packet_id=9, padding=400_000).frame(5)

    def check(bad: BadBroker, running: GatewayProcess) -> None:
        for run in (1, 2):
            running.wait(lambda _, run=run: bad.acknowledged == [9] * run, "acknowledged")
            now = running.status()
            assert now is not None
            assert (now["connection"]["oversize"], now["connection"]["connects"]) == (1, 1)
            assert now["queues"]["quarantine"]["items"] == 1
            if run == 1:
                running.kill()
                running.start(ready=False)

    misbehave(5, tmp_path, check, long)
    assert quarantined(tmp_path / "state") == Counter([(topic("bin-1").encode(), b"x" * KEPT, "too large")])


def test_a_fatal_packet_is_said_with_what_to_do(tmp_path: Path) -> None:
    """What came before it is stored; the status says what to do; its first bytes are in quarantine."""
    good, fatal = Message(topic("bin-1"), uplink(0)).frame(4), b"\x32\x06\x00\x09topi"

    def check(_: BadBroker, running: GatewayProcess) -> None:
        running.wait(
            lambda now: "client id 'ecluse-test'" in now["components"][0]["last_error"], "what to do is said"
        )
        now = running.wait(lambda now: now["uplinks"]["decoded"] > 0, "what came before is decoded")
        assert not now["ready"]

    misbehave(4, tmp_path, check, good + fatal)
    assert [(row[1], row[2]) for row in quarantined(tmp_path / "state")] == [(fatal, "broken packet")]
