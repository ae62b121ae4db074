from __future__ import annotations

import asyncio
import json
import shutil
from typing import TYPE_CHECKING

import pytest

from gateway.journal.lock import GATEWAY, FolderLock
from tests.cli.command import SHIPPED, ecluse, settings_file
from tests.reprocess.past import live
from tests.reprocess.test_dry_run import DAY, hourly

if TYPE_CHECKING:
    from pathlib import Path

DEVICES = "site,id,profile,param.empty\nlyon,bin-1,bin-level,1800\nlyon,bin-2,bin-level,2000\n"
FROM = ("--from", "2026-11-22T10:00:00Z", "--profile", "bin-level")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder with six days in it, and the settings of its gateway."""
    folder = tmp_path_factory.mktemp("replay")
    asyncio.run(live(folder / "state", hourly(0, 6 * DAY)))
    (folder / "devices.csv").write_text(DEVICES, encoding="utf-8")
    return folder


@pytest.fixture
def config(folder: Path) -> Path:
    return settings_file(folder, 'default_zone = "Europe/Paris"\n[devices]\nfile = "devices.csv"\n')


def test_nothing_would_change(config: Path) -> None:
    """It says so, with the span and how much was read; nothing is left behind."""
    result = ecluse("replay", *FROM, "--config", config)
    assert result.exit_code == 0
    assert "bin-level: whole windows from 2026-11-21T23:00:00Z to 2026-11-24T23:00:00Z (Europe/Paris)" in (
        result.stdout
    )
    assert "Nothing would change." in result.stdout
    assert not list((config.parent / "state").glob("reprocessing/*"))


def test_a_profile_that_was_mended(folder: Path, config: Path) -> None:
    """A table of what would change, and examples; as JSON all of it."""
    profiles = folder / "profiles"
    for name in ("bin-level", "traffic-counter", "water-meter"):
        (profiles / name).mkdir(parents=True, exist_ok=True)
        text = (SHIPPED / name / "profile.yaml").read_text(encoding="utf-8")
        text = text.replace("range: [20, 4500]\n", "range: [20, 1000]\n")
        (profiles / name / "profile.yaml").write_text(text, encoding="utf-8")
    text = config.read_text(encoding="utf-8").replace(str(SHIPPED), str(profiles))
    config.write_text(text, encoding="utf-8")
    shown = ecluse("replay", *FROM, "--config", config).stdout
    assert "Nothing would change" not in shown
    row = next(line for line in shown.splitlines() if line.startswith("│ waste_1h"))
    assert "distance_count" in row
    assert "changed waste,device=bin-1,profile=bin-level,site=lyon" in " ".join(shown.split())
    told = json.loads(ecluse("replay", *FROM, "--json", "--config", config).stdout)
    assert told["differs"] is True
    assert told["spans"] == [
        {
            "profile": "bin-level",
            "zone": "Europe/Paris",
            "from": "2026-11-21T23:00:00Z",
            "to": "2026-11-24T23:00:00Z",
        }
    ]
    raw = next(found for found in told["measurements"] if found["measurement"] == "waste")
    assert raw["changed"] == raw["fields"]["quality"] > 10
    assert (raw["added"], raw["removed"]) == (0, 0)


def test_a_broken_profile_is_refused(folder: Path, config: Path) -> None:
    """Exit 3: today's rules are not whole."""
    broken = folder / "broken"
    broken.mkdir(exist_ok=True)
    (broken / "profile.yaml").write_text("profile: x\n", encoding="utf-8")
    config.write_text(config.read_text(encoding="utf-8").replace(str(SHIPPED), str(broken)), encoding="utf-8")
    assert ecluse("replay", *FROM, "--config", config).exit_code == 3


@pytest.mark.parametrize(
    ("words", "code", "what"),
    [
        (["--from", "lately"], 2, "neither a span such as 5d nor a time"),
        (["--from", "2026-11-23T00:00:00Z", "--to", "2026-11-22T00:00:00Z"], 2, "must lie behind --from"),
        ([*FROM, "--before", "much"], 2, "a duration is a number"),
        ([*FROM, "--profile", "bins"], 1, "no profile bins"),
        ([*FROM, "--to", "2026-11-28T00:00:00Z"], 1, "can still be corrected"),
        (["--from", "2026-11-27T00:00:00Z", "--profile", "bin-level"], 1, "no whole window"),
    ],
    ids=str,
)
def test_what_is_refused(config: Path, words: list[str], code: int, what: str) -> None:
    """With a sentence."""
    result = ecluse("replay", *words, "--config", config)
    assert result.exit_code == code
    assert what in " ".join(result.stderr.replace("│", " ").split())


