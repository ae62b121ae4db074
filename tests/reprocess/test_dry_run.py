"""A dry run: what was written is told apart from what today's rules would write, and nothing is changed."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.clock import ManualClock
from gateway.errors import EcluseError
from gateway.profiles.compile import compile_text
from gateway.reprocess.dry_run import FOLDER
from gateway.testing import MemoryBroker
from tests.reprocess.past import DAY, Past, Step, at, content, live, report_of
from tests.river import DEVICES, MINUTE_NS, PLANS, START_NS, Flowing, bin_uplink, opened, topic

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.model import Device
    from gateway.profiles.plan import ProfilePlan

BIN = PLANS["bin-level"]
HOUR = 60


def changed(*changes: tuple[str, str]) -> dict[str, ProfilePlan]:
    """Return the shipped profiles with another text of the bins'."""
    text = BIN.text
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return {**PLANS, "bin-level": compile_text(text, name="bin-level")}


NARROW = changed(("range: [20, 4500]\n", "range: [20, 1000]\n"))
DERIVED = changed(("  battery:", '  free: {unit: mm, from: "distance - full"}\n  battery:'))
TAGGED = changed(("quantities:", "tags: [street]\n\nquantities:"))
PLACED = {
    key: replace(device, place={"street": "Rue Mercière"}) if device.profile == "bin-level" else device
    for key, device in DEVICES.items()
}


def hourly(first: float, last: float, *, start: int = 900) -> list[Step]:
    """Return steps in which two bins speak each half hour, the distance rising a little."""
    steps = []
    for number in range(int((last - first) / 30)):
        minute = first + number * 30
        said = [
            (topic(name), bin_uplink(minute, start + number % 200, seq=number)) for name in ("bin-1", "bin-2")
        ]
        steps.append(Step(minute, said))
    return steps


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory) -> Past:
    """Six days of two bins; the gateway has stopped."""
    return asyncio.run(live(tmp_path_factory.mktemp("week"), hourly(0, 6 * DAY)))


def test_unchanged_rules_change_nothing(week: Path) -> None:
    """And what is taken for written is what was written, to the last field."""
    dry_run = week.dry_run(0)
    report = report_of(dry_run)
    assert not report.changes
    assert sum(difference.same for difference in report.differences) == len(week.in_span(dry_run)) > 100
    assert {difference.measurement for difference in report.differences} == {
        "waste",
        "waste_15m",
        "waste_1h",
        "waste_1d",
    }
    with dry_run.derived(report, lambda _: None) as (before, after):
        assert content(before) == week.in_span(dry_run)
        assert content(after) == week.in_span(dry_run)
    assert not (week.folder / FOLDER).exists()


@pytest.mark.parametrize(
    ("plans", "devices"),
    [(NARROW, DEVICES), (DERIVED, DEVICES), (TAGGED, PLACED)],
    ids=["another range", "another derived quantity", "another tag"],
)
async def test_what_a_gateway_with_the_new_rules_from_the_start_would_have_stored(
    week: Past, tmp_path: Path, plans: dict[str, ProfilePlan], devices: dict[tuple[str, str], Device]
) -> None:
    """Is what would be written, point by point; the difference is that from what was."""
    steps = hourly(0, 6 * DAY)
    other = await live(tmp_path / "other", [replace(steps[0], plans=plans, devices=devices), *steps[1:]])
    dry_run = week.dry_run(0, plans=plans, devices=devices)
    report = report_of(dry_run)
    old, new = week.in_span(dry_run), other.in_span(dry_run)
    with dry_run.derived(report, lambda _: None) as (before, after):
        assert content(before) == old
        assert content(after) == new
    told = report.differences
    assert sum(d.added for d in told) == len(new.keys() - old.keys())
    assert sum(d.removed for d in told) == len(old.keys() - new.keys())
    assert sum(d.changed for d in told) == sum(old[key] != new[key] for key in old.keys() & new.keys())
    assert report.changes


