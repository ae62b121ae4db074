"""The values of a profile document: names, paths, units, durations, rates, formulas, states, bits.

Each reader takes what the YAML holds and returns what the plan needs, or raises ValueError with a
sentence for the profile's author. They stand beside JSON Schema types in the models of `schema`.
"""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, PlainValidator, WithJsonSchema

from gateway.profiles.durations import NS_PER_DAY, duration_name, duration_ns, rate_per_s
from gateway.profiles.expression import FUNCTIONS, Expression, parse
from gateway.profiles.paths import parse_path
from gateway.profiles.units import parse_unit

IN_TEXT = "text"
"""In the place of a unit: each value has its own behind it."""
_DURATION_PATTERN = r"^\d{1,9}\s*(ns|us|ms|s|min|m|h|d|w|a)$"
_RATE_PATTERN = r"^\d{1,12}(\.\d{1,9})?\s*/\s*\d{0,9}\s*(s|min|m|h|d)$"
_BIT_RANGE = re.compile(r"(\d{1,2})(?:\.\.(\d{1,2}))?", re.ASCII)
_TEMPLATE = re.compile(r"\{([^{}]*)\}")
# A double holds every whole number below 2^53: bits beyond cannot be read from a JSON number.
_LAST_BIT = 52
# What Écluse writes itself beside a quantity's fields.
_RESERVED = frozenset({"quality", "coverage", "site", "device", "profile", "time", "time_source"})
_NAMED = r"^[a-z][a-z0-9_]{0,63}$"


def _text(value: Any, what: str) -> str:  # noqa: ANN401 - whatever the YAML holds
    if not isinstance(value, str):
        raise ValueError(f"must be {what}, not {value!r:.40}")  # noqa: TRY004 - pydantic collects ValueError
    return value


def _duration(value: Any) -> int:  # noqa: ANN401 - whatever the YAML holds
    return duration_ns(_text(value, "a duration such as 15min"))


def _rate(value: Any) -> float:  # noqa: ANN401 - whatever the YAML holds
    return rate_per_s(_text(value, "a rate such as 60/h"))


def _formula(value: Any) -> Expression:  # noqa: ANN401 - whatever the YAML holds
    formula = parse(_text(value, "a formula"))
    if formula.truth:
        raise ValueError(f"«{value}» is a comparison, where a number is needed; write where(…, 1, 0)")
    return formula


def _condition(value: Any) -> Expression:  # noqa: ANN401 - whatever the YAML holds
    formula = parse(_text(value, "a comparison such as vehicles == 0"))
    if not formula.truth:
        raise ValueError(f"«{value}» must be a comparison, such as vehicles == 0")
    return formula


def _max_flow(value: Any) -> float | str:  # noqa: ANN401 - whatever the YAML holds
    text = _text(value, "a parameter's name or a rate such as 4000/h")
    return text if re.fullmatch(_NAMED, text) else rate_per_s(text)


def _step(value: Any) -> int | str:  # noqa: ANN401 - whatever the YAML holds
    text = _text(value, "a duration such as 1h, or a parameter's name")
    return text if re.fullmatch(_NAMED, text) else duration_ns(text)


def _path(value: str) -> str:
    parse_path(value)
    return value


def _unit(value: str) -> str:
    parse_unit(value)
    return value


def _name(value: str) -> str:
    if value in FUNCTIONS or keyword.iskeyword(value):
        raise ValueError(f"«{value}» means something else in a formula; choose another name")
    return _tag(value)


def _tag(value: str) -> str:
    if value in _RESERVED:
        raise ValueError(f"«{value}» is a name that Écluse writes itself; choose another")
    return value


def _clock_zone(text: str) -> str:
    if re.fullmatch(r"[+-](0\d|1[0-4]):[0-5]\d", text, re.ASCII):
        return text
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(
            f"«{text:.40}» is no zone: write Europe/Paris, or +01:00 for winter time kept all year"
        ) from error
    return text


