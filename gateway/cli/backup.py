"""`ecluse backup` and `ecluse restore`: all that a gateway keeps, in a folder, and back."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from gateway import config
from gateway.backup.manifest import STATE
from gateway.cli.client import Client
from gateway.cli.failures import Unreachable, told
from gateway.cli.options import ConfigOption
from gateway.cli.progress import Bar
from gateway.cli.terminal import console
from gateway.clock import SystemClock
from gateway.erasure import audit
from gateway.errors import BackupError, JournalError, QueryError
from gateway.journal.lock import GATEWAY, FolderLock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from gateway.backup.manifest import Manifest
    from gateway.config import Settings

COPY_TIMEOUT_S = 6 * 3600
"""A large embedded store on a slow disk; the gateway answers once it is copied."""


def backup(
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="A folder that does not exist yet.")],
    without_stores: Annotated[
        bool,
        typer.Option(
            "--without-stores", help="Leave the embedded stores out, which other sinks have the points of."
        ),
    ] = False,
    config_file: ConfigOption = None,
) -> None:
    """Copy all that a gateway keeps into a folder, while it runs or when it is stopped.

    Journal, state, outbox, quarantine, unknown devices and embedded stores, as of one moment; settings
    without their secrets, profiles and devices. The folder is readable for you alone: it holds what
    devices have sent. It gets its name once it is whole.

    Examples:
      ecluse backup /backups/ecluse-2026-11-22 -c /etc/ecluse/ecluse.toml
      ecluse restore --check /backups/ecluse-2026-11-22
    """
    from gateway.backup import take  # noqa: PLC0415 - its libraries load only where they are used

    with told(), contextlib.ExitStack() as closing:
        settings = config.load(config_file)
        held = _held(settings, closing)
        manifest = take.take(
            settings,
            target.absolute(),
            config_file=config_file,
            held=held,
            with_stores=not without_stores,
            now_ns=SystemClock().now_ns(),
            progress=closing.enter_context(Bar("looking")),
        )
    _tell(f"The backup is in {target}", manifest, manifest.notes)


def restore(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="A folder that `ecluse backup` made.")],
    check: Annotated[
        bool, typer.Option("--check", help="Only read all of it, and say if it is whole.")
    ] = False,
    configuration: Annotated[
        Optional[Path],  # noqa: UP045 - typer reads it at run time
        typer.Option(
            help="Restore settings, profiles and devices into this empty folder, and not the state.",
            show_default=False,
        ),
    ] = None,
    config_file: ConfigOption = None,
) -> None:
    """Put a backup into the empty state folder of the settings; `ecluse run` then goes on from it.

    Every file is compared with what was written, and opened as a gateway would, before the first one is
    put into its place. A folder with anything in it, or one of a gateway that runs, is refused.

    Examples, on a new machine: the settings first (look at their paths, set their secrets), then the state:
      ecluse restore /backups/ecluse-2026-11-22 --configuration /etc/ecluse
      ecluse restore /backups/ecluse-2026-11-22 -c /etc/ecluse/ecluse.toml
      ecluse run -c /etc/ecluse/ecluse.toml
    """
    from gateway.backup import restore as work  # noqa: PLC0415 - its libraries load only where they are used

    with told(), Bar("looking") as progress:
        if check and configuration is not None:
            raise typer.BadParameter("restores nothing: leave the other one out", param_hint="--check")
        if check:
            manifest, damages = work.check(source, progress)
            damages.append(_erased(source / STATE, manifest))
            title = f"The backup {source} is whole"
        elif configuration is not None:
            manifest, damages = work.restore_configuration(source, configuration, progress), []
            title = f"Settings, profiles and devices are in {configuration}"
        else:
            settings = config.load(config_file)
            manifest, damages = work.restore_state(source, settings.state_dir, progress)
            damages.append(_erased(settings.state_dir, manifest))
            title = f"The state is in {settings.state_dir}"
    _tell(title, manifest, (*manifest.notes, *damages))


def _erased(folder: Path, manifest: Manifest) -> str:
    """Say what a backup brings back: it cannot know what was erased later, nor whose that was."""
    count, latest = audit.last(folder)
    known = f"the last of the {count} that it knows of is {latest}" if count else "it knows of none"
    return (
        f"devices that were erased after {manifest.made} are in it again ({known}):"
        " erase them again, as your requests and the erasures.jsonl of the folder in use then tell"
    )


def _held(settings: Settings, closing: contextlib.ExitStack) -> Callable[[], Mapping[str, Path]] | None:
    """Hold the state folder where no gateway does; else return how its gateway is asked for its stores."""
    if not settings.state_dir.is_dir():
        return None
    try:
        closing.callback(FolderLock(settings.state_dir, GATEWAY).release)
    except JournalError:
        return lambda: _ask_for_copies(settings)
    except OSError as error:
        raise BackupError(
            f"{settings.state_dir}: {error.strerror}", hint="run this as the user of the gateway, or as root"
        ) from error
    return None


def _ask_for_copies(settings: Settings) -> Mapping[str, Path]:
    """Let the running gateway copy the stores that it holds; return where the copies are."""
    from gateway.backup.held import FOLDER  # noqa: PLC0415 - as above

    if not any(sink.kind == "embedded" for sink in settings.sinks):
        return {}
    try:
        answer = Client.of(settings).post("/api/stores/copies", timeout_s=COPY_TIMEOUT_S)
        names = [str(name) for name in answer["copies"]]
    except (Unreachable, QueryError) as error:
        hint = "; or ".join(filter(None, (error.hint, "leave them out: --without-stores")))
        raise BackupError(f"the gateway did not copy its embedded stores: {error}", hint=hint) from error
    except (ValueError, KeyError, TypeError) as error:
        raise BackupError("what answers at the gateway's address is no gateway") from error
    return {Path(name).name: settings.state_dir / FOLDER / Path(name).name for name in names}


def _tell(title: str, manifest: Manifest, notes: Iterable[str]) -> None:
    screen = console()
    screen.print(f"{title}.", markup=False, soft_wrap=True)
    screen.print(
        f"Made {manifest.made} by Écluse {manifest.version}: {len(manifest.files)} files,"
        f" {manifest.size / 1e6:,.1f} MB; journal records {manifest.first} to {manifest.end},"
        f" state at {manifest.position}.",
        markup=False,
        soft_wrap=True,
    )
    for note in notes:
        screen.print(f"• {note}", markup=False, soft_wrap=True)
