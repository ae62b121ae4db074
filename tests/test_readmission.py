"""What comes back from quarantine: where it belongs in time, once, whatever is cut off; or a dry run."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from gateway.clock import ManualClock
from gateway.errors import JournalError, NotReady
from gateway.model import Chosen, Device, Reason, Refused
from gateway.profiles.compile import compile_text
from gateway.quarantine.reader import BROKER, QuarantineRow
from gateway.readmission import MOST_ROWS, MOST_WAITING, Readmission, records_of
from gateway.testing import MemoryBroker
from tests.crossing import Crossing, crossed
from tests.river import DEVICES, MINUTE_NS, PLANS, START_NS, Flowing, bin_uplink, opened, topic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from gateway.books import Books
    from gateway.profiles.plan import ProfilePlan
    from tests.river import Opened, Stored

TEXT = PLANS["bin-level"].text
EVERYTHING = Chosen()
EVERY = 3
"""A story is cut off at each third place, which is before a call as often as behind one."""


def plan(text: str) -> ProfilePlan:
    return compile_text(text, name="bin-level")


TIME = "time: {path: ts, unit: ms}"
STRICT = PLANS | {"bin-level": plan(TEXT.replace(TIME, "time: {path: when, unit: ms, required: true}"))}
"""A mistake: no bin says `when`, so all of them are refused whole."""
HALF = PLANS | {"bin-level": plan(TEXT.replace("path: battery_v", "path: fw"))}
"""A mistake: the firmware's version, a text, is refused as a voltage; the rest of what a bin says is kept."""
SAYS_FW: dict[str, Any] = {"fw": "v1", "battery_v": 3.6}
UNTIMED = PLANS | {"bin-level": plan(TEXT.replace("time: {path: ts, unit: ms}", ""))}
UNTIMED_HALF = PLANS | {"bin-level": plan(HALF["bin-level"].text.replace(TIME, ""))}


