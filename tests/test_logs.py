"""How a replay is told: a bar for a person, lines for a collector."""

from __future__ import annotations

import sys
import time

import pytest
from structlog.testing import capture_logs

from gateway.health.snapshot import Replay
from gateway.logs import ReplayProgress


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return [seconds] that time.monotonic shows."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_a_collector_gets_a_line_now_and_then(at: list[float]) -> None:
    """With the share and how long it will last; a replay of an instant says nothing."""
    progress = ReplayProgress()
    with capture_logs() as said:
        for position in range(1, 11):
            at[0] += 0.4
            progress(Replay(begin=0, position=position, end=10, seconds=at[0] - 100))
    assert [(line["position"], line["share"], line["left_s"]) for line in said] == [
        (3, 0.3, pytest.approx(2.8)),
        (6, 0.6, pytest.approx(1.6)),
        (9, 0.9, pytest.approx(0.4)),
    ]


def test_a_person_sees_a_bar(
    at: list[float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On one line, which is gone when it has ended."""
    progress = ReplayProgress()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    at[0] += 2
    progress(Replay(begin=100, position=150, end=200, seconds=2.0))
    drawn = capsys.readouterr().err
    assert f"[{'#' * 15}{'-' * 15}]" in drawn
    assert "50%, record 150 of 200, about 2 s left" in drawn
    assert "\n" not in drawn
    progress(Replay(begin=100, position=200, end=200, seconds=2.1))
    assert capsys.readouterr().err == "\r\x1b[K"


def test_before_anything_is_done_no_time_is_promised() -> None:
    """And where there is nothing to do, all of it is done."""
    replay = Replay(begin=5, position=5, end=9, seconds=1.0)
    assert (replay.share, replay.left_s) == (0.0, None)
    assert replay.sentence() == "replaying the journal: 0%, record 5 of 9"
    assert Replay(begin=5, position=5, end=5, seconds=0.0).share == 1.0
