"""`devices.csv`: what belongs to each installation, until a registry with credentials exists.

    site,id,profile,valid_from,place.street,place.latitude,param.empty
    lyon,bin-00001,bin-level,,rue Mercière,45.7640,1850
    lyon,bin-00001,bin-level,2026-03-01T08:00:00+01:00,,,2100

UTF-8 with a header; `place.*` and `param.*` columns are free. Several rows of one device are its
parameters changing in time: an empty cell leaves what held before, an empty `valid_from` means since
ever. Texts of the place have no history: the latest row that fills one wins.

Nearly every device stands on one row that is well, and shares all but name and place with others: those
cells are looked at once. A million such rows are read in seconds; the rest takes its time.
"""

from __future__ import annotations

import csv
import difflib
import io
import math
import re
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.errors import Problem
from gateway.profiles.durations import instant_ns
from gateway.roster import Details, Numbers, Roster

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
_REMEMBERED = 65_536
"""Rows' other cells remembered: then all are looked at anew."""
_BETWEEN_LEVELS = re.compile(r"[/+#]")


@dataclass(frozen=True, slots=True)
class DevicesFile:
    """The devices that could be read, and every problem with the others.

    A device whose profile is not loaded is kept, its parameters as written, beside a problem that
    says so: its uplinks are then refused for that reason, and not as a stranger's.
    """

    devices: Roster
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
            return DevicesFile(Roster(), (Problem(str(path), f"is larger than {MAX_BYTES >> 20} MB"),))
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        return DevicesFile(Roster(), ())
    except OSError as error:
        return DevicesFile(Roster(), (Problem(str(path), f"cannot be read: {error.strerror}"),))
    except UnicodeDecodeError as error:
        return DevicesFile(
            Roster(), (Problem(str(path), f"is not UTF-8 (byte {error.start})", "save it as UTF-8"),)
        )
    return parse_devices(text, plans, where=str(path))


