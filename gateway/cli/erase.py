"""`ecluse erase`: everything of one device, out of everything."""

from __future__ import annotations

import contextlib
import getpass
import secrets
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from gateway import config
from gateway.cli.failures import Exit, told
from gateway.cli.options import ConfigOption
from gateway.cli.progress import Bar
from gateway.cli.terminal import console, printable, table
from gateway.clock import SystemClock, rfc3339
from gateway.errors import EcluseError, JournalError
from gateway.journal.lock import GATEWAY, FolderLock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.config import Settings
    from gateway.erasure.run import Report
    from gateway.erasure.target import Target


def erase(
    device: Annotated[str, typer.Option(help="Its identifier, as in its topic.", show_default=False)],
    site: Annotated[
        str, typer.Option(help="Its site; needed where the identifier stands at several.", show_default=False)
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask first.")] = False,
    config_file: ConfigOption = None,
) -> None:
    """Erase a device: its uplinks and readings, from every file of the gateway and from its databases.

    Journal, outbox, quarantine, state and its copies, unknown devices, embedded stores; InfluxDB 1 and 2
    and VictoriaMetrics through their own interfaces. The gateway must be stopped. Take the device out of
    devices.csv first, and stop it, or its next uplink is stored again. Nothing of it can be got back.

    Exits 1 where something could not be erased; run it again once that is mended.

    Examples:
      ecluse erase --device meter-00042 --site lyon -c /etc/ecluse/ecluse.toml
      ecluse erase --device meter-00042 --yes
    """
    from gateway.erasure import audit, run  # noqa: PLC0415 - the libraries load only where they are used

    with told():
        settings = config.load(config_file)
        with _alone(settings):
            target = _target(run.sites(settings, device), site, device)
            name = printable(f"{target.site}/{target.device}" if target.site else target.device)
            if not yes:
                typer.confirm(f"Erase {name} for good, from {settings.state_dir} and all sinks?", abort=True)
            with Bar("erasing") as progress:
                report = run.erase(settings, target, progress)
            reference = secrets.token_hex(4)
            now = rfc3339(SystemClock().now_ns())
            audit.write(settings.state_dir, report, reference=reference, at=now, by=getpass.getuser())
    _tell(report, name, reference)
    sys.exit(Exit.PROBLEMS if report.problems else Exit.OK)


@contextlib.contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """Hold the state folder. Raises JournalError where the gateway runs, EcluseError where there is none."""
    if not settings.state_dir.is_dir():
        hint = "is --config the one of the gateway?"
        raise EcluseError(f"no gateway has run with the state folder {settings.state_dir}", hint=hint)
    try:
        lock = FolderLock(settings.state_dir, GATEWAY)
    except JournalError as held:
        hint = "stop the gateway first (systemctl stop ecluse), and start it again afterwards"
        raise JournalError(str(held), hint=hint) from held
    try:
        yield
    finally:
        lock.release()


def _target(sites: set[str], site: str, device: str) -> Target:
    """Return which device is meant. Raises EcluseError where that is not clear."""
    from gateway.erasure.target import Target  # noqa: PLC0415 - as above

    if not device:
        raise typer.BadParameter("name the device", param_hint="--device")
    if site:
        return Target(site, device)
    if len(sites) > 1:
        named = ", ".join(sorted(sites))
        raise EcluseError(f"{device} stands at several sites: {named}", hint="say which: --site")
    if not sites:
        hint = "where only the journal or a database may have it, say the site: --site"
        raise EcluseError(f"the gateway knows no device {device}", hint=hint)
    return Target(next(iter(sites)), device)


def _tell(report: Report, name: str, reference: str) -> None:
    screen = console()
    rows: list[tuple[str, object]] = [
        ("uplinks in the journal", report.uplinks),
        ("rows of open windows", report.state.rows),
        ("series", report.state.series),
        ("points that waited", report.waiting),
        ("rows in quarantine", report.quarantined),
        ("on the list of unknown devices", "yes" if report.unknown else "no"),
        *((store, f"{rows} rows") for store, rows in report.stores.items()),
        *report.sinks.items(),
    ]
    screen.print(table("Erased", "", rows=rows, title=f"{name}, reference {reference}"))
    for problem in report.problems:
        screen.print(f"✗ {problem}", markup=False, soft_wrap=True)
    screen.print(
        "Not within the gateway's reach: devices.csv, backups, what the broker still keeps, logs.",
        markup=False,
        soft_wrap=True,
    )
