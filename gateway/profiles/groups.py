"""Quantities that share their dimensions form a group: one row a series and event time.

Within a group a derived quantity comes after those that its formula reads, so that one pass over
`group.quantities` computes them all; otherwise the document's order stands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.profiles.document import Fault
from gateway.profiles.paths import Step, Take, bound, parse_path, repeated
from gateway.profiles.plan import GroupPlan, Kind, QuantityPlan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.profiles.schema import Document

Dimensions = tuple[str, ...]
_NUMERIC = frozenset({Kind.GAUGE, Kind.EVENT, Kind.COUNTER})


def group_plans(
    plans: Mapping[str, Sequence[QuantityPlan]], document: Document, faults: list[Fault]
) -> tuple[GroupPlan, ...]:
    """Return the groups of a profile. `plans` maps each quantity of the document to its plans."""
    dimensions = {name: _dimensions(name, document) for name in plans}
    # The first quantity's order of dimensions is the group's: {lane, class} and {class, lane} are one.
    members: dict[frozenset[str], list[str]] = {}
    for name, own in dimensions.items():
        members.setdefault(frozenset(own), []).append(name)
    for name in plans:
        _check_dimensions(name, dimensions[name], document, faults)
        _check_names(name, plans, dimensions, document, faults)
    return tuple(
        GroupPlan(
            index=index,
            dimensions=dimensions[names[0]],
            quantities=tuple(plan for name in _ordered(names, document, faults) for plan in plans[name]),
        )
        for index, names in enumerate(members.values())
    )


def _dimensions(name: str, document: Document, seen: tuple[str, ...] = ()) -> Dimensions:
    """Return a quantity's dimensions; those of a derived one follow from what it reads."""
    quantity = document.quantities[name]
    if quantity.by is not None or quantity.derived is None or name in seen:
        return tuple(dict.fromkeys(quantity.by or ()))
    for other in document.quantities:
        if other in quantity.derived.names:
            return _dimensions(other, document, (*seen, name))
    return ()


def _check_dimensions(name: str, own: Dimensions, document: Document, faults: list[Fault]) -> None:
    """Check that the path of a quantity and its dimensions meet in the same lists and objects."""
    quantity = document.quantities[name]
    place = ("quantities", name)
    steps = parse_path(quantity.path) if quantity.path else ()
    binds = bound(steps)
    for dimension in binds:
        if dimension not in own:
            what, hint = f"the path binds «{dimension}»", f"name it: by: [{', '.join([*own, dimension])}]"
            faults.append(Fault((*place, "path"), what, hint))
    listed = [dimension for dimension in own if dimension not in binds and quantity.path]
    for dimension in listed:
        container = _container(dimension, document)
        if dimension not in document.dimensions:
            what = f"where does the payload hold «{dimension}»?"
            hint = f"bind it in the path as {{{dimension}}}, or give its path under «dimensions»"
            faults.append(Fault((*place, "by"), what, hint))
        elif container != steps[: len(container)]:
            what = f"«{dimension}» is not held by the same list as «{name}»"
            faults.append(Fault((*place, "by"), what, f"its path is {document.dimensions[dimension]}"))
    places = [_container(dimension, document) for dimension in listed]
    if document.samples:
        places.append(parse_path(document.samples.list))  # their times tell its elements apart
    _check_lists(name, steps, places, faults)


def _container(dimension: str, document: Document) -> tuple[Step, ...]:
    path = document.dimensions.get(dimension)
    return repeated(parse_path(path)) if path else ()


def _check_lists(
    name: str, steps: tuple[Step, ...], containers: Sequence[tuple[Step, ...]], faults: list[Fault]
) -> None:
    """Check that each list on a path is told apart by a dimension: else its elements are duplicates."""
    for end, step in enumerate(steps, start=1):
        if step.take is Take.EACH and steps[:end] not in [container[:end] for container in containers]:
            what = f"the elements of the list in the path of «{name}» are not told apart"
            hint = "name a dimension of the list in «by», with its path under «dimensions»"
            faults.append(Fault(("quantities", name, "path"), what, hint))


def _check_names(
    name: str,
    plans: Mapping[str, Sequence[QuantityPlan]],
    dimensions: Mapping[str, Dimensions],
    document: Document,
    faults: list[Fault],
) -> None:
    """Check that every name in a formula, and the weight, is a number of the same row or a parameter."""
    quantity = document.quantities[name]
    plan = plans[name][0]
    formulas = {
        "from": plan.expression,
        "missing_when" if quantity.missing_when else "missing": plan.missing_when,
    }
    reads = {(key, other) for key, formula in formulas.items() if formula for other in formula.names}
    if quantity.weight:
        reads.add(("weight", quantity.weight))
    for key, other in sorted(reads):
        place = ("quantities", name, key)
        if other in document.parameters and key != "weight":
            continue
        if other not in document.quantities:
            faults.append(Fault(place, f"there is no quantity «{other}»", _known(document, key)))
        elif plans[other][0].kind not in _NUMERIC:
            faults.append(Fault(place, f"«{other}» is no number", "formulas and weights read numbers"))
        elif set(dimensions[other]) != set(dimensions[name]):
            what = f"«{other}» has other dimensions than «{name}»"
            faults.append(Fault(place, what, "both must have the same «by»"))


def _known(document: Document, key: str) -> str:
    names = [*document.quantities, *(document.parameters if key != "weight" else ())]
    return f"there are {', '.join(names)}"


def _ordered(names: Sequence[str], document: Document, faults: list[Fault]) -> list[str]:
    """Return the names of a group with each derived quantity behind those that it reads."""
    ordered: list[str] = []
    waiting = list(names)
    while waiting:
        ready = [name for name in waiting if not _reads(name, document) & set(waiting)]
        if not ready:
            place = ("quantities", waiting[0], "from")
            faults.append(Fault(place, f"the formulas of {', '.join(waiting)} need each other"))
            return list(names)
        # Measured ones first, in the document's order; then what has become computable.
        ordered.extend(ready)
        waiting = [name for name in waiting if name not in ready]
    return ordered


def _reads(name: str, document: Document) -> frozenset[str]:
    derived = document.quantities[name].derived
    return derived.names if derived else frozenset()
