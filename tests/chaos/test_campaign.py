"""The campaign: its quick half, and the proof that it finds what it is for."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.chaos import run
from tests.chaos.gateway_with_crash_points import WITHOUT_SYNC
from tests.chaos.ordeal import Size, undergo
from tests.chaos.outcome import Outcome
from tests.chaos.progress import told

if TYPE_CHECKING:
    from pathlib import Path

    from tests.chaos.ordeal import Victim
    from tests.chaos.outcome import Scenario

QUICK = run.scenarios(quick=True)


@pytest.mark.mosquitto
@pytest.mark.influxdb
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", QUICK)
def test_nothing_is_lost_and_nothing_doubled(name: str, tmp_path: Path) -> None:
    """`make chaos-quick`, a scenario at a time."""
    outcome = QUICK[name](tmp_path, run.generator(run.SEED, name))
    assert (outcome.lost, outcome.doubled) == (0, 0)
    assert outcome.faults > 0


@pytest.mark.mosquitto
@pytest.mark.influxdb
@pytest.mark.timeout(300)
def test_a_build_without_its_sync_is_found_out(tmp_path: Path) -> None:
    """The journal is never synced, all else is as it was: after power cuts, what was acknowledged is lost."""

    def hurt(victim: Victim) -> None:
        for _ in range(5):
            victim.cut_power()

    outcome = undergo(
        tmp_path,
        random.Random(7),
        size=Size(devices=100, speed=4_000, messages=1_000),
        hurt=hurt,
        say=told("of 5, without sync"),
        recorded=True,
        environment={WITHOUT_SYNC: "journal"},
        patience_s=5,
    )
    assert outcome.lost > 0


def test_the_last_line_and_the_exit_code_are_the_outcome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """0 where nothing is lost or doubled; 1 where something is, or where a scenario fails or cannot run."""

    def gives(outcome: Outcome) -> Scenario:
        return lambda *_: outcome

    def fails(folder: Path, rng: random.Random) -> Outcome:
        raise AssertionError("the books do not balance")

    def is_missing(folder: Path, rng: random.Random) -> Outcome:
        pytest.skip("needs the Debian package mosquitto")

    known = {
        "well": gives(Outcome(3, 10, 0, 0, (1.0, 3.0))),
        "lost": gives(Outcome(2, 5, 1, 0)),
        "doubled": gives(Outcome(2, 5, 0, 4)),
        "wrong": fails,
        "missing": is_missing,
    }
    monkeypatch.setattr(run, "scenarios", lambda **_: known)
    monkeypatch.setattr(run, "BUILD", tmp_path)

    def ended(*arguments: str) -> tuple[int, str]:
        code = run.main(arguments)
        return code, capsys.readouterr().out.splitlines()[-1]

    assert ended("--only", "well") == (0, "faults=3 messages=10 lost=0 doubled=0")
    assert ended("--only", "lost") == (1, "faults=2 messages=5 lost=1 doubled=0")
    assert ended("--only", "doubled") == (1, "faults=2 messages=5 lost=0 doubled=4")
    assert ended("--only", "wrong") == (1, "faults=0 messages=0 lost=0 doubled=0")
    assert ended("--only", "missing") == (1, "faults=0 messages=0 lost=0 doubled=0")
    assert ended() == (1, "faults=7 messages=20 lost=1 doubled=4")
    with pytest.raises(SystemExit):
        run.main(["--only", "unheard of"])


def test_an_instant_is_the_seeds_and_the_scenarios() -> None:
    """The same seed gives the same; what runs beside it changes nothing."""
    assert run.generator(1, "kills").random() == run.generator(1, "kills").random()
    assert run.generator(1, "kills").random() != run.generator(1, "power cuts").random()
    assert run.generator(1, "kills").random() != run.generator(2, "kills").random()
