"""What the operator wants: read from disk; what is bad is refused, and what was in force goes on."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from gateway import wanted
from gateway.rules import Rules
from tests.river import PLANS

SHIPPED = Path(__file__).parents[1] / "device_profiles"
DEVICES = """\
site,id,profile,param.empty
lyon,bin-1,bin-level,1800
lyon,bin-2,bin-level,2000
lyon,meter-1,water-meter,
"""


@pytest.fixture
def profiles(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED, tmp_path / "profiles"))


@pytest.fixture
def devices(tmp_path: Path) -> Path:
    file = tmp_path / "devices.csv"
    file.write_text(DEVICES)
    return file


def rules_of(wish: wanted.Wanted) -> Rules:
    return Rules(plans=wish.plans, devices=wish.devices)


def test_everything_is_wanted(profiles: Path, devices: Path) -> None:
    """Profiles by name, devices by site and identifier; no problem."""
    wish = wanted.read(profiles, devices, rules=Rules())
    assert wish.plans.keys() == PLANS.keys()
    assert wish.devices.keys() == {("lyon", "bin-1"), ("lyon", "bin-2"), ("lyon", "meter-1")}
    assert not wish.profile_problems
    assert not wish.device_problems


def test_what_is_gone_is_no_longer_wanted(profiles: Path, devices: Path) -> None:
    """A profile's folder, a device's row."""
    rules = rules_of(wanted.read(profiles, devices, rules=Rules()))
    shutil.rmtree(profiles / "traffic-counter")
    devices.write_text(DEVICES.replace("lyon,bin-2,bin-level,2000\n", ""))
    wish = wanted.read(profiles, devices, rules=rules)
    assert wish.plans.keys() == {"bin-level", "water-meter"}
    assert wish.devices.keys() == {("lyon", "bin-1"), ("lyon", "meter-1")}


def test_a_bad_profile_keeps_its_last_good_version(profiles: Path, devices: Path) -> None:
    """And its devices; at a first start there is none."""
    rules = rules_of(wanted.read(profiles, devices, rules=Rules()))
    (profiles / "bin-level" / "profile.yaml").write_text("profile: bin-level\nversion: two\n")
    wish = wanted.read(profiles, devices, rules=rules)
    assert wish.plans["bin-level"].text == rules.plans["bin-level"].text
    assert wish.devices == rules.devices
    assert any("version" in str(problem) for problem in wish.profile_problems)
    first = wanted.read(profiles, devices, rules=Rules())
    assert first.plans.keys() == {"traffic-counter", "water-meter"}
    assert first.device_problems


def test_a_quantity_of_another_kind_is_a_new_version(profiles: Path, devices: Path) -> None:
    """Refused under the number of before, which stays in force; taken under a new one."""
    rules = rules_of(wanted.read(profiles, devices, rules=Rules()))
    file = profiles / "bin-level" / "profile.yaml"
    text = file.read_text(encoding="utf-8")
    changed = text.replace("{path: battery_v,", "{path: battery_v, kind: event,")
    assert changed != text
    file.write_text(changed, encoding="utf-8")
    refused = wanted.read(profiles, devices, rules=rules)
    [problem] = refused.profile_problems
    assert "«battery» is gauge in version 1, and would be event" in problem.what
    assert "version: 2" in problem.hint
    assert refused.plans["bin-level"] is rules.plans["bin-level"]
    file.write_text(changed.replace("version: 1\n", "version: 2\n"), encoding="utf-8")
    assert wanted.read(profiles, devices, rules=rules).profile_problems == ()


def test_a_profile_that_lost_its_topics_is_not_kept(profiles: Path, devices: Path) -> None:
    """Another one has them now: two profiles never share a message, whatever else is wrong."""
    rules = rules_of(wanted.read(profiles, devices, rules=Rules()))
    renamed = profiles / "bin-level" / "profile.yaml"
    renamed.write_text(renamed.read_text().replace("profile: bin-level", "profile: bin-level-2"))
    (profiles / "water-meter" / "profile.yaml").write_text("profile: water-meter\n")
    wish = wanted.read(profiles, devices, rules=rules)
    assert wish.plans.keys() == {"bin-level-2", "traffic-counter", "water-meter"}


def test_a_bad_row_keeps_its_device(profiles: Path, devices: Path) -> None:
    """The others change all the same; nothing is taken away while the file is not sound."""
    rules = rules_of(wanted.read(profiles, devices, rules=Rules()))
    devices.write_text(DEVICES.replace("bin-level,1800", "bin-level,deep").replace("2000", "2100"))
    wish = wanted.read(profiles, devices, rules=rules)
    assert wish.devices["lyon", "bin-1"] == rules.devices["lyon", "bin-1"]
    assert wish.devices["lyon", "bin-2"].parameters["empty"] == ((0, 2100.0),)
    assert [problem.line for problem in wish.device_problems] == [2]


def test_no_folder_and_no_file(tmp_path: Path) -> None:
    """A folder that is gone is a problem, and what was in force goes on; no file is an empty registry."""
    rules = Rules(plans=PLANS)
    wish = wanted.read(tmp_path / "gone", tmp_path / "gone.csv", rules=rules)
    assert wish.plans == PLANS
    assert wish.profile_problems
    assert not wish.devices
    assert not wish.device_problems


def test_the_stamp_changes_with_any_file(profiles: Path, devices: Path) -> None:
    """Content, a new profile, one that is gone; and it is the same as long as nothing changes."""
    seen = [wanted.stamp(profiles, devices)]
    assert wanted.stamp(profiles, devices) == seen[0]
    devices.write_text(DEVICES + "lyon,bin-3,bin-level,1500\n")
    seen.append(wanted.stamp(profiles, devices))
    os.utime(profiles / "bin-level" / "profile.yaml", ns=(1, 1))
    seen.append(wanted.stamp(profiles, devices))
    shutil.rmtree(profiles / "water-meter")
    seen.append(wanted.stamp(profiles, devices))
    devices.unlink()
    seen.append(wanted.stamp(profiles, devices))
    assert len(set(seen)) == len(seen)
