"""Profiles from the catalogues of network servers: drafted, with the vendor's codec and golden examples."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gateway.profiles.load import load
from tests.cli.command import ecluse

VENDORS = Path(__file__).parent / "vendors"


@pytest.mark.parametrize(
    ("path", "label", "source", "quantities"),
    [
        ("acme/acme-bin.yaml", "acme-bin", "tts", {"battery", "distance", "temperature"}),
        ("cosmo/devices/cosmo-park.toml", "cosmo-park", "chirpstack", {"occupied", "port"}),
    ],
)
def test_a_device_becomes_a_profile_that_is_well(
    path: str, label: str, source: str, quantities: set[str], tmp_path: Path
) -> None:
    result = ecluse("profile", "import", VENDORS / path, "--to", tmp_path)
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1] == "devices=1 imported=1 left=0"
    loaded = load(tmp_path)
    assert not loaded.problems, loaded.problems
    plan = loaded.plans[label]
    assert plan.envelope is not None
    assert (plan.envelope.name, plan.format) == (source, "codec")
    assert quantities <= {quantity.name for group in plan.groups for quantity in group.quantities}
    checked = ecluse("profile", "check", tmp_path)
    assert checked.exit_code == 0, checked.output
    assert "golden examples as expected" in checked.output
    again = ecluse("profile", "import", VENDORS / path, "--to", tmp_path)
    assert again.exit_code == 1
    assert "is there already" in again.output


def test_a_folder_of_vendors(tmp_path: Path) -> None:
    result = ecluse("profile", "import", VENDORS, "--to", tmp_path, "--source", "chirpstack")
    assert result.exit_code == 0, result.output
    assert sorted(load(tmp_path).plans) == ["acme-bin", "cosmo-park"]
    text = (tmp_path / "cosmo-park" / "profile.yaml").read_text(encoding="utf-8")
    assert text.startswith("# Cosmo Park, by the catalogue's cosmo-park.toml and the vendor's codec.\n")
    assert "Older firmware has other codecs: cosmo-old.js." in text
    assert "the vendor's own, for firmware 2.0" in text
    assert "source: chirpstack" in (tmp_path / "acme-bin" / "profile.yaml").read_text(encoding="utf-8")


def test_what_cannot_be_imported_is_named(tmp_path: Path) -> None:
    catalogue = tmp_path / "catalogue"
    shutil.copytree(VENDORS / "cosmo", catalogue / "cosmo")
    shutil.copytree(VENDORS / "acme", catalogue / "acme")
    devices = catalogue / "cosmo" / "devices"
    (devices / "bare.toml").write_text('[device]\nname = "Bare"\n', encoding="utf-8")
    (devices / "wrong.toml").write_text("[device", encoding="utf-8")
    (devices / "lost.toml").write_text('[device]\n[[device.firmware]]\ncodec = "none.js"\n', encoding="utf-8")
    (catalogue / "cosmo" / "codecs" / "mute.js").write_text("function decodeUplink() {}", encoding="utf-8")
    (devices / "mute.toml").write_text('[device]\n[[device.firmware]]\ncodec = "mute.js"\n', encoding="utf-8")
    (catalogue / "acme" / "acme-bin-codec.yaml").write_text("downlinkEncoder: {}\n", encoding="utf-8")
    result = ecluse("profile", "import", catalogue, "--to", tmp_path / "to")
    assert result.exit_code == 1
    told = [line for line in result.output.splitlines() if line.startswith("✗")]
    for file, why in (
        ("bare.toml", "no firmware has a codec"),
        ("wrong.toml", "is no TOML"),
        ("lost.toml", "the codec none.js cannot be read"),
        ("mute.toml", "it has no examples that its codec decodes"),
        ("acme-bin.yaml", "names no uplinkDecoder"),
    ):
        assert [line for line in told if file in line and why in line], (file, told)
    assert result.output.splitlines()[-1] == "devices=6 imported=1 left=5"


def test_a_folder_without_devices(tmp_path: Path) -> None:
    assert "no device is described" in ecluse("profile", "import", tmp_path, "--to", tmp_path).output
    assert "there is no" in ecluse("profile", "import", tmp_path / "x", "--to", tmp_path).output
