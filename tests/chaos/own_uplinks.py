"""Uplinks that a scenario makes up itself, for devices that the city leaves alone, as a ledger has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from firmware_sim import waste, water
from firmware_sim.ledger import Entry
from firmware_sim.model import SECOND
from tests.brokers import publish

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from firmware_sim.model import Spec
    from tests.brokers import Broker

READINGS = {"waste": waste.readings, "water": water.readings}
TOPIC = {"waste": "bin", "water": "water"}


def bin_says(spec: Spec, at_ns: int, seq: int, *, expect: str = "stored", distance: int = 900) -> Entry:
    """Return what a bin says at an event time; the number makes it one of its kind."""
    body = {
        "id": spec.id,
        "seq": seq,
        "ts": at_ns // 1_000_000,
        "dist_mm": distance + seq % 100,
        "temp_c": 12.5,
        "battery_v": 3.6,
        "tilt": 0,
        "rssi": -90,
    }
    return _entry(spec, body, at_ns, expect)


def meter_says(
    spec: Spec, at_ns: int, index: int, seq: int, *, before: tuple[int, int] | None = None
) -> Entry:
    """Return what a meter says; `before`: time and index an hour ago, which its log tells once more."""
    then, deltas = (before, [index - before[1]]) if before else ((at_ns, index), [])
    body = {
        "seq": seq,
        "ts": at_ns // SECOND,
        "index_l": index,
        "flow_lph": 0.0,
        "temp_c": 12.5,
        "status": 0,
        "log": {"ts": then[0] // SECOND, "index_l": then[1], "deltas_l": deltas},
    }
    return _entry(spec, body, at_ns, "stored")


def send(broker: Broker, entries: Iterable[Entry]) -> None:
    """Publish them in their order, on one connection; return once the broker has acknowledged all."""
    publish(broker, [(entry.topic, entry.payload) for entry in entries], name="ecluse-test-own")


def copies(entries: Sequence[Entry]) -> list[Entry]:
    """Return the same uplinks as copies, of which nothing more is stored."""
    return [
        Entry(
            entry.n,
            entry.device,
            entry.topic,
            entry.payload,
            entry.due_ns,
            entry.published_ns,
            "duplicate",
            "duplicate",
            (),
        )
        for entry in entries
    ]


def _entry(spec: Spec, body: dict[str, Any], at_ns: int, expect: str) -> Entry:
    readings = () if expect.startswith("quarantined:") else READINGS[spec.family](spec, body)
    topic = f"city/{spec.site}/{TOPIC[spec.family]}/{spec.id}/up"
    return Entry(-1, spec.id, topic, orjson.dumps(body), at_ns, at_ns, None, expect, readings)
