"""Time as a value: the machine's, scaled, and by hand."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.clock import ManualClock, Scale, SystemClock, rfc3339

if TYPE_CHECKING:
    from pathlib import Path

HOUR_NS = 3_600 * 10**9
NOW_NS = 1_795_342_500_000_000_000


def test_the_system_clock_tells_the_machines_time() -> None:
    """And a monotonic one that never goes back."""
    clock = SystemClock()
    assert abs(clock.now_ns() - time.time_ns()) < 10 * 10**9
    assert clock.factor == 1.0
    before = clock.monotonic_ns()
    assert clock.monotonic_ns() >= before


def test_scaled_time_runs_from_its_origins() -> None:
    """An hour a second at 3,600; what a latency is stays real seconds."""
    scale = Scale(wall_origin_ns=NOW_NS, event_origin_ns=NOW_NS - HOUR_NS, factor=3_600)
    assert scale.event_ns(NOW_NS) == NOW_NS - HOUR_NS
    assert scale.event_ns(NOW_NS + 10**9) == NOW_NS
    running = SystemClock(Scale(time.time_ns() - 10**9, NOW_NS, 3_600))
    assert running.factor == 3_600
    assert running.now_ns() >= NOW_NS + HOUR_NS
    assert 1 <= running.since_s(NOW_NS) < 60


@given(st.integers(0, 10**17), st.integers(0, 10**10), st.floats(1, 10_000))
def test_scaled_time_never_goes_back(elapsed: int, more: int, factor: float) -> None:
    """For three years of it, at any factor."""
    scale = Scale(NOW_NS, NOW_NS, factor)
    assert scale.event_ns(NOW_NS + elapsed + more) >= scale.event_ns(NOW_NS + elapsed)


def test_a_scale_is_resumed_from_its_file(tmp_path: Path) -> None:
    """Gateway and simulator read the same."""
    scale = Scale(NOW_NS, NOW_NS - 5, 600.0)
    scale.write(tmp_path / "scale.json")
    assert Scale.read(tmp_path / "scale.json") == scale


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", ValueError),
        ("[]", TypeError),
        ('{"wall_origin_ns": 1}', TypeError),
        ('{"wall_origin_ns": 1, "event_origin_ns": 1, "factor": 0}', ValueError),
        ('{"wall_origin_ns": 1, "event_origin_ns": 1, "factor": -2}', ValueError),
    ],
)
def test_what_is_no_scale(tmp_path: Path, text: str, error: type[Exception]) -> None:
    """Is refused when it is read: standing time would close no window."""
    (tmp_path / "scale.json").write_text(text)
    with pytest.raises(error):
        Scale.read(tmp_path / "scale.json")


def test_a_manual_clock_goes_when_it_is_told() -> None:
    """Both of its times."""
    clock = ManualClock(NOW_NS)
    clock.advance(1.5)
    assert (clock.now_ns(), clock.monotonic_ns()) == (NOW_NS + 1_500_000_000, 1_500_000_000)
    assert clock.since_s(NOW_NS) == 1.5


def test_a_time_in_words() -> None:
    """To the second, in UTC."""
    assert rfc3339(NOW_NS) == "2026-11-22T10:15:00Z"
    assert rfc3339(0) == "never"