async def test_the_rules_that_held_then_are_known_long_after(tmp_path: Path) -> None:
    """Changed in the midst and once more: what was written was written by each in its time."""
    steps = hourly(0, 8 * DAY)
    steps[2 * 24] = replace(steps[2 * 24], plans=NARROW)
    steps[100] = replace(steps[100], plans=TAGGED, devices=PLACED)
    steps[-10] = replace(steps[-10], plans=PLANS, devices=DEVICES)
    past = await live(tmp_path / "state", steps)
    dry_run = past.dry_run(0)
    with dry_run.derived(report_of(dry_run), lambda _: None) as (before, _):
        assert content(before) == past.in_span(dry_run)
    assert {len(dict(tags)) for _, tags, _ in past.in_span(dry_run)} == {3, 4}


async def test_receive_times_are_those_that_were_set_right(tmp_path: Path) -> None:
    """What came while the clock was suspect, without a time of its own, stands where it was written."""
    clock, broker = ManualClock(START_NS), MemoryBroker()
    past = Past(tmp_path / "state")
    past.folder.mkdir()
    async with opened(past.folder, clock=clock) as parts:
        await parts.replay()
        flowing = Flowing(parts, broker, clock)
        await parts.want()
        flowing.connect()
        broker.publish(topic("bin-1"), bin_uplink(0, 900))
        await flowing.treated()
        clock.step(3_600)
        await parts.river.look_at_clock()
        for number in range(4):
            clock.advance(10)
            broker.publish(topic("bin-2"), b'{"dist_mm": %d}' % (500 + number))
            await flowing.until(lambda: not broker.waiting)
        clock.advance(60)
        await parts.river.look_at_clock()
        for number in range(14):
            clock.advance(12 * 3_600)
            await flowing.flushed()
            broker.publish(
                topic("bin-1"), bin_uplink((clock.now_ns() - START_NS) / MINUTE_NS, 900, seq=number)
            )
            await flowing.treated()
        past.stored = await parts.stored()
        await flowing.end()
    dry_run = past.dry_run(0)
    report = report_of(dry_run)
    assert not report.changes, report.differences
    with dry_run.derived(report, lambda _: None) as (before, after):
        assert content(before) == content(after) == past.in_span(dry_run)
    times = {
        time for name, tags, time in past.in_span(dry_run) if name == "waste" and ("device", "bin-2") in tags
    }
    assert min(times) >= START_NS + 3_600 * 10**9


async def test_late_readings_become_part_of_their_windows(tmp_path: Path) -> None:
    """They were written raw alone: this is the point of it."""
    late = Step(4.5 * DAY, [(topic("bin-1"), bin_uplink(80, 1_500, seq=9_999))])
    steps = sorted([*hourly(0, 6 * DAY), late], key=lambda step: step.minute)
    past = await live(tmp_path / "state", steps)
    report = report_of(past.dry_run(0))
    found = {difference.measurement: difference for difference in report.differences}
    assert (found["waste"].added, found["waste"].removed) == (0, 0)
    assert found["waste_15m"].added == 1
    assert found["waste_1h"].changed == found["waste_1d"].changed == 1
    example = found["waste_1h"].examples["changed"][0]
    assert (example.before["distance_max"], example.after["distance_max"]) == (903.0, 1500.0)


def test_refused_where_the_gateway_can_still_correct_it(week: Past) -> None:
    """With the last time that it may be."""
    with pytest.raises(EcluseError, match="can still be corrected") as refused:
        week.dry_run(0, 5 * DAY)
    assert "--to 2026-11-2" in refused.value.hint
    latest = refused.value.hint.partition("--to ")[2].partition(",")[0]
    assert latest == "2026-11-24T23:00:00Z"  # a day of Paris ends
    with pytest.raises(EcluseError, match="no whole window"):
        week.dry_run(5 * DAY)