class Running:
    """A river that flows, with the readmission beside it."""

    def __init__(self, parts: Opened, flowing: Flowing, clock: ManualClock) -> None:
        self.parts = parts
        self.flowing = flowing
        self.clock = clock
        self.books = parts.treatment.books
        self.readmission = Readmission(
            store=parts.quarantine, river=parts.river, treatment=parts.treatment, clock=clock
        )
        self.task = asyncio.create_task(self.readmission.run(), name="readmission")

    async def say(self, *uplinks: tuple[str, bytes]) -> None:
        """Publish, and wait until it is treated."""
        for name, payload in uplinks:
            self.flowing.broker.publish(name, payload)
        await self.flowing.treated()

    async def replay(self, chosen: Chosen = EVERYTHING, *, limit: int = MOST_ROWS) -> Mapping[str, Any]:
        """Let in what is chosen."""
        async with asyncio.timeout(20):
            return await self.readmission.replay(chosen, limit=limit, rehearse=False)

    async def rehearse(self, chosen: Chosen = EVERYTHING) -> Mapping[str, Any]:
        """See what would become of it."""
        return await self.readmission.replay(chosen, limit=MOST_ROWS, rehearse=True)

    async def waiting(self) -> list[tuple[int, int, str]]:
        """Return what is in quarantine, by place and reason."""
        rows = await self.parts.quarantine.list(limit=10_000)
        return sorted((row.position, row.index, row.reason) for row in rows)

    def balanced(self) -> None:
        """Hold the books to their sums."""
        assert self.books.uplinks.difference() == 0, self.books.uplinks
        assert self.books.readings.difference() == 0, self.books.readings

    async def stop(self) -> None:
        """End the readmission, as `app` does."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@contextlib.asynccontextmanager
async def running(folder: Path, clock: ManualClock, broker: MemoryBroker) -> AsyncIterator[Running]:
    """Run it; end it in order, or cut it where the block raises."""
    async with opened(folder, clock=clock) as parts:
        await parts.replay()
        flowing = Flowing(parts, broker, clock)
        found = Running(parts, flowing, clock)
        flowing.connect()
        try:
            yield found
            await flowing.treated()
            await found.stop()
            await flowing.end()
        finally:
            await found.stop()
            await flowing.cut()


@pytest.fixture
async def river(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path / "river", ManualClock(START_NS), MemoryBroker()) as found:
        yield found


async def calm(folder: Path, plans: Mapping[str, ProfilePlan], *lots: list[tuple[str, bytes]]) -> Stored:
    """Return what is stored where the profile was right all the time, lots a minute apart."""
    clock = ManualClock(START_NS)
    async with running(folder, clock, MemoryBroker()) as found:
        await found.parts.want(plans=plans)
        for lot in lots:
            await found.say(*lot)
            clock.advance(60)
        clock.advance(7_200)
        await found.flowing.flushed()
        return await found.parts.stored()


LOTS = [
    [(topic("bin-1"), bin_uplink(0, 900)), (topic("bin-2"), bin_uplink(0, 800, **SAYS_FW))],
    [(topic("bin-1"), bin_uplink(1, 700, **SAYS_FW)), (topic("bin-2"), bin_uplink(1, 600))],
]


@pytest.mark.parametrize(("bad", "good"), [(STRICT, PLANS), (HALF, PLANS), (UNTIMED_HALF, UNTIMED)])
async def test_what_was_refused_comes_where_it_belongs(
    tmp_path: Path,
    river: Running,
    bad: Mapping[str, ProfilePlan],
    good: Mapping[str, ProfilePlan],
) -> None:
    """Whole or in part, with a device time or without: points and windows are those of a calm run.

    Windows that were written without it are corrected; quarantine is empty; the books balance.
    """
    await river.parts.want(plans=bad)
    for lot in LOTS:
        await river.say(*lot)
        river.clock.advance(60)
    river.clock.advance(3_600)
    await river.flowing.flushed()
    refused, decoded = await river.waiting(), river.books.readings.decoded
    await river.parts.want(plans=good)
    told = await river.replay()
    assert (told["uplinks"], told["again"], told["refused"]) == (len(refused), 0, {})
    assert (await river.waiting(), river.books.from_quarantine) == ([], len(refused))
    river.clock.advance(3_600)
    await river.flowing.flushed()
    assert await river.parts.stored() == await calm(tmp_path / "calm", good, *LOTS)
    assert river.books.uplinks.journalled == 4 + len(refused)
    assert bool(river.books.corrections) == bool(decoded)
    assert told["known"] == river.books.readings.duplicate
    river.balanced()


async def test_what_is_refused_again_is_in_quarantine_once(river: Running) -> None:
    """With its new reason and its old time, however often; and at last it comes in where it belongs."""
    await river.parts.want(plans=STRICT)
    await river.say((topic("bin-1"), bin_uplink(0, 900)), (topic("bin-9"), b"{}"))
    (first, second) = await river.waiting()
    assert (first[2], second[2]) == ("time missing", "unknown device")
    no_bin_1 = {key: device for key, device in DEVICES.items() if key[1] != "bin-1"}
    await river.parts.want(plans=PLANS, devices=no_bin_1)
    for _ in range(3):
        river.clock.advance(60)
        told = await river.replay()
        assert (told["uplinks"], told["again"], told["refused"]) == (2, 2, {"unknown device": 2})
    assert [(index, reason) for _, index, reason in await river.waiting()] == [
        (0, "unknown device"),
        (1, "unknown device"),
    ]
    assert {row.received_ns for row in await river.parts.quarantine.list()} == {START_NS}
    await river.parts.want()
    assert (await river.replay())["refused"] == {"unknown device": 1}
    (stored,) = [key for key in await river.parts.stored() if key[0] == "waste"]
    assert stored[2] == START_NS
    assert river.books.from_quarantine == 8
    river.balanced()


async def test_an_uplink_without_a_time_keeps_its_own(river: Running) -> None:
    """Its receive time and its number in the record where it first stood, after any number of refusals."""
    await river.parts.want(plans=UNTIMED, devices={})
    await river.say(*((topic("bin-1"), bin_uplink(0, 900 + n)) for n in range(3)))
    for seconds in (60, 3_600):
        river.clock.advance(seconds)
        await river.replay(Chosen(after=1))
    await river.parts.want(plans=UNTIMED)
    await river.replay()
    times = sorted(key[2] for key in await river.parts.stored() if key[0] == "waste")
    assert times == [START_NS, START_NS + 1, START_NS + 2]


async def test_a_retained_uplink_without_a_time_stays_ignored(river: Running) -> None:
    """The broker's flag comes back with it."""
    await river.parts.want(plans=UNTIMED)
    row = Refused(1, 0, START_NS, topic("bin-1").encode(), bin_uplink(0, 900), Reason.NOT_JSON, "")
    await river.parts.quarantine.put([replace(row, retained=True), replace(row, index=1)])
    assert (await river.rehearse())["ignored"] == 1
    assert (await river.replay())["ignored"] == 1
    assert (river.books.uplinks.ignored, river.books.uplinks.decoded) == (1, 1)
    river.balanced()


