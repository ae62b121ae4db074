"""What a changed profile would change in what is stored: fields, series, values, flags, windows.

Pure. Of two versions of a profile, or of two profiles. What stays as it is is left out; the order is that
in which it matters: what breaks boards first, what only flags otherwise last.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.profiles.durations import duration_name
from gateway.profiles.fields import measurements

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gateway.profiles.plan import GroupPlan, ParameterPlan, ProfilePlan, QuantityPlan


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that differs, in words: where, what it was and what it will be, and what follows from it."""

    where: str
    before: str
    after: str
    means: str


def changes(old: ProfilePlan, new: ProfilePlan) -> list[Change]:
    """Return everything in which what is stored would differ; none where nothing would."""
    return [
        *_version(old, new),
        *_measurements(old, new),
        *_series(old, new),
        *_values(old, new),
        *_flags(old, new),
        *_profile(old, new),
        *_parameters(old, new),
    ]


def retyped(old: ProfilePlan, new: ProfilePlan) -> list[Change]:
    """Return the quantities of both whose kind is not the same: databases may refuse their values."""
    had, has = _by_name(old), _by_name(new)
    both = [(name, had[name][0].kind, has[name][0].kind) for name in had if name in has]
    return [
        Change(name, str(before), str(after), "a quantity of another kind is a new version of its profile")
        for name, before, after in both
        if before is not after
    ]


def _version(old: ProfilePlan, new: ProfilePlan) -> Iterator[Change]:
    if old.name == new.name and old.version >= new.version and old.text != new.text:
        yield Change("version", str(old.version), str(new.version), "raise it: each change has its number")


def _measurements(old: ProfilePlan, new: ProfilePlan) -> Iterator[Change]:
    before, after = measurements(old), measurements(new)
    for name in sorted({*before, *after}):
        had, has = before.get(name), after.get(name)
        if had is None:
            yield Change(f"measurement {name}", "", "new", "written from now on; replay fills the past")
        elif has is None:
            yield Change(f"measurement {name}", "written", "", "no longer written; what is stored stays")
        else:
            yield from _fields(name, had, has)


def _fields(measurement: str, had: Mapping[str, str], has: Mapping[str, str]) -> Iterator[Change]:
    for field in sorted({*had, *has}):
        where = f"field {measurement}.{field}"
        if field not in had:
            yield Change(where, "", str(has[field]), "a new field")
        elif field not in has:
            yield Change(where, str(had[field]), "", "no longer written; what is stored stays")
        elif had[field] != has[field]:
            yield Change(where, str(had[field]), str(has[field]), "databases refuse it: rename the quantity")


def _series(old: ProfilePlan, new: ProfilePlan) -> Iterator[Change]:
    """Yield what makes points into points of other series: the name, and the tags."""
    if old.name != new.name:
        yield Change("tag profile", old.name, new.name, "new series: boards that name the old one miss them")
    if old.place_tags != new.place_tags:
        yield Change("tags", ", ".join(old.place_tags), ", ".join(new.place_tags), "new series")
    had, has = _by_name(old), _by_name(new)
    for name in had.keys() & has.keys():
        before, after = had[name][1].dimensions, has[name][1].dimensions
        if before != after:
            yield Change(f"tags of {name}", ", ".join(before), ", ".join(after), "new series")


def _values(old: ProfilePlan, new: ProfilePlan) -> Iterator[Change]:
    """Yield what makes other values of the same payload."""
    told: tuple[tuple[str, Callable[[QuantityPlan], str], str], ...] = (
        ("unit", lambda one: one.unit, "the same figures mean something else"),
        (
            "kind",
            lambda one: str(one.kind),
            "other windows and, maybe, another type: a new quantity is safer",
        ),
        ("source", _source, "other values"),
        ("states", lambda one: ", ".join(one.states), "other names are stored"),
        ("no reading", _missing, "other readings are left out"),
        ("required", lambda one: "yes" if one.required else "no", "other uplinks are refused"),
    )
    had, has = _by_name(old), _by_name(new)
    for name in [name for name in had if name in has]:
        for what, of, means in told:
            before, after = of(had[name][0]), of(has[name][0])
            if before != after:
                yield Change(f"{what} of {name}", before, after, means)


