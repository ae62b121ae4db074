"""What a compiled profile is: plain frozen data that every stage of the river reads.

Made by `profiles.compile` from a validated document; nothing here computes or imports more than
the standard library. Durations are int nanoseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.profiles.codec import CodecPlan
    from gateway.profiles.envelopes import EnvelopePlan
    from gateway.profiles.expression import Expression
    from gateway.profiles.layout import BinaryPlan


class Kind(StrEnum):
    """What a quantity is; its windows and its field type follow from it."""

    GAUGE = "gauge"
    COUNTER = "counter"
    EVENT = "event"
    STATE = "state"
    TEXT = "text"


class Statistic(StrEnum):
    """What a window says of a quantity. `quantiles` stands for the profile's list of them."""

    COUNT = "count"
    SUM = "sum"
    MEAN = "mean"
    MIN = "min"
    MAX = "max"
    STANDARD_DEVIATION = "stddev"
    FIRST = "first"
    LAST = "last"
    QUANTILES = "quantiles"
    INCREMENT = "increment"
    TIME_IN_STATE = "time_in_state"


@dataclass(frozen=True, slots=True)
class Bits:
    """A state read from some bits of an integer: on where `(raw >> shift) & mask == value`."""

    shift: int
    mask: int
    value: int


@dataclass(frozen=True, slots=True)
class Limit:
    """A rate of change per second, in the quantity's unit; None = no limit on that side.

    A rise and a fall have limits of their own: an emptying is not suspect.
    """

    rise: float | None = None
    fall: float | None = None


@dataclass(frozen=True, slots=True)
class FlatLine:
    """Suspect where the value stayed within `tolerance` of its anchor for `duration_ns` or longer."""

    tolerance: float
    duration_ns: int


@dataclass(frozen=True, slots=True)
class CounterPlan:
    """How a register's differences become increments.

    `modulus`: the register counts modulo this (0 = never rolls over); `max_flow`: the greatest
    believable increment per second, a number or the name of a parameter (None = half the modulus
    decides): it tells a rollover from a reset; `reverse`: what a plausible decrease is.
    """

    modulus: float = 0.0
    max_flow: float | str | None = None
    max_flow_scale: float = 1.0
    """Multiplies a parameter's value to give quantity units per second."""
    reverse: str = "flag"
    """`flag`: a small decrease is a negative increment, flagged; `reset`: it is a reset."""


@dataclass(frozen=True, slots=True)
class QuantityPlan:
    """One measured thing: where it is read, what is believable, what windows say of it."""

    name: str
    unit: str
    kind: Kind
    path: str | None = None
    """JSON path; None where it is derived (`expression`)."""
    expression: Expression | None = None
    bits: Bits | None = None
    scale: float = 1.0
    offset: float = 0.0
    converted: bool = False
    """Whether scale and offset turn another unit into this one: then the raw value need not be whole."""
    in_text: bool = False
    """Whether raw values are texts with their unit behind a number."""
    required: bool = False
    missing: tuple[float, ...] = ()
    """Raw values that mean «no reading»."""
    missing_when: Expression | None = None
    """Over the quantities of the row: true = no reading."""
    states: tuple[str, ...] = ()
    """A state's names; a reading's value is an index into them."""
    state_values: Mapping[str | int | bool, int] = field(default_factory=dict)
    """Raw value → index into `states`."""
    fail_range: tuple[float, float] | None = None
    suspect_range: tuple[float, float] | None = None
    rate: Limit | None = None
    spike: float | None = None
    flat: FlatLine | None = None
    counter: CounterPlan | None = None
    hold_ns: int = 0
    """How long a state holds after its last reading."""
    weight: str | None = None
    """The quantity of the same group whose values weigh this one's mean."""
    reference: float = 0.0
    """Variance is computed from deviations from this: a constant of the profile, never of the data."""
    statistics: tuple[Statistic, ...] = ()
    quantiles: tuple[float, ...] = ()

    @property
    def looks_back(self) -> bool:
        """Whether a reading's flag or increment depends on the readings before it."""
        tests = (self.rate, self.spike, self.flat, self.counter)
        return self.kind is Kind.COUNTER or any(test is not None for test in tests)


@dataclass(frozen=True, slots=True)
class GroupPlan:
    """The quantities of a profile that share their dimensions: one row a series and event time."""

    index: int
    dimensions: tuple[str, ...]
    quantities: tuple[QuantityPlan, ...]

    @property
    def ordered(self) -> bool:
        """Whether a reading's meaning depends on the readings before it (counters, states, tests)."""
        return any(q.kind is Kind.STATE or q.looks_back for q in self.quantities)

    @property
    def remembered(self) -> tuple[int, ...]:
        """The places of the quantities of which each series' last readings must be remembered."""
        return tuple(place for place, q in enumerate(self.quantities) if q.looks_back)


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """A tumbling window. `name` ends its measurement (`15m`, `1h`, `1d`).

    From an hour on, windows are aligned in the site's zone; a day is a civil one (23 to 25 hours).
    """

    name: str
    length_ns: int