def test_a_folder_where_no_gateway_ran(tmp_path: Path) -> None:
    """Is said; nothing is made there."""
    result = ecluse("replay", "--from", "5d", "--config", settings_file(tmp_path))
    assert result.exit_code == 5
    assert "no gateway has run with the state folder" in result.stderr
    assert not list((tmp_path / "state").iterdir())


class TestApplying:
    """With `--apply`, the gateway being stopped: it goes into its journal."""

    @pytest.fixture
    def mended(self, folder: Path, tmp_path: Path) -> Path:
        """A copy of that gateway, with a profile that was mended and a sink that cannot overwrite."""
        shutil.copytree(folder / "state", tmp_path / "state")
        shutil.copytree(SHIPPED, tmp_path / "profiles")
        file = tmp_path / "profiles" / "bin-level" / "profile.yaml"
        text = file.read_text(encoding="utf-8").replace("range: [20, 4500]\n", "range: [20, 1000]\n")
        file.write_text(text, encoding="utf-8")
        (tmp_path / "devices.csv").write_text(DEVICES, encoding="utf-8")
        config = tmp_path / "ecluse.toml"
        config.write_text(
            'state_dir = "state"\nprofiles_dir = "profiles"\ndefault_zone = "Europe/Paris"\n'
            '[devices]\nfile = "devices.csv"\n[[sinks]]\nname = "here"\nkind = "embedded"\n'
            '[[sinks]]\nname = "vm"\nkind = "victoriametrics"\nurl = "http://127.0.0.1:9"\n',
            encoding="utf-8",
        )
        return config

    def test_asked_applied_and_noted(self, mended: Path) -> None:
        """A no writes nothing; a yes does all of it; then nothing is left to do."""
        state = mended.parent / "state"
        refused = ecluse("replay", *FROM, "--apply", "--config", mended, stdin="n\n")
        assert (refused.exit_code, "nothing was written" in refused.stderr) == (1, True)
        assert "points in here, vm? [y/N]" in refused.stderr
        assert not (state / "replays.jsonl").exists()
        done = ecluse("replay", *FROM, "--apply", "--config", mended, stdin="y\n")
        assert done.exit_code == 0
        words = " ".join(done.stdout.split())
        assert "in the gateway's journal. Once the gateway runs again, they go to here, vm" in words
        (listed,) = state.glob("replay-*-vm.txt")
        assert listed.name in words
        lines = listed.read_text(encoding="utf-8").splitlines()
        assert {line.partition(" ")[0] for line in lines} == {"replace"}
        assert any(line.startswith("replace waste,device=bin-1,") for line in lines)
        begun, record = map(json.loads, (state / "replays.jsonl").read_text(encoding="utf-8").splitlines())
        assert (begun["ended"], begun["records"], record["ended"]) == (False, 0, True)
        assert record["written"] > 10
        assert record["files"] == [listed.name]
        again = ecluse("replay", *FROM, "--apply", "--yes", "--json", "--config", mended)
        told = json.loads(again.stdout)
        assert (told["differs"], told["applied"]) == (False, None)

    def test_as_json(self, mended: Path) -> None:
        """What was done stands beside what was told."""
        told = json.loads(ecluse("replay", *FROM, "--apply", "--yes", "--json", "--config", mended).stdout)
        counts = [(one["added"], one["changed"], one["removed"]) for one in told["measurements"]]
        assert told["applied"]["removed"] == sum(removed for _, _, removed in counts)
        assert told["applied"]["written"] == sum(added + changed for added, changed, _ in counts)
        assert told["applied"]["ended"] is True
        assert told["applied"]["delivers"] is False

    def test_nobody_answers(self, mended: Path) -> None:
        """An end of the input is no yes."""
        assert ecluse("replay", *FROM, "--apply", "--config", mended, stdin="").exit_code == 1
        assert ecluse("replay", *FROM, "--yes", "--config", mended).exit_code == 2

    def test_the_gateway_does_not_answer(self, mended: Path) -> None:
        """Its folder is held: what was done is noted, and what to do is said."""
        held = FolderLock(mended.parent / "state", GATEWAY)
        try:
            result = ecluse("replay", *FROM, "--apply", "--yes", "--config", mended)
        finally:
            held.release()
        assert result.exit_code == 1
        assert "ended in the midst, after 0 records: no gateway answers at" in result.stderr
        noted = (mended.parent / "state" / "replays.jsonl").read_text(encoding="utf-8").splitlines()
        assert [json.loads(line)["ended"] for line in noted] == [False, False]
