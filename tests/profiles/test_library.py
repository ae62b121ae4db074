"""The library of real devices: each profile stands for itself, with payloads that its maker has published."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.cli.trial import golden_differences
from gateway.profiles.golden import FILE_NAME, read_golden
from gateway.profiles.load import load
from gateway.profiles.plan import Kind

LIBRARY = Path(__file__).parents[2] / "device_profiles" / "lorawan"
LOADED = load(LIBRARY)


def test_at_least_twelve_over_three_families_and_neighbours() -> None:
    """They load together, and the page says what each is."""
    assert not LOADED.problems
    assert len(LOADED.plans) >= 12
    assert {plan.family for plan in LOADED.plans.values()} >= {
        "waste",
        "traffic",
        "water",
        "parking",
        "noise",
        "air",
        "lighting",
    }
    page = (LIBRARY / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `([\w-]+)` \|", page, re.MULTILINE)) == set(LOADED.plans)


@pytest.mark.parametrize("name", sorted(LOADED.plans))
def test_its_golden_payloads(name: str) -> None:
    """Every quantity comes out of some example; numbers have units, and limits but for what needs none."""
    plan, file = LOADED.plans[name], LOADED.files[name].with_name(FILE_NAME)
    examples, problems = read_golden(file.read_text(encoding="utf-8"), plan, where=str(file))
    assert not problems
    assert {example.name: golden_differences(plan, example) for example in examples} == {
        example.name: [] for example in examples
    }
    seen = {reading.quantity for example in examples for reading in example.readings}
    known = {quantity.name: quantity for group in plan.groups for quantity in group.quantities}
    assert {name for name, one in known.items() if not (one.path or "").startswith("@")} - seen <= {
        "probe",
        "supply",
    }
    assert all(quantity.unit for quantity in known.values() if quantity.kind is not Kind.STATE)
    assert plan.envelope is not None
