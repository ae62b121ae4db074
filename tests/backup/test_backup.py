"""A backup is whole, or is none; what is restored from it goes on as if nothing had been."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import shutil
import sqlite3
from typing import TYPE_CHECKING

import pytest

from gateway import config
from gateway.backup import restore, take, together, verify
from gateway.clock import ManualClock
from gateway.errors import BackupError, JournalError
from gateway.journal.lock import GATEWAY, UNFINISHED, FolderLock
from gateway.sinks import embedded_store
from gateway.testing import MemoryBroker
from tests.cli.command import ecluse
from tests.filled import fill, reached
from tests.river import MINUTE_NS, START_NS, Flowing, bin_uplink, opened, topic

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.backup.manifest import Manifest

FILES = (
    "manifest.json",
    "state/state.db",
    "state/outbox-lines.db",
    "state/quarantine.db",
    "state/unknown.db",
    "state/embedded.duckdb",
    "state/journal/journal-0000000000000001.db",
)


class Told:
    """Counts what it is told."""

    def __init__(self) -> None:
        self.total = 0
        self.bytes = 0

    def expect(self, total: int) -> None:
        """Note how many there will be."""
        self.total = total

    def done(self, what: str, more: int) -> None:
        """Add up."""
        assert what
        self.bytes += more


def backup(file: Path, target: Path, *, with_stores: bool = True) -> Manifest:
    """Take a backup of a gateway that is stopped."""
    return take.take(
        config.load(file),
        target,
        config_file=file,
        held=None,
        with_stores=with_stores,
        now_ns=START_NS,
        progress=Told(),
    )


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The settings of a gateway that was killed."""
    return asyncio.run(fill(tmp_path_factory.mktemp("gateway")))


