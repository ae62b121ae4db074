"""The same flow over nats-server, the broker of the demonstration, with a kill in the midst."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.brokers import nats
from tests.integration import stored
from tests.integration.city import city, fleet, scale_from
from tests.integration.gateway_process import gateway
from tests.integration.oracle import Truth
from tests.integration.quarantined import quarantined
from tests.integration.recount import recount

if TYPE_CHECKING:
    from pathlib import Path

MESSAGES = 2_000


async def test_a_city_over_nats_server(tmp_path: Path) -> None:
    """Spoken to in MQTT 3.1.1; what was not acknowledged comes again; all of the ledger is stored."""
    specs = fleet(tmp_path / "devices.csv", 60)
    scale = scale_from("2026-06-15T06:00:00+00:00", speed=3_000)
    more = {"broker": {"silence": "10min"}}
    with (
        nats(tmp_path, ack_wait="3s") as broker,
        gateway(tmp_path, broker, scale=scale, more=more) as running,
    ):
        assert (running.status() or {})["connection"]["protocol"] == "3.1.1"
        with city(tmp_path, broker, scale=scale, devices=60, messages=MESSAGES) as people:
            running.wait(lambda now: now["uplinks"]["journalled"] > MESSAGES / 4, "it flows")
            running.kill()
            running.start()
            ledger = people.wait(within_s=90)
        # It sends again what was not acknowledged some seconds later, not at once.
        sent = {(entry.topic.encode(), entry.payload) for entry in ledger.entries}
        status = running.drained(uplinks=len(sent), within_s=60)
        assert running.stop() == 0
    truth = Truth.of(ledger, specs)
    had = stored.from_embedded(running.state / "embedded.duckdb")
    stored.assert_same(truth.raw(), {family: had[family] for family in truth.raw()}, where="embedded store")
    again = await recount(running.state, ledger, specs)
    assert again.heard == sent
    assert quarantined(running.state) == again.refused
    assert status["balanced"]
