"""`ecluse erase` on the folder of a stopped gateway: nothing of it is left, and nothing else has changed."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from firmware_sim.clock import Scale
from gateway.erasure import audit, run
from gateway.journal.checkpoint import copies
from gateway.journal.lock import GATEWAY, FolderLock
from gateway.sinks import embedded_store
from tests.chaos.recorder import Recorder
from tests.cli.command import ecluse
from tests.erasure.city import PENDING, STORED, UPLINKS, build
from tests.filled import reached
from tests.river import MINUTE_NS, START_NS

if TYPE_CHECKING:
    from click.testing import Result

    from tests.filled import Reached

CUTS = 3
DEVICES = ("bin-1", "meter-1", "counter-1")


@pytest.fixture(scope="module", params=[2])
def city(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """The settings of a gateway that was killed; its devices publish at QoS 2, where nothing else is said."""
    return asyncio.run(build(tmp_path_factory.mktemp("city"), qos=request.param))


@pytest.fixture
def file(city: Path, tmp_path: Path) -> Path:
    """Those of a copy."""
    shutil.copytree(city.parent, tmp_path / "city")
    return tmp_path / "city" / city.name


def erase(file: Path, *words: str) -> Result:
    return ecluse("erase", "--yes", "--config", file, *words)


def said_by(device: str) -> list[bytes]:
    """Return what a device has sent."""
    return [payload for where, payload in (*UPLINKS, *PENDING) if f"/{device}/" in where]


def holding(folder: Path, *wanted: bytes) -> list[str]:
    """Return the files that hold some bytes, wherever: looked for by a test that knows no format."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path.name for path in paths if any(each in path.read_bytes() for each in wanted))


def by_clock(file: Path, now_ns: int) -> None:
    """Let it be that time."""
    Scale.starting_now(1.0, event_origin_ns=now_ns).write(file.parent / "scale.json")
    file.write_text('time_scale_file = "scale.json"\n' + file.read_text())


def of_others(found: Reached, device: str) -> dict[object, object]:
    return {key: fields for key, fields in found.points.items() if ("device", device) not in key[1]}


@pytest.mark.parametrize("city", [1, 2], indirect=True)
@pytest.mark.parametrize("device", DEVICES)
async def test_nothing_of_a_device_is_left_and_all_of_the_others(
    file: Path, tmp_path: Path, device: str
) -> None:
    """No byte of its name or of what it said in any file; others' points and windows as without erasure."""
    state = file.parent / "state"
    shutil.copytree(state, tmp_path / "untouched")
    pending = sum(f"/{device}/" in where for where, _ in PENDING)
    assert len(holding(state, device.encode())) >= 4
    done = await asyncio.to_thread(erase, file, "--device", device)
    assert done.exit_code == 0, done.output
    assert f"lyon/{device}, reference" in done.output
    assert holding(state, device.encode(), *said_by(device)) == []
    assert len(copies(state)) == 1
    erased, untouched = await reached(state), await reached(tmp_path / "untouched")
    assert not any(("device", device) in tags for _, tags, _ in erased.points)
    assert any(("device", device) in tags for _, tags, _ in untouched.points)
    assert of_others(erased, device) == of_others(untouched, device)
    assert erased.books.uplinks.erased == pending
    assert erased.books.uplinks.journalled == untouched.books.uplinks.journalled
    assert erased.books.uplinks.difference() == erased.books.readings.difference() == 0


async def test_a_device_that_is_back_is_a_new_one(file: Path, tmp_path: Path) -> None:
    """What it sends after its erasure is treated as of one that was never heard."""
    done = await asyncio.to_thread(erase, file, "--device", "meter-1")
    assert done.exit_code == 0, done.output
    shutil.copytree(file.parent / "state", tmp_path / "again")
    found = await reached(tmp_path / "again")
    assert found.books.uplinks.difference() == 0


def test_it_is_recorded_without_the_device(file: Path) -> None:
    """When, by whom, how much of what; a reference ties it to the request."""
    done = erase(file, "--device", "bin-1")
    written = (file.parent / "state" / "erasures.jsonl").read_text()
    begun, line = map(json.loads, written.splitlines())
    assert (begun["reference"], begun["what"], begun["begun"]) == (line["reference"], "device", True)
    assert line["reference"] in done.output
    assert (line["what"], line["complete"], line["uplinks"]) == ("device", True, len(said_by("bin-1")))
    assert line["quarantined"] == 1
    assert "bin-1" not in written