def _sent_in(text: str) -> str:
    return text if text == IN_TEXT else _unit(text)


def _topic(value: str) -> str:
    names = _TEMPLATE.findall(value)
    if names.count("device") != 1:
        raise ValueError("a topic holds {device} exactly once, such as city/{site}/bin/{device}/up")
    if set(names) - {"site", "device"} or names.count("site") > 1:
        raise ValueError("a topic may hold {site} once and {device} once, and no other {name}")
    if value.startswith("$"):
        raise ValueError("topics that begin with $ belong to the broker")
    for level in value.split("/"):
        if not level or ("{" in level and not _TEMPLATE.fullmatch(level)):
            raise ValueError("each level of a topic is a text or one {name}")
        if {"+", "#", "\0"} & set(level):
            raise ValueError("a topic holds no + and no #: its levels are texts, {site} and {device}")
    return value


def _numbers_or_formula(value: Any) -> tuple[float, ...] | Expression:  # noqa: ANN401 - whatever the YAML holds
    if isinstance(value, str):
        return _condition(value)
    values = value if isinstance(value, list) else [value]
    for entry in values:
        if isinstance(entry, bool) or not isinstance(entry, int | float):
            raise ValueError("must be a number, a list of numbers or a comparison such as vehicles == 0")  # noqa: TRY004 - pydantic collects ValueError
    return tuple(float(entry) for entry in values)


def _states(value: Any) -> dict[str | int | bool, str]:  # noqa: ANN401 - whatever the YAML holds
    """Take `{0: upright, 1: tilted}`, or `[upright, tilted]` where the payload holds the names."""
    pairs = [(name, name) for name in value] if isinstance(value, list) else value
    if isinstance(value, dict):
        pairs = list(value.items())
    if not isinstance(pairs, list) or not pairs:
        raise ValueError("must be {0: upright, 1: tilted}, or a list of names that the payload holds")
    states: dict[str | int | bool, str] = {}
    for raw, name in pairs:
        if not isinstance(name, str) or re.fullmatch(_NAMED, name) is None:
            raise ValueError(f"{name!r:.40} is no name of a state: use small letters, digits and _")
        if not isinstance(raw, str | int) or raw in states:
            raise ValueError(f"{raw!r:.40} stands twice, or is no text and no whole number")
        states[raw] = name
    return states


@dataclass(frozen=True, slots=True)
class BitField:
    """One alarm read from bits `first` to `last` of an integer: on where they equal `value`."""

    name: str
    first: int
    last: int
    value: int


def _bits(value: Any) -> tuple[BitField, ...]:  # noqa: ANN401 - whatever the YAML holds
    """Take `{2: battery_low, "5..7": {1: leak, 3: backflow}}`."""
    if not isinstance(value, dict) or not value:
        raise ValueError('must be {2: battery_low, "5..7": {1: leak}}')
    fields: list[BitField] = []
    for key, what in value.items():
        match = _BIT_RANGE.fullmatch(str(key))
        if match is None or not int(match[1]) <= int(match[2] or match[1]) <= _LAST_BIT:
            raise ValueError(f'{key!r:.40} is no bit: write 2, or "5..7" (bits 0 to {_LAST_BIT})')
        first, last = int(match[1]), int(match[2] or match[1])
        fields.extend(_bit_values(what, first, last))
    return tuple(fields)


def _bit_values(what: Any, first: int, last: int) -> list[BitField]:  # noqa: ANN401 - whatever the YAML holds
    entries = what if isinstance(what, dict) else {1: what}
    if not isinstance(what, dict) and first != last:
        raise ValueError(f"bits {first}..{last} hold a number: write {{1: name, 2: name}}")
    fields = []
    for number, name in entries.items():
        if (
            isinstance(number, bool)
            or not isinstance(number, int)
            or not 0 <= number < 2 ** (last - first + 1)
        ):
            raise ValueError(f"{number!r:.40} does not fit into bits {first}..{last}")
        if not isinstance(name, str) or re.fullmatch(_NAMED, name) is None:
            raise ValueError(f"{name!r:.40} is no name: use small letters, digits and _")
        fields.append(BitField(name=_name(name), first=first, last=last, value=number))
    return fields


