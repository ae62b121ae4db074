"""The JSON Schema of what a device sends, from its compiled profile.

Pure. It describes what the gateway reads: other keys are allowed, and a null is no reading. What the
gateway only flags (a range) is told in words, for a payload beyond it is not refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.profiles.paths import Step, Take, parse_path
from gateway.profiles.plan import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.profiles.plan import ProfilePlan, QuantityPlan

Schema = dict[str, Any]


def payload_schema(plan: ProfilePlan) -> Schema:
    """Return the schema (draft 2020-12) of a profile's payloads; of bytes where they are not JSON."""
    if plan.envelope is not None:
        return {"type": "object", "description": f"an uplink in the envelope of {plan.envelope.title}"}
    if plan.format != "json":
        return {"type": "string", "format": "binary", "description": f"format: {plan.format}"}
    root: Schema = {}
    for path, value, required in _values(plan):
        _put(root, parse_path(path), value, required=required)
    return {"title": plan.key, **root}


def _values(plan: ProfilePlan) -> Iterator[tuple[str, Schema, bool]]:
    """Yield (path, schema, whether it must be there) of all that the gateway reads."""
    if plan.time:
        yield plan.time.path, _time(plan.time.unit, "the device's time"), plan.time.required
    if plan.sequence:
        yield plan.sequence, {"type": "integer", "description": "the device's own counter of uplinks"}, False
    if plan.covers and plan.covers.path:
        yield plan.covers.path, {"type": "number", "description": "length of the interval covered"}, False
    for name, path in plan.dimensions.items():
        yield path, {"type": ["string", "integer"], "description": f"dimension {name}"}, True
    for group in plan.groups:
        for quantity in group.quantities:
            if quantity.path:
                yield quantity.path, quantity_schema(quantity), quantity.required
    yield from _earlier(plan)


def _earlier(plan: ProfilePlan) -> Iterator[tuple[str, Schema, bool]]:
    """Yield the same of what was measured before the uplink."""
    if plan.samples and plan.samples.at:
        yield plan.samples.at, _time(plan.samples.at_unit, "the sample's time"), True
    if plan.samples and plan.samples.ago:
        told = f"how long before the uplink, in {plan.samples.ago_ns / 1e9:g} s"
        yield plan.samples.ago, {"type": "number", "description": told}, True
    if plan.history:
        unit = plan.history.at_unit
        yield plan.history.start, {"type": "number", "description": "first value of the history"}, False
        yield plan.history.at, _time(unit, "time of the history's first value"), False
        yield f"{plan.history.add}[]", {"type": "number", "description": "next step of the history"}, False


def _time(unit: str, what: str) -> Schema:
    if unit == "iso":
        return {"type": "string", "format": "date-time", "description": what}
    return {"type": "number", "description": f"{what}, {unit} since 1970-01-01T00:00:00Z"}


def quantity_schema(quantity: QuantityPlan) -> Schema:
    """Return the schema of a quantity's raw value, as the device sends it; null is no reading."""
    told = f"{quantity.name}: {quantity.kind}"
    if quantity.bits is not None:
        return {"type": ["integer", "null"], "description": "alarm bits"}
    if quantity.kind is Kind.STATE:
        return {"enum": [*quantity.state_values, None], "description": told}
    if quantity.kind is Kind.TEXT:
        return {"type": ["string", "null"], "description": told}
    if quantity.unit != "1":
        told += f", unit {quantity.unit}"
    if quantity.fail_range:
        told += f", usually {quantity.fail_range[0]:g} to {quantity.fail_range[1]:g}"
    if quantity.missing:
        told += f", no reading: {', '.join(f'{value:g}' for value in quantity.missing)}"
    return {"type": ["number", "null"], "description": told}


def _put(node: Schema, steps: tuple[Step, ...], value: Schema, *, required: bool) -> None:
    """Set the schema of the value at a path, making the objects and lists on the way."""
    for at, step in enumerate(steps):
        last = at + 1 == len(steps)
        if step.take is Take.EACH:
            node["type"] = "array"
            node = node.setdefault("items", {})
        elif step.take is Take.BIND:
            node["type"] = "object"
            node = node.setdefault("additionalProperties", {})
        else:
            node["type"] = "object"
            if required and last and step.name not in node.setdefault("required", []):
                node["required"].append(step.name)
            node = node.setdefault("properties", {}).setdefault(step.name, {})
    node.update(value)
