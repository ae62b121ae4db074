"""What stands at a path: the device's time, its counter of uplinks, a dimension, or a quantity."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Any

from gateway.profiles.durations import instant_ns
from gateway.profiles.infer import names
from gateway.profiles.infer.texts import quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.profiles.infer.survey import Found

EARLIEST_S, LATEST_S = 978_307_200, 4_102_444_800
"""2001 and 2100: a number between them, in some unit, may be a time."""

NOTHING = frozenset({65535, 65534, 32767, -32768, 4294967295, 2147483647, 255, 9999, -9999, 999, -999, -1})
"""Numbers by which devices often say «no reading»."""

MAX_STATES = 8
"""A number or text of more different values is no state."""
FEW_RISES = 3
"""So many rises and no fall are no accident."""
FEW_STEPS = 2

_UNITS: Mapping[str, float] = {"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9}
_STATE = re.compile(r"[a-z][a-z0-9_]{0,63}")
_SPANS: Mapping[str, tuple[float, float]] = {"%": (0, 100), "Cel": (-40, 85), "dB[mW]": (-150, 0)}


@dataclass(frozen=True, slots=True)
class Role:
    """A quantity: `keys` are its YAML keys and values, in order; `why` says what they rest on."""

    name: str
    keys: Mapping[str, str]
    sure: str
    why: str


@dataclass(slots=True)
class Roles:
    """What all paths are. `left` are paths that are no quantity, each with the reason."""

    time: tuple[str, str, str] | None = None
    """(path, unit, how sure)."""
    sequence: str = ""
    dimensions: dict[str, str] = field(default_factory=dict)
    quantities: list[Role] = field(default_factory=list)
    left: list[tuple[str, str]] = field(default_factory=list)


def roles(found: Sequence[Found], sources: Sequence[str], identities: frozenset[str]) -> Roles:
    """Return the role of each path. `sources` name each sample's device; `identities` are their names."""
    chosen = Roles(time=time_of(found))
    sequences = [one for one in found if not one.holder and one.wholes and _named(one, names.SEQUENCES)]
    chosen.sequence = sequences[0].path if sequences else ""
    used = {chosen.sequence, chosen.time[0] if chosen.time else ""}
    rest = [one for one in found if one.path not in used]
    holders = {holder: dimension_of(holder, rest) for holder in {one.holder for one in rest if one.holder}}
    for dimension in holders.values():
        if dimension:
            chosen.dimensions[dimension[0]] = dimension[1]
    taken = set[str](chosen.dimensions)
    for one in rest:
        if one.path not in chosen.dimensions.values():
            known = holders.get(one.holder)
            _place(one, chosen, dimension=known, sources=sources, identities=identities, taken=taken)
    used_by = {role.keys.get("by", "")[1:-1] for role in chosen.quantities}
    chosen.dimensions = {name: path for name, path in chosen.dimensions.items() if name in used_by}
    return chosen


def _place(
    one: Found,
    chosen: Roles,
    *,
    dimension: tuple[str, str] | None,
    sources: Sequence[str],
    identities: frozenset[str],
    taken: set[str],
) -> None:
    """Make one path a quantity, or say why it is none."""
    reason = _no_quantity(one, dimension, identities)
    if reason:
        chosen.left.append((one.path, reason))
        return
    role = quantity_of(one, sources, taken)
    if dimension:
        role = Role(role.name, {**role.keys, "by": f"[{dimension[0]}]"}, role.sure, role.why)
    chosen.quantities.append(role)
    taken.add(role.name)


def _no_quantity(one: Found, dimension: tuple[str, str] | None, identities: frozenset[str]) -> str:
    if not one.values:
        return "always null"
    if one.holder and dimension is None:
        return "in a list, and nothing in its elements tells them apart: see dimensions, samples or history"
    kinds = {_kind(value) for value in one.values}
    if len(kinds) > 1:
        return f"of several types: {', '.join(sorted(kinds))}"
    if set(map(str, one.values)) <= identities:
        return "names the device: the topic has it"
    if kinds == {"text"} and not _few(one):
        return "a text that is always the same, or nearly always another: kind: text would keep it"
    return ""


def _kind(value: Any) -> str:  # noqa: ANN401 - any JSON
    if isinstance(value, bool):
        return "truth"
    return "number" if isinstance(value, int | float) else "text"


def _few(one: Found) -> bool:
    """Tell whether texts look like states: more than one, few, and each of them again and again."""
    distinct = set(one.values)
    return 1 < len(distinct) <= MAX_STATES and len(one.values) >= 2 * len(distinct)


def _named(one: Found, words: Iterable[str]) -> bool:
    return not set(words).isdisjoint(names.parts(one.key))


def time_of(found: Sequence[Found]) -> tuple[str, str, str] | None:
    """Return path and unit of the device's time, and how sure that is; None where there is none."""
    candidates = [(one, unit) for one in found if not one.holder and (unit := time_unit(one.values))]
    by_name = [(one, unit) for one, unit in candidates if _named(one, names.TIMES)]
    if by_name:
        return by_name[0][0].path, by_name[0][1], "sure" if len(by_name) == 1 else "likely"
    if len(candidates) == 1:
        return candidates[0][0].path, candidates[0][1], "likely"
    return None


def time_unit(values: Sequence[Any]) -> str:
    """Return s, ms, us, ns or iso where all values are times so written; else nothing."""
    if values and all(isinstance(value, str) for value in values):
        return "iso" if all(_is_instant(value) for value in values) else ""
    if not values or not all(_kind(value) == "number" for value in values):
        return ""
    fits = (
        unit
        for unit, scale in _UNITS.items()
        if all(EARLIEST_S * scale <= value <= LATEST_S * scale for value in values)
    )
    return next(fits, "")


