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
import io
import re
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.errors import Problem
from gateway.registry.rows import (
    MAX_CELL,
    PLACE,
    SINCE_EVER,
    Row,
    details_of,
    device_problems,
    header_problems,
    read_row,
)
from gateway.roster import Details, Numbers, Roster

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from gateway.profiles.plan import ProfilePlan

Key = tuple[str, str]
"""(site, id)."""

MAX_BYTES = 256 * 1024 * 1024
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
    if problems := tuple(header_problems(header, plans, where)):
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
        self._others: dict[int, list[Row]] = {}
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
                faults = list(device_problems(rows, self._header, self._plans, self._where))
                self.problems.extend(faults)
                if not faults or rows[0].profile not in self._plans:
                    details[number] = details_of(rows)
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
        row = read_row(dict(zip(self._header, kind, strict=True)), 0, self._where, [])
        if row is None or row.since_ns != SINCE_EVER:
            return None
        faults = device_problems([row], self._header, self._plans, self._where)
        return None if any(True for _ in faults) else details_of([row])

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
        row = read_row(named, line, self._where, self.problems)
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

    def _add(self, number: int, row: Row) -> None:
        """Add a row to the others of its device, behind the one that stood alone until now."""
        rows = self._others.setdefault(number, [])
        details, self._alone[number] = self._alone[number], None
        if details is not None:
            rows.append(_alone(self._lines[number], row.site, row.id, details))
        rows.append(row)


def _alone(line: int, site: str, device: str, details: Details) -> Row:
    """Return a row that was read the quick way as if it had been read thoroughly."""
    parameters = {name: values[0][1] for name, values in details.parameters.items()}
    return Row(line, site, device, details.profile, SINCE_EVER, details.place, parameters)


def _not_csv(error: csv.Error, where: str, line: int) -> Problem:
    return Problem(where, f"not CSV: {error}", "", line, 1)


def _is_level(name: str) -> bool:
    """Tell whether there is nothing wrong with a name: see `key_problems`."""
    return 0 < len(name) <= MAX_CELL and name.isprintable() and _BETWEEN_LEVELS.search(name) is None


def delimiter_of(text: str) -> str:
    """Return `;` where the header is written with it (as spreadsheets do in French), else `,`."""
    header = text.split("\n", 1)[0]
    return ";" if ";" in header and "," not in header else ","