@pytest.fixture(scope="module")
def made(gateway: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of it."""
    target = tmp_path_factory.mktemp("backups") / "made"
    backup(gateway, target)
    return target


async def test_what_is_restored_comes_to_the_same(gateway: Path, made: Path, tmp_path: Path) -> None:
    """Points, windows and books, as those of the gateway itself, had it been started again."""
    told = Told()
    manifest, damages = restore.restore_state(made, tmp_path / "state", told)
    assert (manifest.position, damages) == (manifest.position, [])
    assert manifest.position < manifest.end, "some of it is in the journal alone"
    assert told.bytes == told.total > 0
    shutil.copytree(gateway.parent / "state", tmp_path / "itself")
    restored, itself = await reached(tmp_path / "state"), await reached(tmp_path / "itself")
    assert restored.points == itself.points
    assert {measurement for measurement, _, _ in restored.points} >= {"waste", "waste_15m"}
    assert restored.books == itself.books
    assert restored.books.uplinks.difference() == 0
    assert embedded_store.unsoundness(tmp_path / "state" / "embedded.duckdb") == ""


def test_a_restore_says_that_it_brings_the_erased_back(gateway: Path, tmp_path: Path) -> None:
    """A backup knows of the erasures before it, and cannot know of those after it."""
    state = shutil.copytree(gateway.parent, tmp_path / "gateway") / "state"
    file = state.parent / gateway.name
    said = ecluse("backup", tmp_path / "before", "--config", file)
    assert said.exit_code == 0, said.output
    ecluse("erase", "--device", "bin-1", "--yes", "--config", file)
    assert ecluse("backup", tmp_path / "after", "--config", file).exit_code == 0
    reference = json.loads((state / "erasures.jsonl").read_text(encoding="utf-8").splitlines()[-1])[
        "reference"
    ]
    for name, known in (
        ("before", "it knows of none"),
        ("after", f"the last of the 1 that it knows of is {reference}"),
    ):
        checked = ecluse("restore", "--check", tmp_path / name)
        assert checked.exit_code == 0, checked.output
        assert known in checked.stdout
        shutil.rmtree(state)
        state.mkdir()
        restored = ecluse("restore", tmp_path / name, "--config", file)
        assert known in restored.stdout
    assert (state / "erasures.jsonl").is_file()


def test_restored_files_are_as_a_gateway_makes_them(made: Path, tmp_path: Path) -> None:
    """In WAL mode, for their owner alone; and nothing is left of the work."""
    restore.restore_state(made, tmp_path / "state", Told())
    for path in (tmp_path / "state").rglob("*"):
        if path.is_file() and path.name != GATEWAY:
            assert path.stat().st_mode & 0o077 == 0, path
        if path.suffix == ".db":
            with contextlib.closing(sqlite3.connect(path)) as connection:
                assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",), path
    assert not (tmp_path / "state" / UNFINISHED).exists()


def test_a_backup_is_its_owners_and_has_no_secret(gateway: Path, made: Path) -> None:
    """Settings, profiles and devices are in it; tokens are not."""
    for path in [made, *made.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path
        assert path.is_dir() or b"secret" not in path.read_bytes(), path
    assert (made / "configuration/devices.csv").read_bytes() == (gateway.parent / "devices.csv").read_bytes()
    assert (made / "configuration/device_profiles/bin-level/profile.yaml").is_file()
    assert any("token" in note for note in verify.read_manifest(made).notes)


def test_the_configuration_is_restored_on_its_own(made: Path, tmp_path: Path) -> None:
    """Settings that can be read, beside profiles and devices; a folder with something in it is refused."""
    restore.restore_configuration(made, tmp_path / "etc", Told())
    assert config.load(tmp_path / "etc" / "ecluse.toml").devices.file == tmp_path / "etc" / "devices.csv"
    with pytest.raises(BackupError, match="not empty"):
        restore.restore_configuration(made, tmp_path / "etc", Told())


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("harm", ["flipped", "missing", "short"])
def test_a_damaged_file_is_refused_by_name(made: Path, tmp_path: Path, name: str, harm: str) -> None:
    """By `--check`, and by a restore, of which nothing is left."""
    damaged = tmp_path / "damaged"
    shutil.copytree(made, damaged)
    path = damaged / name
    content = bytearray(path.read_bytes())
    if harm == "missing":
        path.unlink()
    elif harm == "short":
        path.write_bytes(content[:-2])
    else:
        content[random.Random(name).randrange(len(content))] ^= 0x10
        path.write_bytes(content)
    for attempt in (restore.check, lambda source, told: restore.restore_state(source, tmp_path / "s", told)):
        with pytest.raises(BackupError, match=path.name):
            attempt(damaged, Told())
    assert not (tmp_path / "s").exists() or [each.name for each in (tmp_path / "s").iterdir()] in (
        [],
        [GATEWAY],
    )


def test_a_whole_backup_passes_its_check(made: Path) -> None:
    """Twice: looking changes nothing."""
    for _ in range(2):
        told = Told()
        manifest, damages = restore.check(made, told)
        assert damages == []
        assert told.bytes == told.total
        assert manifest == verify.read_manifest(made)


def test_a_folder_with_something_in_it_is_not_restored_into(made: Path, tmp_path: Path) -> None:
    """Nothing is overwritten; what a restore that was cut off left is."""
    state = tmp_path / "state"
    (state / UNFINISHED).mkdir(parents=True)
    (state / UNFINISHED / "state.db").write_bytes(b"half")
    restore.restore_state(made, state, Told())
    with pytest.raises(BackupError, match="not empty"):
        restore.restore_state(made, state, Told())


def test_a_folder_that_a_gateway_holds_is_not_restored_into(made: Path, tmp_path: Path) -> None:
    """Even where there is nothing in it yet."""
    (tmp_path / "state").mkdir()
    lock = FolderLock(tmp_path / "state", GATEWAY)
    try:
        with pytest.raises(JournalError, match="holds it"):
            restore.restore_state(made, tmp_path / "state", Told())
    finally:
        lock.release()


def test_places_where_no_backup_can_be_made(gateway: Path, made: Path, tmp_path: Path) -> None:
    """Over another one, inside what is backed up, or of nothing."""
    with pytest.raises(BackupError, match="exists"):
        backup(gateway, made)
    with pytest.raises(BackupError, match="in the state folder"):
        backup(gateway, gateway.parent / "state" / "backup-1")
    empty = tmp_path / "ecluse.toml"
    empty.write_text("", encoding="utf-8")
    with pytest.raises(BackupError, match="no gateway has run"):
        backup(empty, tmp_path / "b")
    assert not list(tmp_path.glob("b*"))


def test_a_backup_that_fails_leaves_nothing(gateway: Path, tmp_path: Path) -> None:
    """Here the state is not sound: the reader is told to start the gateway, which has copies."""
    shutil.copytree(gateway.parent, tmp_path / "gateway")
    state = tmp_path / "gateway" / "state" / "state.db"
    with contextlib.closing(sqlite3.connect(state)) as connection, connection:
        connection.execute("UPDATE cells SET body = x'00' WHERE rowid = (SELECT min(rowid) FROM cells)")
    with pytest.raises(BackupError, match=r"state\.db is not sound"):
        backup(tmp_path / "gateway" / "ecluse.toml", tmp_path / "b")
    assert not list(tmp_path.glob("b*"))


def test_a_damaged_segment_is_copied_as_it_is(gateway: Path, tmp_path: Path) -> None:
    """The gateway goes on with what is sound, so the backup does, and says so."""
    shutil.copytree(gateway.parent, tmp_path / "gateway")
    (segment,) = (tmp_path / "gateway" / "state" / "journal").glob("*.db")
    with contextlib.closing(sqlite3.connect(segment)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = segment.read_bytes()
    segment.write_bytes(b"\0" * 100 + content[100:])
    manifest = backup(tmp_path / "gateway" / "ecluse.toml", tmp_path / "b")
    assert any("damaged" in note for note in manifest.notes)
    assert restore.check(tmp_path / "b", Told())[1]


def test_the_stores_may_be_left_out(gateway: Path, tmp_path: Path) -> None:
    """Where another database has the points."""
    manifest = backup(gateway, tmp_path / "b", with_stores=False)
    assert not any(kept.name.endswith(".duckdb") for kept in manifest.files)
    restore.restore_state(tmp_path / "b", tmp_path / "state", Told())


async def test_a_river_that_flows_is_backed_up_as_of_one_moment(tmp_path: Path) -> None:
    """Again and again, while checkpoints follow each other as fast as they can."""
    file = await fill(tmp_path / "gateway")
    state = tmp_path / "gateway" / "state"
    clock, broker = ManualClock(START_NS + 25 * MINUTE_NS), MemoryBroker()
    async with opened(state, clock=clock) as parts:
        await parts.replay()
        flowing = Flowing(parts, broker, clock)
        flowing.connect()

        async def speak() -> None:
            for number in range(10**6):
                broker.publish(topic("bin-1"), bin_uplink(20 + number / 100, 900 + number % 50, seq=number))
                clock.advance(1)
                await asyncio.sleep(0.002)

        speaking = asyncio.create_task(speak())
        had = []
        for number in range(8):
            had.append(parts.treatment.books.uplinks.journalled)
            manifest = await asyncio.to_thread(backup, file, tmp_path / f"b{number}")
            assert not any("outbox" in note for note in manifest.notes)
            await flowing.until(lambda before=had[-1]: parts.treatment.books.uplinks.journalled > before + 20)
        speaking.cancel()
        await flowing.cut()
    for number, before in enumerate(had):
        restore.restore_state(tmp_path / f"b{number}", tmp_path / f"s{number}", Told())
        again = await reached(tmp_path / f"s{number}", minutes=30, at_ns=clock.now_ns())
        assert again.books.uplinks.difference() == 0
        assert again.books.readings.difference() == 0
        assert again.books.uplinks.journalled >= before
        raw = [point for point in again.points if point[0] == "waste"]
        assert len(raw) >= before - 20


def test_state_and_outbox_of_two_moments_are_noticed(gateway: Path, tmp_path: Path) -> None:
    """An outbox that knows nothing of the state's place."""
    shutil.copytree(gateway.parent / "state", tmp_path / "state")
    with (
        contextlib.closing(sqlite3.connect(tmp_path / "state" / "outbox-lines.db")) as connection,
        connection,
    ):
        connection.execute("DELETE FROM marks WHERE name != 'end'")
    with contextlib.ExitStack() as closing:
        assert not together.take(tmp_path / "state", closing).agrees
    with contextlib.ExitStack() as closing:
        assert together.take(gateway.parent / "state", closing).agrees
