"""devices.csv describes the fleet, and is never written over a person's work."""

from __future__ import annotations

import csv
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from firmware_sim.fleet import COLUMNS, Fleet, FleetError, spec_of, write_devices

if TYPE_CHECKING:
    from pathlib import Path


def test_proportions() -> None:
    """Three hundred devices are 150 bins, 60 counters, 90 meters; three are one of each."""
    assert Counter(spec.family for spec in Fleet.of(300).specs(1)) == {
        "waste": 150,
        "traffic": 60,
        "water": 90,
    }
    assert Counter(spec.family for spec in Fleet.of(3).specs(1)) == {"waste": 1, "traffic": 1, "water": 1}
    for count in range(1, 60):
        assert len(Fleet.of(count).specs(1)) == count


def test_devices_file(tmp_path: Path) -> None:
    """Each device has one row with its place; every bin has its depth; names are unique."""
    path = tmp_path / "state" / "devices.csv"
    specs = Fleet.of(50, site="villeurbanne").specs(4)
    write_devices(path, specs)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert len({row["id"] for row in rows}) == len(rows) == 50
    for row, spec in zip(rows, specs, strict=True):
        assert (row["site"], row["id"], row["profile"]) == ("villeurbanne", spec.id, spec.profile)
        assert row["valid_from"] == ""
        assert row["place.street"] == spec.street
        assert 45.7 < float(row["place.latitude"]) < 45.8
        assert 4.7 < float(row["place.longitude"]) < 4.9
        assert bool(row["param.empty"]) == (spec.family == "waste")
        if spec.family == "waste":
            assert float(row["param.empty"]) > float(row["param.full"] or 300) + 200


def test_names() -> None:
    """Names tell the family and have a fixed width."""
    assert spec_of("waste", 1, seed=1).id == "bin-00001"
    assert spec_of("traffic", 1, seed=1).id == "tc-0001"
    assert spec_of("water", 1, seed=1).id == "wm-00001"


def test_writing_again(tmp_path: Path) -> None:
    """The same fleet may be written again; a file that says something else is left alone."""
    path = tmp_path / "devices.csv"
    write_devices(path, Fleet.of(5).specs(1))
    write_devices(path, Fleet.of(5).specs(1))
    with pytest.raises(FleetError, match="another fleet"):
        write_devices(path, Fleet.of(6).specs(1))
    assert len(path.read_text(encoding="utf-8").splitlines()) == 6
