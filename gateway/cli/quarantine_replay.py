"""`ecluse quarantine replay` and `drop`: what becomes of refused uplinks once somebody has looked at them."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress

from gateway import config, durable
from gateway.cli.client import WORK_TIMEOUT_S, Client
from gateway.cli.failures import Exit, Unreachable, told
from gateway.cli.options import ConfigOption
from gateway.cli.quarantine_choice import (
    QUARANTINE_FILE,
    DeviceOption,
    ProfileOption,
    ReasonOption,
    SinceOption,
    SiteOption,
    UntilOption,
    asked,
    chosen,
    reader,
)
from gateway.cli.terminal import console, table
from gateway.clock import rfc3339
from gateway.errors import EcluseError, StateError
from gateway.journal.lock import GATEWAY, FolderLock
from gateway.quarantine.file import QuarantineFile
from gateway.quarantine.store import TOTAL_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gateway.config import Settings
    from gateway.model import Chosen

_DROPPED_AT_ONCE = 1_000
_COUNTS = ("uplinks", "again", "ignored", "aggregated", "known", "late", "points", "packets", "damaged")


@dataclass
class _Sum:
    """What became of all that was chosen, over all requests."""

    uplinks: int = 0
    again: int = 0
    ignored: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    aggregated: int = 0
    known: int = 0
    late: int = 0
    late_first_ns: int = 0
    late_last_ns: int = 0
    points: int = 0
    packets: int = 0
    damaged: int = 0

    def add(self, told: dict[str, Any]) -> None:
        """Add what one request told."""
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + told[name])
        self.refused.update(told["refused"])
        firsts = [at for at in (self.late_first_ns, told["late_first_ns"]) if at]
        self.late_first_ns = min(firsts, default=0)
        self.late_last_ns = max(self.late_last_ns, told["late_last_ns"])


def replay(
    reason: ReasonOption = "",
    site: SiteOption = "",
    device: DeviceOption = "",
    profile: ProfileOption = "",
    since: SinceOption = "",
    until: UntilOption = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would become of them, by the profiles in force.")
    ] = False,
    config_file: ConfigOption = None,
) -> None:
    """Let refused uplinks in again, once their profile was mended or their device was adopted.

    The running gateway takes them in through its journal, with the time at which they were received first:
    their readings come where they belong in time, and correct windows. What is refused again is in
    quarantine again, with its new reason. What was kept of an uplink before is not stored twice. Exits 1
    where something is refused again.

    Examples:
      ecluse quarantine replay --profile bin-level --dry-run
      ecluse quarantine replay --profile bin-level --since 2h
      ecluse quarantine replay --reason 'unknown device' --site lyon --device bin-00042
    """
    with told():
        settings = config.load(config_file)
        choice = chosen(
            settings, reason=reason, site=site, device=device, profile=profile, since=since, until=until
        )
        choice, waiting = _what_waits(settings, choice)
        if not waiting:
            console().print("Nothing in quarantine is like that.")
            return
        became = _Sum()
        try:
            _replay(Client.of(settings), choice, waiting, became, rehearse=dry_run)
        except EcluseError:
            if became.uplinks:  # what was let in stays so
                _say(became, rehearsed=dry_run, profile=profile, config_file=config_file)
            raise
    _say(became, rehearsed=dry_run, profile=profile, config_file=config_file)
    sys.exit(Exit.PROBLEMS if became.again or became.damaged else Exit.OK)


def drop(
    reason: ReasonOption = "",
    site: SiteOption = "",
    device: DeviceOption = "",
    profile: ProfileOption = "",
    since: SinceOption = "",
    until: UntilOption = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing.")] = False,
    config_file: ConfigOption = None,
) -> None:
    """Delete refused uplinks and points for good, after saying how many; all of them without an option.

    Through the gateway where it runs. What comes in meanwhile stays.

    Examples:
      ecluse quarantine export --reason 'unknown topic' -o strangers.jsonl
      ecluse quarantine drop --reason 'unknown topic'
    """
    with told():
        settings = config.load(config_file)
        choice = chosen(
            settings, reason=reason, site=site, device=device, profile=profile, since=since, until=until
        )
        choice, waiting = _what_waits(settings, choice)
        if not waiting:
            console().print("Nothing in quarantine is like that.")
            return
        rows = sorted(waiting.items(), key=lambda pair: -pair[1])
        console().print(table("Reason", "Rows", rows=rows, title="To be dropped"))
        if not yes:
            typer.confirm(f"Drop {_count(sum(waiting.values()), 'row')} for good?", abort=True)
        dropped = _drop(settings, choice, sum(waiting.values()))
    console().print(f"{_count(dropped, 'row')} dropped.")


def _what_waits(settings: Settings, choice: Chosen) -> tuple[Chosen, dict[str, int]]:
    """Hold a choice to what is there now; return it, and how many rows it means by reason."""
    with reader(settings) as quarantine:
        choice = replace(choice, through=quarantine.newest())
        return choice, quarantine.counts(choice)


def _replay(client: Client, choice: Chosen, waiting: dict[str, int], became: _Sum, *, rehearse: bool) -> None:
    """Ask the gateway, part by part, until all that was chosen has been let in; add up what became of it."""
    with _progress("looking at" if rehearse else "letting in", sum(waiting.values())) as advance:
        after: int | None = choice.after
        while after is not None:
            words = asked(replace(choice, after=after)) | ({"rehearse": "1"} if rehearse else {})
            told_now = client.post("/api/quarantine/replay", words, timeout_s=WORK_TIMEOUT_S)
            became.add(told_now)
            advance(told_now["rows"])
            after = told_now["next"]


def _drop(settings: Settings, choice: Chosen, waiting: int) -> int:
    """Drop through the gateway; where none runs, in its folder, which is locked meanwhile."""
    client, dropped = Client.of(settings), 0
    with _progress("dropping", waiting) as advance, contextlib.ExitStack() as opened:
        own: QuarantineFile | None = None
        while True:
            try:
                some = _dropped_by(client, choice) if own is None else own.drop(choice, _DROPPED_AT_ONCE)
            except Unreachable:
                own = opened.enter_context(_own_file(settings))
                continue
            if not some:
                return dropped
            dropped += some
            advance(some)


def _dropped_by(client: Client, choice: Chosen) -> int:
    return int(client.post("/api/quarantine/drop", asked(choice), timeout_s=WORK_TIMEOUT_S)["rows"])


@contextlib.contextmanager
def _own_file(settings: Settings) -> Iterator[QuarantineFile]:
    """Open the quarantine of a gateway that does not run, and keep one from starting meanwhile.

    Raises JournalError where one holds the folder though it does not answer, StateError.
    """
    bounds = settings.quarantine
    with contextlib.ExitStack() as opened, durable.translated(StateError, "the quarantine cannot be written"):
        opened.callback(FolderLock(settings.state_dir, GATEWAY).release)
        file = QuarantineFile(
            settings.state_dir / QUARANTINE_FILE, bounds.per_device, bounds.total, TOTAL_BYTES
        )
        opened.callback(file.reader.close)
        if file.aside is not None:
            console(stderr=True).print(str(file.aside))
        yield file


@contextlib.contextmanager
def _progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show how far it is, on standard error, where that is a terminal."""
    screen = console(stderr=True)
    with Progress(console=screen, transient=True, disable=not screen.is_terminal) as progress:
        task = progress.add_task(what, total=total)
        yield lambda rows: progress.advance(task, rows)


