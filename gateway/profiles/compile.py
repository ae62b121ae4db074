"""From a validated document to the plan that the river runs on, with every check that needs the whole.

`compile_profile` gives the plan or every fault of one text; `compile_text` is for texts that were
checked before (control records of the journal).
"""

from __future__ import annotations

import difflib
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from gateway.errors import ConfigurationError, Problem
from gateway.profiles import lines
from gateway.profiles.binary import binary_plan, with_paths
from gateway.profiles.codec import CodecPlan
from gateway.profiles.document import Fault
from gateway.profiles.durations import duration_name
from gateway.profiles.envelopes import BESIDE, ENVELOPES, FACTS
from gateway.profiles.extending import read
from gateway.profiles.fields import RAW_ROW_FIELDS, WINDOW_ROW_FIELDS, window_fields
from gateway.profiles.groups import group_plans
from gateway.profiles.paths import disagreement, parse_path, repeated
from gateway.profiles.plan import (
    CoversPlan,
    CsvPlan,
    HistoryPlan,
    Kind,
    ParameterPlan,
    ProfilePlan,
    TimePlan,
    WindowPlan,
)
from gateway.profiles.quantities import ALLOWED_STATISTICS, quantity_plans
from gateway.profiles.samples import samples_plan
from gateway.profiles.spans import nanoseconds, parameter_ns
from gateway.profiles.whole import detached

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.profiles.paths import Step
    from gateway.profiles.plan import GroupPlan
    from gateway.profiles.schema import Document


def compile_text(text: str, *, name: str) -> ProfilePlan:
    """Compile a profile's text. `name` is what problems call it.

    Raises ConfigurationError with every problem.
    """
    plan, problems = compile_profile(text, where=name)
    if plan is None:
        raise ConfigurationError(problems)
    return plan


def compile_profile(text: str, *, where: str) -> tuple[ProfilePlan | None, tuple[Problem, ...]]:
    """Return the plan of a profile's text, or None and every problem, in the order of the text."""
    plan, problems = _compiled(text)
    return plan, tuple(replace(problem, where=problem.where or where) for problem in problems)


@lru_cache(maxsize=256)
def _compiled(text: str) -> tuple[ProfilePlan | None, tuple[Problem, ...]]:
    """Compile a text once: where it is put in force, between two batches, it was compiled before."""
    whole = detached(text)
    source, document = read(whole.yaml, "", whole.base)
    if document is None:
        return None, tuple(source.faults)
    faults: list[Fault] = []
    plan = _plan(document, text, whole.script, faults)
    if plan.codec is None and whole.script is not None:
        faults.append(Fault((), "a codec stands behind the profile, and none is named", "codec: {file: …}"))
    problems = sorted(map(source.problem, faults), key=lambda problem: (problem.line, problem.column))
    return (None if problems else plan), tuple(problems)


def _plan(document: Document, text: str, script: str | None, faults: list[Fault]) -> ProfilePlan:
    binary = binary_plan(document, faults)
    if binary is not None:
        document = with_paths(document, binary, faults)
    elif document.codec:
        document = _with_codec(document, faults)
    elif document.format == "value":
        document = _with_value(document)
    given_time = document.time
    if document.csv and "format" not in document.model_fields_set:
        document = document.model_copy(update={"format": "csv"})
    if document.format in lines.FORMATS:
        document = lines.with_lines(document, faults)
    _check_names(document, faults)
    _check_statistics(document, faults)
    quantities = {name: quantity_plans(name, document, faults) for name in document.quantities}
    groups = group_plans(quantities, document, faults)
    windows = _windows(document, faults)
    _check_fields(document, groups, faults)
    _check_times(document, faults)
    _check_paths(document, faults)
    _check_beside(document, faults)
    covers = _covers(document, faults)
    return ProfilePlan(
        name=document.profile,
        version=document.version,
        family=document.family,
        text=text,
        format=document.format,
        topics=_topics(document, faults),
        envelope=ENVELOPES.get(document.source),
        groups=groups,
        windows=windows,
        parameters={name: _parameter(name, document, faults) for name in document.parameters},
        dimensions=dict(document.dimensions),
        codec=_codec(document, script, faults),
        csv=_csv(document, faults),
        binary=binary,
        place_tags=document.tags,
        time=_time(document, faults),
        clock=document.clock or "",
        sequence=document.sequence,
        covers=covers,
        history=_history(document, faults),
        samples=samples_plan(document, faults, own=document.format in lines.FORMATS, given=given_time),
        every_ns=document.every or (covers.length_ns if covers else 0),
        lateness_ns=document.lateness,
        max_ahead_ns=document.max_ahead,
        max_age_ns=document.max_age,
        retained=document.retained,
        qos=document.qos,
        privacy=document.privacy,
        keep={what: kept.duration for what, kept in document.keep.items()},
        max_payload=document.limits.payload,
        max_depth=document.limits.depth,
        max_readings=document.limits.readings,
    )


