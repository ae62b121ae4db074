"""Put devices into `devices.csv`."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from gateway import durable
from gateway.errors import ConfigurationError, EcluseError, Problem
from gateway.model import Device
from gateway.profiles.durations import instant_text
from gateway.registry.devices import delimiter_of, parse_devices
from gateway.registry.rows import (
    FIXED_COLUMNS,
    PARAMETER,
    PLACE,
    SINCE_EVER,
    key_problems,
    parameter_problems,
    site_problem,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from gateway.profiles.plan import ProfilePlan


def adopt(
    path: Path,
    *,
    site: str,
    device: str,
    profile: str,
    place: Mapping[str, str],
    parameters: Mapping[str, float],
    plans: Mapping[str, ProfilePlan],
) -> Device:
    """Append a device to the file, which is made where there is none, and return it.

    The rows that stand there are kept byte for byte unless a new column is needed. The file is replaced
    in one step and is on the disk when this returns. Raises ConfigurationError where the device or the
    file has a problem, or the device is known already; EcluseError where the file cannot be written.
    """
    found = Device(
        site=site,
        id=device,
        profile=profile,
        place={name: text for name, text in place.items() if text},
        parameters={name: ((SINCE_EVER, float(value)),) for name, value in parameters.items()},
    )
    if problems := _problems(found, plans):
        raise ConfigurationError(problems)
    try:
        text = path.read_bytes().decode("utf-8-sig") if path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise EcluseError(f"{path} cannot be read: {error}", hint="it must be a UTF-8 text file") from error
    known = parse_devices(text, plans, where=str(path)) if text.strip() else None
    if known and (site, device) in known.devices:
        raise ConfigurationError([Problem(f"{site}/{device}", "is in the registry already", f"see {path}")])
    if known and known.problems:
        raise ConfigurationError(known.problems)
    _replace(path, _with_rows(text, [found]))
    return found


def write_devices(path: Path, devices: Iterable[Device]) -> None:
    """Write a whole file, replacing what is there in one step. Raises EcluseError."""
    _replace(path, _with_rows("", devices))


def _problems(device: Device, plans: Mapping[str, ProfilePlan]) -> list[Problem]:
    where = f"{device.site}/{device.id}"
    found = [Problem(where, what) for what in key_problems(device.site, device.id)]
    plan = plans.get(device.profile)
    if plan is None:
        hint = f"there are {', '.join(sorted(plans))}"
        return [*found, Problem(where, f"there is no profile «{device.profile}»", hint)]
    if what := site_problem(device.site, plan):
        found.append(Problem(where, what))
    values = {name: [value for _, value in own] for name, own in device.parameters.items()}
    return found + [
        Problem(where, what, _parameter_hint(name, plan, hint))
        for name, what, hint in parameter_problems(values, plan)
    ]


def _parameter_hint(name: str, plan: ProfilePlan, hint: str) -> str:
    parameter = plan.parameters.get(name)
    return f"give {name}=… in {parameter.unit}" if parameter and hint.startswith("fill") else hint


def _rows(device: Device) -> list[dict[str, str]]:
    """Return a device's rows of the file: one for each instant at which a parameter changes."""
    instants = sorted({since for values in device.parameters.values() for since, _ in values} | {SINCE_EVER})
    rows = []
    for since in instants:
        row = {"site": device.site, "id": device.id, "profile": device.profile}
        if since > SINCE_EVER:
            row["valid_from"] = instant_text(since)
        row |= {PARAMETER + n: repr(v) for n, own in device.parameters.items() for s, v in own if s == since}
        rows.append(row)
    rows[-1] |= {PLACE + name: text for name, text in device.place.items()}
    return rows


def _with_rows(text: str, devices: Iterable[Device]) -> str:
    """Return the file's text with rows for these devices at its end."""
    rows = [row for device in devices for row in _rows(device)]
    delimiter = delimiter_of(text)
    old = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    header = [name.strip() for name in old[0]] if old else list(FIXED_COLUMNS)
    new = list(dict.fromkeys(name for row in rows for name in row if name not in header))
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\r\n" if "\r\n" in text else "\n")
    columns = header + sorted(new, key=lambda name: (not name.startswith(PLACE), name))
    if old and not new:
        out.write(text if text.endswith("\n") else text + "\n")
    else:
        writer.writerow(columns)
        writer.writerows(cells + [""] * (len(columns) - len(cells)) for cells in old[1:] if cells)
    writer.writerows([row.get(name, "") for name in columns] for row in rows)
    return out.getvalue()


def _replace(path: Path, text: str) -> None:
    """Put a text in a file's place: the old one or the new one is there, whatever happens."""
    building = path.with_name(path.name + ".new")
    try:
        building.write_bytes(text.encode("utf-8"))
        if path.exists():
            building.chmod(path.stat().st_mode & 0o777)
        durable.sync_file(building)
        building.replace(path)
        durable.sync_folder(path.parent)
    except OSError as error:
        building.unlink(missing_ok=True)
        hint = "see that the folder exists and that you may write it"
        raise EcluseError(f"{path} cannot be written: {error.strerror}", hint=hint) from error
