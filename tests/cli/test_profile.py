from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cli.command import SHIPPED, ecluse

if TYPE_CHECKING:
    from pathlib import Path

PROFILE = """profile: acme
version: 1
family: waste
topics: ["acme/{site}/{device}"]
quantities:
  distance: {path: d, unit: mm}
"""
GOLDEN = """received: 2026-11-22T10:15:02Z
examples:
  - name: a metre
    topic: acme/lyon/x
    payload: '{"d": 1000}'
    readings:
      - {at: 2026-11-22T10:15:02Z, distance: 1000}
"""


def written(folder: Path, profile: str = PROFILE, golden: str = "") -> Path:
    (folder / "profile.yaml").write_text(profile, encoding="utf-8")
    if golden:
        (folder / "golden.yaml").write_text(golden, encoding="utf-8")
    return folder


def test_the_shipped_profiles_are_well() -> None:
    """And say how many examples they were held to."""
    result = ecluse("profile", "check", SHIPPED)
    assert result.exit_code == 0, result.output
    assert "3 profiles, 0 problems" in result.stdout
    assert "bin-level@1: 12 of 12 golden examples as expected" in result.stdout


def test_each_problem_is_named_with_its_place_and_a_fix(tmp_path: Path) -> None:
    """File, line, column, what, hint; all at once; exit 1."""
    text = PROFILE.replace("unit: mm", "unit: furlong").replace("version: 1", "versoin: 1")
    result = ecluse("profile", "check", written(tmp_path, text))
    assert result.exit_code == 1
    assert f"{tmp_path}/profile.yaml:2:1" in result.stdout
    assert "version" in result.stdout
    assert f"{tmp_path}/profile.yaml:6:" in result.stdout
    assert "furlong" in result.stdout


def test_a_golden_example_that_differs_is_named(tmp_path: Path) -> None:
    """With what was expected and what came."""
    result = ecluse(
        "profile", "check", written(tmp_path, golden=GOLDEN.replace("distance: 1000", "distance: 999"))
    )
    assert result.exit_code == 1
    assert f"{tmp_path}/golden.yaml: a metre" in result.stdout
    assert "expected distance at 2026-11-22T10:15:02Z = 999.0, got 1000.0" in result.stdout
    assert "0 of 1 golden example as expected" in result.stdout


def test_a_golden_file_with_problems_is_named(tmp_path: Path) -> None:
    """An example of a quantity that there is not."""
    result = ecluse(
        "profile", "check", written(tmp_path, golden=GOLDEN.replace("distance: 1000", "level: 1"))
    )
    assert result.exit_code == 1
    assert f"{tmp_path}/golden.yaml:7:" in result.stdout
    assert "no quantity «level»" in result.stdout


def test_a_profile_without_examples_is_well(tmp_path: Path) -> None:
    """And that is said."""
    result = ecluse("profile", "check", written(tmp_path))
    assert result.exit_code == 0
    assert "acme@1: well; no golden examples" in result.stdout


def test_a_path_without_profiles_is_a_problem(tmp_path: Path) -> None:
    """Not «0 problems»."""
    result = ecluse("profile", "check", tmp_path / "nowhere")
    assert result.exit_code == 1
    assert "there is no profile here" in result.stdout


def test_show_tells_a_person_what_a_profile_does() -> None:
    """Topics, quantities with limits, fields, tags, and what to ask the technician."""
    shown = ecluse("profile", "show", SHIPPED / "bin-level").stdout
    for part in (
        "city/{site}/bin/{device}/up",
        "outside 20 to 4500",
        "rises by over 60/h",
        "waste_15m, waste_1h, waste_1d",
        "filling_level_mean (float)",
        "tilt_upright_seconds (float)",
        "must be given",
        "distance from sensor to floor",
        "Tags: site, device, profile",
    ):
        assert part in shown
    assert "lanes[].classes.{class}.n" in ecluse("profile", "show", SHIPPED / "traffic-counter").stdout


