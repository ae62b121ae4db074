"""The rows of `devices.csv`, read thoroughly: what each says, what is wrong with it or its device."""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.errors import Problem
from gateway.profiles.durations import instant_ns
from gateway.roster import Details

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.profiles.plan import ParameterPlan, ProfilePlan

MAX_CELL = 500
FIXED_COLUMNS = ("site", "id", "profile", "valid_from")
PLACE, PARAMETER = "place.", "param."
SINCE_EVER = 0


@dataclass(frozen=True, slots=True)
class Row:
    """One row, in which nothing is wrong by itself."""

    line: int
    site: str
    id: str
    profile: str
    since_ns: int
    place: Mapping[str, str]
    parameters: Mapping[str, float]


def header_problems(header: Sequence[str], plans: Mapping[str, ProfilePlan], where: str) -> Iterable[Problem]:
    """Yield what is wrong with the names of the columns."""
    for name in ("site", "id", "profile"):
        if name not in header:
            yield Problem(where, f"the column «{name}» is missing", "site,id,profile,valid_from,…", 1, 1)
    known = {name for plan in plans.values() for name in plan.parameters}
    for column, name in enumerate(header, start=1):
        if header.index(name) != column - 1:
            yield Problem(where, f"the column «{name}» stands twice", "", 1, column)
        elif name not in FIXED_COLUMNS and not (
            name.startswith((PLACE, PARAMETER)) and name[6:] and "." not in name[6:]
        ):
            hint = _near(name, FIXED_COLUMNS, "free columns are place.… and param.…; else")
            yield Problem(where, f"the column «{name}» is not understood", hint, 1, column)
        elif name.startswith(PARAMETER) and known and name.removeprefix(PARAMETER) not in known:
            hint = _near(name.removeprefix(PARAMETER), known, "there are")
            yield Problem(where, f"no profile has a parameter for the column «{name}»", hint, 1, column)


def read_row(cells: Mapping[str, str], line: int, where: str, problems: list[Problem]) -> Row | None:
    """Return a row's values, or None once what is wrong with it is in `problems`."""
    columns = {name: index for index, name in enumerate(cells, start=1)}
    texts = {name: cell.strip() for name, cell in cells.items()}
    site, device = texts.get("site", ""), texts.get("id", "")
    found = [Problem(where, what, "", line, 1) for what in key_problems(site, device)]
    if not texts.get("profile"):
        found.append(Problem(where, "«profile» is empty", "", line, columns["profile"]))
    since_ns = SINCE_EVER
    if valid_from := texts.get("valid_from"):
        try:
            since_ns = instant_ns(valid_from)
        except ValueError as error:
            found.append(Problem(where, f"valid_from: {error}", "", line, columns["valid_from"]))
    parameters = {}
    for name, text in texts.items():
        if name.startswith(PARAMETER) and text:
            value = _number(text)
            if value is None:
                hint = "write 1.5, not 1,5" if "," in text else ""
                found.append(Problem(where, f"{name}: «{text:.40}» is no number", hint, line, columns[name]))
            else:
                parameters[name.removeprefix(PARAMETER)] = value
        elif len(text) > MAX_CELL:
            found.append(
                Problem(where, f"{name} is longer than {MAX_CELL} characters", "", line, columns[name])
            )
    place = {
        name.removeprefix(PLACE): text for name, text in texts.items() if name.startswith(PLACE) and text
    }
    problems.extend(found)
    if found:
        return None
    return Row(line, site, device, texts["profile"], since_ns, place, parameters)


def device_problems(
    rows: Sequence[Row], header: Sequence[str], plans: Mapping[str, ProfilePlan], where: str
) -> Iterable[Problem]:
    """Yield what is wrong with all rows of one device together, and with each under its profile."""
    first = rows[0]
    profile_column = header.index("profile") + 1
    seen: dict[int, int] = {}
    for row in rows:
        if row.profile != first.profile:
            what = f"{row.site}/{row.id} has the profile «{first.profile}» on line {first.line}"
            yield Problem(where, what, "a device has one profile", row.line, profile_column)
        if earlier := seen.get(row.since_ns):
            what = f"{row.site}/{row.id} stands on line {earlier} already"
            yield Problem(where, what, "give the later one a valid_from", row.line, 1)
        seen[row.since_ns] = row.line
    plan = plans.get(first.profile)
    if plan is None:
        hint = _near(first.profile, plans, "there are")
        yield Problem(where, f"there is no profile «{first.profile}»", hint, first.line, profile_column)
        return
    if what := site_problem(first.site, plan):
        yield Problem(where, what, "", first.line, header.index("site") + 1)
    yield from _parameter_problems(rows, header, plan, where)


