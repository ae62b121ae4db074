"""`kill -9` and power cuts: at seeded instants, and at every crash point."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.chaos.crash_points import POINTS
from tests.chaos.ordeal import Size, Victim, undergo
from tests.chaos.progress import told

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from pathlib import Path

    from tests.chaos.crash_points import Point
    from tests.chaos.outcome import Outcome, Scenario

    Act = Callable[[Victim, Point | None], None]

QUICK_SIZE = Size(devices=600, speed=1_300, messages=50_000)
QUICK_KILLS, QUICK_CUTS = 20, 10
SECOND_TIMES = 2
FULL_SIZE = Size(devices=600, speed=400, messages=50_000)
KILLS_A_POINT, KILLS_BETWEEN = 2, 70
CUTS_BETWEEN = 40
"""Beside one at each point."""


def kills(folder: Path, rng: random.Random) -> Outcome:
    """At least 200 kills: twice at every crash point, the others at any instant."""
    instants: list[Point | None] = [*POINTS * KILLS_A_POINT, *[None] * KILLS_BETWEEN]
    rng.shuffle(instants)

    def hurt(victim: Victim) -> None:
        for point in instants:
            _kill(victim, point)
        _require_all(victim, victim.kill_at)

    return undergo(folder, rng, size=FULL_SIZE, hurt=hurt, say=told(f"of {len(instants)}"), embedded=True)


def power_cuts(folder: Path, rng: random.Random) -> Outcome:
    """Power cuts, once at every crash point, the others at any instant."""
    instants: list[Point | None] = [*POINTS, *[None] * CUTS_BETWEEN]
    rng.shuffle(instants)

    def hurt(victim: Victim) -> None:
        for point in instants:
            victim.cut_power(point)
        _require_all(victim, victim.cut_power)

    say = told(f"of {len(instants)}")
    return undergo(folder, rng, size=FULL_SIZE, hurt=hurt, say=say, recorded=True, embedded=True)


def kills_and_power_cuts(folder: Path, rng: random.Random) -> Outcome:
    """Some of both, in turns: every second one at a crash point."""
    points = iter(rng.sample(POINTS, (QUICK_KILLS + QUICK_CUTS) // 2))
    acts: list[tuple[Act, Point | None]] = [
        (Victim.cut_power if number % 3 == 2 else _kill, next(points) if number % 2 else None)
        for number in range(QUICK_KILLS + QUICK_CUTS)
    ]
    rng.shuffle(acts)

    def hurt(victim: Victim) -> None:
        for act, point in acts:
            act(victim, point)

    return undergo(folder, rng, size=QUICK_SIZE, hurt=hurt, say=told(f"of {len(acts)}"), recorded=True)


def _kill(victim: Victim, point: Point | None) -> None:
    if point is None:
        victim.kill()
    else:
        victim.kill_at(point)


def _require_all(victim: Victim, hurt_at: Callable[[Point], None]) -> None:
    """A point that is never passed proves nothing: on a busy machine one may need a second time."""
    for _ in range(SECOND_TIMES):
        for point in [point for point in POINTS if point not in victim.reached]:
            hurt_at(point)
    missed = [str(point) for point in POINTS if point not in victim.reached]
    assert not missed, f"never came by: {', '.join(missed)}"


SCENARIOS: dict[str, Scenario] = {"kills": kills, "power cuts": power_cuts}
QUICK: dict[str, Scenario] = {"kills and power cuts": kills_and_power_cuts}
