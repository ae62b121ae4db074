"""The `ecluse` command: one file a verb, put together here."""

from __future__ import annotations

import typer

from gateway import kernel
from gateway.cli import (
    backup,
    check,
    clock,
    codec,
    demo,
    device,
    erase,
    profile,
    quarantine,
    query,
    replay,
    run,
    sniff,
    status,
)
from gateway.cli.options import verbatim
from gateway.version import installed_version

_HELP = """Écluse: ingestion gateway for connected urban equipment.

Sensors publish over MQTT; Écluse validates each payload against its device profile, aggregates
in windows, writes time series, and tells its own health.

Start with `ecluse demo`. A gateway of your own: `ecluse check --config FILE`, then `ecluse run`.
A new sensor: `ecluse profile check PATH`, `ecluse profile try PATH PAYLOAD`.

Exit codes: 0 well, 1 problems found, 2 wrong command line, 3 configuration refused,
4 refused by the broker, 5 storage, 6 no gateway answers.
"""


def _version() -> None:
    """Print the version, and which hot loops run compiled."""
    used = kernel.built()
    print(f"ecluse {installed_version()}")  # noqa: T201 - the answer itself
    print(f"compiled: {', '.join(used) or 'nothing'}")  # noqa: T201 - the same
    if len(used) < len(kernel.TWINS):
        print("a C compiler at installation makes all of it faster")  # noqa: T201 - the same


def application() -> typer.Typer:
    """Return the command with all its verbs."""
    app = typer.Typer(
        help=_HELP,
        no_args_is_help=True,
        add_completion=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    for verb in (
        demo.demo,
        run.run,
        check.check,
        status.status,
        sniff.sniff,
        query.query,
        replay.replay,
        backup.backup,
        backup.restore,
        erase.erase,
    ):
        app.command(help=verbatim(verb))(verb)
    app.add_typer(profile.verbs(), name="profile")
    app.add_typer(codec.verbs(), name="codec")
    app.add_typer(device.verbs(), name="device")
    app.add_typer(quarantine.verbs(), name="quarantine")
    app.add_typer(clock.verbs(), name="clock")
    app.command(name="version")(_version)
    return app


def main() -> None:
    """Run the command."""
    application()()
