"""What a campaign's ordeal has cost: everything that is left of it, held against the ledger."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from firmware_sim.model import HOUR
from tests.integration import stored
from tests.integration.oracle import Truth, bounds
from tests.integration.quarantined import quarantined
from tests.integration.recount import recount

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from firmware_sim.ledger import Contents, Entry
    from firmware_sim.model import Spec
    from tests.integration.oracle import Tables

EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is left of an ordeal.

    The ledger, the points in InfluxDB, the event time when all had come, the state folder of a gateway that
    has ended, copies of the journal's trimmed files, the last status.
    """

    ledger: Contents
    specs: Sequence[Spec]
    had: Tables
    over_ns: int
    state: Path
    kept: Path
    status: dict[str, Any]
    embedded: bool = False


def judge(evidence: Evidence, say: Callable[[str], None]) -> tuple[int, int]:
    """Return how much is lost and how much is doubled; where nothing is, all else must be right, too.

    Counted are raw points, windows, and rows of the quarantine. Raises AssertionError: a flag, a book or the
    embedded store is wrong though nothing is lost.
    """
    truth = Truth.of(evidence.ledger, evidence.specs)
    windows = stored.ended(truth.windows(), evidence.had, by=evidence.over_ns)
    found, compared = stored.differences(truth.raw() | windows, evidence.had)
    refused = _refused(evidence)
    for problem in sorted(one.text for one in found)[:EXAMPLES]:
        say(problem)
    doubled = sum(one.doubled for one in found)
    lost = len(found) - doubled + len(refused)
    if not found and not refused:
        assert compared > len(evidence.ledger.entries)
        lengths = {end - start for start, end in (bounds("1d", key[2]) for key in windows["waste_1d"])}
        assert 23 * HOUR in lengths
        stored.check_quality(truth, evidence.had)
        if evidence.embedded:
            embedded = stored.from_embedded(evidence.state / "embedded.duckdb")
            stored.assert_same(evidence.had, embedded, where="embedded store beside InfluxDB", without=())
        doubled += _check_books(evidence)
    return lost, doubled


def _bad(entries: Sequence[Entry]) -> set[tuple[bytes, bytes, str]]:
    return {
        (entry.topic.encode(), entry.payload, entry.expect.partition(":")[2])
        for entry in entries
        if entry.expect.startswith("quarantined:")
    }


def _refused(evidence: Evidence) -> set[tuple[bytes, bytes, str]]:
    """Return the bad messages that are not in quarantine, and what is there though nobody sent it."""
    return _bad(evidence.ledger.entries) ^ quarantined(evidence.state).keys()


def _check_books(evidence: Evidence) -> int:
    """Count everything again from the journal; return how many rows of the quarantine are too many."""
    for path in evidence.kept.iterdir():
        there = evidence.state / "journal" / path.name
        if not there.exists():
            shutil.copyfile(path, there)
    ledger, status = evidence.ledger, evidence.status
    again = asyncio.run(recount(evidence.state, ledger, evidence.specs))
    assert again.heard == {(entry.topic.encode(), entry.payload) for entry in ledger.entries}
    # What was journalled and not acknowledged came again: it counts as what it is, each time.
    came_again = again.uplinks["journalled"] - len(ledger.entries)
    assert came_again + sum(sink["replayed"] for sink in status["sinks"].values()) > 0
    assert status["balanced"]
    for book, counted in (("uplinks", again.uplinks), ("readings", again.readings)):
        told = {name: count for name, count in status[book].items() if count}
        assert told == {name: count for name, count in counted.items() if count}, book
    assert status["reasons"] == dict(again.reasons)
    for name, sink in status["sinks"].items():
        assert sink["made"] == sink["stored"], name
    rows = quarantined(evidence.state)
    missing = again.refused - rows
    assert missing == Counter()
    return sum((rows - again.refused).values())
