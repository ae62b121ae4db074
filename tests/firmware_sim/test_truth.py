"""The simulator's own account of its payloads is what the shipped profiles make of them.

Two independent ways from a payload to its readings: the simulator's, and the gateway's decoding.
"""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from firmware_sim.city import city
from firmware_sim.faults import Rates
from firmware_sim.fleet import Fleet
from firmware_sim.ledger import Key, key
from firmware_sim.model import HOUR, SECOND, Message, Span, Spec
from gateway.decode.decoder import decode
from gateway.decode.routes import Routes
from gateway.model import Device, Flag, RawBatch, Readings, SeriesTable
from gateway.profiles.load import load
from gateway.profiles.plan import Kind
from gateway.quality.bounds import bound
from gateway.quality.ranges import range_flags

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PROFILES = Path(__file__).parents[2] / "device_profiles"
START = 1_794_816_000 * SECOND
DECIDED_BY_NEIGHBOURS = {"quarantined:conflicting duplicate", "duplicate"}
"""What decoding alone cannot see."""


def routes(specs: Sequence[Spec]) -> Routes:
    loaded = load(PROFILES)
    assert not loaded.problems
    devices = {
        (spec.site, spec.id): Device(
            site=spec.site,
            id=spec.id,
            profile=spec.profile,
            parameters={name: ((-(2**62), value),) for name, value in spec.parameters.items()},
        )
        for spec in specs
    }
    return Routes(
        loaded.plans,
        devices,
        accept_unknown=False,
        max_unknown=0,
        max_series=100_000,
        tables={},
        texts=SeriesTable(),
    )


def batch(messages: Sequence[Message]) -> RawBatch:
    return RawBatch(
        source="broker",
        connection=1,
        session="test",
        protocol=4,
        received_ns=max(message.due_ns for message in messages),
        frames=b"",
        topics=[message.topic.encode() for message in messages],
        payloads=[message.payload for message in messages],
        headers=np.full(len(messages), 0x32, dtype=np.uint8),
        packet_ids=np.arange(1, len(messages) + 1, dtype=np.uint16),
    )


def rows(readings: Readings) -> Iterator[tuple[int, Key, dict[str, float | int | str], tuple[str, ...]]]:
    """Yield (uplink, identity, fields, quantities out of range) of each row that was decoded."""
    flags = range_flags(readings)
    names = readings.group.dimensions
    for row in range(len(readings)):
        site, device, *values = readings.table.keys[readings.series[row]]
        dimensions = tuple(sorted(zip(names, values, strict=True)))
        fields: dict[str, float | int | str] = {}
        failed = []
        for number, quantity in enumerate(readings.group.quantities):
            if readings.present[number, row]:
                value = float(readings.values[number, row])
                whole = quantity.kind in (Kind.COUNTER, Kind.EVENT)
                state = quantity.states[int(value)] if quantity.kind is Kind.STATE else ""
                fields[quantity.name] = state or (int(value) if whole else value)
                if flags[number, row] == Flag.FAIL:
                    failed.append(quantity.name)
        identity = (readings.profile.family, site, device, dimensions, int(readings.time[row]))
        yield int(readings.uplink[row]), identity, fields, tuple(failed)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_ledger_says_what_the_profiles_say(seed: int) -> None:
    """Every message of an eventful day: its rows, values, states and times, or the reason it is refused."""
    specs = Fleet.of(60).specs(seed)
    items = city(specs, Span(seed=seed, origin_ns=START, start_ns=START), Rates.of(0.1))
    lived = takewhile(lambda item: item.due_ns < START + 24 * HOUR, items)
    messages = [item for item in lived if isinstance(item, Message)]
    table = routes(specs)
    reasons = set()
    for first in range(0, len(messages), 200):
        some = messages[first : first + 200]
        decoded = decode(batch(some), table)
        found: dict[int, list[tuple[Key, dict[str, float | int | str], tuple[str, ...]]]] = {}
        refused = {rejection.index: rejection.reason for rejection in decoded.rejections}
        for readings in decoded.readings:
            kept, rejections = bound(readings)
            refused |= {rejection.index: rejection.reason for rejection in rejections}
            for uplink, *rest in rows(kept):
                found.setdefault(uplink, []).append((rest[0], rest[1], rest[2]))
        for index, message in enumerate(some):
            if message.expect in DECIDED_BY_NEIGHBOURS:
                assert index not in refused
                continue
            if message.expect.startswith("quarantined:"):
                assert f"quarantined:{refused.get(index)}" == message.expect, message
                assert index not in found
                reasons.add(message.expect)
                continue
            assert index not in refused, (message, refused[index])
            _compare(found[index], message)
    assert len(reasons) >= 10


def _compare(
    found: list[tuple[Key, dict[str, float | int | str], tuple[str, ...]]], message: Message
) -> None:
    """Hold the decoded rows of a message against its truth."""
    expected = {key(reading): (dict(reading.fields), reading.failed) for reading in message.readings}
    assert {identity for identity, _, _ in found} == set(expected)
    for identity, fields, failed in found:
        want, out_of_range = expected[identity]
        assert fields.keys() == want.keys(), identity
        assert failed == out_of_range
        for name, value in fields.items():
            assert type(value) is type(want[name]), name
            same = (
                value == want[name]
                if isinstance(value, str)
                else value == pytest.approx(want[name], rel=1e-9)
            )
            assert same, (identity, name)
