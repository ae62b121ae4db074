"""Profiles that extend another: one level, in one text, and mistakes where they were made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.profiles.compile import compile_text
from gateway.profiles.load import load

if TYPE_CHECKING:
    from pathlib import Path

BASE = """family: waste
windows: [1h, 1d]
parameters: {empty: {unit: mm, default: 2000}}
quantities:
  battery: {path: bat, unit: V, range: [2, 4]}
  distance: {path: dist, unit: mm}
"""
OWN = """profile: acme-2
version: 1
extends: bases/acme.yaml
topics: ["acme/{device}"]
quantities:
  distance: {path: d_mm, range: [20, 4500]}
  tilt: {path: tilt, states: {0: upright, 1: tilted}}
"""


def folder(path: Path, own: str = OWN, base: str = BASE) -> Path:
    (path / "bases").mkdir(exist_ok=True)
    (path / "bases" / "acme.yaml").write_text(base, encoding="utf-8")
    (path / "profile.yaml").write_text(own, encoding="utf-8")
    return path


def test_what_is_not_said_is_as_the_other_says(tmp_path: Path) -> None:
    loaded = load(folder(tmp_path))
    assert not loaded.problems, loaded.problems
    plan = loaded.plans["acme-2"]
    quantities = {one.name: one for group in plan.groups for one in group.quantities}
    assert list(quantities) == ["battery", "distance", "tilt"]
    assert (quantities["battery"].path, quantities["battery"].fail_range) == ("bat", (2, 4))
    assert (quantities["distance"].path, quantities["distance"].unit) == ("d_mm", "mm")
    assert [window.name for window in plan.windows] == ["1h", "1d"]
    assert plan.parameters["empty"].default == 2000


def test_null_takes_away(tmp_path: Path) -> None:
    own = OWN.replace("quantities:", "parameters:\nquantities:\n  battery: null")
    plan = load(folder(tmp_path, own)).plans["acme-2"]
    assert [one.name for group in plan.groups for one in group.quantities] == ["distance", "tilt"]
    assert plan.parameters == {}


def test_its_text_is_whole(tmp_path: Path) -> None:
    """The journal keeps it: it needs no file any more; and a change of the other is one of its own."""
    plan = load(folder(tmp_path)).plans["acme-2"]
    assert compile_text(plan.text, name="acme-2") == plan
    again = load(folder(tmp_path, base=BASE.replace("[2, 4]", "[2, 5]"))).plans["acme-2"]
    assert again.text != plan.text


def test_a_folder_and_its_codec(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    text = 'profile: base\nversion: 1\ntopics: ["base/{device}"]\ncodec: {file: acme.js}\n' + BASE
    (base / "profile.yaml").write_text(text, encoding="utf-8")
    (base / "acme.js").write_text("function decodeUplink() {}", encoding="utf-8")
    own = tmp_path / "own"
    own.mkdir()
    (own / "profile.yaml").write_text(OWN.replace("bases/acme.yaml", "../base"), encoding="utf-8")
    loaded = load(tmp_path)
    assert not loaded.problems, loaded.problems
    assert {name: plan.codec and plan.codec.script for name, plan in loaded.plans.items()} == dict.fromkeys(
        ["base", "acme-2"], "function decodeUplink() {}"
    )
    (base / "acme.js").unlink()
    problems = [str(problem) for problem in load(tmp_path).problems]
    assert any("own/profile.yaml:3:10: the codec" in problem for problem in problems), problems


@pytest.mark.parametrize(
    ("own", "base", "told"),
    [
        (OWN.replace("acme.yaml", "none.yaml"), BASE, "profile.yaml:3:10: what it extends, "),
        (OWN, "extends: other.yaml\n" + BASE, "one level is understood"),
        (OWN, "- 1\n", "is no profile"),
        (OWN, "family: [", ": not YAML"),
        (OWN, BASE.replace("windows", "window"), "«window» is not a key"),
        (OWN.replace("bases/acme.yaml", "7"), BASE, "«7», is not there"),
        (OWN.replace("d_mm", "d[mm"), BASE, "profile.yaml:6:21"),
    ],
)
def test_mistakes_are_named(own: str, base: str, told: str, tmp_path: Path) -> None:
    problems = "\n".join(map(str, load(folder(tmp_path, own, base)).problems))
    assert told in problems
