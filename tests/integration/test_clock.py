"""A gateway on a machine whose clock is set: what it stores is what a calm run stores."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from firmware_sim.model import HOUR
from tests.brokers import mosquitto
from tests.integration import stored
from tests.integration.city import city, fleet, scale_from
from tests.integration.gateway_process import PROJECT, gateway
from tests.integration.oracle import Truth
from tests.integration.recount import recount

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.gateway_process import GatewayProcess

DEVICES = 60
SPEED = 600.0
BEGINS = "2026-03-25T09:40:00+00:00"
AN_HOUR = 3_600.0


class Machine:
    """A gateway, and the wall clock of its machine."""

    def __init__(self, running: GatewayProcess) -> None:
        self._file = running.folder / "seconds"
        self._running = running
        running.program = ("-m", "tests.integration.stepped", str(self._file))

    def set(self, seconds: float) -> None:
        """Set the wall clock that far from the right time, at once: the file is exchanged whole."""
        new = self._file.with_suffix(".new")
        new.write_text(str(seconds), encoding="ascii")
        new.rename(self._file)

    def is_suspect(self) -> dict[str, Any]:
        """Wait until the gateway says so, and all that is not decoded waits for that."""
        return self._running.wait(
            lambda now: now["clock"]["suspect"] and 0 < now["clock"]["waiting"] == now["uplinks"]["pending"],
            "the clock is suspect",
        )

    def is_settled(self, *, within_s: float = 40) -> dict[str, Any]:
        """Wait until the gateway says so, and until what waited was decoded."""
        return self._running.wait(
            lambda now: not now["clock"]["suspect"] and now["uplinks"]["pending"] < 50,
            "the clock is settled",
            within_s=within_s,
        )


@pytest.mark.mosquitto
@pytest.mark.timeout(400)
async def test_a_clock_that_is_set_changes_nothing(tmp_path: Path) -> None:
    """An hour forth and back; an hour back and a kill; a start before the newest record: all is right.

    The city goes on all the while. Nothing is decoded while the clock is suspect, and no window is closed.
    """
    specs = fleet(tmp_path / "devices.csv", DEVICES)
    scale = scale_from(BEGINS, speed=SPEED)
    more = {"broker": {"silence": "10min"}, "checkpoint": {"every": "1s"}}
    with (
        mosquitto(tmp_path) as broker,
        gateway(tmp_path, broker, scale=scale, more=more, start=False) as running,
    ):
        machine = Machine(running)
        running.start()
        with city(tmp_path, broker, scale=scale, devices=DEVICES) as people:
            running.wait(lambda now: now["windows"] > 0, "windows are written")
            # Forth, and back: believed after a minute.
            machine.set(AN_HOUR)
            before = machine.is_suspect()
            after = running.wait(lambda now: now["clock"]["waiting"] > 100, "more waits")
            assert after["uplinks"]["decoded"] - before["uplinks"]["decoded"] == 0
            assert after["windows"] == before["windows"]
            assert running.component("clock")["state"] == "degraded"
            machine.set(0)
            machine.is_settled(within_s=90)
            running.wait(lambda _: "clock settled" in running.log, "it is said")
            # Back, and killed; set right meanwhile, and confirmed.
            machine.set(-AN_HOUR)
            machine.is_suspect()
            running.kill()
            running.start()
            machine.is_suspect()
            machine.set(0)
            assert _ecluse(running, "clock", "show").returncode == 1
            said = _ecluse(running, "clock", "confirm")
            assert said.returncode == 0, said.stderr
            assert "is believed" in said.stdout
            machine.is_settled()
            assert _ecluse(running, "clock", "show").returncode == 0
            # Stopped in order; a start before the newest record.
            assert running.stop() == 0
            machine.set(-AN_HOUR)
            running.start()
            machine.is_suspect()
            assert running.stop() == 0
            running.start()
            machine.is_suspect()
            machine.set(0)
            _ecluse(running, "clock", "confirm")
            machine.is_settled()
            ledger = people.end()
        over = running.drained(uplinks=len(ledger.entries))["now_ns"]
        running.wait(lambda now: now["now_ns"] > over + 3 * HOUR, "what has ended is written")
        status = running.drained()
        assert running.stop() == 0
    again = await recount(running.state, ledger, specs)
    truth, had = Truth.of(ledger, specs), stored.from_embedded(running.state / "embedded.duckdb")
    assert stored.assert_same(truth.raw(), had, where="the embedded store") > 1_000
    windows = stored.ended(truth.windows(), had, by=over)
    assert stored.assert_same(windows, had, where="the embedded store") > 1_000
    assert status["balanced"]
    for book, counted in (("uplinks", again.uplinks), ("readings", again.readings)):
        told = {name: count for name, count in status[book].items() if count}
        assert told == {name: count for name, count in counted.items() if count}, book
    assert status["reasons"] == dict(again.reasons)


def _ecluse(running: GatewayProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway", *arguments, "--config", str(running.folder / "ecluse.toml")]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=PROJECT)
