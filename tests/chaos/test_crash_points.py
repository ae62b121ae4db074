"""Crash points: they are where they say, and they kill."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.chaos import crash_points
from tests.chaos.crash_points import POINTS

PROGRAM = """
import asyncio, tempfile
from pathlib import Path
from gateway.sinks.outbox import Entry, Outbox
from tests.chaos.crash_points import BY_NAME, arm

arm(BY_NAME["{point}"], {passing})

async def live():
    outbox = await Outbox.open(Path(tempfile.mkdtemp()) / "outbox-a.db", max_bytes=1_000_000)
    await outbox.register("a", "hold")
    print("registered", flush=True)
    for n in range(5):
        await outbox.append([Entry(b"body", 1, 0)])
        print("appended", n, flush=True)
        await outbox.settle()
        print("settled", n, flush=True)

asyncio.run(live())
"""


@pytest.mark.parametrize("point", POINTS, ids=str)
def test_every_point_is_somewhere_in_the_gateway(point: crash_points.Point) -> None:
    """A method that is renamed takes its crash point with it."""
    owner, name = crash_points.resolve(point.target)
    assert callable(getattr(owner, name))


def test_names_are_names_of_one_point() -> None:
    """They are how a launcher is told."""
    assert len(crash_points.BY_NAME) == len(POINTS)


@pytest.mark.parametrize(
    ("point", "passing", "said"),
    [
        ("before appending to an outbox", 2, "settled 0"),
        ("after appending to an outbox", 1, "registered"),
        ("before the outbox's write", 3, "appended 0"),
        ("after opening an outbox", 1, ""),
        ("before the state's sync", 1, "settled 4"),
    ],
)
def test_a_process_dies_at_its_point(point: str, passing: int, said: str) -> None:
    """At that passing, with SIGKILL; a point that it does not pass does nothing."""
    program = PROGRAM.format(point=point, passing=passing)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == (0 if said == "settled 4" else -9), done.stderr
    assert (done.stdout.splitlines() or [""])[-1] == said
