from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.profiles.load import load
from gateway.registry.devices import read_devices
from gateway.registry.unknown import UnknownDevices
from tests.cli.command import SHIPPED, ecluse, settings_file

if TYPE_CHECKING:
    from pathlib import Path

HEARD_NS = 1_795_342_500_000_000_000


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return settings_file(tmp_path)


@pytest.fixture
def strangers(config: Path) -> Path:
    """A list as a running gateway keeps it."""
    file = config.parent / "state" / "unknown.db"
    unknown = UnknownDevices(file)
    for number in range(3):
        unknown.unknown("lyon", "b7", "city/lyon/bin/b7/up", b'{"dist_mm": 1150}', HEARD_NS + number * 10**9)
    unknown.unknown("lyon", "evil", "city/lyon/bin/evil/up", b"\x1b[2J" + b"x" * 500, HEARD_NS)
    unknown.close()
    return file


def test_without_strangers_it_says_so(config: Path) -> None:
    """And makes no file."""
    result = ecluse("device", "unknown", "--config", config)
    assert (result.exit_code, result.stdout.strip()) == (0, "No unknown device was heard.")
    assert not (config.parent / "state" / "unknown.db").exists()


def test_strangers_are_listed(config: Path, strangers: Path) -> None:
    """Site, id, the profile that its topic fits, first and last heard, count, a sample that is harmless."""
    result = ecluse("device", "unknown", "--config", config)
    assert result.exit_code == 0
    line = next(line for line in result.stdout.splitlines() if "b7" in line)
    for part in ("lyon", "bin-level", "2026-11-22T10:15:00Z", "2026-11-22T10:15:02Z", " 3 ", "1150"):
        assert part in line
    assert "\x1b" not in result.stdout
    assert "…" in result.stdout


def test_they_are_listed_while_a_gateway_runs(config: Path, strangers: Path) -> None:
    """The file is open elsewhere."""
    gateway = UnknownDevices(strangers)
    try:
        gateway.unknown("paris", "p1", "city/paris/bin/p1/up", b"{}", HEARD_NS)
        gateway.flush()
        assert "paris" in ecluse("device", "unknown", "--config", config).stdout
    finally:
        gateway.close()


def test_adopt_puts_a_device_into_the_file_and_off_the_list(config: Path, strangers: Path) -> None:
    """With its parameters and its place."""
    result = ecluse(
        *("device", "adopt", "lyon", "b7", "--profile", "bin-level", "--config", config),
        *("--param", "empty=1800", "--place", "street=Rue Mercière", "--place", "latitude=45.76"),
    )
    assert result.exit_code == 0, result.output
    plans = load(SHIPPED).plans
    found = read_devices(config.parent / "devices.csv", plans)
    assert not found.problems
    device = found.devices["lyon", "b7"]
    assert device.parameters == {"empty": ((0, 1800.0),)}
    assert device.place == {"street": "Rue Mercière", "latitude": "45.76"}
    assert "b7" not in ecluse("device", "unknown", "--config", config).stdout.replace("b7/up", "")


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--profile", "bin-levl"], 3, "there is no profile «bin-levl»"),
        (["--profile", "bin-level"], 3, "«empty» is missing"),
        (["--profile", "bin-level", "--param", "empty=9999"], 3, "lies outside 200 to 4500"),
        (["--profile", "bin-level", "--param", "empty=much"], 2, "is no number"),
        (["--profile", "bin-level", "--param", "empty=1800", "--place", "street"], 2, "must be name=value"),
        ([], 2, "Missing option"),
    ],
)
def test_a_device_that_cannot_be_taken_in(config: Path, words: list[str], code: int, told: str) -> None:
    """Is refused with a sentence, and the file is not touched."""
    result = ecluse("device", "adopt", "lyon", "b7", *words, "--config", config)
    assert result.exit_code == code, result.output
    assert told in " ".join(result.stderr.split())
    assert not (config.parent / "devices.csv").exists()


def test_twice_is_refused(config: Path) -> None:
    """It is in the registry already."""
    words = ("device", "adopt", "lyon", "b7", "--profile", "bin-level", "--param", "empty=1800", "-c", config)
    assert ecluse(*words).exit_code == 0
    again = ecluse(*words)
    assert again.exit_code == 3
    assert "is in the registry already" in again.stderr