def details_of(rows: Sequence[Row]) -> Details:
    """Return what the rows of one device, in which nothing is wrong, say of it."""
    in_time = sorted(rows, key=lambda row: row.since_ns)
    place: dict[str, str] = {}
    parameters: dict[str, list[tuple[int, float]]] = {}
    for row in in_time:
        place.update(row.place)
        for name, value in row.parameters.items():
            parameters.setdefault(name, []).append((row.since_ns, value))
    values = {name: tuple(own) for name, own in parameters.items()}
    return Details(rows[0].profile, place, values)


def parameter_problems(
    values: Mapping[str, Iterable[float]], plan: ProfilePlan
) -> list[tuple[str, str, str]]:
    """Return (parameter, what is wrong, a hint) for a device's parameters: name, range, completeness."""
    found = []
    for name, own in values.items():
        parameter = plan.parameters.get(name)
        if parameter is None:
            hint = _near(name, plan.parameters, f"there is none of «{plan.name}» but")
            found.append((name, f"profile «{plan.name}» has no parameter «{name}»", hint))
        else:
            found.extend((name, *fault) for value in own for fault in _range_fault(value, parameter))
    missing = [name for name, p in plan.parameters.items() if p.default is None and not values.get(name)]
    found.extend(
        (name, f"«{name}» is missing", f"fill the column {PARAMETER}{name} ({plan.parameters[name].unit})")
        for name in missing
    )
    return found


def site_problem(site: str, plan: ProfilePlan) -> str:
    """Return why no topic of the profile could bring this site; empty where one could.

    Where a topic names no site, a device has the one that the registry gives it, if any.
    """
    if not site and all("{site}" in topic.split("/") for topic in plan.topics):
        return f"«site» is empty, and the topics of «{plan.name}» name one"
    return ""


def key_problems(site: str, device: str) -> list[str]:
    """Return what is wrong with a device's site and id: each is one level of a topic."""
    found = []
    for name, value in (("site", site), ("id", device)):
        if name == "id" and not value:
            found.append("«id» is empty")
        elif len(value) > MAX_CELL or set(value) & set("/+#") or not (value + " ").isprintable():
            found.append(f"«{name}» must be one level of a topic: no / + #, at most {MAX_CELL} characters")
    return found


def _parameter_problems(
    rows: Sequence[Row], header: Sequence[str], plan: ProfilePlan, where: str
) -> Iterable[Problem]:
    """Yield what is wrong with the values of each row, then what no row gives."""
    for row in rows:
        own = {name: [value] for name, value in row.parameters.items()}
        for name, what, hint in parameter_problems(own, plan):
            if name in own:
                yield Problem(where, what, hint, row.line, header.index(PARAMETER + name) + 1)
    every = {
        name: [row.parameters[name] for row in rows if name in row.parameters] for name in plan.parameters
    }
    for name, what, hint in parameter_problems(every, plan):
        if not every.get(name):
            yield Problem(where, what, hint, rows[0].line, 1)


def _range_fault(value: float, parameter: ParameterPlan) -> list[tuple[str, str]]:
    low = -math.inf if parameter.minimum is None else parameter.minimum
    high = math.inf if parameter.maximum is None else parameter.maximum
    if low <= value <= high:
        return []
    what = f"«{parameter.name}» = {value:g} {parameter.unit} lies outside {low:g} to {high:g}"
    return [(what, "measure again, or look at the unit")]


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in text else None


def _near(name: str, known: Iterable[str], otherwise: str) -> str:
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        return f"did you mean «{near[0]}»?"
    return f"{otherwise} {', '.join(names)}" if names else ""
