"""Applying: the sinks then hold what a gateway with today's rules from the start would have stored."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gateway.errors import JournalError
from gateway.journal.lock import GATEWAY, FolderLock
from gateway.reprocess.comparing import differences
from gateway.reprocess.door import JournalDoor
from gateway.reprocess.rewriting import Needs, lots
from gateway.sinks import rewrites
from tests.reprocess.past import DAY, Past, Step, live, report_of
from tests.reprocess.test_dry_run import NARROW, PLACED, TAGGED, changed
from tests.reprocess.worlds import WEEK, apply, reopened
from tests.river import DEVICES, bin_uplink, topic

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.model import Device
    from gateway.profiles.plan import ProfilePlan

RENAMED = changed(("family: waste", "family: garbage"), ("quantities:", "tags: [street]\n\nquantities:"))
WITHOUT = changed(("  temperature:\n", "  warmth:\n"))
WAYS = pytest.mark.parametrize(
    ("plans", "devices"),
    [(NARROW, DEVICES), (RENAMED, PLACED), (WITHOUT, DEVICES)],
    ids=["another range", "another measurement and tag", "another field"],
)


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory) -> Past:
    """Six days of two bins; the gateway has stopped."""
    return asyncio.run(live(tmp_path_factory.mktemp("week"), WEEK))


def copied(past: Past, folder: Path) -> Past:
    """The same past in a folder of its own, to be changed."""
    shutil.copytree(past.folder, folder)
    return Past(folder, past.stored)


@WAYS
async def test_the_sink_has_what_new_rules_from_the_start_would_have_stored(
    week: Past, tmp_path: Path, plans: dict[str, ProfilePlan], devices: dict[tuple[str, str], Device]
) -> None:
    """To the last field; nothing outside the span is touched, and nothing would change any more."""
    steps = WEEK
    other = await live(tmp_path / "other", [replace(steps[0], plans=plans, devices=devices), *steps[1:]])
    past = copied(week, tmp_path / "past")
    dry_run = past.dry_run(0, plans=plans, devices=devices)
    assert await asyncio.to_thread(apply, past, dry_run) > 0
    before = dict(past.stored)
    outside = {key: fields for key, fields in before.items() if key not in past.in_span(dry_run)}
    past.stored = await reopened(past.folder)
    assert past.in_span(dry_run) == other.in_span(dry_run)
    assert {key: past.stored[key] for key in outside} == outside
    again = past.dry_run(0, plans=plans, devices=devices)
    assert not report_of(again).changes
    assert await asyncio.to_thread(apply, past, again) == 0


async def test_and_back_again(week: Past, tmp_path: Path) -> None:
    """What was removed is written once more, and what was written removed."""
    past = copied(week, tmp_path / "past")
    there = past.dry_run(0, plans=TAGGED, devices=PLACED)
    await asyncio.to_thread(apply, past, there)
    await reopened(past.folder)
    await asyncio.to_thread(apply, past, past.dry_run(0))
    assert await reopened(past.folder) == week.stored


@pytest.mark.parametrize("share", [0.3, 0.99])
async def test_interrupted_anywhere_and_given_again(week: Past, tmp_path: Path, share: float) -> None:
    """The same end, whether the gateway ran meanwhile or not."""
    whole = copied(week, tmp_path / "whole")
    records = await asyncio.to_thread(apply, whole, whole.dry_run(0, plans=WITHOUT))
    wanted = await reopened(whole.folder)
    past = copied(week, tmp_path / "past")
    await asyncio.to_thread(lambda: apply(past, past.dry_run(0, plans=WITHOUT), most=int(share * records)))
    if share > 0.5:
        await reopened(past.folder)
    await asyncio.to_thread(apply, past, past.dry_run(0, plans=WITHOUT))
    assert await reopened(past.folder) == wanted


async def test_what_is_late_afterwards_is_told_once_more(tmp_path: Path) -> None:
    """A reading for the span that comes after it was rewritten: raw as ever, and the next dry run has it."""
    past = await live(tmp_path / "state", WEEK)
    await asyncio.to_thread(apply, past, past.dry_run(0, plans=NARROW))
    late = Step(6 * DAY, [(topic("bin-1"), bin_uplink(80, 950, seq=9_999))])
    past = await live(past.folder, [Step(6 * DAY), late])
    found = {one.measurement: one for one in report_of(past.dry_run(0, plans=NARROW)).differences}
    assert found["waste"].added == found["waste"].removed == 0
    assert found["waste_15m"].added == 1
    assert found["waste_1d"].changed == 1


def test_only_sinks_that_need_it_are_told(week: Past) -> None:
    """No records for stores that write once, nor points written twice, where there is no such sink."""
    dry_run = week.dry_run(0, plans=TAGGED, devices=PLACED)
    with dry_run.compared(lambda _: None) as compared:
        plain = list(lots(compared.before, compared.after, Needs(once=False, imprecise=False)))
        everything = list(lots(compared.before, compared.after, Needs(once=True, imprecise=True)))
        told = list(differences(compared.before, compared.after))
    assert len(plain) < len(everything)
    assert not any(rewrites.decode(lot.body).to is rewrites.To.ONCE for lot in plain)
    assert sum(lot.points for lot in plain) == sum(d.added + d.changed + d.removed for d in told)


def test_a_gateway_that_runs_is_not_written_beside(week: Past) -> None:
    """Its folder is its own."""
    held = FolderLock(week.folder, GATEWAY)
    try:
        with pytest.raises(JournalError, match="another process"):
            JournalDoor(week.folder, segment_bytes=1 << 28, floor=0)
    finally:
        held.release()
