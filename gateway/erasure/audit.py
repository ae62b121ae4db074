"""The record of an erasure: that it was begun and done, when, by whom and how much of what. Never whose.

Whose it is stands only in a file of its own while it goes on: so that an erasure that was cut off is said,
and a second run knows what it goes on with.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from gateway import durable
from gateway.errors import StateError

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.erasure.run import Report

NAME = "erasures.jsonl"


UNFINISHED = "erasure-*.unfinished"
"""Files of erasures that are going on, or were cut off: one each."""


@dataclass(frozen=True, slots=True)
class Begun:
    """An erasure that has begun: of a device (`site`, `device`), or of what `profile` has that is old."""

    reference: str
    at: str
    by: str
    site: str = ""
    device: str = ""
    profile: str = ""

    @property
    def target(self) -> tuple[str, str, str]:
        """What tells erasures of the same thing from others."""
        return self.site, self.device, self.profile


def begin(folder: Path, begun: Begun, *, what: str) -> None:
    """Note, synced, that an erasure begins; `what` names no device. Raises StateError."""
    with durable.translated(StateError, f"the erasure cannot be noted in {folder}"):
        path = folder / UNFINISHED.replace("*", begun.reference)
        _append(path, asdict(begun))
        line = {"reference": begun.reference, "at": begun.at, "by": begun.by, "what": what, "begun": True}
        _append(folder / NAME, line)
        durable.sync_folder(folder)


def unfinished(folder: Path) -> list[Begun]:
    """Return the erasures that have begun and not ended, the oldest first; a torn note is left out."""
    found = []
    for path in folder.glob(UNFINISHED):
        try:
            found.append(Begun(**json.loads(path.read_bytes())))
        except (OSError, ValueError, TypeError):
            continue  # cut off before it was on the disk: nothing was erased by then
    return sorted(found, key=lambda begun: begun.at)


def end(folder: Path, begun: Begun) -> None:
    """Take away the notes of this erasure and of earlier ones of the same. Raises StateError."""
    with durable.translated(StateError, f"the erasure's note cannot be removed from {folder}"):
        for each in [*unfinished(folder), begun]:
            if each.target == begun.target:
                (folder / UNFINISHED.replace("*", each.reference)).unlink(missing_ok=True)
        durable.sync_folder(folder)


def last(folder: Path) -> tuple[int, str]:
    """Return how many erasures a folder knows the end of, and the last one: its reference and time."""
    try:
        lines = (folder / NAME).read_bytes().splitlines()
    except OSError:
        return 0, ""
    done = [line for line in map(_read, lines) if line and not line.get("begun")]
    return len(done), f"{done[-1].get('reference')} of {done[-1].get('at')}" if done else ""


def _read(line: bytes) -> dict[str, object]:
    try:
        found = json.loads(line)
    except ValueError:  # torn by a crash
        return {}
    return found if isinstance(found, dict) else {}


def write(folder: Path, report: Report, *, what: str, reference: str, at: str, by: str) -> None:
    """Append a line, synced. `what` names no device; `reference` ties it to the request, elsewhere.

    No identifier and no digest of one: identifiers are few enough to be tried one by one.
    Raises StateError.
    """
    line = {
        "reference": reference,
        "at": at,
        "by": by,
        "what": what,
        "uplinks": report.uplinks,
        "control_records": report.named,
        "points_waiting": report.waiting,
        "quarantined": report.quarantined,
        "rows_of_windows": report.state.rows,
        "blocks": report.state.blocks,
        "series": report.state.series,
        "stored_rows": report.stores,
        "databases": report.sinks,
        "files_searched": report.files,
        "complete": not report.problems,
    }
    with durable.translated(StateError, f"{folder / NAME} cannot be written"):
        _append(folder / NAME, line)
        durable.sync_folder(folder)


def _append(path: Path, line: dict[str, object]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "ab") as file:
        file.write(json.dumps(line).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
