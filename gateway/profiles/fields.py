"""The names and types of the fields that a profile's readings and windows are written as.

A field's type follows its quantity's kind, never the profile, so that two profiles of one family can
share a measurement; what `compile` checks, and what the sinks write, is named here once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.model import FieldType
from gateway.profiles.plan import Kind, Statistic

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.profiles.plan import GroupPlan, ProfilePlan, QuantityPlan

RAW_ROW_FIELDS: Mapping[str, FieldType] = {
    "quality": FieldType.INTEGER,
    "time_source": FieldType.INTEGER,
}
WINDOW_ROW_FIELDS: Mapping[str, FieldType] = {
    "coverage": FieldType.FLOAT,
    "quality": FieldType.INTEGER,
    "suspect_count": FieldType.INTEGER,
    "failed_count": FieldType.INTEGER,
}

_RAW: Mapping[Kind, FieldType] = {
    Kind.GAUGE: FieldType.FLOAT,
    Kind.COUNTER: FieldType.INTEGER,
    Kind.EVENT: FieldType.INTEGER,
    Kind.STATE: FieldType.STRING,
    Kind.TEXT: FieldType.STRING,
}
# Of an event these are whole numbers, as its readings are.
_LIKE_READINGS = frozenset({Statistic.SUM, Statistic.MIN, Statistic.MAX, Statistic.FIRST, Statistic.LAST})


def quantile_suffix(quantile: float) -> str:
    """Return how a quantile ends its field's name: 0.5 → `p50`, 0.999 → `p99_9`."""
    return "p" + f"{quantile * 100:.6f}".rstrip("0").rstrip(".").replace(".", "_")


def raw_field(quantity: QuantityPlan) -> tuple[str, FieldType]:
    """Return the field of a quantity's raw readings."""
    return quantity.name, _RAW[quantity.kind]


def window_fields(quantity: QuantityPlan) -> Iterator[tuple[str, FieldType]]:
    """Yield the fields of a quantity's windows, in the order of its statistics."""
    for statistic in quantity.statistics:
        match statistic:
            case Statistic.QUANTILES:
                for quantile in quantity.quantiles:
                    yield f"{quantity.name}_{quantile_suffix(quantile)}", FieldType.FLOAT
            case Statistic.TIME_IN_STATE:
                for state in quantity.states:
                    yield f"{quantity.name}_{state}_seconds", FieldType.FLOAT
            case _:
                yield f"{quantity.name}_{statistic}", _window_type(quantity.kind, statistic)


def measurements(plan: ProfilePlan) -> dict[str, dict[str, FieldType]]:
    """Return every measurement that a profile writes, with its fields."""
    raw = dict(RAW_ROW_FIELDS) | dict(map(raw_field, _quantities(plan.groups)))
    windows = dict(WINDOW_ROW_FIELDS)
    for quantity in _quantities(plan.groups):
        windows.update(window_fields(quantity))
    return {plan.family: raw} | {f"{plan.family}_{window.name}": windows for window in plan.windows}


def _quantities(groups: tuple[GroupPlan, ...]) -> Iterator[QuantityPlan]:
    for group in groups:
        yield from group.quantities


def _window_type(kind: Kind, statistic: Statistic) -> FieldType:
    if statistic in (Statistic.COUNT, Statistic.INCREMENT):
        return FieldType.INTEGER
    if kind in (Kind.STATE, Kind.TEXT):
        return FieldType.STRING
    if kind is Kind.EVENT and statistic in _LIKE_READINGS:
        return FieldType.INTEGER
    return FieldType.FLOAT
