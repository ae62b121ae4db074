"""`ecluse profile`: draft, check, show, try, compare and export device profiles, without a gateway."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer
from rich.text import Text

from gateway.cli import portrait
from gateway.cli.diff import diff
from gateway.cli.export import export
from gateway.cli.failures import Exit, told
from gateway.cli.importing import import_profiles
from gateway.cli.new import new
from gateway.cli.options import numbers, verbatim
from gateway.cli.terminal import console, printable, table
from gateway.cli.trial import Trial, example_topic, golden_differences, trial
from gateway.clock import SystemClock
from gateway.errors import ConfigurationError, EcluseError, Problem
from gateway.model import Flag
from gateway.profiles.durations import instant_ns, instant_text
from gateway.profiles.envelopes import wrapped
from gateway.profiles.golden import FILE_NAME, read_golden
from gateway.profiles.load import Loaded, load
from gateway.registry.rows import parameter_problems

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

    from gateway.profiles.plan import ProfilePlan

PathArgument = Annotated[
    Path,
    typer.Argument(help="A profile's file, its folder, or a folder of such.", show_default=False),
]

_COLOURS = {Flag.GOOD: "green", Flag.SUSPECT: "yellow", Flag.FAIL: "red"}


def verbs() -> typer.Typer:
    """Return `ecluse profile …`."""
    group = typer.Typer(
        help="Device profiles: new, import, check, show, try, diff, export.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.command()(check)
    group.command()(show)
    group.command(help=verbatim(new))(new)
    group.command(name="import", help=verbatim(import_profiles))(import_profiles)
    group.command(help=verbatim(diff))(diff)
    group.command(help=verbatim(export))(export)
    group.command(name="try", help=verbatim(try_payload))(try_payload)
    return group


def check(path: PathArgument) -> None:
    """Check profiles, and run the golden examples that stand beside them.

    Every problem is named with its file, line and column, and what to do. Exits 1 where there is one.
    """
    loaded = load(path)
    screen = console()
    problems = list(loaded.problems)
    failed = 0
    for name, plan in loaded.plans.items():
        failed += _check_golden(plan, loaded.files[name].with_name(FILE_NAME), problems, screen)
    for problem in problems:
        screen.print(Text("✗ ", style="red") + Text(printable(str(problem))), soft_wrap=True)
    screen.print(f"{_count(len(loaded.plans), 'profile')}, {_count(len(problems) + failed, 'problem')}")
    sys.exit(Exit.PROBLEMS if problems or failed else Exit.OK)


def show(path: PathArgument) -> None:
    """Say what a profile does: topics, quantities, limits, the fields that it writes, what to ask."""
    with told():
        loaded = _sound(path)
    screen = console()
    for name, plan in loaded.plans.items():
        screen.print(Text("\n".join([*portrait.heading(plan), f"  file        {loaded.files[name]}"])))
        for each in portrait.tables(plan):
            screen.print(each)
        screen.print(Text(f"Tags: {portrait.tags(plan)}\n"))


def try_payload(
    path: PathArgument,
    payload: Annotated[
        Optional[str],  # noqa: UP045 - typer reads it at run time
        typer.Argument(help="The payload; without it and --file: standard input.", show_default=False),
    ] = None,
    file: Annotated[
        Optional[Path],  # noqa: UP045 - typer reads it at run time
        typer.Option("--file", "-f", help="Read the payload from this file.", show_default=False),
    ] = None,
    hexadecimal: Annotated[
        str,
        typer.Option("--hex", help="The payload's bytes in hexadecimal, instead of it.", show_default=False),
    ] = "",
    port: Annotated[
        Optional[int],  # noqa: UP045 - typer reads it at run time
        typer.Option(help="With --hex: the LoRaWAN port, where the source has ports.", show_default=False),
    ] = None,
    topic: Annotated[str, typer.Option(help="The topic; else an example of the profile's.")] = "",
    param: Annotated[
        Optional[list[str]],  # noqa: UP045 - typer reads it at run time
        typer.Option(help="A parameter of the installation: empty=1800. As often as needed."),
    ] = None,
    at: Annotated[str, typer.Option(help="When it was received (RFC 3339); else now.")] = "",
) -> None:
    """Put one payload through a profile: its readings, its points, and what is refused.

    Nothing is stored or sent. Duplicates, spikes, increments and windows need other uplinks and are not
    tried. Exits 1 where something was refused.

    Examples:
      ecluse profile try device_profiles/bin-level '{"dist_mm": 1150}' --param empty=1800
      ecluse profile try acme-meter --hex '24 e8030000'
      mosquitto_sub -t 'city/#' -C 1 | ecluse profile try device_profiles/bin-level --param empty=1800
    """
    with told():
        plan = _chosen(_sound(path), topic)
        parameters = _parameters(param or [], plan)
        found = trial(
            plan,
            topic=topic or example_topic(plan),
            payload=_bytes(hexadecimal, plan, port) if hexadecimal else _payload(payload, file),
            received_ns=_instant(at),
            parameters=parameters,
        )
    _print(found, console())
    sys.exit(Exit.PROBLEMS if found.rejections else Exit.OK)


def _check_golden(plan: ProfilePlan, file: Path, problems: list[Problem], screen: Console) -> int:
    """Run a profile's examples; return how many differ. What is wrong with the file joins `problems`."""
    if not file.is_file():
        screen.print(Text(f"{plan.key}: well; no golden examples ({file} is not there)"), soft_wrap=True)
        return 0
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        problems.append(Problem(str(file), f"cannot be read: {error}", "save it as UTF-8"))
        return 0
    examples, faults = read_golden(text, plan, where=str(file))
    problems += faults
    failed = 0
    for example in examples:
        if lines := golden_differences(plan, example):
            failed += 1
            told_lines = "\n".join(f"    {printable(line)}" for line in lines)
            screen.print(Text("✗ ", style="red") + Text(f"{file}: {example.name}\n{told_lines}"))
    well = f"{len(examples) - failed} of {_count(len(examples), 'golden example')} as expected"
    screen.print(Text(f"{plan.key}: {'the golden file has problems' if faults else well}"))
    return failed


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _sound(path: Path) -> Loaded:
    loaded = load(path)
    if loaded.problems:
        raise ConfigurationError(loaded.problems)
    return loaded


