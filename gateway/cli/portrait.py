"""What a profile does, for a person: `ecluse profile show`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.cli.terminal import table
from gateway.decode.topics import compile_template
from gateway.profiles.document import compose, validate
from gateway.profiles.durations import duration_name
from gateway.profiles.fields import RAW_ROW_FIELDS, WINDOW_ROW_FIELDS, raw_field, window_fields
from gateway.profiles.schema import Document

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.table import Table

    from gateway.profiles.plan import GroupPlan, ProfilePlan, QuantityPlan

_HOUR_S = 3_600


def heading(plan: ProfilePlan) -> list[str]:
    """Return what stands above the tables, a line each."""
    received = f"from {duration_name(plan.max_age_ns)} before to {duration_name(plan.max_ahead_ns)} after"
    bounds = f"{plan.max_payload} bytes, {plan.max_depth} levels, {plan.max_readings} readings"
    every = f"every {duration_name(plan.every_ns)}" if plan.every_ns else "at no known interval"
    return [
        f"{plan.name}, version {plan.version}, family {plan.family}",
        f"  topics      {', '.join(plan.topics)}",
        f"  time        {_time(plan)}",
        f"  identity    {_identity(plan)}",
        f"  expected    {every}",
        f"  accepted    {received} it was received",
        f"  corrected   windows, for {duration_name(plan.lateness_ns)} after their end",
        f"  an uplink   JSON of at most {bounds}",
        f"  personal    {'yes' if plan.privacy == 'personal' else 'no'}",
    ]


def tables(plan: ProfilePlan) -> list[Table]:
    """Return the tables: quantities, what is written, parameters to ask (where there are any)."""
    shown = [
        table(
            *("Quantity", "Kind", "Unit", "By", "From", "No reading", "Fail", "Suspect"),
            rows=map(_quantity, *_columns(plan)),
            title="Quantities",
        ),
        table("Quantity", *_measurements(plan), rows=_written(plan), title="Fields written"),
    ]
    if plan.parameters:
        parameters = ("Parameter", "Unit", "Range", "Default", "Ask")
        shown.append(table(*parameters, rows=_parameters(plan), title="Parameters of the installation"))
    return shown


def tags(plan: ProfilePlan) -> str:
    """Return the names of the tags that its points carry."""
    dimensions = {name: None for group in plan.groups for name in group.dimensions}
    return ", ".join(["site", "device", "profile", *dimensions, *plan.place_tags])


def fits(plan: ProfilePlan, topic: str) -> bool:
    """Tell whether a topic is one of the profile's."""
    return any(compile_template(template).match(topic) for template in plan.topics)


def _time(plan: ProfilePlan) -> str:
    if plan.time is None:
        return "when it was received"
    else_ = "an uplink without it is refused" if plan.time.required else "else when it was received, flagged"
    covers = f"; a reading covers an interval of which it is the {plan.covers.label}" if plan.covers else ""
    return f"{plan.time.path} ({plan.time.unit}), {else_}{covers}"


def _identity(plan: ProfilePlan) -> str:
    known = [name for name, path in (("its time", plan.time), (plan.sequence, plan.sequence)) if path]
    if known:
        return f"by {', else '.join(map(str, known))}"
    if plan.qos == 2:
        return "by its delivery at QoS 2"
    return "none: QoS 1 may store an uplink twice; qos: 2 would not, if the devices publish so"


def _columns(plan: ProfilePlan) -> tuple[list[QuantityPlan], list[GroupPlan]]:
    pairs = [(quantity, group) for group in plan.groups for quantity in group.quantities]
    return [quantity for quantity, _ in pairs], [group for _, group in pairs]


def _quantity(quantity: QuantityPlan, group: GroupPlan) -> tuple[str, ...]:
    return (
        quantity.name,
        ", ".join((quantity.kind, *quantity.states)) if quantity.states else quantity.kind,
        quantity.unit,
        ", ".join(group.dimensions),
        _origin(quantity),
        _no_reading(quantity),
        _outside(quantity.fail_range),
        "; ".join(_suspicions(quantity)),
    )


def _origin(quantity: QuantityPlan) -> str:
    if quantity.expression is not None:
        return f"= {quantity.expression.text}"
    path = quantity.path or ""
    if quantity.bits is not None:
        bits = quantity.bits
        return f"{path}: bits {bits.shift} on, mask {bits.mask:b} = {bits.value:b}"
    scaled = f" × {quantity.scale:g}" if quantity.scale != 1 else ""
    moved = f" {quantity.offset:+g}" if quantity.offset else ""
    return f"{path}{scaled}{moved}{' (required)' if quantity.required else ''}"


def _no_reading(quantity: QuantityPlan) -> str:
    values = [f"{value:g}" for value in quantity.missing]
    return ", ".join([*values, quantity.missing_when.text] if quantity.missing_when else values)


def _outside(span: tuple[float, float] | None) -> str:
    return f"outside {span[0]:g} to {span[1]:g}" if span else ""


def _suspicions(quantity: QuantityPlan) -> Iterator[str]:
    if quantity.suspect_range:
        yield _outside(quantity.suspect_range)
    if quantity.rate and quantity.rate.rise is not None:
        yield f"rises by over {quantity.rate.rise * _HOUR_S:g}/h"
    if quantity.rate and quantity.rate.fall is not None:
        yield f"falls by over {quantity.rate.fall * _HOUR_S:g}/h"
    if quantity.spike is not None:
        yield f"spike of over {quantity.spike:g}"
    if quantity.flat is not None:
        yield f"within ± {quantity.flat.tolerance:g} for {duration_name(quantity.flat.duration_ns)}"
    if quantity.counter is not None:
        yield "reset, swap or running backwards"


def _measurements(plan: ProfilePlan) -> tuple[str, str]:
    return plan.family, ", ".join(f"{plan.family}_{window.name}" for window in plan.windows)


def _written(plan: ProfilePlan) -> Iterator[tuple[str, str, str]]:
    for group in plan.groups:
        for quantity in group.quantities:
            yield quantity.name, _fields([raw_field(quantity)]), _fields(window_fields(quantity))
    yield "of each point", _fields(RAW_ROW_FIELDS.items()), _fields(WINDOW_ROW_FIELDS.items())


def _fields(fields: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"{name} ({kind})" for name, kind in fields)


def _parameters(plan: ProfilePlan) -> Iterator[tuple[str, ...]]:
    document = validate(compose(plan.text, plan.name), Document)
    for name, parameter in plan.parameters.items():
        low = "" if parameter.minimum is None else f"{parameter.minimum:g}"
        high = "" if parameter.maximum is None else f"{parameter.maximum:g}"
        default = "must be given" if parameter.default is None else f"{parameter.default:g}"
        ask = document.parameters[name].ask if document else {}
        yield (
            name,
            parameter.unit,
            f"{low} to {high}" if low or high else "",
            default,
            " / ".join(ask[lang] for lang in sorted(ask)),
        )
