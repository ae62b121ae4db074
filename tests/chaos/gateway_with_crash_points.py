"""The gateway, started by a campaign: `python -m tests.chaos.gateway_with_crash_points run --config …`.

Without these variables it is `python -m gateway`:

- ECLUSE_CRASH_AT: the name of a crash point; ECLUSE_CRASH_PASSING: at which passing it is killed there;
- ECLUSE_KEEP_TRIMMED: a folder for copies of the journal's files that are trimmed, for those who count again;
- ECLUSE_WITHOUT_SYNC: "journal" for a build whose journal is never synced: a campaign must find it out.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from gateway import durable
from gateway.cli.main import main
from gateway.journal.segments import PREFIX, SUFFIX
from tests.chaos import crash_points

if TYPE_CHECKING:
    import sqlite3

CRASH_AT, PASSING = "ECLUSE_CRASH_AT", "ECLUSE_CRASH_PASSING"
KEEP_TRIMMED, WITHOUT_SYNC = "ECLUSE_KEEP_TRIMMED", "ECLUSE_WITHOUT_SYNC"


def keep_trimmed(folder: Path) -> None:
    """Copy what the journal removes: a whole file, whose WAL was brought in when the next one was begun."""
    remove = durable.remove

    def kept(path: Path) -> bool:
        if path.name.startswith(PREFIX) and path.suffix == SUFFIX and path.exists():
            shutil.copyfile(path, folder / path.name)
        return remove(path)

    durable.remove = kept


def leave_out_sync(folder: str) -> None:
    """Let SQLite never sync the files in folders of that name."""
    connect = durable.connect

    def unsynced(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
        connection = connect(path, read_only=read_only)
        if path.parent.name == folder:
            connection.execute("PRAGMA synchronous=OFF")
        return connection

    durable.connect = unsynced


def prepare() -> None:
    """Do what the environment asks for."""
    if folder := os.environ.get(KEEP_TRIMMED):
        keep_trimmed(Path(folder))
    if folder := os.environ.get(WITHOUT_SYNC):
        leave_out_sync(folder)
    if name := os.environ.get(CRASH_AT):
        crash_points.arm(crash_points.BY_NAME[name], int(os.environ.get(PASSING, "1")))


if __name__ == "__main__":
    prepare()
    main()
