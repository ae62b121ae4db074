"""The profile document: what an integrator may write, as frozen pydantic models.

One document describes one type of device. Its JSON Schema is published in
`docs/profile.schema.json`. What one key alone can tell is checked here; what needs several keys
together (names in formulas, dimensions, windows) is checked by `compile`.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from gateway.profiles.binary_schema import (
    Blocks,
    ByteOrder,
    Encoding,
    Layout,
    Set,
    Span,
    Start,
    Tags,
)
from gateway.profiles.durations import duration_name
from gateway.profiles.plan import Kind, Statistic
from gateway.profiles.values import (
    BitNames,
    ClockZone,
    Condition,
    Count,
    Duration,
    Family,
    Formula,
    KeepWhat,
    Label,
    MaxFlow,
    Missing,
    Name,
    Number,
    Path,
    Rate,
    SentIn,
    States,
    Step,
    Tag,
    Topic,
    Unit,
    Window,
)


def _quantile(value: float) -> float:
    if round(value, 4) != value:
        raise ValueError("a quantile has at most four decimals, such as 0.95 or 0.999")
    return value


Variable = Annotated[str, Field(min_length=1, max_length=64)]
HOUR_NS = 3_600 * 10**9
MINUTE_NS = 60 * 10**9
DAY_NS = 24 * HOUR_NS

Quantile = Annotated[float, Field(strict=True, ge=0.0001, le=0.9999), AfterValidator(_quantile)]
TimeUnit = Literal["s", "ms", "us", "ns", "iso"]


class Section(BaseModel):
    """A part of the document: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_alias=True)


class Time(Section):
    """Where an uplink carries its device's time."""

    path: Path
    unit: TimeUnit = Field(description="s, ms, us or ns since 1970 UTC, or iso (RFC 3339 with an offset)")
    required: bool = Field(default=False, description="true: refuse an uplink without it; else receive time")


class Covers(Section):
    """The interval that a reading covers: one of `length`, `param`, `path`."""

    label: Literal["start", "end"] = Field(description="which end of the interval the device's time is")
    align: bool = Field(default=False, description="floor that time to a multiple of the length first")
    length: Duration | None = None
    param: Name | None = Field(default=None, description="a parameter that holds the length, in its unit")
    path: Path | None = Field(default=None, description="where the uplink carries the length")
    unit: Unit = Field(default="s", description="the unit of the value at `path`")


class Parameter(Section):
    """A value of the installation, such as a bin's depth."""

    unit: Unit = "1"
    default: Number | None = None
    range: tuple[Number, Number] | None = None
    ask: dict[Literal["fr", "en"], str] = Field(default_factory=dict, description="the technician's question")


class Flat(Section):
    """Suspect where a value stays within `tolerance` for longer than `for`."""

    tolerance: Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)] = 0.0
    duration: Duration = Field(alias="for")


class Quantity(Section):
    """One measured thing."""

    path: Path | None = Field(default=None, description="where the payload holds it (one of path, from)")
    derived: Formula | None = Field(default=None, alias="from", description="how it follows from others")
    unit: Unit = Field(default="1", description="a UCUM code, such as mm, Cel, km/h")
    kind: Kind | None = Field(default=None, description="gauge, unless there are states or bits")
    by: tuple[Tag, ...] | None = Field(default=None, description="its dimensions")
    scale: Annotated[float, Field(strict=True, allow_inf_nan=False)] = 1.0
    offset: Number = 0.0
    sent_in: SentIn | None = Field(
        default=None, description="the unit in which it is sent; text: the unit stands behind each number"
    )
    required: bool = False
    missing: Missing = Field(default=(), description="raw values, or a comparison, that mean: no reading")
    missing_when: Condition | None = None
    range: tuple[Number, Number] | None = Field(default=None, description="outside: flag fail, no window")
    suspect: tuple[Number, Number] | None = Field(default=None, description="outside: flag suspect")
    max_rise: Rate | None = None
    max_fall: Rate | None = None
    spike: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)] | None = None
    flat: Flat | None = None
    states: States | None = Field(default=None, description="raw value: name of the state")
    bits: BitNames | None = Field(default=None, description="bit: name; each becomes a state off/on")
    hold: Duration = Field(default=DAY_NS, description="how long a state holds after its last reading")
    modulus: Annotated[float, Field(strict=True, gt=0, lt=2**53)] | None = None
    max_flow: MaxFlow | None = Field(default=None, description="the greatest believable increment in time")
    reverse: Literal["flag", "reset"] = "flag"
    weight: Name | None = Field(default=None, description="the quantity that weighs this one's mean")
    reference: Number = Field(default=0.0, description="a usual value: the variance is computed around it")
    statistics: tuple[Statistic, ...] | None = Field(default=None, description="what its windows say")
    quantiles: tuple[Quantile, ...] | None = None


