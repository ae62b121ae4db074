"""The shipped profiles do what their READMEs say, on golden payloads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from gateway.decode.decoder import decode
from gateway.decode.routes import Routes
from gateway.model import Device, RawBatch, SeriesTable
from gateway.profiles.golden import FILE_NAME, GoldenExample, GoldenReading, differences, read_golden
from gateway.profiles.load import load
from gateway.profiles.plan import Kind

if TYPE_CHECKING:
    from gateway.decode.decoder import Decoded
    from gateway.profiles.plan import ProfilePlan

LOADED = load(Path(__file__).parents[2] / "device_profiles")


def golden(name: str) -> tuple[GoldenExample, ...]:
    """Return a shipped profile's examples."""
    file = LOADED.files[name].with_name(FILE_NAME)
    found, problems = read_golden(file.read_text(encoding="utf-8"), LOADED.plans[name], where=str(file))
    assert not problems, "\n".join(map(str, problems))
    return found


CASES = [
    pytest.param(name, example, id=f"{name}: {example.name}")
    for name in LOADED.plans
    for example in golden(name)
]


def test_three_families_load_without_a_problem() -> None:
    """Together."""
    assert not LOADED.problems
    assert {name: plan.family for name, plan in LOADED.plans.items()} == {
        "bin-level": "waste",
        "traffic-counter": "traffic",
        "water-meter": "water",
    }


def decoded(plan: ProfilePlan, example: GoldenExample) -> Decoded:
    """Send an example through the decoder, from a device with its parameters."""
    _, site, _, identifier, _ = example.topic.split("/")
    parameters = {name: ((0, value),) for name, value in example.parameters.items()}
    device = Device(site=site, id=identifier, profile=plan.name, parameters=parameters)
    routes = Routes(
        plans={plan.name: plan},
        devices={(site, identifier): device},
        accept_unknown=False,
        max_unknown=1,
        max_series=100,
        tables={},
        texts=SeriesTable(),
    )
    batch = RawBatch(
        source="test",
        connection=1,
        session="test",
        protocol=5,
        received_ns=example.received_ns,
        frames=b"",
        topics=[example.topic.encode()],
        payloads=[example.payload],
        headers=np.array([0x32], dtype=np.uint8),
        packet_ids=np.array([1], dtype=np.uint16),
        position=1,
    )
    return decode(batch, routes)


def readings(found: Decoded) -> list[GoldenReading]:
    """Return what was decoded, as the golden file would have it."""
    return [
        GoldenReading(
            quantity=quantity.name,
            dimensions=tuple(
                sorted(zip(one.group.dimensions, one.table.keys[one.series[row]][2:], strict=True))
            ),
            time_ns=int(one.time[row]),
            value=(
                quantity.states[int(one.values[place, row])]
                if quantity.kind is Kind.STATE
                else float(one.values[place, row])
            ),
        )
        for one in found.readings
        for place, quantity in enumerate(one.group.quantities)
        for row in np.flatnonzero(one.present[place]).tolist()
    ]


@pytest.mark.parametrize(("name", "example"), CASES)
def test_golden_payloads(name: str, example: GoldenExample) -> None:
    """Each gives exactly its readings, and is rejected for its reason alone."""
    found = decoded(LOADED.plans[name], example)
    assert not differences(example.readings, readings(found))
    reasons = {rejection.reason for rejection in found.rejections}
    assert reasons == ({example.reason} if example.reason else set())


@pytest.mark.parametrize("name", LOADED.plans)
def test_a_folder_is_complete(name: str) -> None:
    """Profile, golden payloads and README; every quantity occurs in a golden reading."""
    folder = LOADED.files[name].parent
    assert folder.name == name
    assert sorted(file.name for file in folder.iterdir()) == ["README.md", "golden.yaml", "profile.yaml"]
    told = {reading.quantity for example in golden(name) for reading in example.readings}
    assert told == {quantity.name for group in LOADED.plans[name].groups for quantity in group.quantities}