async def test_neither_limit_nor_memory_of_devices_stands_in_the_way(river: Running) -> None:
    """No uplink is beyond its device's limit, or a repetition of itself, for having been here before.

    And nobody was heard now.
    """
    limits = replace(river.parts.treatment.rules.limits, max_rate="2/h")
    await river.parts.want(plans=UNTIMED_HALF, limits=limits)
    await river.say(*((topic("bin-1"), bin_uplink(0, 900 + n, seq=n, **SAYS_FW)) for n in range(3)))
    assert [reason for *_, reason in await river.waiting()] == ["wrong type"] * 2 + ["rate limited"]
    river.clock.advance(60)
    await river.say((topic("bin-2"), bin_uplink(1, 900)))
    await river.parts.want(plans=UNTIMED, limits=limits)
    heard: list[tuple[str, str]] = []
    river.parts.treatment._observer = type(
        "Observer", (), {"heard": lambda _, who, _at: heard.extend(who), "unknown": lambda *_: None}
    )()
    told = await river.replay()
    assert (told["uplinks"], told["again"], await river.waiting()) == (3, 0, [])
    river.clock.advance(1)
    await river.flowing.flushed()
    assert ("lyon", "bin-1") not in heard
    await river.say((topic("bin-1"), bin_uplink(0, 50, seq=9)))
    assert river.books.uplinks.rate_limited == 2  # the third, and this one: the count goes on
    river.balanced()


async def test_what_is_behind_its_windows_lateness_is_written_raw(river: Running) -> None:
    """Counted as late, and its span told; its windows stay as they are."""
    await river.parts.want(plans=STRICT)
    await river.say((topic("bin-1"), bin_uplink(0, 900)), (topic("bin-1"), bin_uplink(2, 800)))
    await river.parts.want()
    river.clock.advance(80 * 3_600)
    await river.say((topic("bin-1"), bin_uplink(80 * 60, 500)))
    rehearsed = await river.rehearse()
    told = await river.replay()
    first, last = START_NS, START_NS + 2 * MINUTE_NS
    for one in (rehearsed, told):
        assert (one["late_first_ns"], one["late_last_ns"]) == (first, last)
        assert one["late"] == 8
    assert river.books.late == 8
    stored = await river.parts.stored()
    assert {key[2] for key in stored if key[0] == "waste"} >= {first, last}
    assert not [key for key in stored if key[0] == "waste_15m" and key[2] is not None and key[2] <= last]
    river.balanced()


async def test_a_rehearsal_changes_nothing(river: Running) -> None:
    """It tells what would be refused, by the rules in force: profiles and devices."""
    await river.parts.want(plans=STRICT)
    await river.say((topic("bin-1"), bin_uplink(0, 900)), (topic("bin-9"), b"{}"), (topic("bin-2"), b"{"))
    before = await river.waiting(), river.books.as_dict(), river.parts.journal.end
    assert (await river.rehearse())["refused"] == {"time missing": 1, "unknown device": 1, "not json": 1}
    assert (await river.waiting(), river.books.as_dict(), river.parts.journal.end) == before
    new = Device(site="lyon", id="bin-9", profile="bin-level", parameters={"empty": ((0, 1800.0),)})
    await river.parts.want(devices=DEVICES | {("lyon", "bin-9"): new})
    told = await river.rehearse()
    assert (told["uplinks"], told["again"], told["refused"]) == (3, 2, {"no reading": 1, "not json": 1})
    done = await river.replay()
    assert (done["again"], done["refused"]) == (told["again"], told["refused"])


