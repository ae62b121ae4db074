"""Golden payloads: what a profile must make of real messages, beside the profile as `golden.yaml`.

    received: 2026-11-22T10:15:02Z          # of all examples, unless one has its own
    parameters: {empty: 2000}               # of the installation, likewise
    examples:
      - name: half full
        topic: city/lyon/bin/bin-00001/up
        payload: '{"ts":1795342500000,"dist_mm":1150}'
        readings:
          - {at: 2026-11-22T10:15:00Z, distance: 1150, filling_level: 50}
      - name: cut off
        topic: city/lyon/bin/bin-00001/up
        payload: '{"ts":17953'
        rejected: not json

`payload` is the text as sent, or a mapping that is sent as JSON; `payload_hex` is for other bytes: of a
LoRaWAN device its own payload, and `port` the one that it was sent on. A row of `readings` has `at`, its
dimensions and its quantities by name (a state by its state's name). An example with both `readings` and
`rejected` keeps a part of its uplink.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from gateway.model import Reason
from gateway.profiles.document import Fault, Source, compose, validate
from gateway.profiles.durations import instant_ns, instant_text
from gateway.profiles.envelopes import wrapped
from gateway.profiles.plan import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.errors import Problem
    from gateway.profiles.plan import ProfilePlan

FILE_NAME = "golden.yaml"
TOLERANCE = 1e-6
"""Relative, and absolute below 1."""


@dataclass(frozen=True, slots=True)
class GoldenReading:
    """One reading that must come out. `dimensions` are (name, value), sorted by name.

    `value` is a number, or the name of a state, or a text.
    """

    quantity: str
    dimensions: tuple[tuple[str, str], ...]
    time_ns: int
    value: float | str

    def __str__(self) -> str:
        by = "".join(f" {name}={value}" for name, value in self.dimensions)
        return f"{self.quantity}{by} at {instant_text(self.time_ns)} = {self.value}"


@dataclass(frozen=True, slots=True)
class GoldenExample:
    """One uplink and what must become of it: readings, or a rejection, or both."""

    name: str
    topic: str
    payload: bytes
    received_ns: int
    parameters: Mapping[str, float]
    readings: tuple[GoldenReading, ...]
    reason: Reason | None


class _Example(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    topic: str
    payload: str | dict[str, Any] | list[Any] | None = None
    payload_hex: str | None = None
    port: Annotated[int, Field(strict=True, ge=0, le=255)] | None = None
    received: Annotated[str, AfterValidator(instant_ns)] | None = None
    parameters: dict[str, float] = Field(default_factory=dict)
    readings: tuple[dict[str, str | int | float], ...] = ()
    rejected: Reason | None = None


class _Golden(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    received: Annotated[str, AfterValidator(instant_ns)] | None = None
    parameters: dict[str, float] = Field(default_factory=dict)
    examples: Annotated[tuple[_Example, ...], Field(min_length=1)]


def read_golden(
    text: str, plan: ProfilePlan, *, where: str
) -> tuple[tuple[GoldenExample, ...], tuple[Problem, ...]]:
    """Return the examples of a golden file, and every problem; no example where there is a problem.

    Names, dimensions, states and parameters are checked against the plan.
    """
    source = compose(text, where)
    golden = validate(source, _Golden)
    if golden is None:
        return (), tuple(source.faults)
    examples = tuple(_example(golden, index, plan, source) for index in range(len(golden.examples)))
    return (() if source.faults else examples), tuple(source.faults)


def differences(expected: Iterable[GoldenReading], found: Iterable[GoldenReading]) -> list[str]:
    """Return one line for each reading that is missing, not expected, or of another value."""
    wanted, got = list(expected), list(found)
    lines = []
    for reading in list(wanted):
        match = next((other for other in got if _same(reading, other)), None)
        if match is not None:
            wanted.remove(reading)
            got.remove(match)
    for reading in wanted:
        other = next((other for other in got if _identity(other) == _identity(reading)), None)
        lines.append(f"expected {reading}, got {'nothing' if other is None else other.value}")
        if other is not None:
            got.remove(other)
    return lines + [f"not expected: {reading}" for reading in got]


def _identity(reading: GoldenReading) -> tuple[str, tuple[tuple[str, str], ...], int]:
    return reading.quantity, reading.dimensions, reading.time_ns


def _same(first: GoldenReading, second: GoldenReading) -> bool:
    if _identity(first) != _identity(second):
        return False
    if isinstance(first.value, str) or isinstance(second.value, str):
        return first.value == second.value
    return math.isclose(first.value, second.value, rel_tol=TOLERANCE, abs_tol=TOLERANCE)


def _example(golden: _Golden, index: int, plan: ProfilePlan, source: Source) -> GoldenExample:
    example = golden.examples[index]
    place = ("examples", index)
    received = example.received if example.received is not None else golden.received
    faults = list(_faults(example, place, plan))
    if received is None:
        faults.append(Fault(place, "when was it received?", "received: 2026-11-22T10:15:02Z"))
    repeated = [name for name, times in Counter(other.name for other in golden.examples).items() if times > 1]
    if example.name in repeated:
        faults.append(Fault((*place, "name"), f"two examples are called «{example.name}»"))
    readings = tuple(
        reading
        for row_index, row in enumerate(example.readings)
        for reading in _row(row, (*place, "readings", row_index), plan, faults)
    )
    source.faults.extend(map(source.problem, faults))
    return GoldenExample(
        name=example.name,
        topic=example.topic,
        payload=_payload(example, plan),
        received_ns=int(received or 0),
        parameters={**golden.parameters, **example.parameters},
        readings=readings,
        reason=example.rejected,
    )


def _faults(example: _Example, place: tuple[str, int], plan: ProfilePlan) -> Iterable[Fault]:
    if (example.payload is None) == (example.payload_hex is None):
        yield Fault(place, "an example has either «payload» or «payload_hex»")
    if example.payload_hex is not None:
        try:
            bytes.fromhex(example.payload_hex)
        except ValueError:
            yield Fault((*place, "payload_hex"), "not pairs of hexadecimal digits")
    if example.port is not None and (example.payload_hex is None or plan.envelope is None):
        yield Fault((*place, "port"), "a port goes with «payload_hex», of a profile whose source has ports")
    if not example.readings and example.rejected is None:
        yield Fault(place, "what must become of it?", "readings: [...] or rejected: not json")
    for name in example.parameters:
        if name not in plan.parameters:
            hint = f"there are {', '.join(plan.parameters)}"
            yield Fault((*place, "parameters", name), f"the profile has no parameter «{name}»", hint)


def _payload(example: _Example, plan: ProfilePlan) -> bytes:
    if example.payload_hex is not None:
        try:
            payload = bytes.fromhex(example.payload_hex)
        except ValueError:
            return b""
        return wrapped(plan.envelope, payload, example.port) if plan.envelope else payload
    if isinstance(example.payload, str):
        return example.payload.encode()
    return json.dumps(example.payload, separators=(",", ":"), ensure_ascii=False).encode()


def _row(
    row: Mapping[str, str | int | float], place: tuple[Any, ...], plan: ProfilePlan, faults: list[Fault]
) -> Sequence[GoldenReading]:
    """Return the readings of a row: each of its keys is `at`, a dimension or a quantity."""
    quantities = {quantity.name: (quantity, group) for group in plan.groups for quantity in group.quantities}
    dimensions = {name for group in plan.groups for name in group.dimensions}
    try:
        time_ns = instant_ns(str(row["at"]))
    except (KeyError, ValueError) as error:
        what = "«at» is missing" if isinstance(error, KeyError) else str(error)
        faults.append(Fault((*place, "at"), what, "at: 2026-11-22T10:15:00Z"))
        return ()
    by = {name: str(value) for name, value in row.items() if name in dimensions}
    readings = []
    for name, value in row.items():
        if name == "at" or name in dimensions:
            continue
        if name not in quantities:
            hint = f"there are {', '.join(quantities)}"
            faults.append(Fault((*place, name), f"the profile has no quantity «{name}»", hint))
            continue
        quantity, group = quantities[name]
        if missing := [dimension for dimension in group.dimensions if dimension not in by]:
            faults.append(Fault((*place, name), f"«{name}» is by {', '.join(missing)} too"))
        if quantity.kind is Kind.STATE and value not in quantity.states:
            faults.append(Fault((*place, name), f"«{name}» is {' or '.join(quantity.states)}"))
        own = tuple(sorted((dimension, by.get(dimension, "")) for dimension in group.dimensions))
        readings.append(
            GoldenReading(
                quantity=name,
                dimensions=own,
                time_ns=time_ns,
                value=value if isinstance(value, str) else float(value),
            )
        )
    return readings