class History(Section):
    """Earlier readings of one quantity inside the same uplink: a start value and a list of deltas."""

    of: Name
    start: Path
    at: Path
    add: Path
    step: Step
    unit: TimeUnit | None = Field(default=None, description="the unit of `at`; else that of `time`")


class Csv(Section):
    """How lines of values are read."""

    columns: Annotated[tuple[str, ...], Field(max_length=200)] = Field(
        default=(), description="the names of the cells, in order; an empty one is passed over"
    )
    header: bool = Field(default=False, description="true: the first line of each payload names the cells")
    separator: Annotated[str, Field(min_length=1, max_length=1)] = Field(
        default=",", description="what stands between two cells"
    )


class Samples(Section):
    """A list whose elements have times of their own: `at` or `ago` beside each, or a `step` between them."""

    list: Path = Field(description="the list: log[], or [] where the payload is one")
    at: Path | None = Field(default=None, description="the time of each element: log[].time")
    ago: Path | None = Field(default=None, description="how long before the uplink's time: log[].age")
    unit: str | None = Field(default=None, description="of `at`, as of `time`; of `ago`: s, min or h")
    step: Step | None = Field(default=None, description="between elements; the newest has the uplink's time")
    first: Literal["oldest", "newest"] = Field(
        default="oldest", description="with `step`: which stands first"
    )


class Keep(Section):
    """How long something is kept, and on what condition."""

    duration: Duration = Field(alias="for")
    needs: Literal["consent"] | None = None


class Variant(Section):
    """A layout of binary payloads, and when it holds: what is given of port, prefix and length must fit."""

    port: Span | None = Field(default=None, description="the LoRaWAN port: 15, or 14..17")
    prefix: Start | None = Field(default=None, description="what the payload begins with, in hexadecimal")
    length: Span | None = Field(default=None, description="how many bytes the payload has: 10, or 4..20")
    set: Set = Field(default_factory=dict, description="dimensions of all its fields: {class: port - 14}")
    layout: Layout = ()
    tlv: Tags = Field(default_factory=dict)
    tag_length: bool = False
    history: History | None = None


class Codec(Section):
    """A vendor's payload codec in JavaScript (LoRa Alliance TS013)."""

    file: Annotated[str, Field(min_length=1, max_length=255)] = Field(
        description="its path, from the profile's folder on"
    )
    normalize: bool = Field(default=False, description="normalizeUplink follows; its data count")
    variables: Annotated[dict[Variable, Annotated[str, Field(max_length=255)]], Field(max_length=50)] = Field(
        default_factory=dict, description="what the codec finds as input.variables"
    )


def _keep(value: object) -> object:
    return {"for": value} if isinstance(value, str) else value


class Limits(Section):
    """Bounds on one uplink."""

    payload: Annotated[int, Field(strict=True, ge=2, le=1_048_576)] = Field(
        default=16_384, description="bytes"
    )
    depth: Annotated[int, Field(strict=True, ge=1, le=64)] = 8
    readings: Annotated[int, Field(strict=True, ge=1, le=100_000)] = 1_000


