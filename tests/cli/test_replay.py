from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

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
