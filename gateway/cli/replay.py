"""`ecluse replay`: what would be stored had today's profiles held then; and, when asked, storing it."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer
from rich.progress import Progress
from rich.text import Text

from gateway import config, saving, wanted
from gateway.cli import applying
from gateway.cli.codecs import codecs
from gateway.cli.failures import told
from gateway.cli.options import ConfigOption
from gateway.cli.terminal import console, table
from gateway.clock import Scale, SystemClock
from gateway.errors import ConfigurationError, EcluseError
from gateway.journal.reader import JournalReader
from gateway.journal.snapshot import snapshot
from gateway.literals import duration_ns
from gateway.profiles.durations import instant_ns, instant_text
from gateway.reprocess.dry_run import Asked, DryRun, Known
from gateway.rules import Rules
from gateway.wishes import limits_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.reprocess.comparing import Difference, Example
    from gateway.reprocess.dry_run import Compared, Report

_FIELDS_SHOWN = 6


def replay(
    start: Annotated[
        str, typer.Option("--from", help="From this event time on: RFC 3339, or a span ago (5d).")
    ],
    end: Annotated[
        str, typer.Option("--to", help="Before this one, likewise. Without it: as late as it can be.")
    ] = "",
    profile: Annotated[
        Optional[list[str]],  # noqa: UP045 - typer reads it at run time
        typer.Option(help="Only what this profile gives; as often as needed. Without it: all of today's."),
    ] = None,
    before: Annotated[
        str, typer.Option(help="How far before it readings are looked for that its first ones depend on.")
    ] = "1d",
    without_damaged: Annotated[
        bool, typer.Option("--without-damaged", help="Go without journal records that cannot be read.")
    ] = False,
    apply: Annotated[
        bool, typer.Option("--apply", help="Then write what is new or differs, and remove what is gone.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --apply: do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    config_file: ConfigOption = None,
) -> None:
    """Tell what today's profiles and devices would make of what the journal holds; store it with --apply.

    The journal is treated twice: by the rules that held then, and by those that stand in the profiles'
    folder, in devices.csv and in the settings now. What differs is shown: points that would be added,
    changed, or removed (their series changed, or they are refused now). Works while the gateway runs and
    when it is stopped; without --apply nothing is written but temporary files in the state folder.

    With --apply it asks, and puts what differs into the gateway's journal, from where it goes to every sink;
    of a gateway that is stopped, when it runs again. Interrupted, or given twice, it does what is left.

    Whole windows only: the span is widened to them. Refused where the journal no longer holds it whole, and
    where the gateway itself can still correct it.

    Examples:
      ecluse replay --from 6d --profile bin-level
      ecluse replay --from 2026-11-18T00:00:00+01:00 --to 2026-11-20T00:00:00+01:00 --json
      ecluse replay --from 6d --profile bin-level --apply
    """
    with told():
        settings = config.load(config_file)
        clock = _clock(settings)
        asked = Asked(
            start_ns=_when(start, clock, "--from"),
            end_ns=_when(end, clock, "--to") if end else None,
            profiles=tuple(profile or ()),
            before_ns=_span(before),
            without_damaged=without_damaged,
        )
        if asked.end_ns is not None and asked.end_ns <= asked.start_ns:
            raise typer.BadParameter("it must lie behind --from", param_hint="--to")
        if yes and not apply:
            raise typer.BadParameter("it goes with --apply", param_hint="--yes")
        dry_run = _dry_run(settings, asked, clock)
        with contextlib.ExitStack() as closing:
            compared = closing.enter_context(_compared(dry_run))
            report = compared.report
            if not as_json:
                _show(report)
            wanted_points = applying.differing(report) if apply else 0
            if wanted_points and not (yes or _agrees(wanted_points, settings)):
                raise EcluseError("nothing was written", hint="answer y, or give --yes")
            done = applying.apply(settings, dry_run, compared, clock) if wanted_points else None
    if as_json:
        print(json.dumps(_plain(report) | ({"applied": done and asdict(done)} if apply else {})))  # noqa: T201 - the answer itself
    elif apply:
        _show_done(done, settings)


def _agrees(points: int, settings: config.Settings) -> bool:
    """Ask whether to go on."""
    names = ", ".join(sink.name for sink in settings.sinks)
    return typer.confirm(f"Write or remove these {points} points in {names}?", err=True)


@contextlib.contextmanager
def _compared(dry_run: DryRun) -> Iterator[Compared]:
    """Go through the journal, with a bar on standard error."""
    after, through = dry_run.places
    with contextlib.ExitStack() as closing:
        with Progress(console=console(stderr=True), transient=True) as bar:
            going = bar.add_task("reading the journal", total=max(through - after, 1))
            compared = closing.enter_context(
                dry_run.compared(lambda position: bar.update(going, completed=position - after))
            )
        yield compared


def _dry_run(settings: config.Settings, asked: Asked, clock: SystemClock) -> DryRun:
    """Open what is needed. Raises EcluseError where it cannot be done."""
    with snapshot(settings.state_dir) as state:
        saved = saving.restore(state)
        known = Known.of(state, saved)
    # Opened behind the state: all that the state has taken stands in it.
    journal = JournalReader(settings.state_dir / "journal")
    return DryRun(
        asked=asked,
        journal=journal,
        known=known,
        today=_today(settings, known),
        folder=settings.state_dir,
        grace_ns=settings.windows.grace,
        hot_bytes=settings.windows.memory,
        clock=clock,
        codecs=codecs(),
    )


def _today(settings: config.Settings, known: Known) -> Rules:
    """Return the rules as they stand in folder, file and settings. Raises ConfigurationError."""
    wish = wanted.read(settings.profiles_dir, settings.devices.file, rules=known.saved.rules)
    if problems := [*wish.profile_problems, *wish.device_problems]:
        raise ConfigurationError(problems)
    return Rules(plans=wish.plans, devices=wish.devices, limits=limits_of(settings))


def _clock(settings: config.Settings) -> SystemClock:
    """Return the gateway's clock, which a demonstration scales."""
    file = settings.time_scale_file
    try:
        return SystemClock(Scale.read(file) if file else None)
    except (OSError, ValueError, TypeError) as error:
        raise EcluseError(f"{file} cannot be read: {error}") from error


