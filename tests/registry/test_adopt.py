"""Devices put into `devices.csv`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.errors import ConfigurationError, EcluseError
from gateway.model import Device
from gateway.registry.adopt import adopt, write_devices
from gateway.registry.devices import read_devices
from tests.registry.test_devices import HEAD, MARCH, PLANS

if TYPE_CHECKING:
    from pathlib import Path


def take(path: Path, device: str = "b9", **given: object) -> Device:
    """Adopt a bin."""
    wanted = {"site": "lyon", "profile": "bin", "place": {"street": "quai"}, "parameters": {"empty": 1850}}
    return adopt(path, device=device, plans=PLANS, **(wanted | given))  # type: ignore[arg-type]


def test_the_first_device_makes_the_file(tmp_path: Path) -> None:
    """It reads back as what was adopted."""
    path = tmp_path / "devices.csv"
    device = take(path)
    assert (
        path.read_text() == "site,id,profile,valid_from,place.street,param.empty\nlyon,b9,bin,,quai,1850.0\n"
    )
    assert read_devices(path, PLANS).devices == {("lyon", "b9"): device}


def test_rows_that_stand_there_are_kept_byte_for_byte(tmp_path: Path) -> None:
    """Quotes, spaces and a missing last line end included."""
    path = tmp_path / "devices.csv"
    before = HEAD + 'lyon, b1 ,bin,,"rue",1850,'
    path.write_text(before)
    take(path)
    assert path.read_text() == before + "\nlyon,b9,bin,,quai,1850.0,\n"


def test_a_new_column_is_added(tmp_path: Path) -> None:
    """Places before parameters; the old rows have it empty."""
    path = tmp_path / "devices.csv"
    path.write_text("site;id;profile;param.empty\r\nlyon;b1;bin;1850\r\n", newline="")
    take(path, parameters={"empty": 1900, "full": 250}, place={"district": "2"})
    assert path.read_bytes().decode().split("\r\n") == [
        "site;id;profile;param.empty;place.district;param.full",
        "lyon;b1;bin;1850;;",
        "lyon;b9;bin;1900.0;2;250.0",
        "",
    ]
    assert len(read_devices(path, PLANS).devices) == 2


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"device": "b1"}, "lyon/b1: is in the registry already"),
        ({"device": "b/9"}, "«id» must be one level of a topic"),
        ({"profile": "bni"}, "there is no profile «bni» (there are bin, meter)"),
        ({"parameters": {}}, "«empty» is missing (give empty=… in mm)"),
        ({"parameters": {"empty": 1}}, "«empty» = 1 mm lies outside 200 to 4500"),
        ({"parameters": {"empty": 300, "fall": 1}}, "no parameter «fall» (did you mean «full»?)"),
        ({"site": ""}, "«site» is empty"),
    ],
)
def test_what_cannot_be_adopted(tmp_path: Path, given: dict[str, object], says: str) -> None:
    """The file stays as it was."""
    path = tmp_path / "devices.csv"
    path.write_text(HEAD + "lyon,b1,bin,,,1850,\n")
    with pytest.raises(ConfigurationError) as refused:
        take(path, **given)
    assert says in str(refused.value)
    assert path.read_text() == HEAD + "lyon,b1,bin,,,1850,\n"


def test_a_file_with_problems_is_left_alone(tmp_path: Path) -> None:
    """They are told instead."""
    path = tmp_path / "devices.csv"
    path.write_text(HEAD + "lyon,b1,bin,,,deep,\n")
    with pytest.raises(ConfigurationError, match="«deep» is no number"):
        take(path)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """An error with what to do, and nothing half-written."""
    with pytest.raises(EcluseError, match="cannot be written") as refused:
        take(tmp_path / "missing" / "devices.csv")
    assert refused.value.hint


def test_the_files_mode_is_kept_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    """It is replaced in one step."""
    path = tmp_path / "devices.csv"
    path.write_text(HEAD)
    path.chmod(0o640)
    take(path)
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_a_whole_file_reads_back(tmp_path: Path) -> None:
    """Parameters that changed in time included."""
    path = tmp_path / "devices.csv"
    devices = {
        ("lyon", "b1"): Device(
            "lyon",
            "b1",
            "bin",
            {"street": "a,b"},
            {"empty": ((0, 1850.0), (MARCH, 2100.5)), "full": ((MARCH, 1.0),)},
        ),
        ("", "m1"): Device("", "m1", "meter"),
    }
    write_devices(path, devices.values())
    assert read_devices(path, PLANS).devices == devices
    assert not read_devices(path, PLANS).problems
