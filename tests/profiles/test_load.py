"""Profiles from files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.profiles.document import MAX_BYTES
from gateway.profiles.load import load
from tests.profiles.texts import profile

if TYPE_CHECKING:
    from pathlib import Path

GOOD = profile("quantities: {battery: {path: bat, unit: V}}\n")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a good profile, a bad one and things that are none."""
    for name, text in (("good", GOOD), ("bad", GOOD.replace("unit: V", "unit: Volt"))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "profile.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "empty").mkdir()
    (tmp_path / "README.md").write_text("no profile", encoding="utf-8")
    return tmp_path


def test_a_bad_profile_is_refused_with_line_and_reason_and_the_others_load(folder: Path) -> None:
    """One file's faults are not its neighbours'."""
    loaded = load(folder)
    assert list(loaded.plans) == ["acme"]
    assert loaded.files == {"acme": folder / "good" / "profile.yaml"}
    assert [str(problem) for problem in loaded.problems] == [
        f"{folder}/bad/profile.yaml:5:41: quantities.battery.unit: «Volt» is not a UCUM unit; write «V»"
    ]


def test_a_path_is_a_file_a_profiles_folder_or_a_folder_of_them(folder: Path) -> None:
    """All three mean the same profile."""
    for path in (folder / "good" / "profile.yaml", folder / "good", folder):
        assert load(path).plans["acme"].text == GOOD


def test_loose_files_in_a_folder_are_profiles_too(tmp_path: Path) -> None:
    """As a first own sensor is begun."""
    (tmp_path / "mine.yaml").write_text(GOOD, encoding="utf-8")
    assert list(load(tmp_path).plans) == ["acme"]


def test_of_two_that_clash_the_later_is_refused(folder: Path) -> None:
    """In the order of the folders' names, so that it is always the same one."""
    (folder / "zz").mkdir()
    (folder / "zz" / "profile.yaml").write_text(GOOD, encoding="utf-8")
    loaded = load(folder)
    assert loaded.files == {"acme": folder / "good" / "profile.yaml"}
    assert f"{folder}/zz/profile.yaml: there is a profile «acme» already" in str(loaded.problems[-1])


def test_where_there_is_no_profile(tmp_path: Path) -> None:
    """An empty folder and a missing path are problems, not nothing."""
    for path in (tmp_path, tmp_path / "missing"):
        loaded = load(path)
        assert not loaded.plans
        assert "there is no profile here" in str(loaded.problems[0])


def test_files_that_are_no_text(tmp_path: Path) -> None:
    """Too large, not UTF-8, not readable: a sentence each."""
    (tmp_path / "a.yaml").write_bytes(b"#" * (MAX_BYTES + 1))
    (tmp_path / "b.yaml").write_bytes(b"profile: \xff")
    (tmp_path / "c.yaml").write_text(GOOD, encoding="utf-8-sig")
    loaded = load(tmp_path)
    assert [problem.what for problem in loaded.problems] == [
        f"the profile is longer than {MAX_BYTES} bytes",
        "the profile is not UTF-8 (byte 9)",
    ]
    assert list(loaded.plans) == ["acme"]
