"""The short forms of the campaign's faults, with a fixed seed each; `make chaos` runs the long ones."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.chaos import broker_faults, clock_faults, disk_faults, fuzzed, sink_faults, traffic_faults
from tests.chaos.broker_faults import KEEPING
from tests.chaos.clock_faults import LEAP
from tests.chaos.database_proxy import Ill
from tests.chaos.sink_faults import DOWN

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.chaos.outcome import Outcome

SEED = 20261122

SHORT: dict[str, Callable[[Path, random.Random], Outcome]] = {
    "a database that fails": lambda folder, rng: sink_faults.every_fault(
        folder, rng, [DOWN, "503", "full", Ill.PARTLY, Ill.CUT_ANSWER]
    ),
    "one of two databases away": lambda folder, rng: sink_faults.one_of_two_is_away(
        folder, rng, messages=600
    ),
    "the way to the broker": lambda folder, rng: broker_faults.keeping(
        folder, rng, [act for act in KEEPING if act[0] in ("half open", "refusing")]
    ),
    "a broker without persistence": lambda folder, rng: broker_faults.forgetting(
        folder, rng, kills=1, persistence=False
    ),
    "a disk without syncs": lambda folder, rng: disk_faults.failing(
        folder, rng, [("journal", "not synced"), ("quarantine", "full")]
    ),
    "torn writes": lambda folder, rng: disk_faults.torn(folder, rng, times=1),
    "a rotten state": lambda folder, rng: disk_faults.rotten_state(folder, rng, times=1),
    "a rotten outbox": lambda folder, rng: disk_faults.rotten_outbox(folder, rng, times=1),
    "a rotten quarantine": lambda folder, rng: disk_faults.rotten_quarantine(folder, rng, times=1),
    "a rotten journal": lambda folder, rng: disk_faults.rotten_journal(folder, rng, times=1),
    "a leap day": lambda folder, rng: clock_faults.civil_day(folder, rng, LEAP, devices=30, speed=10_000),
    "disorder": lambda folder, rng: traffic_faults.disorder(folder, rng, readings=200),
    "strangers": lambda folder, rng: traffic_faults.strangers(folder, rng, topics=5_000),
}


@pytest.mark.mosquitto
@pytest.mark.influxdb
@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", SHORT)
def test_nothing_is_lost_and_nothing_doubled(tmp_path: Path, name: str) -> None:
    """Everything else that must be right raises: books, quarantine, what was said to whom."""
    outcome = SHORT[name](tmp_path, random.Random(SEED))
    assert (outcome.lost, outcome.doubled) == (0, 0)
    assert outcome.faults > 0
    assert outcome.messages > 0


def test_mutated_payloads_end_in_one_place() -> None:
    """No decoder raises; `make chaos` tries half a million."""
    outcome = fuzzed.fuzz(random.Random(SEED), 20_000)
    assert (outcome.lost, outcome.doubled) == (0, 0)
