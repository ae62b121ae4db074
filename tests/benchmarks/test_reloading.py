"""Profiles changed under load, in small."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.benchmarks import reloading

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.mosquitto
def test_nothing_is_lost_and_nobody_disconnects(tmp_path: Path) -> None:
    """A profile added, changed, removed at 10,000 messages a second: all are stored, over one connection."""
    found = reloading.measure(tmp_path, seconds=6)
    assert found["problems"] == []
    assert found["connections"] == 1
    assert found["changes"] == found["in force"] == 3
    assert found["messages"] > 20_000