def parse_devices(text: str, plans: Mapping[str, ProfilePlan], *, where: str) -> DevicesFile:
    """Return the devices of a file's text; see `DevicesFile`."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter_of(text), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
    except csv.Error as error:
        return DevicesFile(Roster(), (_not_csv(error, where, reader.line_num),))
    if problems := tuple(_header_problems(header, plans, where)):
        return DevicesFile(Roster(), problems)
    rows = _Rows(header, plans, where)
    try:
        for cells in reader:
            rows.take(cells, reader.line_num)
    except csv.Error as error:
        rows.problems.append(_not_csv(error, where, reader.line_num))
    devices = rows.roster()
    return DevicesFile(devices, tuple(sorted(rows.problems, key=lambda each: (each.line, each.column))))


class _Rows:
    """The rows of a file so far: `take` each, then `roster`."""

    def __init__(self, header: Sequence[str], plans: Mapping[str, ProfilePlan], where: str) -> None:
        self.problems: list[Problem] = []
        self._header = header
        self._plans = plans
        self._where = where
        self._site, self._id = header.index("site"), header.index("id")
        self._places = [(n, name.removeprefix(PLACE)) for n, name in enumerate(header) if name[:6] == PLACE]
        self._kinds: dict[tuple[str, ...], Details | None] = {}
        self._numbers = Numbers()
        self._alone: list[Details | None] = []
        """By number: what the one row of a device says that is well, or None. Its line is in `_lines`."""
        self._lines = array("L")
        self._others: dict[int, list[_Row]] = {}
        """By number: the rows of a device that stands on several, or on one with a problem."""
        self._refused: set[int] = set()

    def take(self, cells: list[str], line: int) -> None:
        """Take a row: the quick way, where it is like another that was well."""
        if len(cells) == len(self._header):
            site, device = cells[self._site].strip(), cells[self._id].strip()
            if _is_level(device) and (not site or _is_level(site)):
                details = self._quick(cells, "x" if site else "")
                if details is not None:
                    self._take_known(site, device, details, line)
                    return
        if any(cell.strip() for cell in cells):
            self._take_thoroughly(cells, line)

    def roster(self) -> Roster:
        """Return the devices, once all rows are taken; what is wrong with some is in `problems` then."""
        details = self._alone
        for number in self._refused:
            details[number] = None
        for number, rows in self._others.items():
            if number not in self._refused:
                faults = list(_device_problems(rows, self._header, self._plans, self._where))
                self.problems.extend(faults)
                if not faults or rows[0].profile not in self._plans:
                    details[number] = _details(rows)
        return Roster.numbered(self._numbers, details)

    def _quick(self, cells: list[str], site: str) -> Details | None:
        """Return what a row says beside its device's name, where that is well and holds since ever.

        Cells but name and place are looked at once for all rows that have the same ones.
        """
        place: dict[str, str] = {}
        kind = cells.copy()
        kind[self._site], kind[self._id] = site, "x"
        for column, name in self._places:
            if text := cells[column].strip():
                if len(text) > MAX_CELL:
                    return None
                place[name] = text
                kind[column] = ""
        key = tuple(kind)
        try:
            details = self._kinds[key]
        except KeyError:
            if len(self._kinds) >= _REMEMBERED:
                self._kinds.clear()
            details = self._kinds[key] = self._looked_at(kind)
        return Details(details.profile, place, details.parameters) if details and place else details

    def _looked_at(self, kind: Sequence[str]) -> Details | None:
        row = _row(dict(zip(self._header, kind, strict=True)), 0, self._where, [])
        if row is None or row.since_ns != SINCE_EVER:
            return None
        faults = _device_problems([row], self._header, self._plans, self._where)
        return None if any(True for _ in faults) else _details([row])

    def _take_known(self, site: str, device: str, details: Details, line: int) -> None:
        number = self._numbers.of(site, device)
        if number == len(self._alone):
            self._alone.append(details)
            self._lines.append(line)
        else:
            self._add(number, _alone(line, site, device, details))

    def _take_thoroughly(self, cells: list[str], line: int) -> None:
        """Take a row; or refuse its device, as a whole: half of its history would be a wrong one."""
        padded = [*cells, *[""] * (len(self._header) - len(cells))]
        named = dict(zip(self._header, padded, strict=False))
        row = _row(named, line, self._where, self.problems)
        if len(cells) > len(self._header):
            self.problems.append(Problem(self._where, "has more cells than the header", "", line, 1))
            row = None
        number = self._numbers.of(named["site"].strip(), named["id"].strip())
        if number == len(self._alone):
            self._alone.append(None)
            self._lines.append(0)
        if row is None:
            self._refused.add(number)
        else:
            self._add(number, row)

    def _add(self, number: int, row: _Row) -> None:
        """Add a row to the others of its device, behind the one that stood alone until now."""
        rows = self._others.setdefault(number, [])
        details, self._alone[number] = self._alone[number], None
        if details is not None:
            rows.append(_alone(self._lines[number], row.site, row.id, details))
        rows.append(row)


def _alone(line: int, site: str, device: str, details: Details) -> _Row:
    """Return a row that was read the quick way as if it had been read thoroughly."""
    parameters = {name: values[0][1] for name, values in details.parameters.items()}
    return _Row(line, site, device, details.profile, SINCE_EVER, details.place, parameters)


def _not_csv(error: csv.Error, where: str, line: int) -> Problem:
    return Problem(where, f"not CSV: {error}", "", line, 1)


def _is_level(name: str) -> bool:
    """Tell whether there is nothing wrong with a name: see `key_problems`."""
    return 0 < len(name) <= MAX_CELL and name.isprintable() and _BETWEEN_LEVELS.search(name) is None


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


def _details(rows: Sequence[_Row]) -> Details:
    in_time = sorted(rows, key=lambda row: row.since_ns)
    place: dict[str, str] = {}
    parameters: dict[str, list[tuple[int, float]]] = {}
    for row in in_time:
        place.update(row.place)
        for name, value in row.parameters.items():
            parameters.setdefault(name, []).append((row.since_ns, value))
    values = {name: tuple(own) for name, own in parameters.items()}
    return Details(rows[0].profile, place, values)


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
