"""`devices.csv`: what belongs to each installation, until a registry with credentials exists.

    site,id,profile,valid_from,place.street,place.latitude,param.empty
    lyon,bin-00001,bin-level,,rue Mercière,45.7640,1850
    lyon,bin-00001,bin-level,2026-03-01T08:00:00+01:00,,,2100

UTF-8 with a header; `place.*` and `param.*` columns are free. Several rows of one device are its
parameters changing in time: an empty cell leaves what held before, an empty `valid_from` means since
ever. Texts of the place have no history: the latest row that fills one wins.
"""

from __future__ import annotations

import csv
import difflib
import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.errors import Problem
from gateway.model import Device
from gateway.profiles.durations import instant_ns

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from gateway.profiles.plan import ParameterPlan, ProfilePlan

Key = tuple[str, str]
"""(site, id)."""

MAX_BYTES = 256 * 1024 * 1024
MAX_CELL = 500
FIXED_COLUMNS = ("site", "id", "profile", "valid_from")
PLACE, PARAMETER = "place.", "param."
SINCE_EVER = 0


@dataclass(frozen=True, slots=True)
class DevicesFile:
    """The devices that could be read, and every problem with the others.

    A device whose profile is not loaded is kept, its parameters as written, beside a problem that
    says so: its uplinks are then refused for that reason, and not as a stranger's.
    """

    devices: Mapping[Key, Device]
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    site: str
    id: str
    profile: str
    since_ns: int
    place: Mapping[str, str]
    parameters: Mapping[str, float]


def read_devices(path: Path, plans: Mapping[str, ProfilePlan]) -> DevicesFile:
    """Read the file. A file that is not there is an empty registry. Raises nothing for its content."""
    try:
        if path.stat().st_size > MAX_BYTES:
            return DevicesFile({}, (Problem(str(path), f"is larger than {MAX_BYTES >> 20} MB"),))
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        return DevicesFile({}, ())
    except OSError as error:
        return DevicesFile({}, (Problem(str(path), f"cannot be read: {error.strerror}"),))
    except UnicodeDecodeError as error:
        return DevicesFile(
            {}, (Problem(str(path), f"is not UTF-8 (byte {error.start})", "save it as UTF-8"),)
        )
    return parse_devices(text, plans, where=str(path))


def parse_devices(text: str, plans: Mapping[str, ProfilePlan], *, where: str) -> DevicesFile:
    """Return the devices of a file's text; see `DevicesFile`."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter_of(text), strict=True)
    problems: list[Problem] = []
    rows: list[_Row] = []
    refused: set[Key] = set()
    header: list[str] = []
    try:
        header = [name.strip() for name in next(reader, [])]
        problems.extend(_header_problems(header, plans, where))
        if problems:
            return DevicesFile({}, tuple(problems))
        for cells in reader:
            if any(cell.strip() for cell in cells):
                _take(cells, header, reader.line_num, where, rows, refused, problems)
    except csv.Error as error:
        problems.append(Problem(where, f"not CSV: {error}", "", reader.line_num, 1))
    by_device: dict[Key, list[_Row]] = {}
    for row in rows:
        if (row.site, row.id) not in refused:
            by_device.setdefault((row.site, row.id), []).append(row)
    devices = {}
    for key, own in by_device.items():
        faults = list(_device_problems(own, header, plans, where))
        problems.extend(faults)
        if not faults or own[0].profile not in plans:
            devices[key] = _device(own)
    return DevicesFile(devices, tuple(sorted(problems, key=lambda problem: (problem.line, problem.column))))


def _take(  # noqa: PLR0917 - three lists that it fills
    cells: Sequence[str],
    header: Sequence[str],
    line: int,
    where: str,
    rows: list[_Row],
    refused: set[Key],
    problems: list[Problem],
) -> None:
    """Add a row; or its device, as a whole, to the refused: half of its history would be a wrong one."""
    named = dict(zip(header, [*cells, *[""] * (len(header) - len(cells))], strict=False))
    row = _row(named, line, where, problems)
    if len(cells) > len(header):
        problems.append(Problem(where, "has more cells than the header", "", line, 1))
        row = None
    if row is None:
        refused.add((named["site"].strip(), named["id"].strip()))
    else:
        rows.append(row)


def delimiter_of(text: str) -> str:
    """Return `;` where the header is written with it (as spreadsheets do in French), else `,`."""
    header = text.split("\n", 1)[0]
    return ";" if ";" in header and "," not in header else ","


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
    """Return why no topic of the profile could bring this site; empty where one could."""
    named = ["{site}" in topic.split("/") for topic in plan.topics]
    if not site and all(named):
        return f"«site» is empty, and the topics of «{plan.name}» name one"
    if site and not any(named):
        return f"«site» must be empty: the topics of «{plan.name}» name none"
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


def _range_fault(value: float, parameter: ParameterPlan) -> list[tuple[str, str]]:
    low = -math.inf if parameter.minimum is None else parameter.minimum
    high = math.inf if parameter.maximum is None else parameter.maximum
    if low <= value <= high:
        return []
    what = f"«{parameter.name}» = {value:g} {parameter.unit} lies outside {low:g} to {high:g}"
    return [(what, "measure again, or look at the unit")]


def _header_problems(
    header: Sequence[str], plans: Mapping[str, ProfilePlan], where: str
) -> Iterable[Problem]:
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


def _row(cells: Mapping[str, str], line: int, where: str, problems: list[Problem]) -> _Row | None:
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
    return _Row(line, site, device, texts["profile"], since_ns, place, parameters)


def _device_problems(
    rows: Sequence[_Row], header: Sequence[str], plans: Mapping[str, ProfilePlan], where: str
) -> Iterable[Problem]:
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


def _parameter_problems(
    rows: Sequence[_Row], header: Sequence[str], plan: ProfilePlan, where: str
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


def _device(rows: Sequence[_Row]) -> Device:
    in_time = sorted(rows, key=lambda row: row.since_ns)
    place: dict[str, str] = {}
    parameters: dict[str, list[tuple[int, float]]] = {}
    for row in in_time:
        place.update(row.place)
        for name, value in row.parameters.items():
            parameters.setdefault(name, []).append((row.since_ns, value))
    return Device(
        site=rows[0].site,
        id=rows[0].id,
        profile=rows[0].profile,
        place=place,
        parameters={name: tuple(values) for name, values in parameters.items()},
    )


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