async def test_rows_that_hold_no_whole_uplink_are_left(river: Running) -> None:
    """Points of a sink, heads of packets, and what the disk altered: counted, and still there."""
    await river.parts.want()
    row = Refused(1, 0, START_NS, topic("bin-1").encode(), bin_uplink(0, 900), Reason.NOT_JSON, "")
    store = river.parts.quarantine
    await store.put([replace(row, index=at) for at in (-1, 0, 1)] + [replace(row, index=2, topic=b"")])
    await store.put([replace(row, payload=b"waste x=1 1", reason=Reason.REFUSED_BY_SINK)], sink="influx")
    await store.put([replace(row, payload=b"zz", reason=Reason.TOO_LARGE)], sink=BROKER)
    await store.put([replace(row, index=3)])
    store._file._connection.execute("UPDATE refused SET payload = x'00' WHERE idx = 1")
    store._file._connection.execute("UPDATE refused SET payload = 7, topic = 'x', detail = 1.5 WHERE idx = 3")
    told = await river.replay()
    counts = ("rows", "uplinks", "points", "packets", "damaged")
    assert [told[what] for what in counts] == [7, 1, 1, 1, 4]
    assert sorted(one.sink for one in await store.list()) == ["", "", "", "", "influx", BROKER]


async def test_a_long_replay_goes_on_part_by_part(river: Running) -> None:
    """By the rows' numbers: what is refused again meanwhile does not come round for ever."""
    await river.parts.want()
    await river.say(*((topic("bin-9"), json.dumps({"n": n}).encode()) for n in range(25)))
    through, after, parts, seen = 25, 0, 0, 0
    while after is not None:
        told = await river.replay(Chosen(after=after, through=through), limit=4)
        after, parts, seen = told["next"], parts + 1, seen + told["uplinks"]
    assert (parts, seen, len(await river.waiting())) == (8, 25, 25)
    river.balanced()


async def test_an_uplink_with_two_reasons_comes_in_once(river: Running) -> None:
    """Chosen by one of them, it takes the other with it."""
    await river.parts.want()
    row = Refused(1, 0, START_NS, topic("bin-1").encode(), bin_uplink(0, 900), Reason.NOT_JSON, "")
    await river.parts.quarantine.put([row, replace(row, reason=Reason.TOO_OLD)])
    told = await river.replay(Chosen(reason="too old"))
    assert (told["rows"], told["uplinks"], await river.waiting()) == (1, 1, [])


async def test_two_who_ask_at_once_let_in_once(river: Running) -> None:
    """One after the other, also where the first one goes away."""
    await river.parts.want(plans=STRICT)
    await river.say(*((topic("bin-1"), bin_uplink(n, 900)) for n in range(6)))
    await river.parts.want()
    gone = asyncio.create_task(river.replay())
    others = [asyncio.create_task(river.replay()) for _ in range(3)]
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    told = await asyncio.gather(*others)
    assert [one["uplinks"] for one in told] == [0, 0, 0]
    assert river.books.from_quarantine == 6
    river.balanced()


async def test_who_asks_when_it_cannot_be_is_told(tmp_path: Path) -> None:
    """Before the river flows, while an outlet is full, when too many wait, and when the gateway stops."""
    clock = ManualClock(START_NS)
    async with opened(tmp_path, clock=clock, outbox_bytes=100) as parts:
        flowing = Flowing(parts, MemoryBroker(), clock)
        found = Running(parts, flowing, clock)
        with pytest.raises(NotReady, match="not flowing"):
            await found.replay()
        await parts.want(plans=STRICT)
        flowing.connect()
        await found.say((topic("bin-1"), bin_uplink(0, 900)))
        await parts.want()
        await found.say((topic("bin-2"), bin_uplink(0, 900)))
        assert parts.log.full
        with pytest.raises(NotReady, match="lines is full"):
            await found.replay()
        assert len(await found.waiting()) == 1
        asked = [asyncio.create_task(found.replay()) for _ in range(MOST_WAITING + 1)]
        await asyncio.sleep(0)
        await found.stop()
        told = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(one) for one in told} == {NotReady}
        assert any("others wait" in str(one) for one in told)
        assert any("stops" in str(one) for one in told)
        await flowing.cut()


