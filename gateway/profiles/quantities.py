"""From one quantity of a document to its plans: the kind decides what may be said of it.

A quantity with `bits` gives one state quantity (off, on) for each named bit; any other gives one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.profiles.document import Fault
from gateway.profiles.expression import Expression
from gateway.profiles.plan import Bits, CounterPlan, FlatLine, Kind, Limit, QuantityPlan, Statistic
from gateway.profiles.units import affine, conversion
from gateway.profiles.values import IN_TEXT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.profiles.schema import Document, Quantity
    from gateway.profiles.values import BitField

OFF_ON = ("off", "on")

DEFAULT_STATISTICS: Mapping[Kind, tuple[Statistic, ...]] = {
    Kind.GAUGE: (Statistic.COUNT, Statistic.MEAN, Statistic.MIN, Statistic.MAX),
    Kind.EVENT: (Statistic.COUNT, Statistic.SUM),
    Kind.COUNTER: (Statistic.COUNT, Statistic.INCREMENT),
    Kind.STATE: (Statistic.COUNT, Statistic.TIME_IN_STATE),
    Kind.TEXT: (Statistic.COUNT, Statistic.LAST),
}
_OF_NUMBERS = frozenset(Statistic) - {Statistic.INCREMENT, Statistic.TIME_IN_STATE}
ALLOWED_STATISTICS: Mapping[Kind, frozenset[Statistic]] = {
    Kind.GAUGE: _OF_NUMBERS,
    Kind.EVENT: _OF_NUMBERS,
    Kind.COUNTER: frozenset({Statistic.COUNT, Statistic.INCREMENT, Statistic.FIRST, Statistic.LAST}),
    Kind.STATE: frozenset({Statistic.COUNT, Statistic.FIRST, Statistic.LAST, Statistic.TIME_IN_STATE}),
    Kind.TEXT: frozenset({Statistic.COUNT, Statistic.FIRST, Statistic.LAST}),
}

# Key of the document → the kinds of which it means something.
_NUMBERS = frozenset({Kind.GAUGE, Kind.EVENT, Kind.COUNTER})
_FLOWING = frozenset({Kind.GAUGE, Kind.EVENT})
_KINDS_OF: Mapping[str, frozenset[Kind]] = {
    "derived": _FLOWING,
    "scale": _NUMBERS,
    "offset": frozenset({Kind.GAUGE}),
    "sent_in": _NUMBERS,
    "range": _NUMBERS,
    "suspect": _NUMBERS,
    "max_rise": _FLOWING,
    "max_fall": _FLOWING,
    "spike": _FLOWING,
    "flat": _FLOWING,
    "states": frozenset({Kind.STATE}),
    "bits": frozenset({Kind.STATE}),
    "hold": frozenset({Kind.STATE}),
    "modulus": frozenset({Kind.COUNTER}),
    "max_flow": frozenset({Kind.COUNTER}),
    "reverse": frozenset({Kind.COUNTER}),
    "weight": frozenset({Kind.GAUGE}),
    "reference": _FLOWING,
    "quantiles": _FLOWING,
}


def quantity_plans(name: str, document: Document, faults: list[Fault]) -> list[QuantityPlan]:
    """Return the plans of one quantity; what is wrong with it is added to `faults`."""
    quantity = document.quantities[name]
    kind = quantity.kind or (Kind.STATE if quantity.states or quantity.bits else Kind.GAUGE)
    place = ("quantities", name)
    _check_kind(quantity, kind, place, faults)
    _check_numbers(quantity, place, faults)
    statistics, quantiles = _statistics(quantity, kind, document, place, faults)
    if quantity.bits:
        return [_bit_plan(field, quantity, statistics) for field in quantity.bits]
    names = tuple(dict.fromkeys((quantity.states or {}).values()))
    missing = quantity.missing if isinstance(quantity.missing, tuple) else ()
    scale, offset = _scaled(quantity, place, faults)
    if kind in (Kind.COUNTER, Kind.EVENT) and not scale.is_integer():
        hint = "give the unit in which the device counts, or a smaller one"
        key = "sent_in" if quantity.sent_in else "scale"
        faults.append(Fault((*place, key), f"kind {kind} is stored as whole numbers", hint))
    plan = QuantityPlan(
        name=name,
        unit=quantity.unit,
        kind=kind,
        path=quantity.path,
        expression=quantity.derived,
        scale=scale,
        offset=offset,
        converted=quantity.sent_in is not None,
        in_text=quantity.sent_in == IN_TEXT,
        required=quantity.required,
        missing=missing,
        missing_when=quantity.missing if isinstance(quantity.missing, Expression) else quantity.missing_when,
        states=names,
        state_values={raw: names.index(state) for raw, state in (quantity.states or {}).items()},
        fail_range=quantity.range,
        suspect_range=quantity.suspect,
        rate=_limit(quantity),
        spike=quantity.spike,
        flat=FlatLine(quantity.flat.tolerance, quantity.flat.duration) if quantity.flat else None,
        counter=_counter(quantity, document, place, faults) if kind is Kind.COUNTER else None,
        hold_ns=quantity.hold if kind is Kind.STATE else 0,
        weight=quantity.weight,
        reference=quantity.reference,
        statistics=statistics,
        quantiles=quantiles,
    )
    return [plan]


def _bit_plan(field: BitField, quantity: Quantity, statistics: tuple[Statistic, ...]) -> QuantityPlan:
    return QuantityPlan(
        name=field.name,
        unit="1",
        kind=Kind.STATE,
        path=quantity.path,
        bits=Bits(shift=field.first, mask=2 ** (field.last - field.first + 1) - 1, value=field.value),
        required=quantity.required,
        missing=quantity.missing if isinstance(quantity.missing, tuple) else (),
        missing_when=quantity.missing if isinstance(quantity.missing, Expression) else quantity.missing_when,
        states=OFF_ON,
        hold_ns=quantity.hold,
        statistics=statistics,
    )


def _check_kind(quantity: Quantity, kind: Kind, place: tuple[str, str], faults: list[Fault]) -> None:
    fields = type(quantity).model_fields
    for key in quantity.model_fields_set & set(_KINDS_OF):
        if kind not in _KINDS_OF[key]:
            written = fields[key].alias or key
            kinds = " or ".join(sorted(_KINDS_OF[key]))
            hint = f"it belongs to a quantity of kind {kinds}"
            faults.append(Fault((*place, written), f"«{written}» means nothing for kind {kind}", hint))
    if (quantity.path is None) == (quantity.derived is None):
        hint = "path: where the payload holds it; from: a formula over other quantities"
        faults.append(Fault(place, "a quantity has either «path» or «from»", hint))
    if kind is Kind.STATE and (quantity.states is None) == (quantity.bits is None):
        faults.append(
            Fault(place, "a state has either «states» or «bits»", "states: {0: upright, 1: tilted}")
        )
    if (
        quantity.missing != ()
        and quantity.missing_when is not None
        and isinstance(quantity.missing, Expression)
    ):
        faults.append(
            Fault((*place, "missing_when"), "«missing» already is a comparison", "join them with or")
        )


def _check_numbers(quantity: Quantity, place: tuple[str, str], faults: list[Fault]) -> None:
    for key, span in (("range", quantity.range), ("suspect", quantity.suspect)):
        if span and not span[0] < span[1]:
            faults.append(Fault((*place, key), f"«{key}» must be [lowest, highest]"))
    if quantity.range and quantity.suspect and not _within(quantity.suspect, quantity.range):
        faults.append(Fault((*place, "suspect"), "«suspect» must lie within «range»"))
    if quantity.scale == 0:
        faults.append(Fault((*place, "scale"), "a scale of 0 leaves nothing of the value"))
    given = {"scale", "offset", "sent_in"} & quantity.model_fields_set
    if quantity.sent_in == IN_TEXT and len(given) > 1:
        faults.append(Fault((*place, "sent_in"), "a text has its unit: there is nothing to scale"))
    if quantity.derived and given:
        key = min(given)
        faults.append(Fault((*place, key), f"«{key}» belongs to «path»", "write it into the formula"))
    if quantity.modulus and not quantity.modulus.is_integer():
        faults.append(Fault((*place, "modulus"), "the modulus is a whole number"))


def _scaled(quantity: Quantity, place: tuple[str, str], faults: list[Fault]) -> tuple[float, float]:
    """Return scale and offset from what is sent to the quantity's unit."""
    if quantity.sent_in in (None, IN_TEXT):
        return quantity.scale, quantity.offset
    try:
        factor, shift = affine(str(quantity.sent_in), quantity.unit)
    except ValueError as error:
        faults.append(Fault((*place, "sent_in"), str(error), f"a unit that can become {quantity.unit}"))
        return quantity.scale, quantity.offset
    return quantity.scale * factor, quantity.offset * factor + shift