@dataclass(frozen=True, slots=True)
class TimePlan:
    """Where an uplink carries its time. `unit` is s, ms, us, ns or iso (RFC 3339)."""

    path: str
    unit: str
    required: bool = False


@dataclass(frozen=True, slots=True)
class CoversPlan:
    """The interval that a reading covers; its event time becomes the interval's start.

    The length is `length_ns`, or the parameter `parameter` times `parameter_ns`, or the payload's
    `path` times `path_ns`. `label` says which end the device's time is (`start` or `end`);
    `align` floors that time to a multiple of the length first (heard 12:00:07 = counted to 12:00).
    """

    label: str
    align: bool
    length_ns: int = 0
    parameter: str | None = None
    parameter_ns: int = 0
    path: str | None = None
    path_ns: int = 0


@dataclass(frozen=True, slots=True)
class HistoryPlan:
    """Earlier readings inside one uplink: value k (k = 0 … m) stands at `at` + k·step.

    The first value is `start`, each next one adds the next element of the list at `add`. The step
    is `step_ns`, or the parameter `parameter` times `parameter_ns`. Paths are JSON paths; `at` is
    read with the profile's time unit unless `at_unit` says otherwise.
    """

    quantity: str
    start: str
    at: str
    at_unit: str
    add: str
    step_ns: int = 0
    parameter: str | None = None
    parameter_ns: int = 0


@dataclass(frozen=True, slots=True)
class CsvPlan:
    """How lines are read: the names of their cells, unless the first line has them; what parts cells."""

    columns: tuple[str, ...]
    separator: str = ","
    header: bool = False


@dataclass(frozen=True, slots=True)
class SamplesPlan:
    """A list whose elements were measured at times of their own. `list` is its JSON path, with its `[]`.

    One of three says when: `at`, a time in `at_unit` as that of the profile; `ago`, how long before the
    uplink's own time, times `ago_ns`; else elements lie a step apart, and the uplink's time is that of the
    newest: the first where `newest_first`, else the last. The step is `step_ns`, or the parameter `parameter`
    times `parameter_ns`.
    """

    list: str
    at: str | None = None
    at_unit: str = "s"
    ago: str | None = None
    ago_ns: int = 0
    step_ns: int = 0
    parameter: str | None = None
    parameter_ns: int = 0
    newest_first: bool = False
    required: bool = True
    """Whether an element without a time is refused; else it has the uplink's."""


@dataclass(frozen=True, slots=True)
class ParameterPlan:
    """A value of the installation; without a default and without a value, what needs it is refused."""

    name: str
    unit: str
    default: float | None = None
    minimum: float | None = None
    maximum: float | None = None


@dataclass(frozen=True, slots=True)
class ProfilePlan:
    """One compiled profile. `text` is the document that it was compiled from."""

    name: str
    version: int
    family: str
    text: str
    format: str
    topics: tuple[str, ...]
    """Topic templates: `city/{site}/bin/{device}/up`."""
    groups: tuple[GroupPlan, ...]
    windows: tuple[WindowPlan, ...]
    """Shortest first; each a multiple of the shortest."""
    parameters: Mapping[str, ParameterPlan]
    dimensions: Mapping[str, str]
    """Dimension → JSON path of its value (`lanes[].id`); those bound in a quantity's path are absent."""
    envelope: EnvelopePlan | None = None
    """What is around payloads; None: nothing."""
    codec: CodecPlan | None = None
    """What decodes payloads of the format `codec`."""
    binary: BinaryPlan | None = None
    """How payloads of the format `binary` are laid out."""
    csv: CsvPlan | None = None
    """How lines of the format `csv` are read."""
    place_tags: tuple[str, ...] = ()
    """Texts of the device's place that become tags."""
    time: TimePlan | None = None
    clock: str = ""
    """The zone that devices' clocks show without saying so; empty: UTC."""
    sequence: str | None = None
    """JSON path of the uplink's own counter: its identity where there is no device time."""
    covers: CoversPlan | None = None
    history: HistoryPlan | None = None
    samples: SamplesPlan | None = None
    every_ns: int = 0
    """How often a device is expected to report; 0 = unknown: no coverage, no silence."""
    lateness_ns: int = 0
    max_ahead_ns: int = 0
    max_age_ns: int = 0
    retained: str = "ignore"
    qos: int = 1
    privacy: str = "none"
    keep: Mapping[str, int] = field(default_factory=dict)
    """`raw`, or a window's name → how long its points are kept, ns; of others a sink's retention decides."""
    max_payload: int = 16_384
    max_depth: int = 8
    max_readings: int = 1_000

    @property
    def key(self) -> str:
        """Name and version, as written in records: `acme-bin@2`."""
        return f"{self.name}@{self.version}"
