"""Ten minutes at full load, in small."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.benchmarks import endurance

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.mosquitto
def test_three_seconds_at_full_load(tmp_path: Path) -> None:
    """What was sent was journalled, decoded and written; every second has its figures."""
    found = endurance.measure(tmp_path, seconds=3, every_s=1, warm_s=1)
    assert found["problems"] == []
    assert found["messages"] > 0
    assert len(found["course"]) >= 2
    assert all(second["rate"] > 0 and second["journal_mb"] > 0 for second in found["course"])
    assert found["segments removed"] == 0
    assert found["durable_p99_at_most_s, most"] > 0