async def test_nothing_is_let_in_while_the_clock_is_suspect(tmp_path: Path, river: Running) -> None:
    """Nor is it journalled; what was refused in the span comes in at the time that was set right."""
    await river.parts.want(plans=UNTIMED_HALF)
    await river.say((topic("bin-1"), bin_uplink(0, 900, **SAYS_FW)))
    river.clock.advance(60)
    river.clock.step(3_600)
    await river.parts.river.look_at_clock()
    river.flowing.broker.publish(topic("bin-1"), bin_uplink(1, 800, **SAYS_FW))
    await river.flowing.until(lambda: not river.flowing.broker.waiting)
    end = river.parts.journal.end
    with pytest.raises(NotReady, match="clock is suspect"):
        await river.replay()
    assert (river.parts.journal.end, len(await river.waiting())) == (end, 1)
    river.clock.step(-3_600)
    await river.parts.river.look_at_clock()
    river.clock.advance(61)
    await river.parts.river.look_at_clock()
    await river.flowing.treated()
    await river.parts.want(plans=UNTIMED)
    assert (await river.replay())["uplinks"] == 2
    stored = {key: fields for key, fields in (await river.parts.stored()).items() if key[0] == "waste"}
    assert sorted(key[2] for key in stored if key[2]) == [START_NS, START_NS + MINUTE_NS]
    assert all("battery" in fields for fields in stored.values())
    river.balanced()


async def test_who_is_cut_off_while_it_is_journalled_leaves_it_to_the_next_start(tmp_path: Path) -> None:
    """Nothing behind it is treated any more in this life: it would be passed over."""
    clock, broker = ManualClock(START_NS), MemoryBroker()
    journalled = asyncio.Event()

    class Slow:
        def __init__(self, journal: Any) -> None:
            self._journal = journal

        def __getattr__(self, name: str) -> Any:
            return getattr(self._journal, name)

        async def append_many(self, records: Any) -> list[int]:
            positions = list(await self._journal.append_many(records))
            if hasattr(records[0], "places"):
                journalled.set()
                await asyncio.Event().wait()
            return positions

    around = lambda name, part: Slow(part) if name == "journal" else part  # noqa: E731
    async with opened(tmp_path, clock=clock, around=around) as parts:
        flowing = Flowing(parts, broker, clock)
        found = Running(parts, flowing, clock)
        flowing.connect()
        await parts.want(plans=STRICT)
        await found.say((topic("bin-1"), bin_uplink(0, 900)))
        await parts.want()
        asked = asyncio.create_task(found.replay())
        await journalled.wait()
        await found.stop()
        with pytest.raises(NotReady, match="stops"):
            await asked
        broker.publish(topic("bin-2"), bin_uplink(0, 800))
        await flowing.until(lambda: not broker.waiting)
        await flowing.end()
        assert (parts.river.saved_position, len(await found.waiting())) == (parts.journal.end - 2, 1)
    async with running(tmp_path, clock, broker) as again:
        assert await again.waiting() == []
        assert {key[1] for key in await again.parts.stored() if key[0] == "waste"} != set()
        assert again.books.uplinks.decoded == 2
        again.balanced()


async def test_a_journal_that_fails_ends_it(tmp_path: Path) -> None:
    """As everywhere: nothing is tried again; quarantine keeps what was to come in."""

    class Full:
        def __init__(self, journal: Any) -> None:
            self._journal = journal

        def __getattr__(self, name: str) -> Any:
            return getattr(self._journal, name)

        async def append_many(self, records: Any) -> list[int]:
            if not hasattr(records[0], "places"):
                return list(await self._journal.append_many(records))
            raise JournalError("the disk is full")

    clock = ManualClock(START_NS)
    around = lambda name, part: Full(part) if name == "journal" else part  # noqa: E731
    async with opened(tmp_path, clock=clock, around=around) as parts:
        flowing = Flowing(parts, MemoryBroker(), clock)
        found = Running(parts, flowing, clock)
        flowing.connect()
        await parts.want(plans=STRICT)
        await found.say((topic("bin-1"), bin_uplink(0, 900)))
        with pytest.raises(NotReady, match="stops"):
            await found.replay()
        with pytest.raises(JournalError, match="full"):
            await found.task
        assert len(await found.waiting()) == 1
        await flowing.cut()


async def test_dropping_says_how_many(river: Running) -> None:
    """So many at a time; nothing more where nothing is left."""
    await river.parts.want()
    await river.say(*((topic("bin-9"), b"%d" % n) for n in range(5)))
    chosen = Chosen(device="bin-9")
    told = [await river.readmission.drop(chosen, limit=3) for _ in range(3)]
    assert [one["rows"] for one in told] == [3, 2, 0]
    assert await river.waiting() == []


