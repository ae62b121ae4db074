"""The scale file is the one that a gateway reads and writes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from firmware_sim.clock import Pace, Scale
from firmware_sim.model import SECOND

if TYPE_CHECKING:
    from pathlib import Path


def test_file_format(tmp_path: Path) -> None:
    """Three keys, JSON; what is written is read back."""
    path = tmp_path / "scale.json"
    scale = Scale(wall_origin_ns=5, event_origin_ns=1_000, factor=600.0)
    scale.write(path)
    assert json.loads(path.read_text()) == {"wall_origin_ns": 5, "event_origin_ns": 1_000, "factor": 600.0}
    assert Scale.read(path) == scale


def test_same_file_as_the_gateway(tmp_path: Path) -> None:
    """Gateway and simulator read each other's files and give the same event time."""
    from gateway.clock import Scale as GatewayScale

    ours = Scale(wall_origin_ns=3 * SECOND, event_origin_ns=7 * SECOND, factor=2_000.5)
    ours.write(tmp_path / "scale.json")
    theirs = GatewayScale.read(tmp_path / "scale.json")
    assert theirs.event_ns(10 * SECOND + 123) == ours.event_ns(10 * SECOND + 123)


def test_event_time_runs_at_the_factor() -> None:
    """An hour of event time passes in six seconds of wall time at 600."""
    scale = Scale(wall_origin_ns=100 * SECOND, event_origin_ns=0, factor=600.0)
    assert scale.event_ns(106 * SECOND) == 3_600 * SECOND


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"wall_origin_ns": 1}',
        "[]",
        "nonsense",
        '{"wall_origin_ns": 1, "event_origin_ns": 1, "factor": 0}',
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    """A file that is no scale is refused as a ValueError."""
    path = tmp_path / "scale.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r".+"):
        Scale.read(path)


def test_pace() -> None:
    """Without a scale everything is due at once; with one, the future is waited for in wall seconds."""
    assert Pace(None).seconds_until(10**20) == 0
    assert Pace(None).now_ns() is None
    pace = Pace(Scale.starting_now(600.0, event_origin_ns=0))
    assert 5.0 < pace.seconds_until(3_600 * SECOND) <= 6.0
    assert pace.seconds_until(0) <= 0
