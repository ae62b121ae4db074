"""What the outbox's tests share."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from dataclasses import astuple
from typing import TYPE_CHECKING

from gateway.sinks.outbox import Entry, Outbox, SinkTotals

if TYPE_CHECKING:
    from pathlib import Path

MANY = 10**9


def entry(number: int, count: int = 10, size: int = 100) -> Entry:
    return Entry(b"%09d" % number * (size // 9) + b"." * (size % 9), count, number)


def balanced(totals: SinkTotals) -> bool:
    made, *parts, _ = astuple(totals)
    return made == sum(parts) and min(parts) >= 0


async def answer(outbox: Outbox, sink: str, through: int, *, refused: int = 0) -> None:
    """Take what waits for a sink, and answer for some of it."""
    await outbox.next(sink, MANY, MANY)
    await outbox.advance(sink, through, refused=refused)


async def checkpoint(outbox: Outbox, oldest: int | None = None) -> None:
    """Settle, and say that a checkpoint holds it."""
    outbox.checkpointed((await outbox.settle()).end, oldest)


def crashed(path: Path) -> Path:
    """Return a copy of what a kill would leave of an outbox that is open."""
    copy = path.with_name(f"crashed-{path.name}")
    for suffix in ("", "-wal"):
        shutil.copyfile(f"{path}{suffix}", f"{copy}{suffix}")
    return copy


def rows(path: Path) -> list[tuple[int, bytes]]:
    """Return the entries that are in a file."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT seq, body FROM entries ORDER BY seq").fetchall()
