"""Growth, in small: every message is dealt with, and checkpoints write what has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.benchmarks import days

if TYPE_CHECKING:
    from pathlib import Path


def test_a_small_fleet_for_half_a_day(tmp_path: Path) -> None:
    """All readings and windows, blocks beyond the memory on disk, checkpoints that do not grow."""
    found = days.measure(tmp_path, devices=500, days=0.5, hot="1MB")
    assert found["messages"] == found["decoded"] == 500 * 48
    assert found["aggregated"] == 6 * found["messages"]
    assert found["windows"] >= 500 * (46 + 10)
    assert found["blocks"] == 48
    assert found["hot_blocks"] < 10
    assert found["hot_mb"] < 1.2
    start, end = found["checkpoints_at_the_start"], found["checkpoints_at_the_end"]
    assert end["mb_a_commit"] < 1.5 * start["mb_a_commit"]
    assert found["memory_mb"][-1][1] < found["peak_mb"] + 1


def test_a_small_registry_starts(tmp_path: Path) -> None:
    """For the first time, again, with a row that changed, and while it runs."""
    found = days.start_up(tmp_path, devices=3_000)
    assert found["first"]["seconds"] > 0
    assert found["one_changed"]["cpu_s"] < 30
    assert found["changed_while_running"]["longest_loop_lag_s"] < 5
