"""`make chaos`: every way to hurt a gateway, one after the other, each held against a ledger.

    python -m tests.chaos.run            # everything
    python -m tests.chaos.run --quick    # under two minutes
    python -m tests.chaos.run --only kills --seed 7

Every instant comes from the seed, and its effect from the machine: a seed repeats what was done, not what was
going on meanwhile. The last line is the whole in figures; the exit code is 1 where anything was lost or
doubled, or was wrong in another way.
"""

from __future__ import annotations

import argparse
import importlib
import random
import shutil
import statistics
import sys
import time
import traceback
from typing import TYPE_CHECKING

import pytest

from tests.chaos.outcome import Outcome, together
from tests.integration.gateway_process import PROJECT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.chaos.outcome import Scenario

MODULES = (
    "tests.chaos.kills",
    "tests.chaos.sink_faults",
    "tests.chaos.broker_faults",
    "tests.chaos.disk_faults",
    "tests.chaos.clock_faults",
    "tests.chaos.traffic_faults",
    "tests.chaos.fuzzed",
)
"""Each has `SCENARIOS`, by name; the first one has `QUICK`, too. Tests run the others' short forms."""
BUILD = PROJECT / "build" / "chaos"
SEED = 20261122


def scenarios(*, quick: bool) -> dict[str, Scenario]:
    """Return all scenarios by name, in their order."""
    if quick:
        first: dict[str, Scenario] = importlib.import_module(MODULES[0]).QUICK
        return first
    found: dict[str, Scenario] = {}
    for name in MODULES:
        found |= importlib.import_module(name).SCENARIOS
    return found


def generator(seed: int, name: str) -> random.Random:
    """Return the source of every instant of a scenario, the same whatever runs beside it."""
    return random.Random(f"{seed} {name}")


def perform(name: str, scenario: Scenario, *, seed: int, folder: Path) -> Outcome | None:
    """Run one scenario in an empty folder, which stays where it failed; None where something was wrong."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    began = time.monotonic()
    print(f"{name} (seed {seed})", flush=True)  # noqa: T201 - for whoever watches
    try:
        outcome = scenario(folder, generator(seed, name))
    except pytest.skip.Exception as missing:
        print(f"{name}: NOT RUN: {missing.msg}", flush=True)  # noqa: T201
        return None
    except Exception:  # noqa: BLE001 - whatever it is, the others shall run
        traceback.print_exc()
        print(f"{name}: FAILED; what is left is in {folder}", flush=True)  # noqa: T201
        return None
    if not outcome.lost and not outcome.doubled:
        shutil.rmtree(folder)
    seconds = time.monotonic() - began
    print(f"{name}: {outcome.line()} in {seconds:.0f} s{_recoveries(outcome)}", flush=True)  # noqa: T201
    return outcome


def _recoveries(outcome: Outcome) -> str:
    times = outcome.recoveries_s
    if not times:
        return ""
    return f"; connected again after {statistics.median(times):.1f} s (median), {max(times):.1f} s (longest)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line says; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.run", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="the quick scenarios alone")
    parser.add_argument("--seed", type=int, default=SEED, help="decides every instant (default: %(default)s)")
    parser.add_argument("--only", metavar="NAME", help="this scenario alone")
    asked = parser.parse_args(arguments)
    known = scenarios(quick=asked.quick)
    if asked.only is not None and asked.only not in known:
        parser.error(f"no scenario {asked.only!r}; there are: {', '.join(known)}")
    chosen = {name: known[name] for name in known if asked.only in (None, name)}
    outcomes = [
        perform(name, scenario, seed=asked.seed, folder=BUILD / name.replace(" ", "-"))
        for name, scenario in chosen.items()
    ]
    whole = together(outcome for outcome in outcomes if outcome is not None)
    print(f"all{_recoveries(whole)}")  # noqa: T201
    print(whole.line())  # noqa: T201 - the answer
    return int(None in outcomes or whole.lost > 0 or whole.doubled > 0)


if __name__ == "__main__":
    sys.exit(main())