def _say(became: _Sum, *, rehearsed: bool, profile: str, config_file: Path | None) -> None:
    screen = console()
    would = "would be " if rehearsed else ""
    well = became.uplinks - became.again
    screen.print(
        f"{_count(became.uplinks, 'uplink')} {'looked at' if rehearsed else 'let in again'}: "
        f"{well} {would}well, {became.again} {would}in quarantine again."
    )
    if became.refused:
        rows = sorted(became.refused.items(), key=lambda pair: -pair[1])
        screen.print(table("Reason", "Uplinks", rows=rows, title="Refused again"))
    if became.ignored:
        screen.print(
            f"{_count(became.ignored, 'uplink')} of those {would or 'were '}"
            "ignored: the broker had kept them, and they tell no time of their own."
        )
    if became.known:
        screen.print(f"{_count(became.known, 'reading')} had been stored before, and stand as they were.")
    if became.late:
        _say_late(became, would, profile, config_file)
    if became.points:
        screen.print(
            f"{_count(became.points, 'row')}: points that a sink refused. They are not replayed, for an old "
            "writing must not follow a newer one (ecluse quarantine show says what the sink did not like)."
        )
    if became.packets:
        screen.print(
            f"{_count(became.packets, 'row')}: the first bytes of packets that could not be taken whole. "
            "There is no more of them to replay."
        )
    if became.damaged:
        screen.print(
            f"{_count(became.damaged, 'row')} damaged on the disk: not what was received, so not replayed "
            "(ecluse quarantine show)."
        )


def _say_late(became: _Sum, would: str, profile: str, config_file: Path | None) -> None:
    """Name the span whose windows are as they were, and the command that corrects them."""
    second = 1_000_000_000
    first, end = rfc3339(became.late_first_ns), rfc3339((became.late_last_ns // second + 1) * second)
    only = f" --profile {profile}" if profile else ""
    only += f" --config {shlex.quote(str(config_file))}" if config_file else ""
    console().print(
        f"{_count(became.late, 'reading')} from {first} to {end} {would or 'are '}behind the lateness of "
        f"their windows: written raw, counted as late, and no window {would or 'is '}corrected. "
        "As long as the journal holds the span, this tells what those windows would hold, asks, and corrects "
        f"them:\n  ecluse replay --from {first} --to {end}{only} --apply",
        soft_wrap=True,
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