def _is_instant(text: str) -> bool:
    try:
        instant_ns(text)
    except ValueError:
        return False
    return True


def dimension_of(holder: str, found: Sequence[Found]) -> tuple[str, str] | None:
    """Return name and path of what tells the elements of a list apart: never twice the same in one."""
    inside = [one for one in found if one.holder == holder and one.path != holder]
    for word in names.DIMENSIONS:
        for one in inside:
            if word in names.parts(one.key) and _tells_apart(one):
                return (_element(holder) if word in names.ANONYMOUS else word), one.path
    return None


def _element(holder: str) -> str:
    """Return what one element of a list is called: `lanes[]` → lane."""
    words = names.parts(holder.rsplit(".", 1)[-1])
    name = words[-1].removesuffix("s") if words else ""
    return name if _STATE.fullmatch(name) and name not in names.RESERVED else "element"


def _tells_apart(one: Found) -> bool:
    whole = all(isinstance(value, str | int) and not isinstance(value, bool) for _, value in one.rows)
    return whole and max(Counter(one.rows).values()) == 1


def quantity_of(one: Found, sources: Sequence[str], taken: set[str]) -> Role:
    """Return a quantity for a path of one type, with a name that is not taken."""
    name = names.name_of(one.key)
    if name in taken:
        name = "_".join(names.name_of(part.removesuffix("[]")) for part in one.path.split(".")[-2:])
    while name in taken:
        name = f"{name}_2"
    keys = {"path": quoted(one.path)}
    if not one.numbers:
        return Role(name, {**keys, "states": _states(one.values)}, "likely", "a truth or a few texts")
    return _number(name, keys, one, sources)


def _number(name: str, keys: dict[str, str], one: Found, sources: Sequence[str]) -> Role:
    distinct = sorted(set(one.values))
    if one.wholes and len(distinct) <= MAX_STATES and _named(one, names.STATES):
        states = ", ".join(f"{value}: {name}_{str(value).replace('-', 'minus_')}" for value in distinct)
        return Role(name, {**keys, "states": f"{{{states}}}"}, "likely", "name the states")
    unit, sure = names.unit_of(one.key)
    if unit:
        keys["unit"] = unit if unit.replace("/", "").isalnum() else f'"{unit}"'
    kind, of_kind = _counting(one, sources)
    if kind:
        keys["kind"] = kind
    if nothing := _nothing(distinct, wholes=one.wholes):
        keys["missing"] = f"[{', '.join(map(str, nothing))}]"
        distinct = [value for value in distinct if value not in nothing]
    span = _SPANS.get(unit)
    if span and not kind and span[0] <= distinct[0] and distinct[-1] <= span[1]:
        keys["range"] = f"[{span[0]:g}, {span[1]:g}]"
    told = [] if unit or kind else ["no unit: write its UCUM code"]
    told += [of_kind] if of_kind else []
    told.append(f"{distinct[0]:g} to {distinct[-1]:g}")
    return Role(name, keys, "guess" if not unit and not kind else sure or "likely", "; ".join(told))


def _nothing(distinct: Sequence[float], *, wholes: bool) -> list[float]:
    """Return the values that stand far off and are used to say «no reading»; -1 only among whole numbers."""
    usual = [value for value in distinct if value not in NOTHING]
    if not usual:
        return []
    far = 3 * max(map(abs, usual)) + 1
    minus = wholes and min(usual) > 1
    return [value for value in distinct if value in NOTHING and (abs(value) > far or (value == -1 and minus))]


def _counting(one: Found, sources: Sequence[str]) -> tuple[str, str]:
    """Return counter or event where name and values agree, and why; two empty texts where not."""
    rising = _rises(one, sources)
    if _named(one, names.COUNTERS) and rising is not False and min(one.values) >= 0:
        return "counter", "by its name; it never falls" if rising else "by its name"
    if one.wholes and min(one.values) >= 0 and _named(one, names.EVENTS):
        return "event", "counted anew in each uplink, by its name"
    return "", "never falls: a counter?" if rising and one.wholes else ""


def _rises(one: Found, sources: Sequence[str]) -> bool | None:
    """Tell whether a value never falls, device by device, and rises somewhere; None where too few tell."""
    series: dict[str, list[float]] = {}
    for sample, value in one.rows:
        if value is not None:
            series.setdefault(sources[sample], []).append(value)
    steps = [after - before for values in series.values() for before, after in pairwise(values)]
    if any(step < 0 for step in steps):
        return False
    return True if sum(step > 0 for step in steps) >= FEW_RISES else None


def _states(values: Sequence[Any]) -> str:
    if isinstance(values[0], bool):
        return '{false: "off", true: "on"}'
    texts = sorted(set(values))
    if all(_STATE.fullmatch(text) for text in texts):
        return f"[{', '.join(map(quoted, texts))}]"
    made = {text: re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_") for text in texts}
    named = {text: (f"state_{name}" if not name[:1].isalpha() else name)[:60] for text, name in made.items()}
    return "{" + ", ".join(f"{quoted(text)}: {name}" for text, name in named.items()) + "}"


def interval_of(times: Mapping[str, Sequence[int]]) -> int:
    """Return how often a device reports: the median step between its times, ns; 0 where too few tell."""
    steps = [after - before for values in times.values() for before, after in pairwise(sorted(set(values)))]
    return int(median(steps)) if len(steps) >= FEW_STEPS else 0
