"""Another gateway, elsewhere, goes on with the state folder of one that was stopped, or killed."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.brokers import mosquitto, publish
from tests.integration.gateway_process import gateway, write_settings

if TYPE_CHECKING:
    from pathlib import Path

    from tests.brokers import Broker
    from tests.integration.gateway_process import GatewayProcess

pytestmark = [pytest.mark.mosquitto, pytest.mark.timeout(120)]
LOT = 400
BINS = "site,id,profile,param.empty\n" + "".join(f"lyon,bin-{n},bin-level,1800\n" for n in range(7))


@pytest.fixture(autouse=True)
def registered(tmp_path: Path) -> None:
    """Both gateways know the bins."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "devices.csv").write_text(BINS, encoding="utf-8")


def rows(running: GatewayProcess) -> int:
    """Return how many points there are of bins."""
    return len(running.ask({"measurement": "waste", "limit": "10000"})["rows"])


def said(broker: Broker, lot: int, now_ns: int) -> None:
    """Let bins speak, each uplink with a time of its own."""
    begin_ms = now_ns // 10**6 - 3_600_000
    publish(
        broker,
        [
            (
                f"city/lyon/bin/bin-{n % 7}/up",
                json.dumps({"ts": begin_ms + 1_000 * (lot * LOT + n), "dist_mm": 500 + n}).encode(),
            )
            for n in range(LOT)
        ],
        name=f"publisher-{lot}",
    )


def moved(first: GatewayProcess, to: Path) -> None:
    """Move what a gateway has to another place: another machine's disk."""
    shutil.copytree(first.state, to / "state")
    shutil.rmtree(first.state)


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_state_folder_moves(tmp_path: Path, end: str) -> None:
    """Another path, the same client identifier: it has session, points and books; nothing is lost."""
    with mosquitto(tmp_path) as broker, gateway(tmp_path / "one", broker) as first:
        now_ns = (first.status() or {})["now_ns"]
        said(broker, 0, now_ns)
        first.wait(lambda now: now["uplinks"]["journalled"] > LOT / 2, "it flows")
        if end == "stop":
            assert first.stop() == 0
        else:
            first.kill()
        said(broker, 1, now_ns)  # nobody is there: the broker keeps it
        moved(first, tmp_path / "two")
        with gateway(tmp_path / "two", broker) as second:
            said(broker, 2, now_ns)
            now = second.drained(uplinks=3 * LOT)
            assert now["uplinks"]["decoded"] == now["uplinks"]["journalled"]
            assert now["connection"]["sessions_lost"] == 0
            assert now["balanced"]
            assert rows(second) == 3 * LOT
            assert second.stop() == 0


def test_under_another_client_identifier_a_gap_is_said(tmp_path: Path) -> None:
    """The session is the broker's, under the old name: what it kept stays there, and the status says so."""
    with mosquitto(tmp_path) as broker, gateway(tmp_path / "one", broker) as first:
        now_ns = (first.status() or {})["now_ns"]
        said(broker, 0, now_ns)
        first.drained(uplinks=LOT)
        assert first.stop() == 0
        said(broker, 1, now_ns)
        moved(first, tmp_path / "two")
        other = {"broker": {"client_id": "another"}}
        with gateway(tmp_path / "two", broker, more=other) as second:
            said(broker, 2, now_ns)
            now = second.drained(uplinks=2 * LOT)
            assert rows(second) == 2 * LOT
            assert now["connection"]["sessions_lost"] == 1
            assert "gap possible" in second.component("broker")["last_error"]
            assert second.stop() == 0
            # Under its own name again, the session gives what it had kept.
            write_settings(tmp_path / "two", broker)
            second.start()
            now = second.drained(uplinks=4 * LOT)
            assert rows(second) == 3 * LOT, "what came meanwhile under both names is stored once"
            assert now["readings"]["duplicate"] > 0
            assert second.stop() == 0


def test_both_at_once_are_refused(tmp_path: Path) -> None:
    """A copy that runs beside the original takes its name at the broker: the first stops, and says why."""
    with mosquitto(tmp_path) as broker, gateway(tmp_path / "one", broker) as first:
        shutil.copytree(first.state, tmp_path / "two" / "state")
        with gateway(tmp_path / "two", broker) as second:
            assert first.ended() == 4
            assert "another client uses the identifier" in first.log
            assert (second.status() or {})["connection"]["state"] == "connected"
            assert second.stop() == 0