def test_a_second_run_finds_nothing(file: Path) -> None:
    """The gateway does not know it any more: its site must be said."""
    assert erase(file, "--device", "bin-1").exit_code == 0
    again = erase(file, "--device", "bin-1")
    assert again.exit_code == 1
    assert "knows no device bin-1" in again.output
    assert "--site" in again.output
    told = erase(file, "--device", "bin-1", "--site", "lyon")
    assert told.exit_code == 0
    assert json.loads((file.parent / "state" / "erasures.jsonl").read_text().splitlines()[-1])["uplinks"] == 0


def test_one_that_was_cut_off_is_said_and_goes_on_without_its_site(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed once the state has forgotten the device: the databases still know it, and so does a note."""
    state = file.parent / "state"
    with monkeypatch.context() as patch:
        patch.setattr(run.Erasure, "databases", _killed)
        with pytest.raises(RuntimeError, match="killed"):
            erase(file, "--device", "bin-1")
    assert [(each.site, each.device) for each in audit.unfinished(state)] == [("lyon", "bin-1")]
    assert [path.suffix for path in state.rglob("*") if path.is_file() and b"bin-1" in path.read_bytes()] == [
        ".unfinished"
    ]
    again = erase(file, "--device", "bin-1")
    assert again.exit_code == 0, again.output
    assert audit.unfinished(state) == []
    assert holding(state, b"bin-1", *said_by("bin-1")) == []


def _killed(_: run.Erasure) -> None:
    raise RuntimeError("killed")


def test_a_stranger_is_erased_from_the_list(file: Path) -> None:
    """A device that is in no registry: journal, quarantine, list of unknown devices."""
    state = file.parent / "state"
    assert "unknown.db" in holding(state, b"bin-9")
    assert erase(file, "--device", "bin-9").exit_code == 0
    assert holding(state, b"bin-9", *said_by("bin-9")) == []


def test_what_only_a_store_has_is_erased_from_it(file: Path) -> None:
    """The store's file is written anew: DuckDB keeps what was deleted in free blocks."""
    store = file.parent / "state" / "embedded.duckdb"
    assert STORED.encode() in store.read_bytes()
    done = erase(file, "--device", STORED, "--site", "lyon")
    assert done.exit_code == 0, done.output
    assert STORED.encode() not in store.read_bytes()
    assert b"bin-00002" in store.read_bytes()
    assert embedded_store.unsoundness(store) == ""


def test_a_power_cut_on_the_way_costs_a_second_run(file: Path, tmp_path: Path) -> None:
    """At any instant: what is left is a folder that a second run makes whole, and a gateway goes on from."""
    state = file.parent / "state"
    recorder = Recorder(tmp_path / "recorder", state)
    rng, idle = random.Random(20261126), threading.Event()
    shutil.copytree(state, tmp_path / "before")
    command = [sys.executable, "-m", "gateway", "erase", "--yes", "--device", "bin-1", "--site", "lyon"]
    environment = os.environ | recorder.environment | {"PYTHONPATH": str(Path.cwd())}
    for _ in range(CUTS):
        shutil.rmtree(state)
        shutil.copytree(tmp_path / "before", state)
        recorder.begin()
        with subprocess.Popen(
            [*command, "--config", str(file)], env=environment, stdout=subprocess.DEVNULL
        ) as process:
            enough = rng.randrange(20_000, 1_500_000)
            while process.poll() is None and recorder._log.stat().st_size < enough:
                idle.wait(0.001)
            process.kill()
        recorder.power_cut(rng)
        begun = audit.unfinished(state)
        again = erase(file, "--device", "bin-1", *(() if begun else ("--site", "lyon")))
        assert again.exit_code == 0, again.output
        assert audit.unfinished(state) == []
        assert holding(state, b"bin-1", *said_by("bin-1")) == []
        found = asyncio.run(reached(state))
        assert found.books.uplinks.difference() == 0
        assert {dict(tags)["device"] for _, tags, _ in found.points} == {"bin-2", "meter-1", "counter-1"}


def test_a_damaged_file_that_was_set_aside_is_named(file: Path) -> None:
    """Nobody deletes it: whether the device is in it is searched for, and said."""
    state = file.parent / "state"
    (state / "outbox-lines.db.damaged-1").write_bytes(b"something ,device=bin-1,profile=x")
    (state / "quarantine.db.damaged-1").write_bytes(b"something else")
    done = erase(file, "--device", "bin-1")
    assert done.exit_code == 1
    assert "outbox-lines.db.damaged-1 still holds a name of the device" in done.output
    assert "remove it" in done.output
    assert "quarantine.db.damaged-1 was set aside as damaged" in done.output


async def test_what_is_old_of_a_profile(file: Path) -> None:
    """Uplinks that were received, rows and points of before that time; others and the state stay."""
    state = file.parent / "state"
    await reached(state, minutes=40 * 24 * 60)  # behind every lateness
    now_ns = START_NS + 40 * 24 * 60 * MINUTE_NS
    by_clock(file, now_ns)
    words = ("--profile", "bin-level", "--older-than")
    young = await asyncio.to_thread(erase, file, *words, "60d")
    assert young.exit_code == 0, young.output
    assert holding(state / "journal", *said_by("bin-1"))
    done = await asyncio.to_thread(erase, file, *words, "30d")
    assert done.exit_code == 0, done.output
    assert holding(state, *said_by("bin-1"), *said_by("bin-2")[2:]) == []
    assert holding(state / "journal", *said_by("meter-1")) != []
    line = json.loads((state / "erasures.jsonl").read_text().splitlines()[-1])
    assert line["what"].startswith("bin-level before 2026-12-02T")
    assert line["uplinks"] == sum("/bin/" in where for where, _ in (*UPLINKS, *PENDING))
    assert line["stored_rows"] == {"embedded": 18}
    assert embedded_store.unsoundness(state / "embedded.duckdb") == ""
    found = await reached(state, at_ns=now_ns)
    assert found.books.uplinks.difference() == found.books.uplinks.erased == 0


def test_what_windows_need_is_not_old(file: Path) -> None:
    """Refused with the time from which on they need it; nothing is changed."""
    refused = erase(file, "--profile", "water-meter", "--older-than", "1d")
    assert refused.exit_code == 1
    assert "can still be corrected by what is not older than 192h" in refused.output
    assert holding(file.parent / "state", *said_by("meter-1"))


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--device", "a", "--profile", "p", "--older-than", "1d"),
        ("--profile", "bin-level"),
        ("--older-than", "1d"),
        ("--device", "a", "--older-than", "1d"),
        ("--profile", "bin-level", "--older-than", "much"),
    ],
)
def test_it_must_be_clear_what_is_meant(file: Path, words: tuple[str, ...]) -> None:
    """A device, or a profile and an age."""
    assert erase(file, *words).exit_code == 2


def test_nothing_is_done_without_a_yes(file: Path) -> None:
    """The question names the device."""
    before = holding(file.parent / "state", b"bin-1")
    said = ecluse("erase", "--device", "bin-1", "--config", file, stdin="n\n")
    assert said.exit_code == 1
    assert "Erase lyon/bin-1 for good" in said.output
    assert holding(file.parent / "state", b"bin-1") == before


def test_a_folder_that_someone_holds_who_does_not_answer(file: Path) -> None:
    """Another command, most likely: said, and nothing of the state is touched."""
    lock = FolderLock(file.parent / "state", GATEWAY)
    try:
        done = erase(file, "--device", "bin-1")
    finally:
        lock.release()
    assert done.exit_code == 1
    assert "did not step aside" in done.output


def test_a_folder_without_a_gateway(tmp_path: Path) -> None:
    """Most likely another settings file is meant."""
    (tmp_path / "ecluse.toml").write_text('state_dir = "state"\n')
    done = erase(tmp_path / "ecluse.toml", "--device", "bin-1")
    assert done.exit_code == 5
    assert "no gateway has run" in done.output