def _with_value(document: Document) -> Document:
    """Return a document of plain values with their path: a quantity needs none of its own."""
    quantities = {
        name: one if one.derived or one.path else one.model_copy(update={"path": "value"})
        for name, one in document.quantities.items()
    }
    return document.model_copy(update={"quantities": quantities})


def _with_codec(document: Document, faults: list[Fault]) -> Document:
    """Return a document whose format is its codec."""
    if "format" in document.model_fields_set and document.format != "codec":
        faults.append(
            Fault(("format",), "«codec» decodes the payloads: no other format does", "format: codec")
        )
    return document.model_copy(update={"format": "codec"})


def _codec(document: Document, script: str | None, faults: list[Fault]) -> CodecPlan | None:
    """Return the plan of a document's codec, whose text stands behind it."""
    codec = document.codec
    if codec is None:
        if document.format == "codec":
            faults.append(Fault(("format",), "which codec?", "codec: {file: vendor.js}"))
        return None
    if script is None:
        faults.append(Fault(("codec", "file"), f"the codec «{codec.file}» is not there"))
        return None
    return CodecPlan(codec.file, script, codec.normalize, tuple(sorted(codec.variables.items())))


def _csv(document: Document, faults: list[Fault]) -> CsvPlan | None:
    csv = document.csv
    if csv is None:
        return None
    if document.format != "csv":
        faults.append(Fault(("csv",), "«csv» belongs to the format «csv»", "format: csv"))
    if bool(csv.columns) == csv.header:
        faults.append(Fault(("csv",), "the names of cells are either in «columns», or in a «header»"))
    if twice := sorted({name for name in csv.columns if name and csv.columns.count(name) > 1}):
        faults.append(Fault(("csv", "columns"), f"two columns are called «{twice[0]}»"))
    return CsvPlan(csv.columns, csv.separator, csv.header)


def _topics(document: Document, faults: list[Fault]) -> tuple[str, ...]:
    """Return the topics: the document's, else those of its source."""
    envelope = ENVELOPES.get(document.source)
    if document.format == "decoded" and envelope is None:
        what = "«decoded» is what a network server's codec has made"
        faults.append(Fault(("format",), what, f"source: {', '.join(ENVELOPES)}"))
    if document.topics is None and (envelope is None or not envelope.topics):
        hint = 'such as «topics: ["city/{site}/bin/{device}/up"]», or «source: chirpstack»'
        faults.append(Fault(("topics",), "«topics» is missing", hint))
    return document.topics or (envelope.topics if envelope else ())