def test_a_record_holds_what_stood_in_one() -> None:
    """Each record's uplinks in order, records in the journal's order, an uplink once."""

    def row(position: int, index: int, reason: str = "not json") -> QuarantineRow:
        names = ("lyon", "bin-1", "bin-level", b"t", reason, "")
        payload = b"%d" % index
        return QuarantineRow(index, "", position, index, position * 10, *names, payload, False, False)  # noqa: FBT003

    found = records_of([row(7, 2), row(3, 9), row(7, 1), row(7, 2, "too old")], at_ns=99)
    assert [(one.origin, one.received_ns, one.places, one.at_ns) for one in found] == [
        (3, 30, (9,), 99),
        (7, 70, (1, 2), 99),
    ]


class Story:
    """Bins speak to a wrong profile; it is mended; what was refused is let in, in parts; the day ends.

    Cut off at one place at most; then everything is opened again and the story goes on where it was.
    """

    def __init__(self, folder: Path, stop_at: int = 0) -> None:
        self.clock = ManualClock(START_NS)
        self.broker = MemoryBroker()
        self.crossing = Crossing(stop_at)
        self.folder = folder
        self.lives = 0
        self._told = 0
        for name, payload in [uplink for lot in LOTS for uplink in lot]:
            self.broker.publish(name, payload)

    async def run(self) -> tuple[Stored, Books]:
        """Tell it to its end; return what is stored, and the books."""
        while True:
            self.lives += 1
            async with opened(self.folder, clock=self.clock, around=crossed(self.crossing)) as parts:
                telling = asyncio.create_task(self._tell(parts))
                cut = asyncio.create_task(self.crossing.reached.wait())
                await asyncio.wait({telling, cut}, return_when=asyncio.FIRST_COMPLETED)
                cut.cancel()
                if telling.done():
                    await telling
                    return await parts.stored(), parts.treatment.books
                self.crossing.reached.clear()
                telling.cancel()
                await asyncio.gather(telling, return_exceptions=True)

    async def _tell(self, parts: Opened) -> None:
        await parts.replay()
        flowing = Flowing(parts, self.broker, self.clock)
        found = Running(parts, flowing, self.clock)
        await asyncio.sleep(0)  # it begins
        chapters = (self._refused, self._window_written, self._mended, self._let_in)
        try:
            if self._told:
                flowing.connect()
                await flowing.treated()
            for number, chapter in enumerate(chapters):
                if number >= self._told:
                    await chapter(found)
                    self._told = number + 1
            self.clock.advance(1)
            await flowing.flushed()
            await flowing.end()
            found.balanced()
            assert await found.waiting() == []
        finally:
            await found.stop()
            await flowing.cut()

    async def _refused(self, found: Running) -> None:
        await found.parts.want(plans=HALF)
        found.flowing.connect()
        await found.flowing.treated()

    async def _window_written(self, found: Running) -> None:
        self.clock.advance(3_600)
        await found.flowing.flushed()

    async def _mended(self, found: Running) -> None:
        await found.parts.want(plans=PLANS)

    async def _let_in(self, found: Running) -> None:
        while (await found.replay(limit=1))["rows"]:
            pass
        self.clock.advance(3_600)


async def test_a_cut_at_any_await_lets_in_once(tmp_path: Path) -> None:
    """Cancelled before or behind any call of journal or outlet, then recovered: the same points.

    Each uplink that was refused came in once; one that the broker sent again was refused, and came in, again.
    """
    whole = Story(tmp_path / "whole")
    points, books = await whole.run()
    assert (whole.lives, books.from_quarantine) == (1, 2)
    some = asyncio.Semaphore(8)

    async def cut_at(place: int) -> int:
        async with some:
            story = Story(tmp_path / str(place), stop_at=place)
            again, after = await story.run()
        assert again == points, f"cut at {place}"
        assert after.readings.aggregated == books.readings.aggregated, f"cut at {place}"
        assert after.from_quarantine == after.reasons["wrong type"] >= 2, f"cut at {place}"
        return story.lives - 1

    places = range(1, whole.crossing.count + 1, EVERY)
    cuts = await asyncio.gather(*map(cut_at, places))
    assert sum(cuts) > len(places) // 2
