"""A profile whose payloads a codec decodes: from its folder through the journal to readings."""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gateway import wanted
from gateway.cli.codecs import codecs
from gateway.decode.decoder import decode
from gateway.model import Control, ControlKind, Reason
from gateway.profiles.load import load
from gateway.profiles.whole import Whole, attached, detached
from gateway.rules import Rules
from tests.cli.command import ecluse
from tests.decode.plans import payloads, routes

if TYPE_CHECKING:
    from gateway.profiles.plan import ProfilePlan

CODEC = Path(__file__).parent / "vendors" / "acme" / "acme-bin.js"
TEXT = """profile: acme-bin
version: 1
family: waste
topics: ["t/{site}/{device}"]
codec: {file: acme-bin.js, variables: {depth: "2000"}}
quantities:
  battery: {path: battery, unit: "%"}
  distance: {path: distance, unit: mm}
  fill: {path: fill, unit: "1"}
  position: {path: position, states: {upright: upright, tilted: tilted}}
"""


def folder(path: Path, text: str = TEXT) -> Path:
    path.mkdir(exist_ok=True)
    (path / "profile.yaml").write_text(text, encoding="utf-8")
    shutil.copy(CODEC, path)
    return path


def plan_of(path: Path) -> ProfilePlan:
    loaded = load(path)
    assert not loaded.problems, loaded.problems
    return loaded.plans["acme-bin"]


def read(plan: Any, *bodies: bytes) -> tuple[list[dict[str, float]], list[tuple[int, Reason, str]]]:
    decoded = decode(payloads(*bodies), routes(plan, codecs=codecs()))
    rows = [
        {q.name: value for q, value in zip(one.group.quantities, row, strict=True) if not math.isnan(value)}
        for one in decoded.readings
        for row in one.values.T.tolist()
    ]
    return rows, [(one.index, one.reason, one.detail) for one in decoded.rejections]


def test_what_the_codec_returns_is_read_by_paths(tmp_path: Path) -> None:
    plan = plan_of(folder(tmp_path))
    rows, refused = read(plan, bytes.fromhex("01600203e80401"), b"\x09", b"\x01\x50")
    assert rows == [
        {"battery": 96, "distance": 1000, "fill": 0.5, "position": 1},
        {"battery": 80},
    ]
    assert refused == [(1, Reason.CODEC_FAILED, "unknown tag 9")]


def test_normalized_data_have_other_paths(tmp_path: Path) -> None:
    text = TEXT.replace("variables:", "normalize: true, variables:")
    text = text[: text.index("quantities:")] + "quantities: {t: {path: air.temperature, unit: Cel}}\n"
    rows, _ = read(plan_of(folder(tmp_path, text)), bytes.fromhex("03fff1"))
    assert rows == [{"t": -1.5}]


def test_a_profile_travels_with_its_codec(tmp_path: Path) -> None:
    """What the journal keeps of it decodes as before, when the vendor's file is long gone."""
    plan = plan_of(folder(tmp_path))
    body = {"name": plan.name, "version": 1, "text": plan.text, "before": None}
    rules = Rules()
    rules.apply(Control(ControlKind.PROFILE, 0, json.dumps(body).encode()))
    (tmp_path / "acme-bin.js").unlink()
    again = Rules.restored(rules.dump(), rules.devices).plans["acme-bin"]
    assert again == plan
    assert read(again, b"\x01\x50") == ([{"battery": 80}], [])


def test_another_codec_is_another_profile(tmp_path: Path) -> None:
    """A vendor's new file changes the profile's text: the gateway takes it in at the next look."""
    before = plan_of(folder(tmp_path))
    with (tmp_path / "acme-bin.js").open("a", encoding="utf-8") as file:
        file.write("// mended\n")
    assert plan_of(tmp_path).text != before.text


def test_a_change_of_the_codec_alone_is_seen(tmp_path: Path) -> None:
    """As one of the profile's own file: what `Wishes.watch` looks at."""
    folder(tmp_path)
    referred = load(tmp_path).referred
    assert referred == (tmp_path / "acme-bin.js",)
    before = wanted.stamp(tmp_path, tmp_path / "devices.csv", referred)
    os.utime(tmp_path / "acme-bin.js", ns=(1, 1))
    assert wanted.stamp(tmp_path, tmp_path / "devices.csv", referred) != before


def test_a_whole_text_is_parted_as_it_was_joined() -> None:
    script = "let a;\n... # codec: y.js\n"
    for text in ("a: 1\n", "a: 1"):
        whole = detached(attached(text, "codec", "x.js", script))
        assert (whole.yaml.rstrip("\n"), whole.base, whole.script) == ("a: 1", None, script)
        extended = attached(text, "extends", "../b", "b: 2")
        assert detached(attached(extended, "codec", "x.js", script)) == Whole("a: 1\n", "b: 2\n", script)
    assert detached("a: 1\n") == Whole("a: 1\n")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("acme-bin.js, ", "other.js, ", "cannot be read: No such file"),
        ("codec: {file: acme-bin.js", "codec: {files: acme-bin.js", "did you mean «file»?"),
        ("codec: ", "format: binary\ncodec: ", "no other format does"),
        ('codec: {file: acme-bin.js, variables: {depth: "2000"}}', "format: codec", "which codec?"),
        ("depth: ", "depth: 2000, x: ", "must be a text"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, old: str, new: str, told: str) -> None:
    folder(tmp_path, TEXT.replace(old, new))
    problems = "\n".join(map(str, load(tmp_path).problems))
    assert told in problems
    assert "profile.yaml:" in problems


def test_a_codec_that_is_too_long_or_no_text_is_refused(tmp_path: Path) -> None:
    folder(tmp_path)
    (tmp_path / "acme-bin.js").write_bytes(b"\xff")
    assert "is not UTF-8" in str(load(tmp_path).problems[0])
    (tmp_path / "acme-bin.js").write_bytes(b" " * 1_048_577)
    assert "longer than 1048576 bytes" in str(load(tmp_path).problems[0])


def test_it_is_tried_and_checked(tmp_path: Path) -> None:
    folder(tmp_path)
    (tmp_path / "golden.yaml").write_text(
        """received: 2026-11-22T10:15:00Z
examples:
  - name: half full
    topic: t/lyon/bin-1
    payload_hex: "01600203e8"
    readings: [{at: 2026-11-22T10:15:00Z, battery: 96, distance: 1000, fill: 0.5}]
  - name: unknown
    topic: t/lyon/bin-1
    payload_hex: "09"
    rejected: codec failed
""",
        encoding="utf-8",
    )
    checked = ecluse("profile", "check", tmp_path)
    assert checked.exit_code == 0, checked.output
    tried = ecluse("profile", "try", tmp_path, "--hex", "01600203e8")
    assert tried.exit_code == 0, tried.output
    assert "0.5" in tried.output
    assert "unknown tag 9" in ecluse("profile", "try", tmp_path, "--hex", "09").output