def _flags(old: ProfilePlan, new: ProfilePlan) -> Iterator[Change]:
    told: tuple[tuple[str, Callable[[QuantityPlan], object], str], ...] = (
        ("range", lambda one: _span(one.fail_range), "beyond it: flag fail, and out of windows"),
        ("suspect", lambda one: _span(one.suspect_range), "beyond it: flag suspect"),
        ("rise and fall", lambda one: one.rate, "beyond it: flag suspect"),
        ("spike", lambda one: one.spike, "beyond it: flag suspect"),
        ("flat line", lambda one: one.flat, "flag suspect"),
        ("counter", lambda one: one.counter, "other increments where it resets or rolls over"),
    )
    had, has = _by_name(old), _by_name(new)
    for name in [name for name in had if name in has]:
        for what, of, means in told:
            before, after = of(had[name][0]), of(has[name][0])
            if before != after:
                yield Change(f"{what} of {name}", str(before or ""), str(after or ""), means)


def _profile(old: ProfilePlan, new: ProfilePlan) -> Iterator[Change]:
    told: tuple[tuple[str, Callable[[ProfilePlan], str], str], ...] = (
        ("topics", lambda plan: ", ".join(plan.topics), "other uplinks are read"),
        ("format", lambda plan: plan.format, "other payloads are read"),
        ("source", lambda plan: plan.envelope.title if plan.envelope else "", "other payloads are read"),
        ("layout", lambda plan: _print(plan.binary), "bytes are read otherwise"),
        ("codec", lambda plan: f"{plan.codec.name} {_print(plan.codec)}" if plan.codec else "", "the same"),
        ("time", lambda plan: f"{plan.time.path} ({plan.time.unit})" if plan.time else "", "other times"),
        ("clock", lambda plan: plan.clock, "other times"),
        ("sequence", lambda plan: plan.sequence or "", "repetitions are told apart otherwise"),
        ("covers", lambda plan: str(plan.covers or ""), "readings fall into other windows"),
        ("history", lambda plan: str(plan.history or ""), "other earlier readings, or at other times"),
        ("samples", lambda plan: str(plan.samples or ""), "readings at other times"),
        ("lateness", lambda plan: duration_name(plan.lateness_ns), "how long windows can be corrected"),
        ("max_ahead", lambda plan: duration_name(plan.max_ahead_ns), "other readings are refused"),
        ("max_age", lambda plan: duration_name(plan.max_age_ns), "other readings are refused"),
        ("every", lambda plan: duration_name(plan.every_ns) if plan.every_ns else "", "coverage and silence"),
        ("privacy", lambda plan: plan.privacy, "how it is shown and kept"),
        ("keep", _kept, "how long it stays in embedded stores and quarantine"),
    )
    for what, of, means in told:
        before, after = of(old), of(new)
        if before != after:
            yield Change(what, before, after, means)


def _print(part: object) -> str:
    """Return what tells two parts of profiles apart, where their text is too long to be shown."""
    return hashlib.sha256(str(part).encode()).hexdigest()[:8] if part else ""


def _parameters(old: ProfilePlan, new: ProfilePlan) -> Iterator[Change]:
    for name in sorted({*old.parameters, *new.parameters}):
        before, after = old.parameters.get(name), new.parameters.get(name)
        if before == after:
            continue
        means = "values that depend on it"
        if after is not None and after.default is None and before is None:
            means = "devices without it are refused what needs it: ask it before"
        yield Change(f"parameter {name}", _parameter(before), _parameter(after), means)


def _parameter(one: ParameterPlan | None) -> str:
    if one is None:
        return ""
    default = "must be given" if one.default is None else f"default {one.default:g}"
    span = "" if (one.minimum, one.maximum) == (None, None) else f", {one.minimum} to {one.maximum}"
    return f"{one.unit}, {default}{span}"


def _by_name(plan: ProfilePlan) -> dict[str, tuple[QuantityPlan, GroupPlan]]:
    return {one.name: (one, group) for group in plan.groups for one in group.quantities}


def _source(one: QuantityPlan) -> str:
    if one.expression is not None:
        return f"= {one.expression.text}"
    bits = f" bits {one.bits.shift}, mask {one.bits.mask:b} = {one.bits.value:b}" if one.bits else ""
    scaled = f" × {one.scale:g}" if one.scale != 1 else ""
    return f"{one.path}{bits}{scaled}{f' {one.offset:+g}' if one.offset else ''}"


def _missing(one: QuantityPlan) -> str:
    values = [f"{value:g}" for value in one.missing]
    return ", ".join([*values, one.missing_when.text] if one.missing_when else values)


def _span(span: tuple[float, float] | None) -> str:
    return f"{span[0]:g} to {span[1]:g}" if span else ""


def _kept(plan: ProfilePlan) -> str:
    return ", ".join(f"{what} {duration_name(length)}" for what, length in plan.keep.items())
