"""`ecluse erase`: everything of one device, or what a profile has that is old, out of everything."""

from __future__ import annotations

import getpass
import os
import secrets
import sys
import threading
from typing import TYPE_CHECKING, Annotated

import typer

from gateway import config
from gateway.cli.client import Client
from gateway.cli.failures import Exit, Unreachable, told
from gateway.cli.options import ConfigOption
from gateway.cli.progress import Bar
from gateway.cli.terminal import console, printable, table
from gateway.clock import Scale, SystemClock, rfc3339
from gateway.errors import EcluseError, JournalError, QueryError
from gateway.journal.lock import GATEWAY, FolderLock
from gateway.profiles.durations import duration_ns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.config import Settings
    from gateway.erasure.audit import Begun
    from gateway.erasure.run import Erasure, Known, Report
    from gateway.erasure.search import Search
    from gateway.erasure.target import Target

LEAVES_S = 30.0
"""How much longer than `stop_grace` a gateway may take to step aside."""
LOOK_S = 0.1


def erase(
    device: Annotated[
        str, typer.Option(help="A device: its identifier, as in its topic.", show_default=False)
    ] = "",
    site: Annotated[
        str, typer.Option(help="Its site; needed where the identifier stands at several.", show_default=False)
    ] = "",
    profile: Annotated[
        str, typer.Option(help="A profile, of which what is old is erased.", show_default=False)
    ] = "",
    older_than: Annotated[
        str, typer.Option(help="With --profile: how old, such as 90d.", show_default=False)
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask first.")] = False,
    config_file: ConfigOption = None,
) -> None:
    """Erase a device, or what is old of a profile: uplinks, readings and windows, here and in the databases.

    Journal, outbox, quarantine, state and its copies, unknown devices, embedded stores; InfluxDB 1 and 2
    and VictoriaMetrics (a device) through their own interfaces. Of a device, every file is searched
    afterwards for what may be left.

    A gateway that runs goes on while the full segments of its journal are rewritten; for the rest it steps
    aside (the broker queues meanwhile), and comes back by itself. A stopped one stays stopped.

    Stop the device first, and take it out of devices.csv: what it sends later is stored again. Backups,
    the broker's own queue and logs are not within reach. Nothing of it can be got back.

    By age: uplinks by when they were received, points by their own time. What windows may still be
    corrected by is refused; the last reading of each counter stays, for the next increment.

    Exits 1 where something could not be erased; run it again once that is mended.

    Examples:
      ecluse erase --device meter-00042 --site lyon -c /etc/ecluse/ecluse.toml
      ecluse erase --device meter-00042 --yes
      ecluse erase --profile water-meter --older-than 90d
    """
    from gateway.erasure import audit, run  # noqa: PLC0415 - the libraries load only where they are used

    if bool(device) is bool(profile) or bool(profile) is not bool(older_than) or (site and profile):
        what = "name a device (and its site), or a profile and --older-than"
        raise typer.BadParameter(what, param_hint="--device, --profile")
    with told():
        settings = config.load(config_file)
        known = run.Known.of(settings)
        search: Search | None = None
        if device:
            target = _target(known, site, device, audit.unfinished(settings.state_dir))
            name = printable(f"{target.site}/{target.device}" if target.site else target.device)
            scope, search = known.device(target)
        else:
            name = f"what {printable(profile)} has from more than {older_than} ago"
            scope = known.aged(profile, _age(older_than), _now_ns(settings))
        if not yes:
            typer.confirm(f"Erase {name} for good, from {settings.state_dir} and all sinks?", abort=True)
        what = "device" if device else f"{profile} before {rfc3339(scope.which.before_ns or 0)}"
        reference = secrets.token_hex(4)
        begun = audit.Begun(reference, _now(), _user(), *(target.key if device else ("", "")), profile)
        audit.begin(settings.state_dir, begun, what=what)
        with Bar("erasing") as progress:
            erasure = run.Erasure(settings, scope, search, progress)
            _erase(settings, erasure)
        audit.write(
            settings.state_dir, erasure.report, what=what, reference=reference, at=_now(), by=begun.by
        )
        audit.end(settings.state_dir, begun)
    _tell(erasure.report, name, reference, searched=search is not None)
    if erasure.report.problems:
        again = (
            f"--device {begun.device} --site {begun.site}"
            if device
            else f"--profile {profile} --older-than {older_than}"
        )
        console().print(
            f"Mend that, then again: ecluse erase {printable(again)}", markup=False, soft_wrap=True
        )
    sys.exit(Exit.PROBLEMS if erasure.report.problems else Exit.OK)


def _erase(settings: Settings, erasure: Erasure) -> None:
    """Erase from the files, with the folder to ourselves where that is needed, then from the databases."""
    lock = _lock(settings)
    if lock is None:
        erasure.beforehand()
        lock = _borrowed(settings)
    try:
        erasure.files()
    finally:
        lock.release()
    erasure.databases()


def _lock(settings: Settings) -> FolderLock | None:
    """Hold the state folder; None where someone else does. Raises EcluseError: not accessible."""
    try:
        return FolderLock(settings.state_dir, GATEWAY)
    except JournalError:
        return None
    except OSError as error:
        raise EcluseError(
            f"{settings.state_dir}: {error.strerror}", hint="run this as the user of the gateway, or as root"
        ) from error


def _borrowed(settings: Settings) -> FolderLock:
    """Let the running gateway step aside, and hold the folder. Raises EcluseError where it does not."""
    try:
        Client.of(settings).post("/api/lend")
    except (Unreachable, QueryError) as error:
        hint = "stop it, and try again; or wait for the other command that holds its state folder"
        raise EcluseError(f"the gateway did not step aside: {error}", hint=hint) from error
    clock = SystemClock()
    until = clock.monotonic_ns() + settings.stop_grace + round(LEAVES_S * 1e9)
    pause = threading.Event()
    while (lock := _lock(settings)) is None:
        if clock.monotonic_ns() > until:
            raise EcluseError("the gateway did not stop in time", hint="look at its log, and try again")
        pause.wait(LOOK_S)
    return lock


def _now() -> str:
    return rfc3339(SystemClock().now_ns())


def _target(known: Known, site: str, device: str, begun: Sequence[Begun]) -> Target:
    """Return which device is meant: one that is known, or whose erasure was cut off.

    Raises EcluseError where that is not clear.
    """
    from gateway.erasure.target import Target  # noqa: PLC0415 - as above

    sites = known.sites(device) | {each.site for each in begun if each.device == device}
    if site:
        return Target(site, device)
    if len(sites) > 1:
        named = ", ".join(sorted(sites))
        raise EcluseError(f"{device} stands at several sites: {named}", hint="say which: --site")
    if not sites:
        hint = "where only the journal or a database may have it, say the site: --site"
        raise EcluseError(f"the gateway knows no device {device}", hint=hint)
    return Target(sites.pop(), device)


def _age(text: str) -> int:
    try:
        return duration_ns(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--older-than") from error


def _now_ns(settings: Settings) -> int:
    """Return the time by the gateway's clock, which a demonstration scales."""
    file = settings.time_scale_file
    try:
        return SystemClock(Scale.read(file) if file else None).now_ns()
    except (OSError, ValueError, TypeError) as error:
        raise EcluseError(f"{file} cannot be read: {error}") from error


def _user() -> str:
    """Return who runs this: a name, or a number where there is no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _tell(report: Report, name: str, reference: str, *, searched: bool) -> None:
    screen = console()
    rows: list[tuple[str, object]] = [
        ("uplinks in the journal", report.uplinks),
        ("rows of open windows", report.state.rows),
        ("series", report.state.series),
        ("points that waited", report.waiting),
        ("rows in quarantine", report.quarantined),
        ("on the list of unknown devices", "yes" if report.unknown else "no"),
        *((f"rows in {store}", rows) for store, rows in report.stores.items()),
        *report.sinks.items(),
    ]
    screen.print(f"{name}, reference {reference}", markup=False, soft_wrap=True)
    screen.print(table("Erased", "", rows=rows))
    if searched and not report.problems:
        screen.print(f"{report.files} files were searched: nothing of it is left in them.", soft_wrap=True)
    for problem in report.problems:
        screen.print(f"✗ {problem}", markup=False, soft_wrap=True)
    for note in report.notes:
        screen.print(f"• {note}", markup=False, soft_wrap=True)
    screen.print(
        "Not within the gateway's reach: devices.csv, backups, what the broker still keeps, logs.",
        markup=False,
        soft_wrap=True,
    )
