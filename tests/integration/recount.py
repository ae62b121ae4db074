"""The books, counted again from the journal alone by a decoder that is as simple as can be."""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import orjson

from firmware_sim import traffic, waste, water
from firmware_sim.model import DAY, MINUTE
from gateway.ingest.packets import batch_of
from gateway.journal.journal import Journal
from gateway.model import ControlKind, Frames
from tests.integration.oracle import Truth

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from firmware_sim.ledger import Contents
    from firmware_sim.model import Reading, Spec

READINGS = {"waste": waste.readings, "traffic": traffic.readings, "water": water.readings}
WHOLE = "quarantined:"
SENSOR = {"distance": (20, 4_500), "occupancy": (0, 100), ("water", "temperature"): (-20, 90)}
"""The ranges beyond which the simulator sends values; a filling level fails with its distance."""
BOOK = {
    "new": "aggregated",
    "failed": "raw_only",
    "duplicate": "duplicate",
    "conflicting": "conflicting",
    "in the future": "rejected",
    "too old": "rejected",
}


@dataclass
class Recount:
    """What the journal says. `refused` holds (topic, payload, reason) of each refused uplink, as often."""

    uplinks: Counter[str] = field(default_factory=Counter)
    readings: Counter[str] = field(default_factory=Counter)
    refused: Counter[tuple[bytes, bytes, str]] = field(default_factory=Counter)
    truth: Truth = field(default_factory=Truth)
    heard: set[tuple[bytes, bytes]] = field(default_factory=set)

    @property
    def reasons(self) -> Counter[str]:
        """Refused uplinks by reason."""
        found: Counter[str] = Counter()
        for (_, _, reason), times in self.refused.items():
            found[reason] += times
        return found


async def recount(state: Path, ledger: Contents, specs: Iterable[Spec]) -> Recount:
    """Read the whole journal of a gateway that has ended, and count."""
    by_device = {spec.id: spec for spec in specs}
    expected: dict[tuple[bytes, bytes], str] = {}
    for entry in ledger.entries:
        expected.setdefault((entry.topic.encode(), entry.payload), entry.expect)
    found = Recount(truth=Truth(by_device.values()))
    journal = await Journal.open(state / "journal", retention_ns=365 * DAY, retention_bytes=1 << 40)
    shifts = await _shifts(journal)
    async with contextlib.aclosing(journal.read(0)) as records:
        async for position, record in records:
            if not isinstance(record, Frames):
                continue
            received_ns = record.received_ns + shifts.get(position, 0)
            batch = batch_of(record, position)
            for topic, payload in zip(batch.topics, batch.payloads, strict=True):
                found.uplinks["journalled"] += 1
                found.heard.add((topic, payload))
                _count(found, (topic, payload), received_ns, expected[topic, payload], by_device)
    await journal.close()
    return found


async def _shifts(journal: Journal) -> dict[int, int]:
    """Return by how much the receive times of records are to be shifted, by position."""
    found: dict[int, int] = {}
    async with contextlib.aclosing(journal.read(0)) as records:
        async for position, record in records:
            if not isinstance(record, Frames) and record.kind is ControlKind.CLOCK_SETTLED:
                begins = orjson.loads(record.body)["shifts"]
                for (first, shift_ns), (behind, _) in zip(begins, [*begins[1:], (position, 0)], strict=True):
                    found |= dict.fromkeys(range(first, behind), shift_ns)
    return found


def _count(
    found: Recount, uplink: tuple[bytes, bytes], received_ns: int, expect: str, specs: Mapping[str, Spec]
) -> None:
    topic, payload = uplink
    reason = expect.removeprefix(WHOLE) if expect.startswith(WHOLE) else ""
    if reason and reason not in ("in the future", "too old", "conflicting duplicate"):
        found.uplinks["quarantined"] += 1
        found.refused[topic, payload, reason] += 1
        return
    found.uplinks["decoded"] += 1
    refused = set()
    for row in _rows(specs[topic.split(b"/")[3].decode()], payload):
        for said in _settled(found.truth, row, received_ns).values():
            found.readings["decoded"] += 1
            found.readings[BOOK[said]] += 1
            if said in ("in the future", "too old", "conflicting"):
                refused.add("conflicting duplicate" if said == "conflicting" else said)
    for why in refused:
        found.refused[topic, payload, why] += 1
    assert bool(refused) == bool(reason), f"{topic!r} {payload!r}: {refused} instead of {expect}"


def _rows(spec: Spec, payload: bytes) -> list[Reading]:
    """Decode a sound payload the way that its sender does, and find what its sensor cannot measure."""
    return [replace(row, failed=_failed(row)) for row in READINGS[spec.family](spec, orjson.loads(payload))]


def _failed(row: Reading) -> tuple[str, ...]:
    failed = []
    for name, value in row.fields.items():
        low, high = SENSOR.get(name) or SENSOR.get((row.family, name)) or (-math.inf, math.inf)
        if not isinstance(value, str) and not low <= value <= high:
            failed += ["distance", "filling_level"] if name == "distance" else [name]
    return tuple(failed)


def _settled(truth: Truth, row: Reading, received_ns: int) -> dict[str, str]:
    """Return what becomes of each reading of a row."""
    if row.time_ns > received_ns + 5 * MINUTE:
        return dict.fromkeys(row.fields, "in the future")
    if row.time_ns < received_ns - 30 * DAY:
        return dict.fromkeys(row.fields, "too old")
    return truth.tell(row)
