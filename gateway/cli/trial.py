"""One payload through a profile, as the gateway would treat it: what `ecluse profile` shows and checks.

Decoding, the bounds of time, the ranges and the points are the gateway's own. What needs other
uplinks (duplicates, neighbour tests, counters' increments, windows) is not tried.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from gateway.cli.codecs import codecs
from gateway.decode.decoder import decode
from gateway.decode.routes import Routes
from gateway.decode.topics import compile_template
from gateway.model import Device, RawBatch, SeriesTable
from gateway.profiles.golden import GoldenReading, differences
from gateway.profiles.plan import Kind
from gateway.quality.bounds import bound
from gateway.quality.ranges import range_flags
from gateway.sinks.line_protocol import encode
from gateway.sinks.points import TagSets, raw_points

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.model import Readings, Rejection
    from gateway.profiles.golden import GoldenExample
    from gateway.profiles.plan import ProfilePlan, QuantityPlan

_QOS_1 = 0x32


@dataclass(frozen=True, slots=True)
class Reading:
    """One value that came out. `value` is a number, a state's name or a text; `flag` a `Flag`."""

    quantity: str
    unit: str
    dimensions: tuple[tuple[str, str], ...]
    time_ns: int
    value: float | str
    flag: int


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of one payload. `points` are lines of line protocol."""

    readings: tuple[Reading, ...]
    points: tuple[str, ...]
    rejections: tuple[Rejection, ...]


def example_topic(plan: ProfilePlan) -> str:
    """Return a topic of the profile: its first template, of a site and a device called so."""
    return plan.topics[0].replace("{site}", "site").replace("{device}", "device").replace("+", "any")


def trial(
    plan: ProfilePlan, *, topic: str, payload: bytes, received_ns: int, parameters: Mapping[str, float]
) -> Trial:
    """Treat one payload of a registered device with these parameters. Never raises on bad data."""
    devices = {(device.site, device.id): device for device in _devices(plan, topic, parameters)}
    routes = Routes(
        {plan.name: plan},
        devices,
        accept_unknown=False,
        max_unknown=0,
        max_series=plan.max_readings,
        tables={},
        texts=SeriesTable(),
        codecs=codecs(),
    )
    decoded = decode(_batch(topic, payload, received_ns), routes)
    rejections = list(decoded.rejections)
    readings: list[Reading] = []
    points: list[str] = []
    for found in decoded.readings:
        kept, refused = bound(found)
        rejections += refused
        flagged = replace(kept, flags=range_flags(kept))
        readings += _readings(flagged)
        points += _lines(flagged, devices)
    return Trial(tuple(readings), tuple(points), tuple(rejections))


def golden_differences(plan: ProfilePlan, example: GoldenExample) -> list[str]:
    """Return what a golden example says and the profile does not do, a line each; none where it agrees."""
    found = trial(
        plan,
        topic=example.topic,
        payload=example.payload,
        received_ns=example.received_ns,
        parameters=example.parameters,
    )
    lines = []
    if example.reason is not None and example.reason not in {one.reason for one in found.rejections}:
        others = ", ".join(str(one.reason) for one in found.rejections) or "nothing"
        lines.append(f"expected the rejection «{example.reason}», got {others}")
    lines += [
        f"rejected: {one.reason}: {one.detail}" for one in found.rejections if one.reason != example.reason
    ]
    readings = [GoldenReading(one.quantity, one.dimensions, one.time_ns, one.value) for one in found.readings]
    return lines + differences(example.readings, readings)


def _devices(plan: ProfilePlan, topic: str, parameters: Mapping[str, float]) -> Iterator[Device]:
    """Yield the device that the topic names, as if it stood in the registry."""
    values = {name: ((0, value),) for name, value in parameters.items()}
    for template in map(compile_template, plan.topics):
        if found := template.match(topic):
            yield Device(site=found[0], id=found[1], profile=plan.name, parameters=values)


def _batch(topic: str, payload: bytes, received_ns: int) -> RawBatch:
    return RawBatch(
        source="trial",
        connection=1,
        session="trial",
        protocol=5,
        received_ns=received_ns,
        frames=b"",
        topics=[os.fsencode(topic)],
        payloads=[payload],
        headers=np.array([_QOS_1], dtype=np.uint8),
        packet_ids=np.array([1], dtype=np.uint16),
    )


def _readings(readings: Readings) -> Iterator[Reading]:
    """Yield the values present, row by row."""
    for row in range(len(readings)):
        key = readings.table.keys[int(readings.series[row])][2:]
        dimensions = tuple(sorted(zip(readings.group.dimensions, key, strict=True)))
        for place, quantity in enumerate(readings.group.quantities):
            if readings.present[place, row]:
                yield Reading(
                    quantity=quantity.name,
                    unit=quantity.unit,
                    dimensions=dimensions,
                    time_ns=int(readings.time[row]),
                    value=_value(quantity, float(readings.values[place, row]), readings.texts),
                    flag=int(readings.flags[place, row]),
                )


def _value(quantity: QuantityPlan, value: float, texts: SeriesTable) -> float | str:
    if quantity.kind is Kind.STATE:
        return quantity.states[int(value)]
    if quantity.kind is Kind.TEXT:
        return texts.keys[int(value)][0]
    return value


def _lines(readings: Readings, devices: Mapping[tuple[str, str], Device]) -> Iterator[str]:
    tags = TagSets(
        profile=readings.profile,
        dimensions=readings.group.dimensions,
        table=readings.table,
        devices=devices,
    )
    for points in raw_points(readings, tags):
        yield from encode(points).decode().split("\n")