def _chosen(loaded: Loaded, topic: str) -> ProfilePlan:
    """Return the one profile, or the first one with a template for the topic."""
    plans = list(loaded.plans.values())
    if topic:
        plans = [plan for plan in plans if portrait.fits(plan, topic)] or plans[:1]
    if len(plans) == 1 or topic:
        return plans[0]
    names = ", ".join(sorted(loaded.plans))
    raise EcluseError(f"which profile of {names}?", hint="name its folder, or give --topic")


def _parameters(given: list[str], plan: ProfilePlan) -> Mapping[str, float]:
    values = numbers(given, option="--param")
    own = {name: [value] for name, value in values.items()}
    if faults := [fault for fault in parameter_problems(own, plan) if fault[0] in own]:
        raise ConfigurationError([Problem(f"--param {name}", what, hint) for name, what, hint in faults])
    return values


def _payload(payload: str | None, file: Path | None) -> bytes:
    if payload is not None and file is not None:
        raise typer.BadParameter("give the payload or --file, not both", param_hint="PAYLOAD")
    if payload is not None:
        return os.fsencode(payload)
    if file is None:
        return sys.stdin.buffer.read()
    try:
        return file.read_bytes()
    except OSError as error:
        raise EcluseError(f"{file} cannot be read: {error.strerror}") from error


def _bytes(hexadecimal: str, plan: ProfilePlan, port: int | None) -> bytes:
    """Return bytes as they are sent: in the envelope of the profile's source, where it has one."""
    try:
        payload = bytes.fromhex(hexadecimal)
        return wrapped(plan.envelope, payload, port) if plan.envelope else payload
    except ValueError as error:
        raise typer.BadParameter(
            "two hexadecimal digits a byte, such as 0175 64", param_hint="--hex"
        ) from error


def _instant(at: str) -> int:
    if not at:
        return SystemClock().now_ns()
    try:
        return instant_ns(at)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--at") from error


def _print(found: Trial, screen: Console) -> None:
    if found.readings:
        rows = (
            (
                one.quantity,
                ", ".join(f"{name} {value}" for name, value in one.dimensions),
                instant_text(one.time_ns),
                one.value,
                one.unit,
                Text(Flag(one.flag).name.lower().replace("_", " "), style=_COLOURS.get(Flag(one.flag), "")),
            )
            for one in found.readings
        )
        headings = ("Quantity", "Of", "Time", "Value", "Unit", "Quality")
        screen.print(table(*headings, rows=rows, title="Readings"))
    if found.points:
        screen.print(Text("Points", style="bold"))
        for line in found.points:
            screen.print(Text(printable(line)), soft_wrap=True)
    if found.rejections:
        refused = ((one.reason, one.detail, one.readings or "the whole uplink") for one in found.rejections)
        screen.print(table("Reason", "Detail", "Readings refused", rows=refused, title="Refused"))
