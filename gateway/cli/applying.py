"""`ecluse replay --apply`: brings what a dry run has told to the sinks, through the gateway's journal."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Protocol

import orjson
from rich.progress import Progress

from gateway import durable
from gateway.cli.client import Client
from gateway.cli.failures import Unreachable
from gateway.cli.terminal import console
from gateway.errors import EcluseError, JournalError, QueryError, StateError
from gateway.profiles.durations import instant_text
from gateway.reprocess import leftover, rewriting
from gateway.reprocess.door import JournalDoor, require_settled
from gateway.reprocess.rewriting import Needs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.config import Settings
    from gateway.ports import Clock
    from gateway.reprocess.dry_run import Compared, DryRun, Report

RECORD = "replays.jsonl"
"""In the state folder: what was applied, a line each time."""
ASK_AGAIN_S = 1.0
TIMEOUT_S = 300.0
"""The gateway answers once it has treated what stands before: seconds, under load."""


class Door(Protocol):
    """Where records go in."""

    def put(self, body: bytes) -> None:
        """Return once it is durable."""
        ...


@dataclass(slots=True)
class Done:
    """What was applied: points by what became of them, records of the journal, files for the operator.

    `delivers`: whether a gateway runs that brings it to the sinks; `ended`: whether all of it is journalled
    (a line that says no stands before each that says yes: a kill leaves it alone).
    """

    written: int = 0
    removed: int = 0
    records: int = 0
    files: list[str] = field(default_factory=list)
    delivers: bool = True
    ended: bool = False


class GatewayDoor:
    """The gateway that runs: it takes a record when it has room for it."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._said = ""

    def put(self, body: bytes) -> None:
        """Ask until it is taken. Raises Unreachable, QueryError."""
        while why := str(self._client.post("/api/rewrites", body=body, timeout_s=TIMEOUT_S)["waits"]):
            if why != self._said:
                console(stderr=True).print(f"Waiting: {why}.", markup=False)
            self._said = why
            threading.Event().wait(ASK_AGAIN_S)


def differing(report: Report) -> int:
    """Return how many points would be written or removed."""
    return sum(found.added + found.changed + found.removed for found in report.differences)


def apply(settings: Settings, dry_run: DryRun, compared: Compared, clock: Clock) -> Done:
    """Put everything into the journal, with a bar; note what was done. Raises EcluseError."""
    report, done = compared.report, Done()
    began = instant_text(clock.now_ns())
    try:
        with _door(settings, dry_run, done) as door:
            done.files = _leftovers(settings, compared, began)
            _note(settings.state_dir / RECORD, report, done, began)
            _put_all(door, compared, _needs(settings), done)
        done.ended = True
    except (Unreachable, QueryError) as error:
        raise EcluseError(
            f"ended in the midst, after {done.records} records: {error}",
            hint=error.hint or "give the same command again: it does what is left",
        ) from error
    finally:
        _note(settings.state_dir / RECORD, report, done, began)
    return done


def _put_all(door: Door, compared: Compared, needs: Needs, done: Done) -> None:
    with Progress(console=console(stderr=True), transient=True) as bar:
        going = bar.add_task("applying", total=differing(compared.report))
        for lot in rewriting.lots(compared.before, compared.after, needs):
            door.put(lot.body)
            done.records += 1
            done.removed += lot.points if lot.removes else 0
            done.written += 0 if lot.removes else lot.points
            bar.advance(going, lot.points)


@contextlib.contextmanager
def _door(settings: Settings, dry_run: DryRun, done: Done) -> Iterator[Door]:
    """Give the gateway's door where one runs, else its journal. Raises EcluseError."""
    journal = settings.journal
    try:
        door = JournalDoor(settings.state_dir, segment_bytes=journal.segment, floor=dry_run.checkpoint)
    except JournalError:  # a gateway holds the folder
        yield GatewayDoor(Client.of(settings))
        return
    with door:
        done.delivers = False
        require_settled(dry_run.controls)
        yield door


def _needs(settings: Settings) -> Needs:
    kinds = {sink.kind for sink in settings.sinks}
    return Needs(once="victoriametrics" in kinds, imprecise="influxdb2" in kinds)


def _leftovers(settings: Settings, compared: Compared, began: str) -> list[str]:
    """List for each sink what it cannot do; return the files' names."""
    names = []
    for sink in settings.sinks:
        if sink.kind not in leftover.KINDS:
            continue
        name = f"replay-{began.replace(':', '')}-{sink.name}.txt"
        lines = leftover.lines(sink.kind, compared.before, compared.after)
        with durable.translated(StateError, f"{name} cannot be written"):
            if leftover.write(settings.state_dir / name, lines):
                names.append(name)
    return names


def _note(file: Path, report: Report, done: Done, began: str) -> None:
    """Write down what was done, a line of JSON, synced."""
    spans = [
        {"profile": name, "zone": zone, "from": instant_text(span.start), "to": instant_text(span.end)}
        for (name, zone), span in report.spans.items()
    ]
    line = orjson.dumps({"at": began, "spans": spans, **asdict(done)}, option=orjson.OPT_APPEND_NEWLINE)
    with durable.translated(StateError, f"{file} cannot be written"):
        with file.open("ab") as out:
            out.write(line)
        durable.sync_file(file)
