"""What passes between the parts of the simulator: plain values.

All times are int nanoseconds UTC. A reading is what a correct gateway must store for an uplink;
it is computed here from the simulated world, never from a gateway's code.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
QUARTER = 15 * MINUTE
HOUR = 60 * MINUTE
DAY = 24 * HOUR

Body: TypeAlias = dict[str, Any]
"""A payload before it is written as JSON: keys in the order in which the device sends them."""


@dataclass(frozen=True, slots=True)
class Spec:
    """One simulated device and its installation.

    `family` is waste, traffic or water; `index` counts the devices of a family from 1 and, with the
    seed, decides everything about the device; `parameters` are those of devices.csv (mm, m3/h).
    """

    family: str
    index: int
    site: str
    id: str
    profile: str
    street: str
    district: str
    latitude: float
    longitude: float
    parameters: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reading:
    """One row that must be stored: the fields of one series at one event time.

    Gauges are float, counters and events int, states their names as str. `failed` names the
    quantities outside the profile's range: stored raw with flag 4, kept out of windows.
    """

    family: str
    site: str
    device: str
    dimensions: Mapping[str, str]
    time_ns: int
    fields: Mapping[str, float | int | str]
    failed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """What a healthy device sends at `sent_ns` (true event time), and what must be stored of it."""

    sent_ns: int
    topic: str
    body: Body
    readings: tuple[Reading, ...]
    boot: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """One PUBLISH, due at `due_ns`, after the faults have had their way.

    `expect` is stored, duplicate, flagged or `quarantined:<reason>`; `readings` is empty unless
    something new must be stored.
    """

    due_ns: int
    device: str
    topic: str
    payload: bytes
    fault: str | None
    expect: str
    readings: tuple[Reading, ...]


@dataclass(frozen=True, slots=True)
class Happening:
    """Something true about the city that no message says outright: a collection, a leak, an incident.

    `due_ns` only orders it among the messages: it is told when a message could first show it.
    """

    due_ns: int
    what: str
    site: str
    device: str
    start_ns: int
    end_ns: int
    detail: Mapping[str, float | int | str] = field(default_factory=dict)


Item: TypeAlias = Message | Happening


@dataclass(frozen=True, slots=True)
class Span:
    """The part of the city's life that is simulated.

    `origin_ns` is when this city begins: the same seed and origin give the same city, whatever the
    span. `start_ns` is the first moment that is sent. Every device sends a first message within
    `boot_spread_ns` of the start. `drift_ns` bounds how far a device's clock is off.
    """

    seed: int
    origin_ns: int
    start_ns: int
    boot_spread_ns: int = 5 * MINUTE
    drift_ns: int = MINUTE
