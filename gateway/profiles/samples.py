"""From what a document says of samples with times of their own to their plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from gateway.profiles.document import Fault
from gateway.profiles.paths import Step, Take, parse_path, repeated
from gateway.profiles.plan import SamplesPlan
from gateway.profiles.schema import TimeUnit
from gateway.profiles.spans import nanoseconds, parameter_ns

if TYPE_CHECKING:
    from gateway.profiles.schema import Document, Samples, Time

_PLACE = "samples"


def samples_plan(
    document: Document, faults: list[Fault], *, own: bool, given: Time | None
) -> SamplesPlan | None:
    """Return the plan of a document's samples; None where it has none, or its list is none.

    `own`: its format makes them, and `given` is what the profile says of their time.
    """
    samples = document.samples
    if samples is None:
        return None
    steps = parse_path(samples.list)
    if not steps or steps[-1].take is not Take.EACH:
        faults.append(Fault((_PLACE, "list"), f"«{samples.list}» is no list", "it ends with []: log[]"))
        return None
    _check_whole(document, samples, steps, faults)
    _check_inside(samples, steps, faults)
    parameter = samples.step if isinstance(samples.step, str) else None
    return SamplesPlan(
        list=samples.list,
        at=samples.at,
        at_unit=_at_unit(document, samples, faults),
        ago=samples.ago,
        ago_ns=nanoseconds(samples.unit or "s", (_PLACE, "unit"), faults) if samples.ago else 0,
        step_ns=samples.step if isinstance(samples.step, int) else 0,
        parameter=parameter,
        parameter_ns=parameter_ns(parameter, document, (_PLACE, "step"), faults),
        newest_first=samples.first == "newest",
        required=not own or (given is not None and given.required),
    )


def _check_whole(document: Document, samples: Samples, steps: tuple[Step, ...], faults: list[Fault]) -> None:
    """Check that the list is used, and that one thing says when."""
    if sum(given is not None for given in (samples.at, samples.ago, samples.step)) != 1:
        faults.append(Fault((_PLACE,), "when a sample was measured is one of «at», «ago», «step»"))
    paths = [one.path for one in document.quantities.values() if one.path]
    if not any(parse_path(path)[: len(steps)] == steps for path in paths):
        what = f"no quantity is held by the list «{samples.list}»"
        faults.append(Fault((_PLACE, "list"), what, f"such as path: {samples.list}.value"))
    if "first" in samples.model_fields_set and samples.step is None:
        faults.append(Fault((_PLACE, "first"), "«first» goes with «step»"))
    if samples.unit and not (samples.at or samples.ago):
        faults.append(Fault((_PLACE, "unit"), "«unit» goes with «at» or «ago»"))
    if document.covers and document.covers.length is None:
        faults.append(Fault(("covers",), "with «samples» an interval's length is «length»", "length: 1h"))


def _check_inside(samples: Samples, steps: tuple[Step, ...], faults: list[Fault]) -> None:
    """Check that times stand in the elements, once in each."""
    for key in ("at", "ago"):
        path = getattr(samples, key)
        if path and repeated(parse_path(path)) != steps:
            what = f"«{path}» does not lead to one value of each element"
            faults.append(Fault((_PLACE, key), what, f"such as {samples.list}.{key}"))


def _at_unit(document: Document, samples: Samples, faults: list[Fault]) -> str:
    if not samples.at:
        return "s"
    unit = samples.unit or (document.time.unit if document.time else None)
    known = get_args(TimeUnit)
    if unit in known:
        return str(unit)
    what = "in which unit is «at»?" if unit is None else f"«{unit}» is no unit of times"
    faults.append(Fault((_PLACE, "unit"), what, f"unit: {', '.join(known)}"))
    return "s"
