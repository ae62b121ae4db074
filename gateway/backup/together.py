"""State and outboxes as they are at one moment, while the gateway writes on.

A checkpoint of the state names a place in each outbox, which the outbox's file keeps for as long as that
checkpoint is the last one. Two files cannot be held at one instant; but where the outboxes, taken right
after the state, still know the places that the state names, no later checkpoint lies between.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from gateway import durable
from gateway.errors import BackupError
from gateway.journal import checkpoint
from gateway.sinks import outbox_rows

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

TRIES = 50
"""Each takes about a millisecond, checkpoints are seconds apart."""
OUTBOXES = "outbox-*.db"


@dataclass(frozen=True, slots=True)
class Together:
    """Files that agree: the state first. `position` is the state's place in the journal.

    `agrees` is False where an outbox does not know the state's place, however often one looks.
    """

    files: tuple[durable.Snapshot, ...]
    position: int
    agrees: bool


def take(folder: Path, closing: contextlib.ExitStack) -> Together:
    """Take snapshots of a state folder's state and outboxes; `closing` lets them go.

    Raises StateError (damaged), BackupError, sqlite3.Error.
    """
    for _ in range(TRIES):
        with contextlib.ExitStack() as attempt:
            found = _taken(folder, attempt)
            if found.agrees:
                closing.enter_context(attempt.pop_all())
                return found
    return _taken(folder, closing)


def _taken(folder: Path, closing: contextlib.ExitStack) -> Together:
    paths = [folder / checkpoint.NAME, *sorted(folder.glob(OUTBOXES))]
    files = []
    for path in paths:
        snapshot = durable.Snapshot(path)
        closing.callback(snapshot.close)
        files.append(snapshot)
    position, ends = cut_of(files[0])
    known = {file.path.stem: _places(file) for file in files[1:]}
    for name in ends.keys() - known.keys():
        raise BackupError(
            f"{folder / name}.db is missing, and the state needs it",
            hint="start the gateway once, so that it sets this right",
        )
    agrees = all(end in known[name] for name, end in ends.items())
    return Together(tuple(files), position, agrees)


def cut_of(state: durable.Snapshot) -> tuple[int, Mapping[str, int]]:
    """Return a state's place in the journal, and in each outbox by its name. Raises StateError."""
    position = int(checkpoint.read_meta(state.connection, checkpoint.POSITION) or b"0")
    marks = orjson.loads(checkpoint.read_meta(state.connection, "marks") or b"{}")
    return position, {name: int(mark["end"]) for name, mark in marks.items() if "end" in mark}


def _places(outbox: durable.Snapshot) -> set[int]:
    marks = outbox_rows.load_marks(outbox.connection)
    return {mark.seq for name, mark in marks.items() if name != outbox_rows.END}
