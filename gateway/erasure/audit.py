"""The record of an erasure: that it was done, when, by whom and how much of what. Never whose."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from gateway import durable
from gateway.errors import StateError

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.erasure.run import Report

NAME = "erasures.jsonl"


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
        descriptor = os.open(folder / NAME, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "ab") as file:
            file.write(json.dumps(line).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        durable.sync_folder(folder)