def _when(text: str, clock: SystemClock, option: str) -> int:
    with contextlib.suppress(ValueError):
        return clock.now_ns() - duration_ns(text)
    try:
        return instant_ns(text)
    except ValueError as error:
        what = f"«{text}» is neither a span such as 5d nor a time such as 2026-11-22T10:00:00Z"
        raise typer.BadParameter(what, param_hint=option) from error


def _span(text: str) -> int:
    try:
        return duration_ns(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--before") from error


def _plain(report: Report) -> dict[str, Any]:
    """Return everything as plain values: times as RFC 3339, in examples as ns."""
    return {
        "spans": [
            {"profile": name, "zone": zone, "from": instant_text(span.start), "to": instant_text(span.end)}
            for (name, zone), span in report.spans.items()
        ],
        "records": report.records,
        "uplinks": report.uplinks,
        "damaged_records": report.damaged,
        "differs": report.changes,
        "measurements": [asdict(difference) for difference in report.differences],
    }


def _show(report: Report) -> None:
    screen = console()
    for (name, zone), span in report.spans.items():
        screen.print(
            Text(
                f"{name}: whole windows from {instant_text(span.start)} to {instant_text(span.end)} ({zone})"
            )
        )
    screen.print(f"{report.uplinks} uplinks in {report.records} records of the journal were read.")
    if report.damaged:
        screen.print(f"{report.damaged} records could not be read, and were gone without.")
    if not report.changes:
        screen.print("Nothing would change.")
        return
    headings = ("Measurement", "Added", "Changed", "Removed", "Left", "Same", "Changed fields")
    screen.print(table(*headings, rows=[_row(difference) for difference in report.differences]))
    if any(difference.left for difference in report.differences):
        screen.print(
            "Left: windows that differ, and hold the first reading of their series that was read. The one "
            "before it decides on increments and states: they would stay. --before looks further back."
        )
    for difference in report.differences:
        for kind, examples in difference.examples.items():
            for example in examples:
                screen.print(_told(kind, difference.measurement, example), soft_wrap=True)


def _show_done(done: applying.Done | None, settings: config.Settings) -> None:
    screen = console()
    if done is None:
        screen.print("There is nothing to apply.")
        return
    screen.print(f"Applied: {done.written} points written, {done.removed} removed, in the gateway's journal.")
    names = ", ".join(sink.name for sink in settings.sinks) or "no sink"
    when = "They go to" if done.delivers else "Once the gateway runs again, they go to"
    screen.print(f"{when} {names}; ecluse status tells what still waits.", markup=False)
    for name in done.files:
        screen.print(
            f"A sink cannot do all of it: {settings.state_dir / name} lists what is left.", markup=False
        )


def _row(difference: Difference) -> tuple[object, ...]:
    by_count = sorted(difference.fields.items(), key=lambda pair: -pair[1])
    fields = [f"{name} {count}" for name, count in by_count[:_FIELDS_SHOWN]]
    more = len(difference.fields) - len(fields)
    return (
        difference.measurement,
        difference.added,
        difference.changed,
        difference.removed,
        difference.left,
        difference.same,
        ", ".join([*fields, *([f"{more} more"] if more > 0 else [])]),
    )


def _told(kind: str, measurement: str, example: Example) -> Text:
    """Return one example on one line: what it is, then each field before and after."""
    tags = ",".join(f"{name}={value}" for name, value in example.tags.items())
    names = dict.fromkeys([*example.before, *example.after])
    fields = ", ".join(
        f"{name} {example.before.get(name, '-')} → {example.after.get(name, '-')}" for name in names
    )
    return Text(f"{kind:<8}", style="bold") + Text(
        f"{measurement},{tags} {instant_text(example.time_ns)} {fields}"
    )
