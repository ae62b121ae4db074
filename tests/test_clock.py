"""Time as a value: the machine's, scaled, and by hand."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.clock import ManualClock, Scale, SystemClock, boot_name, rfc3339, steady_ns

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


def stepping(scale: Scale | None = None) -> tuple[list[int], SystemClock]:
    """Return [wall, steady], ns, to be set by hand, and a clock that reads them."""
    machine = [NOW_NS, 7 * HOUR_NS]
    clock = SystemClock(scale, wall=lambda: machine[0], steady=lambda: machine[1], boot=lambda: "this one")
    return machine, clock


def go(machine: list[int], seconds: float) -> None:
    """Let wall and steady clock go on together."""
    machine[:] = [at_ns + int(seconds * 1e9) for at_ns in machine]


def test_small_steps_are_followed() -> None:
    """As NTP makes them, back and forth, however many."""
    machine, clock = stepping()
    for step in (59.0, -59.0, 30.0, 59.0, 59.0):
        go(machine, 5)
        machine[0] += int(step * 1e9)
        assert clock.now_ns() == machine[0]
    assert not clock.suspect


@pytest.mark.parametrize("step", [3_600.0, -3_600.0, 61.0, -(10**9)])
def test_a_large_step_is_not_followed(step: float) -> None:
    """The time given goes on as if nothing had been; the face shows both, and for how long it is level."""
    machine, clock = stepping()
    go(machine, 5)
    machine[0] += int(step * 1e9)
    go(machine, 10)
    assert clock.now_ns() == NOW_NS + 15 * 10**9
    assert clock.suspect
    go(machine, 20)
    face = clock.face()
    assert face.given_ns == NOW_NS + 35 * 10**9
    assert face.wall_ns - face.given_ns == int(step * 1e9)
    assert face.level_s == 20
    assert face.boot == "this one"
    machine[0] -= int(step * 1e9)
    assert clock.face().level_s == 0, "it has stepped again"
    assert clock.suspect, "it does not decide by itself that all is well"


def test_it_follows_again_in_a_new_era() -> None:
    """What was timed before can be moved to the new time."""
    machine, clock = stepping()
    era, before_ns = clock.era, clock.now_ns()
    machine[0] += HOUR_NS
    assert clock.now_ns() == before_ns
    clock.follow(clock.face())
    assert not clock.suspect
    assert clock.now_ns() == machine[0]
    assert before_ns + clock.moved_ns(era) == machine[0]
    assert clock.moved_ns(clock.era) == 0
    assert clock.era == era + 1


def test_a_step_while_it_is_believed_is_a_new_one() -> None:
    """What the wall clock did between the look and the belief is judged at the next look."""
    machine, clock = stepping()
    machine[0] += HOUR_NS
    face = clock.face()
    machine[0] += HOUR_NS
    clock.follow(face)
    assert clock.now_ns() == NOW_NS + HOUR_NS
    assert clock.suspect


def test_a_stopped_process_is_no_step() -> None:
    """Stopped for an hour between reading one clock and the other: it looks twice."""
    readings = iter([0, 0, 0, HOUR_NS, HOUR_NS])
    machine = [NOW_NS]

    def steady() -> int:
        at_ns = next(readings)
        machine[0] = NOW_NS + (HOUR_NS if len(seen) >= 2 else 0)
        seen.append(at_ns)
        return at_ns

    seen: list[int] = []
    clock = SystemClock(wall=lambda: machine[0], steady=steady, boot=str)
    clock.now_ns()
    assert clock.now_ns() == NOW_NS + HOUR_NS
    assert not clock.suspect


@given(st.lists(st.tuples(st.floats(0, 10**4), st.floats(-(10**6), 10**6)), max_size=30))
def test_the_time_given_never_steps(story: list[tuple[float, float]]) -> None:
    """Whatever the wall clock does: it goes on as the steady one, give or take a small step."""
    machine, clock = stepping()
    before_ns = clock.now_ns()
    for gone, step in story:
        go(machine, gone)
        machine[0] += int(step * 1e9)
        now_ns = clock.now_ns()
        assert abs(now_ns - before_ns - int(gone * 1e9)) <= 60 * 10**9
        before_ns = now_ns


def test_a_scale_alone_is_no_step() -> None:
    """Of the unscaled clock a step is told, however fast event time goes."""
    machine, clock = stepping(Scale(NOW_NS, NOW_NS, 10_000))
    for _ in range(10):
        go(machine, 50)
        clock.now_ns()
    assert not clock.suspect
    assert clock.now_ns() == NOW_NS + 500 * 10_000 * 10**9
    machine[0] += 61 * 10**9
    before = clock.now_ns()
    assert clock.suspect
    face = clock.face()
    assert face.wall_ns - face.given_ns == pytest.approx(61 * 10_000 * 10**9)
    clock.follow(face)
    assert clock.now_ns() == pytest.approx(before + 61 * 10_000 * 10**9, abs=10**6)


def test_the_machine_has_a_steady_clock() -> None:
    """It counts from the machine's start, which has a name."""
    assert 0 < steady_ns() <= steady_ns()
    assert boot_name() == boot_name()


def test_a_time_in_words() -> None:
    """To the second, in UTC."""
    assert rfc3339(NOW_NS) == "2026-11-22T10:15:00Z"
    assert rfc3339(0) == "never"