def _within(inner: tuple[float, float], outer: tuple[float, float]) -> bool:
    return outer[0] <= inner[0] and inner[1] <= outer[1]


def _limit(quantity: Quantity) -> Limit | None:
    if quantity.max_rise is None and quantity.max_fall is None:
        return None
    return Limit(rise=quantity.max_rise, fall=quantity.max_fall)


def _statistics(
    quantity: Quantity, kind: Kind, document: Document, place: tuple[str, str], faults: list[Fault]
) -> tuple[tuple[Statistic, ...], tuple[float, ...]]:
    """Return what the windows say: the quantity's wish, else the document's for the kind, else ours."""
    wanted = quantity.statistics
    if wanted is None:
        wanted = document.statistics.get(kind, DEFAULT_STATISTICS[kind])
    elif alien := sorted(set(wanted) - ALLOWED_STATISTICS[kind]):
        hint = f"there are {', '.join(sorted(ALLOWED_STATISTICS[kind]))}"
        faults.append(Fault((*place, "statistics"), f"kind {kind} has no {', '.join(alien)}", hint))
    quantiles = quantity.quantiles
    if quantiles is None:
        quantiles = document.quantiles if kind is Kind.GAUGE else ()
    if Statistic.QUANTILES in wanted and not quantiles:
        faults.append(Fault((*place, "statistics"), "which quantiles?", "quantiles: [0.5, 0.95]"))
    chosen = {Statistic.COUNT, *wanted} | ({Statistic.QUANTILES} if quantiles else set())
    in_order = tuple(statistic for statistic in Statistic if statistic in chosen)
    return in_order, tuple(sorted(set(quantiles)))


def _counter(
    quantity: Quantity, document: Document, place: tuple[str, str], faults: list[Fault]
) -> CounterPlan:
    scale = 1.0
    if isinstance(quantity.max_flow, str):
        parameter = document.parameters.get(quantity.max_flow)
        if parameter is None:
            hint = "declare it under «parameters», or write a rate such as 4000/h"
            faults.append(Fault((*place, "max_flow"), f"there is no parameter «{quantity.max_flow}»", hint))
        else:
            scale = _flow_scale(parameter.unit, quantity.unit, place, faults)
    return CounterPlan(
        modulus=quantity.modulus or 0.0,
        max_flow=quantity.max_flow,
        max_flow_scale=scale,
        reverse=quantity.reverse,
    )


def _flow_scale(source: str, unit: str, place: tuple[str, str], faults: list[Fault]) -> float:
    try:
        return conversion(source, f"{unit}/s")
    except ValueError as error:
        hint = f"a flow of {unit} in time, such as {unit}/h"
        faults.append(Fault((*place, "max_flow"), f"the parameter's unit does not fit: {error}", hint))
        return 1.0
