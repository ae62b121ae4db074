"""`ecluse clock`: how the running gateway's clock is, and to believe the machine's."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import typer

from gateway import config
from gateway.cli.client import Client
from gateway.cli.failures import Exit, told
from gateway.cli.options import ConfigOption, verbatim
from gateway.cli.terminal import console
from gateway.clock import rfc3339

if TYPE_CHECKING:
    from rich.console import Console


def verbs() -> typer.Typer:
    """Return `ecluse clock …`."""
    group = typer.Typer(
        help="The clock: suspect once it was set by over a minute, or stands before the journal's records.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.command(help=verbatim(show))(show)
    group.command(help=verbatim(confirm))(confirm)
    return group


def show(config_file: ConfigOption = None) -> None:
    """Say what the machine's clock shows, whether it is believed, and what waits for that.

    Exits 0 where it is believed, 1 where it is suspect.
    """
    with told():
        clock = Client.of(config.load(config_file)).json("/api/status")["clock"]
    screen = console()
    screen.print(f"The machine's clock shows {rfc3339(clock['shown_ns'])}, and is {_judged(clock)}.")
    if clock["suspect"]:
        _explain(clock, screen)
    sys.exit(Exit.PROBLEMS if clock["suspect"] else Exit.OK)


def confirm(config_file: ConfigOption = None) -> None:
    """Believe the machine's clock as it stands now: decoding goes on, receive times are set right by it.

    Set the machine's clock right first (`timedatectl`, NTP). Does nothing where it is not suspect.
    """
    with told():
        clock = Client.of(config.load(config_file)).post("/api/clock/confirm")
    screen = console()
    if not clock["confirmed"]:
        screen.print("The clock is not suspect: there is nothing to confirm.")
        return
    screen.print(f"The machine's clock is believed: {rfc3339(clock['shown_ns'])}.")
    screen.print(
        f"{clock['waiting']} uplinks that waited are decoded now; "
        f"their receive times move by about {clock['step_s']:+.0f} s."
    )


def _judged(clock: dict[str, Any]) -> str:
    return f"suspect since {rfc3339(clock['since_ns'])}" if clock["suspect"] else "believed"


def _explain(clock: dict[str, Any], screen: Console) -> None:
    if abs(clock["step_s"]) >= 1:
        screen.print(f"It was set: {rfc3339(clock['expected_ns'])} was expected.")
    screen.print(f"The newest record before is of {rfc3339(clock['newest_ns'])}.")
    screen.print(f"{clock['waiting']} uplinks ({clock['bytes'] / 1e6:.1f} MB) wait in the journal.")
    screen.print("Where it is right: ecluse clock confirm")
