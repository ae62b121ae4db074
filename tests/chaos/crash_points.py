"""The instants at which a gateway is killed: before and after all that makes something durable or says so.

The names are those of the architecture. Nothing of this is in `gateway/`: the launcher
(`gateway_with_crash_points.py`) wraps one method of one class, in the process that is to be killed.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import os
import signal
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator

BEFORE: Final = "before"
AFTER: Final = "after"


@dataclass(frozen=True, slots=True)
class Point:
    """An instant: before or after one thing that a gateway does.

    `target` is "module:attribute", the attribute perhaps of a class. `file` marks a transaction: the
    beginning of its file's name. `most` bounds at which passing one can count on dying within seconds of
    work; `ending`: it is passed only when the gateway is told to stop.
    """

    name: str
    when: str
    target: str
    file: str = ""
    most: int = 1
    ending: bool = False

    def __str__(self) -> str:
        return f"{self.when} {self.name}"


_TRANSACTION = "gateway.durable:transaction"
_PLACES: tuple[Point, ...] = (
    # A transaction: before it is committed, and once it is synced and nobody has been told.
    Point("the journal's sync", "", _TRANSACTION, file="journal-", most=20),
    Point("the outbox's write", "", _TRANSACTION, file="outbox-", most=6),
    Point("the state's sync", "", _TRANSACTION, file="state", most=2),
    Point("the quarantine's sync", "", _TRANSACTION, file="quarantine", most=3),
    Point("the list of strangers' sync", "", _TRANSACTION, file="unknown"),
    # The river, in its order.
    Point("acknowledging", "", "gateway.ingest.mqtt:MqttSource.acknowledge", most=20),
    Point("queueing what was acknowledged", "", "gateway.batch_queue:BatchQueue.put", most=20),
    Point("treating", "", "gateway.pipeline:River._pass", most=8),
    Point("delivering to the outlets", "", "gateway.pipeline:River._deliver", most=8),
    Point("appending to an outbox", "", "gateway.sinks.outbox:Outbox.append", most=8),
    Point("writing to InfluxDB", "", "gateway.sinks.influx:InfluxSink.write", most=4),
    Point("moving a sink's cursor", "", "gateway.sinks.outbox:Outbox.advance", most=4),
    # A checkpoint, in its order.
    Point("the checkpoint", "", "gateway.pipeline:River._checkpoint", most=2),
    Point("settling an outbox", "", "gateway.sinks.outbox:Outbox.settle", most=2),
    Point("committing the state", "", "gateway.journal.checkpoint:Checkpoint.commit", most=2),
    Point("telling an outbox of the checkpoint", "", "gateway.sinks.outbox:Outbox.checkpointed", most=2),
    Point("trimming the journal", "", "gateway.journal.segments:Segments.trim", most=2),
    Point("purging an outbox", "", "gateway.sinks.outbox_file:OutboxFile.purge"),
    # Files that are made, copied, removed.
    Point("copying the state", "", "gateway.journal.checkpoint:Checkpoint.copy"),
    Point("verifying the state's copy", "", "gateway.journal.checkpoint:_require_sound"),
    Point("removing a file", "", "gateway.durable:remove"),
    Point("syncing a folder", "", "gateway.durable:sync_folder"),
    Point("syncing a file", "", "gateway.durable:sync_file"),
    # The start.
    Point("opening the state", "", "gateway.journal.checkpoint:Checkpoint.open_newest_sound"),
    Point("opening the journal", "", "gateway.journal.journal:open_segments"),
    Point("opening an outbox", "", "gateway.sinks.outbox_file:OutboxFile.open", most=2),
    Point("cutting an outbox back", "", "gateway.sinks.outbox:Outbox.recover", most=2),
    Point("replaying", "", "gateway.pipeline:River._replay"),
    Point("the first checkpoint after a replay", "", "gateway.pipeline:River._replayed"),
    # The end.
    Point("saying good-bye to the broker", "", "gateway.ingest.mqtt:MqttSource.close", ending=True),
    Point("closing an outbox", "", "gateway.sinks.outbox:Outbox.close", ending=True, most=2),
    Point("closing the journal", "", "gateway.journal.segments:Segments.close", ending=True),
    Point("closing the state", "", "gateway.journal.checkpoint:Checkpoint.close", ending=True),
)
POINTS: Final = tuple(
    Point(p.name, when, p.target, p.file, p.most, p.ending) for p in _PLACES for when in (BEFORE, AFTER)
)
BY_NAME: Final = {str(point): point for point in POINTS}


def arm(point: Point, passing: int) -> None:
    """Let this process be killed when it passes that point for the n-th time (1 for the first)."""
    owner, name = resolve(point.target)
    raw = inspect.getattr_static(owner, name)
    bomb = _Bomb(passing)
    setattr(owner, name, _wrapped(raw, point, bomb))


def resolve(target: str) -> tuple[Any, str]:
    """Return the module or class that owns a target, and its name there. Raises what importing raises."""
    module, _, path = target.partition(":")
    owner: Any = importlib.import_module(module)
    *outer, name = path.split(".")
    for part in outer:
        owner = getattr(owner, part)
    inspect.getattr_static(owner, name)
    return owner, name


class _Bomb:
    """Counts, and kills the process: SIGKILL, as `kill -9` does, so nothing is flushed or closed."""

    def __init__(self, passing: int) -> None:
        self._left = passing

    def pass_(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def _wrapped(raw: Any, point: Point, bomb: _Bomb) -> Any:
    if isinstance(raw, classmethod):
        return classmethod(_function(raw.__func__, point, bomb))
    if point.target == _TRANSACTION:
        return _transaction(raw, point, bomb)
    return _function(raw, point, bomb)


def _function(call: Callable[..., Any], point: Point, bomb: _Bomb) -> Callable[..., Any]:
    """Wrap a function or a coroutine function."""
    if inspect.iscoroutinefunction(call):

        @functools.wraps(call)
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            if point.when == BEFORE:
                bomb.pass_()
            result = await call(*args, **kwargs)
            if point.when == AFTER:
                bomb.pass_()
            return result

        return awaited

    @functools.wraps(call)
    def called(*args: Any, **kwargs: Any) -> Any:
        if point.when == BEFORE:
            bomb.pass_()
        result = call(*args, **kwargs)
        if point.when == AFTER:
            bomb.pass_()
        return result

    return called


def _transaction(call: Callable[..., Any], point: Point, bomb: _Bomb) -> Callable[..., Any]:
    """Wrap `durable.transaction`: `before` is with everything written, and not committed."""

    @contextlib.contextmanager
    def transaction(connection: sqlite3.Connection) -> Iterator[None]:
        meant = _file_of(connection).startswith(point.file)
        with call(connection):
            yield
            if meant and point.when == BEFORE:
                bomb.pass_()
        if meant and point.when == AFTER:
            bomb.pass_()

    return transaction


def _file_of(connection: sqlite3.Connection) -> str:
    return PurePath(connection.execute("PRAGMA database_list").fetchone()[2]).name