class Document(Section):
    """A profile: what one type of device sends, and how it is treated."""

    profile: Label = Field(description="its name")
    version: Count = Field(description="raised at each change")
    extends: str | None = Field(
        default=None, description="another profile's file or folder: what is not said here is as said there"
    )
    family: Family = Field(description="the measurement that its readings go to, such as waste")
    source: Literal["mqtt", "chirpstack", "tts", "thingpark"] = Field(
        default="mqtt", description="the network server whose envelope is around payloads; mqtt: none"
    )
    topics: Annotated[tuple[Topic, ...], Field(min_length=1, max_length=20)] | None = Field(
        default=None, description="needed where the source has none of its own"
    )
    format: Literal["json", "binary", "decoded", "cbor", "value", "senml", "csv", "codec"] = Field(
        default="json",
        description="binary is implied by layout, tlv and variants; csv and codec by theirs",
    )
    codec: Codec | None = Field(default=None, description="what decodes binary payloads: a vendor's own code")
    csv: Csv | None = Field(default=None, description="how lines of values are read")
    encoding: Encoding = Field(default="bytes", description="how binary payloads are sent")
    endian: ByteOrder = Field(default="big", description="the byte order of binary payloads")
    layout: Layout = Field(default=(), description="items of a binary payload, one behind the other")
    tlv: Tags = Field(default_factory=dict, description="items of a binary payload behind tags")
    tag_length: bool = Field(default=False, description="a byte behind each tag says how many follow")
    blocks: Blocks = Field(default_factory=dict, description="items that layouts name")
    variants: Annotated[tuple[Variant, ...], Field(max_length=64)] = Field(
        default=(), description="layouts by port, prefix and length"
    )
    time: Time | None = None
    clock: ClockZone | None = Field(
        default=None, description="the zone of clocks that show local time: Europe/Paris, or +01:00"
    )
    sequence: Path | None = Field(default=None, description="the uplink's own counter")
    every: Duration | None = Field(default=None, description="how often a device is expected to report")
    covers: Covers | None = None
    parameters: dict[Name, Parameter] = Field(default_factory=dict)
    dimensions: dict[Tag, Path] = Field(default_factory=dict)
    quantities: Annotated[dict[Name, Quantity], Field(min_length=1, max_length=200)]
    history: History | None = None
    samples: Samples | None = None
    windows: Annotated[tuple[Window, ...], Field(min_length=1, max_length=12)] = (
        15 * MINUTE_NS,
        HOUR_NS,
        DAY_NS,
    )
    statistics: dict[Kind, tuple[Statistic, ...]] = Field(default_factory=dict, description="by kind")
    quantiles: tuple[Quantile, ...] = Field(default=(), description="of every gauge")
    lateness: Duration = Field(default=72 * HOUR_NS, description="how long a window can be corrected")
    max_ahead: Duration = Field(default=5 * MINUTE_NS, description="beyond: rejected as in the future")
    max_age: Duration = Field(default=30 * DAY_NS, description="before: rejected as too old")
    tags: tuple[Tag, ...] = Field(default=(), description="texts of the device's place that become tags")
    privacy: Literal["none", "personal"] = "none"
    keep: dict[KeepWhat, Annotated[Keep, BeforeValidator(_keep, json_schema_input_type=Duration | Keep)]] = (
        Field(default_factory=dict, description="raw or a window: how long")
    )
    retained: Literal["ignore", "state"] = "ignore"
    qos: Literal[1, 2] = 1
    limits: Limits = Limits()


def json_schema() -> dict[str, Any]:
    """Return the document's JSON Schema (draft 2020-12)."""
    schema = _published(Document.model_json_schema(by_alias=True))
    windows = schema["properties"]["windows"]
    windows["default"] = [duration_name(length) for length in windows["default"]]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Écluse profile"}


def _published(schema: Any) -> Any:  # noqa: ANN401 - any part of a JSON Schema
    """Return a part as an author needs it.

    Mappings take no key but those of their patterns, as our models do; default durations are written
    as in a profile, not in nanoseconds; what is None unless given has no default.
    """
    if isinstance(schema, list):
        return [_published(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    part = {key: _published(inner) for key, inner in schema.items()}
    if "patternProperties" in part:
        part.setdefault("additionalProperties", False)
    default = part.get("default", "")
    if default is None:
        del part["default"]
    elif part.get("type") == "string" and isinstance(default, int):
        part["default"] = duration_name(default)
    return part


def json_schema_text() -> str:
    """Return `json_schema` as it is published, in docs/profile.schema.json."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