async def test_refused_where_the_journal_no_longer_holds_it(tmp_path: Path) -> None:
    """Naming the span, what there is, and the setting."""
    past = await live(tmp_path / "state", hourly(0, 6 * DAY))
    (segment,) = (past.folder / "journal").glob("journal-*.db")
    with sqlite3.connect(segment) as connection:
        connection.execute("DELETE FROM records WHERE position <= 60")
    connection.close()
    segment.rename(segment.with_name("journal-0000000000000061.db"))
    with pytest.raises(EcluseError, match="the journal no longer holds 2026-11-21T23:00:00Z to") as refused:
        past.dry_run(0)
    assert "from position 61" in str(refused.value)
    assert "journal.retention" in refused.value.hint
    report = report_of(past.dry_run(1.6 * DAY))
    assert not report.changes


async def test_a_window_whose_past_is_not_known_is_left(tmp_path: Path) -> None:
    """A bin that was silent before: for how long it stood upright in that day cannot be told."""
    steps = [
        step if step.minute > 3 * DAY or step.minute < 60 else replace(step, uplinks=step.uplinks[:1])
        for step in hourly(0, 8 * DAY)
    ]
    past = await live(tmp_path / "state", steps)
    (segment,) = (past.folder / "journal").glob("journal-*.db")
    with sqlite3.connect(segment) as connection:
        connection.execute("DELETE FROM records WHERE position <= 20")
    connection.close()
    segment.rename(segment.with_name("journal-0000000000000021.db"))
    report = report_of(past.dry_run(2 * DAY, plans=NARROW))
    found = {difference.measurement: difference for difference in report.differences}
    assert [found[name].left for name in ("waste", "waste_1d")] == [0, 1]
    assert found["waste_1d"].examples["left"][0].tags["device"] == "bin-2"
    assert found["waste_1d"].changed


async def test_damage_is_refused_and_named(tmp_path: Path) -> None:
    """Unless one goes without: then it is counted."""
    past = await live(tmp_path / "state", hourly(0, 6 * DAY))
    (segment,) = (past.folder / "journal").glob("journal-*.db")
    with sqlite3.connect(segment) as connection:
        connection.execute("UPDATE records SET blob = zeroblob(length(blob)) WHERE position = 40")
    connection.close()
    with pytest.raises(EcluseError, match=r"records 40 to 40 \(checksum does not match\)"):
        report_of(past.dry_run(0))
    report = report_of(past.dry_run(0, without_damaged=True))
    assert report.damaged == 1


def test_a_profile_that_there_is_not(week: Past) -> None:
    """With those that there are."""
    with pytest.raises(EcluseError, match="no profile bins") as refused:
        week.dry_run(0, profiles=["bins"])
    assert "bin-level" in refused.value.hint


def test_one_at_a_time(week: Past) -> None:
    """The other one is refused, and disturbs nothing; what a crash has left is removed."""
    (week.folder / FOLDER / "before").mkdir(parents=True)
    dry_run = week.dry_run(0)
    report = report_of(dry_run)
    with (
        dry_run.derived(report, lambda _: None),
        pytest.raises(EcluseError, match="another replay"),
    ):
        report_of(week.dry_run(0))
    assert not (week.folder / FOLDER).exists()


@settings(max_examples=4, deadline=None)
@given(data=st.data())
def test_whatever_the_order_unchanged_rules_change_nothing(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Late within the lateness, twice, in any order and any batches."""
    minutes = data.draw(st.lists(st.integers(0, 2 * DAY), min_size=5, max_size=25))
    steps = []
    for number, minute in enumerate(minutes):
        delay = data.draw(st.sampled_from([0, 1, 30, 600, 2 * DAY]))
        said = (
            topic(data.draw(st.sampled_from(["bin-1", "bin-2"]))),
            bin_uplink(minute, data.draw(st.integers(10, 5_000)), seq=number),
        )
        steps.append(Step(minute + delay, [said] * data.draw(st.integers(1, 2))))
    steps = [Step(0), *sorted(steps, key=lambda step: step.minute), *hourly(6 * DAY, 6 * DAY + 60)]
    past = asyncio.run(live(tmp_path_factory.mktemp("any") / "state", steps))
    dry_run = past.dry_run(0)
    report = report_of(dry_run)
    assert not report.changes, report.differences
    with dry_run.derived(report, lambda _: None) as (before, _):
        assert content(before) == past.in_span(dry_run)
    assert at(0) >= dry_run.spans.start
