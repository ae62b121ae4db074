"""`ecluse device`: devices that were heard and are in no registry, and how they get into it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated, Optional

import typer
from rich.text import Text

from gateway import config
from gateway.cli.failures import told
from gateway.cli.options import ConfigOption, numbers, pairs, verbatim
from gateway.cli.portrait import fits
from gateway.cli.terminal import console, printable, table
from gateway.clock import rfc3339
from gateway.errors import ConfigurationError
from gateway.profiles.load import Loaded, load
from gateway.registry.adopt import adopt as put_into_file
from gateway.registry.unknown import UnknownDevices

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.registry.unknown import UnknownDevice

UNKNOWN_FILE = "unknown.db"
"""The list of strangers, in the state folder."""

_SAMPLE = 60


def verbs() -> typer.Typer:
    """Return `ecluse device …`."""
    group = typer.Typer(
        help="Devices: who is unknown, and taking them in.", no_args_is_help=True, rich_markup_mode=None
    )
    group.command()(unknown)
    group.command(help=verbatim(adopt))(adopt)
    return group


def unknown(config_file: ConfigOption = None) -> None:
    """List the devices that were heard and are not in the registry, the one heard last first.

    Works while the gateway runs and when it is stopped.
    """
    with told():
        settings = config.load(config_file)
        profiles = load(settings.profiles_dir)
        with _strangers(settings) as strangers:
            listed = strangers.list() if strangers else []
            figures = strangers.figures() if strangers else None
    screen = console()
    if not listed:
        screen.print("No unknown device was heard.")
        return
    headings = ("Site", "Device", "Profile?", "Topic", "First heard", "Last heard", "Uplinks", "Last payload")
    screen.print(table(*headings, rows=(_row(one, profiles) for one in listed)))
    if figures and figures.overflow:
        screen.print(f"The list is full: {figures.overflow} uplinks of more devices are not in it.")
    screen.print("Take one in with: ecluse device adopt SITE DEVICE --profile PROFILE")


def adopt(
    site: Annotated[str, typer.Argument(help="Its site, as in its topic; '' where the topic has none.")],
    device: Annotated[str, typer.Argument(help="Its identifier, as in its topic.")],
    profile: Annotated[str, typer.Option(help="The profile that says what it sends.")],
    param: Annotated[
        Optional[list[str]],  # noqa: UP045 - typer reads it at run time
        typer.Option(help="A parameter of the installation: empty=1800. As often as needed."),
    ] = None,
    place: Annotated[
        Optional[list[str]],  # noqa: UP045 - typer reads it at run time
        typer.Option(help="Where it stands: street='Rue Mercière'. As often as needed."),
    ] = None,
    config_file: ConfigOption = None,
) -> None:
    """Put a device into the registry's file; a gateway that runs takes it in within seconds.

    What it sent before waits in quarantine: ecluse quarantine replay --device ID lets it in.

    Example:
      ecluse device adopt lyon bin-00042 --profile bin-level --param empty=1800 --place street='Rue Mercière'
    """
    with told():
        settings = config.load(config_file)
        profiles = load(settings.profiles_dir)
        if profile not in profiles.plans and profiles.problems:
            raise ConfigurationError(profiles.problems)
        put_into_file(
            settings.devices.file,
            site=site,
            device=device,
            profile=profile,
            place=pairs(place or [], option="--place"),
            parameters=numbers(param or [], option="--param"),
            plans=profiles.plans,
        )
        with _strangers(settings) as strangers:
            if strangers:
                strangers.forget(site, device)
    name = f"{site}/{device}" if site else device
    console().print(
        Text(f"{name} is in {settings.devices.file}, with the profile {profile}."), soft_wrap=True
    )


@contextlib.contextmanager
def _strangers(settings: config.Settings) -> Iterator[UnknownDevices | None]:
    """Open the list; None where no gateway has made one."""
    file = settings.state_dir / UNKNOWN_FILE
    if not file.is_file():
        yield None
        return
    with contextlib.closing(UnknownDevices(file, max_devices=settings.devices.max_unknown)) as strangers:
        yield strangers


def _row(one: UnknownDevice, profiles: Loaded) -> tuple[object, ...]:
    fitting = [name for name, plan in profiles.plans.items() if fits(plan, one.topic)]
    sample = printable(one.sample.decode(errors="replace"))
    return (
        one.site,
        one.device,
        ", ".join(fitting),
        one.topic,
        rfc3339(one.first_ns),
        rfc3339(one.last_ns),
        one.count,
        sample if len(sample) <= _SAMPLE else f"{sample[:_SAMPLE]}…",
    )