def _check_names(document: Document, faults: list[Fault]) -> None:
    """Check that no name means two things, and that every dimension is used."""
    used = {name for quantity in document.quantities.values() for name in quantity.by or ()}
    quantities = dict.fromkeys(document.quantities, "a quantity")
    dimensions = dict.fromkeys([*document.dimensions, *used], "a dimension")
    taken = [(("parameters", name), (quantities | dimensions).get(name)) for name in document.parameters] + [
        (("dimensions", name), quantities.get(name)) for name in document.dimensions
    ]
    faults.extend(
        Fault(place, f"«{place[1]}» is {known} already", "choose another name")
        for place, known in taken
        if known
    )
    for index, name in enumerate(document.tags):
        if known := (quantities | dimensions).get(name):
            faults.append(Fault(("tags", index), f"«{name}» is {known} already", "rename the place's column"))
    faults.extend(
        Fault(("dimensions", name), f"no quantity is measured by «{name}»", f"by: [{name}]")
        for name in document.dimensions.keys() - used
    )


def _check_statistics(document: Document, faults: list[Fault]) -> None:
    for kind, statistics in document.statistics.items():
        if alien := sorted(set(statistics) - ALLOWED_STATISTICS[kind]):
            hint = f"there are {', '.join(sorted(ALLOWED_STATISTICS[kind]))}"
            faults.append(Fault(("statistics", kind.value), f"kind {kind} has no {', '.join(alien)}", hint))


def _check_fields(document: Document, groups: Sequence[GroupPlan], faults: list[Fault]) -> None:
    """Check that no two quantities, bits and statistics write one field."""
    taken = {("raw", name) for name in (*RAW_ROW_FIELDS, *document.parameters)}
    taken |= {("window", name) for name in WINDOW_ROW_FIELDS}
    owners = {
        field.name: name for name, quantity in document.quantities.items() for field in quantity.bits or ()
    }
    for quantity in (quantity for group in groups for quantity in group.quantities):
        owner = quantity.name if quantity.name in document.quantities else owners[quantity.name]
        for field in [("raw", quantity.name), *(("window", name) for name, _ in window_fields(quantity))]:
            if field in taken:
                what = f"the field «{field[1]}» would be written twice"
                faults.append(Fault(("quantities", owner), what, "rename this quantity, or its bit"))
            taken.add(field)


def _windows(document: Document, faults: list[Fault]) -> tuple[WindowPlan, ...]:
    lengths = sorted(set(document.windows))
    for length in lengths:
        if length % lengths[0]:
            what = f"a window of {duration_name(length)} is no multiple of {duration_name(lengths[0])}"
            index = document.windows.index(length)
            faults.append(Fault(("windows", index), what, "each is a multiple of the shortest"))
    return tuple(WindowPlan(name=duration_name(length), length_ns=length) for length in lengths)


def _check_times(document: Document, faults: list[Fault]) -> None:
    if document.max_age < document.lateness:
        what = f"«max_age» ({duration_name(document.max_age)}) is shorter than «lateness»"
        faults.append(Fault(("max_age",), what, f"lateness is {duration_name(document.lateness)}"))
    kept = [duration_name(length) for length in document.windows]
    for what in document.keep:
        if what not in ("raw", *kept):
            hint = f"there are raw, {', '.join(kept)}"
            faults.append(Fault(("keep", what), f"there is no window «{what}» to keep", hint))


def _check_paths(document: Document, faults: list[Fault]) -> None:
    """Check that no path takes for an object or a list what another takes for a value."""
    paths: dict[tuple[str, ...], str | None] = {
        ("time", "path"): document.time.path if document.time else None,
        ("sequence",): document.sequence,
        ("covers", "path"): document.covers.path if document.covers else None,
    }
    paths |= {("dimensions", name): path for name, path in document.dimensions.items()}
    paths |= {("quantities", name, "path"): quantity.path for name, quantity in document.quantities.items()}
    if document.history:
        paths |= {("history", key): getattr(document.history, key) for key in ("start", "at", "add")}
    if document.samples:
        paths |= {("samples", key): getattr(document.samples, key) for key in ("at", "ago")}
    seen: list[tuple[Step, ...]] = []
    for place, path in paths.items():
        steps = parse_path(path) if path else ()
        if steps and disagreement([*seen, steps]):
            what = f"«{path}» and another path disagree on what stands there: a value, an object or a list"
            faults.append(Fault(place, what))
        elif steps:
            seen.append(steps)