def _window(value: Any) -> int:  # noqa: ANN401 - whatever the YAML holds
    length = duration_ns(_text(value, "a window such as 15min"))
    if NS_PER_DAY % length or length < 10**9:
        raise ValueError(
            f"a window of {duration_name(length)} does not divide a day into whole seconds or more"
        )
    return length


def _keep_what(value: str) -> str:
    return value if value == "raw" else duration_name(_window(value))


Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Count = Annotated[int, Field(strict=True, ge=1)]
Name = Annotated[str, Field(pattern=_NAMED), AfterValidator(_name)]
Tag = Annotated[str, Field(pattern=_NAMED), AfterValidator(_tag)]
"""The name of a dimension or of a text of the place: never in a formula, so `class` is one."""
Label = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Family = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
KeepWhat = Annotated[str, AfterValidator(_keep_what)]
Path = Annotated[str, Field(min_length=1, max_length=300), AfterValidator(_path)]
Unit = Annotated[str, AfterValidator(_unit)]
ClockZone = Annotated[str, AfterValidator(_clock_zone)]
"""An IANA name, or a fixed distance from UTC."""
SentIn = Annotated[str, AfterValidator(_sent_in)]
"""A UCUM code, or `text`."""
Topic = Annotated[str, Field(max_length=500), AfterValidator(_topic)]
Duration = Annotated[
    int,
    PlainValidator(_duration),
    WithJsonSchema({"type": "string", "pattern": _DURATION_PATTERN}),
]
"""Nanoseconds."""
Window = Annotated[
    int, PlainValidator(_window), WithJsonSchema({"type": "string", "pattern": _DURATION_PATTERN})
]
"""Nanoseconds that divide a day."""
Rate = Annotated[float, PlainValidator(_rate), WithJsonSchema({"type": "string", "pattern": _RATE_PATTERN})]
"""Per second."""
Formula = Annotated[
    Expression,
    PlainValidator(_formula),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 1000}),
]
"""A formula that gives a number."""
Missing = Annotated[
    tuple[float, ...] | Expression,
    PlainValidator(_numbers_or_formula),
    WithJsonSchema(
        {"anyOf": [{"type": "number"}, {"type": "array", "items": {"type": "number"}}, {"type": "string"}]}
    ),
]
"""Raw values that mean «no reading», or a comparison over the row's quantities."""
Condition = Annotated[
    Expression,
    PlainValidator(_condition),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 1000}),
]
"""A formula that gives a truth."""
States = Annotated[
    dict[str | int | bool, str],
    PlainValidator(_states),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "array", "items": {"type": "string", "pattern": _NAMED}, "minItems": 1},
                {"type": "object", "additionalProperties": {"type": "string", "pattern": _NAMED}},
            ]
        }
    ),
]
"""Raw value → state's name."""
BitNames = Annotated[
    tuple[BitField, ...],
    PlainValidator(_bits),
    WithJsonSchema(
        {
            "type": "object",
            "patternProperties": {
                r"^\d{1,2}(\.\.\d{1,2})?$": {
                    "anyOf": [
                        {"type": "string", "pattern": _NAMED},
                        {"type": "object", "additionalProperties": {"type": "string", "pattern": _NAMED}},
                    ]
                }
            },
            "additionalProperties": False,
        }
    ),
]
"""The alarms of an integer's bits."""
MaxFlow = Annotated[
    float | str,
    PlainValidator(_max_flow),
    WithJsonSchema({"type": "string", "description": "a parameter's name, or a rate such as 4000/h"}),
]
"""Quantity units per second, or a parameter's name."""
Step = Annotated[
    int | str,
    PlainValidator(_step),
    WithJsonSchema({"type": "string", "description": "a duration such as 1h, or a parameter's name"}),
]
"""Nanoseconds, or a parameter's name."""