def test_show_of_a_bad_profile_says_why(tmp_path: Path) -> None:
    """Exit 3, on stderr."""
    result = ecluse("profile", "show", written(tmp_path, "profile: x\n"))
    assert result.exit_code == 3
    assert "problems" in result.stderr


def test_try_shows_readings_and_points() -> None:
    """Exit 0 where nothing was refused."""
    payload = '{"ts":1795342500000,"dist_mm":1150}'
    result = ecluse(
        *("profile", "try", SHIPPED / "bin-level", payload, "--param", "empty=2000"),
        *("--topic", "city/lyon/bin/b7/up", "--at", "2026-11-22T10:15:02Z"),
    )
    assert result.exit_code == 0, result.output
    assert "waste,device=b7,profile=bin-level,site=lyon distance=1150.0,filling_level=50.0" in result.stdout
    assert "2026-11-22T10:15:00Z" in result.stdout


def test_try_shows_what_is_refused() -> None:
    """With the reason; exit 1."""
    result = ecluse("profile", "try", SHIPPED / "bin-level", '{"dist_mm"', "--param", "empty=2000")
    assert result.exit_code == 1
    assert "not json" in result.stdout
    assert "the whole uplink" in result.stdout


@pytest.mark.parametrize("way", ["file", "stdin"])
def test_try_reads_a_file_or_standard_input(tmp_path: Path, way: str) -> None:
    """Byte for byte: these are no text."""
    (tmp_path / "payload").write_bytes(b"\xff\xfe")
    words = ["--file", tmp_path / "payload"] if way == "file" else []
    stdin = b"\xff\xfe" if way == "stdin" else None
    result = ecluse("profile", "try", SHIPPED / "bin-level", *words, stdin=stdin)
    assert result.exit_code == 1
    assert "not utf-8" in result.stdout


def test_try_finds_the_profile_by_the_topic() -> None:
    """Where the path holds several."""
    result = ecluse(
        *("profile", "try", SHIPPED, '{"ts":1795342500,"index_l":1}', "--at", "2026-11-22T10:15:02Z"),
        *("--topic", "city/lyon/water/w1/up"),
    )
    assert result.exit_code == 0, result.output
    assert "profile=water-meter" in result.stdout


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["{}", "--param", "empty"], 2, "must be name=value"),
        (["{}", "--param", "empty=deep"], 2, "is no number"),
        (["{}", "--param", "emty=1"], 3, "did you mean «empty»?"),
        (["{}", "--param", "empty=1"], 3, "lies outside 200 to 4500"),
        (["{}", "--at", "noon"], 2, "not an instant"),
        (["{}", "--file", "x"], 2, "not both"),
        (["--file", "/nowhere/x"], 1, "cannot be read"),
    ],
)
def test_a_wrong_command_line_is_a_sentence(words: list[str], code: int, told: str) -> None:
    """With the exit code that the documentation gives it."""
    result = ecluse("profile", "try", SHIPPED / "bin-level", *words)
    assert result.exit_code == code, result.output
    assert told in " ".join(result.stderr.replace("│", " ").split())


def test_which_profile_is_asked() -> None:
    """Where there are several and no topic."""
    result = ecluse("profile", "try", SHIPPED, "{}")
    assert result.exit_code == 1
    assert "which profile of bin-level, traffic-counter, water-meter?" in result.stderr


def test_control_characters_never_reach_the_terminal() -> None:
    """What a device sent is written out, not obeyed."""
    profile = SHIPPED / "traffic-counter"
    lane = {"lane": "\\u001b[2J", "direction": "in", "occupancy": 5}
    payload = '{"time":"2026-11-22T10:15:00Z","period_s":900,"lanes":[' + str(lane).replace("'", '"') + "]}"
    payload = payload.replace("\\\\u", "\\u")
    result = ecluse("profile", "try", profile, payload, "--at", "2026-11-22T10:15:02Z")
    assert "occupancy" in result.stdout
    assert "\x1b" not in result.stdout