def _check_beside(document: Document, faults: list[Fault]) -> None:
    """Check that paths beside the payload are known, and that there is an envelope that tells them.

    A key of a payload may begin with @ too, such as `@timestamp`.
    """
    for name, quantity in document.quantities.items():
        place, path = ("quantities", name, "path"), quantity.path or ""
        if path in FACTS and document.source not in ENVELOPES:
            what = f"«{path}» is told by a network server"
            faults.append(Fault(place, what, f"source: {', '.join(ENVELOPES)}"))
            continue
        near = difflib.get_close_matches(path, FACTS, n=1, cutoff=0.7)
        if near and near[0] != path and path.startswith(BESIDE) and document.source in ENVELOPES:
            faults.append(Fault(place, f"there is no «{path}»", f"did you mean «{near[0]}»?"))


def _parameter(name: str, document: Document, faults: list[Fault]) -> ParameterPlan:
    parameter = document.parameters[name]
    low, high = parameter.range or (None, None)
    if low is not None and high is not None:
        if low > high:
            faults.append(Fault(("parameters", name, "range"), "«range» must be [lowest, highest]"))
        elif parameter.default is not None and not low <= parameter.default <= high:
            faults.append(Fault(("parameters", name, "default"), "the default lies outside «range»"))
    return ParameterPlan(name=name, unit=parameter.unit, default=parameter.default, minimum=low, maximum=high)


def _time(document: Document, faults: list[Fault]) -> TimePlan | None:
    if document.sequence:
        _single(("sequence",), document.sequence, faults)
    if document.time is None:
        return None
    _single(("time", "path"), document.time.path, faults)
    return TimePlan(path=document.time.path, unit=document.time.unit, required=document.time.required)


def _covers(document: Document, faults: list[Fault]) -> CoversPlan | None:
    covers = document.covers
    if covers is None:
        return None
    if sum(given is not None for given in (covers.length, covers.param, covers.path)) != 1:
        faults.append(Fault(("covers",), "an interval's length is one of «length», «param», «path»"))
    length_ns = parameter_ns(covers.param, document, ("covers", "param"), faults)
    path_ns = 0
    if covers.path:
        _single(("covers", "path"), covers.path, faults)
        path_ns = nanoseconds(covers.unit, ("covers", "unit"), faults)
    return CoversPlan(
        label=covers.label,
        align=covers.align,
        length_ns=covers.length or 0,
        parameter=covers.param,
        parameter_ns=length_ns,
        path=covers.path,
        path_ns=path_ns,
    )


def _history(document: Document, faults: list[Fault]) -> HistoryPlan | None:
    history = document.history
    if history is None:
        return None
    for key in ("start", "at", "add"):
        _single(("history", key), getattr(history, key), faults)
    quantity = document.quantities.get(history.of)
    if quantity is None or quantity.by or quantity.path is None or quantity.kind is Kind.TEXT:
        what = f"«{history.of}» must be a measured number without dimensions"
        faults.append(Fault(("history", "of"), what, f"there are {', '.join(document.quantities)}"))
    unit = history.unit or (document.time.unit if document.time else None)
    if unit is None:
        faults.append(Fault(("history",), "in which unit is «at»?", "unit: s, ms, us, ns or iso"))
    parameter = history.step if isinstance(history.step, str) else None
    return HistoryPlan(
        quantity=history.of,
        start=history.start,
        at=history.at,
        at_unit=unit or "s",
        add=history.add,
        step_ns=history.step if isinstance(history.step, int) else 0,
        parameter=parameter,
        parameter_ns=parameter_ns(parameter, document, ("history", "step"), faults),
    )


def _single(place: tuple[str, ...], path: str, faults: list[Fault]) -> None:
    if repeated(parse_path(path)):
        faults.append(Fault(place, f"«{path}» must lead to one value", "without [] and {}"))
