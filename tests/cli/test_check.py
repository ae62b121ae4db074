from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.cli.command import ecluse, settings_file

if TYPE_CHECKING:
    from pathlib import Path


def test_the_schema_is_json() -> None:
    """For an editor; it knows every section."""
    told = json.loads(ecluse("check", "--schema").stdout)
    assert {"broker", "sinks", "http", "state_dir"} <= set(told["properties"])


def test_what_is_well_is_said(tmp_path: Path) -> None:
    """Profiles, devices, the state folder, and how long the broker's queue bridges a stop."""
    devices = "site,id,profile,param.empty\nlyon,b1,bin-level,1800\n"
    (tmp_path / "devices.csv").write_text(devices, encoding="utf-8")
    result = ecluse("check", "--offline", "--config", settings_file(tmp_path))
    assert result.exit_code == 0, result.output
    for part in ("bin-level, traffic-counter, water-meter", "devices: 1 in", "state folder:", "hours at 4 "):
        assert part in result.stdout


def test_every_problem_is_in_one_report(tmp_path: Path) -> None:
    """Of profiles and of devices, with file, line and column; exit 1."""
    (tmp_path / "profiles" / "bad").mkdir(parents=True)
    (tmp_path / "profiles" / "bad" / "profile.yaml").write_text("profile: bad\n", encoding="utf-8")
    (tmp_path / "devices.csv").write_text("site,id,profile\nlyon,b1,nothing\n", encoding="utf-8")
    file = settings_file(tmp_path)
    text = file.read_text(encoding="utf-8").splitlines()
    text[1] = 'profiles_dir = "profiles"'
    file.write_text("\n".join(text), encoding="utf-8")
    result = ecluse("check", "--offline", "--config", file)
    assert result.exit_code == 1
    assert "bad/profile.yaml:1:1" in result.stdout
    assert "there is no profile «nothing»" in result.stdout


def test_settings_that_cannot_be_used(tmp_path: Path) -> None:
    """Exit 3, before anything else is looked at."""
    result = ecluse("check", "--config", settings_file(tmp_path, '[broker]\nurl = "http://x"\n'))
    assert result.exit_code == 3
    assert "must look like mqtt://" in result.stderr
    missing = ecluse("check", "--config", tmp_path / "nowhere.toml")
    assert missing.exit_code == 3
    assert "cannot be read" in missing.stderr
