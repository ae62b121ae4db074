"""What changes on disk takes effect through the journal; what is refused is said once."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from gateway import config
from gateway.clock import ManualClock
from gateway.survey import Changeable
from gateway.testing import MemoryBroker
from gateway.wishes import Wishes, limits_of
from tests.river import START_NS, Flowing, opened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DEVICES = "site,id,profile,param.empty\nlyon,bin-1,bin-level,1800\n"
SETTINGS = """\
profiles_dir = "profiles"
default_zone = "Europe/Paris"
[sites.tokyo]
zone = "Asia/Tokyo"
[devices]
file = "devices.csv"
unknown = "accept"
max_unknown = 7
max_rate = "600/min"
"""


class Desk:
    """Where an operator writes, and a river that takes it."""

    def __init__(self, folder: Path, wishes_: Wishes, known: Changeable, flowing: Flowing) -> None:
        self.profiles = folder / "profiles"
        self.devices = folder / "devices.csv"
        self.wishes = wishes_
        self.known = known
        self.flowing = flowing
        self.rules = flowing.parts.treatment.rules


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    shutil.copytree(Path(__file__).parents[1] / "device_profiles", tmp_path / "profiles")
    (tmp_path / "ecluse.toml").write_text(SETTINGS)
    (tmp_path / "devices.csv").write_text(DEVICES)
    clock, known = ManualClock(START_NS), Changeable()
    async with opened(tmp_path / "state", clock=clock) as parts:
        flowing = Flowing(parts, MemoryBroker(), clock)
        yield Desk(
            tmp_path,
            Wishes(
                config.load(tmp_path / "ecluse.toml"),
                rules=parts.treatment.rules,
                river=parts.river,
                known=known,
                clock=clock,
            ),
            known,
            flowing,
        )
        await flowing.end()


def test_limits_are_those_settings_that_decoding_depends_on(tmp_path: Path) -> None:
    """Zones of the sites, and what strangers may do."""
    (tmp_path / "ecluse.toml").write_text(SETTINGS)
    limits = limits_of(config.load(tmp_path / "ecluse.toml"))
    assert (limits.default_zone, limits.zones) == ("Europe/Paris", {"tokyo": "Asia/Tokyo"})
    assert (limits.accept_unknown, limits.max_unknown, limits.max_series) == (True, 7, 1_000_000)
    assert limits.max_rate == "600/min"


async def test_it_is_in_force_once_it_was_taken(desk: Desk) -> None:
    """And then there is nothing left to take."""
    assert await desk.wishes.take()
    assert desk.rules.devices.keys() == {("lyon", "bin-1")}
    assert len(desk.rules.plans) == 3
    assert desk.rules.limits.accept_unknown
    assert not await desk.wishes.take()
    assert not desk.known.device_problems


async def test_while_the_clock_is_suspect_nothing_is_taken(desk: Desk) -> None:
    """It would wait; once the clock is settled, the next look takes it."""
    river, clock = desk.flowing.parts.river, desk.flowing.clock
    clock.step(3_600)
    clock.now_ns()
    await river.look_at_clock()
    assert not await desk.wishes.take()
    assert not desk.rules.plans
    taken = asyncio.Event()

    async def changed() -> None:
        taken.set()

    watching = asyncio.create_task(desk.wishes.watch(changed, every_s=0.02))
    await asyncio.sleep(0.1)
    assert not desk.rules.plans
    clock.advance(60)
    await river.look_at_clock()
    async with asyncio.timeout(10):
        await taken.wait()
    watching.cancel()
    assert desk.rules.devices.keys() == {("lyon", "bin-1")}


async def test_what_is_refused_is_said_once(desk: Desk) -> None:
    """As a status for as long as it lasts; said again where it went and came back."""
    bad = DEVICES.replace("1800", "deep")
    told = []
    for text in (bad, bad + "lyon,bin-2,bin-level,1\n", DEVICES, bad):
        desk.devices.write_text(text)
        with capture_logs() as logs:
            await desk.wishes.take()
        told.append([f"{entry['line']}: {entry['what']}" for entry in logs if entry["event"] == "refused"])
        assert len(desk.known.device_problems) == (0 if text == DEVICES else text.count("\n") - 1)
    assert [len(lines) for lines in told] == [1, 1, 0, 1]
    assert "2: " in told[0][0]
    assert "3: " in told[1][0]


async def test_a_file_is_taken_once_it_is_whole(desk: Desk) -> None:
    """While it still changes from look to look it is left alone."""
    await desk.wishes.take()
    changes = asyncio.Queue[int]()

    async def changed() -> None:
        await changes.put(len(desk.rules.devices))

    watching = asyncio.create_task(desk.wishes.watch(changed, every_s=0.05))
    text = DEVICES
    for number in range(2, 60):
        text += f"lyon,bin-{number},bin-level,1500\n"
        desk.devices.write_text(text)
        await asyncio.sleep(0.005)
    async with asyncio.timeout(10):
        while await changes.get() < 59:
            pass
    shutil.rmtree(desk.profiles / "water-meter")
    async with asyncio.timeout(10):
        assert await changes.get() == 59
    assert "water-meter" not in desk.rules.plans
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
