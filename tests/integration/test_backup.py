"""A backup of a gateway that works, restored elsewhere: all journalled is stored once, the books balance."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.brokers import mosquitto
from tests.cli.command import ecluse
from tests.integration import stored
from tests.integration.city import city, fleet, scale_from
from tests.integration.gateway_process import gateway
from tests.integration.oracle import Truth
from tests.integration.recount import recount

if TYPE_CHECKING:
    from pathlib import Path

DEVICES = 60
BEGINS = "2026-05-04T10:00:00+00:00"


@pytest.mark.mosquitto
async def test_a_backup_of_a_working_gateway_goes_on_elsewhere(tmp_path: Path) -> None:
    """On the folder of another one, whose broker has nothing for it; the first one is killed."""
    specs = fleet(tmp_path / "one" / "devices.csv", DEVICES)
    scale, copy = scale_from(BEGINS, speed=600), tmp_path / "copy"
    with mosquitto(tmp_path / "one") as broker, gateway(tmp_path / "one", broker, scale=scale) as first:
        with city(tmp_path / "one", broker, scale=scale, devices=DEVICES) as people:
            first.wait(lambda now: now["uplinks"]["journalled"] > 500, "it works")
            said = ecluse("backup", copy, "--config", tmp_path / "one" / "ecluse.toml")
            assert said.exit_code == 0, said.output
            copied = first.wait(lambda now: now["uplinks"]["journalled"] > 0, "it is asked")["uplinks"][
                "journalled"
            ]
            first.wait(lambda now: now["uplinks"]["journalled"] > copied + 20, "it goes on")
            ledger = people.end()
        first.kill()
    assert ecluse("restore", "--check", copy).exit_code == 0

    fleet(tmp_path / "two" / "devices.csv", DEVICES)
    with (
        mosquitto(tmp_path / "two") as broker,
        gateway(tmp_path / "two", broker, scale=scale, start=False) as second,
    ):
        said = ecluse("restore", copy, "--config", tmp_path / "two" / "ecluse.toml")
        assert said.exit_code == 0, said.output
        second.start()
        status = second.drained(uplinks=500)
        assert second.stop() == 0
    again = await recount(second.state, ledger, specs)
    entries = [each for each in ledger.entries if (each.topic.encode(), each.payload) in again.heard]
    assert 500 < len(entries) < len(ledger.entries)
    assert status["uplinks"]["journalled"] == again.uplinks["journalled"]
    assert status["balanced"]
    had = stored.from_embedded(second.state / "embedded.duckdb")
    raw = Truth.of(replace(ledger, entries=entries), specs).raw()
    assert stored.assert_same(raw, had, where="the restored store") > 500
