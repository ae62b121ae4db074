"""`ecluse quarantine`: what was refused, whole, and why; how it comes out again."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from gateway import config
from gateway.cli.failures import told
from gateway.cli.options import ConfigOption, verbatim
from gateway.cli.quarantine_choice import (
    DeviceOption,
    ProfileOption,
    ReasonOption,
    SinceOption,
    SiteOption,
    UntilOption,
    chosen,
    reader,
)
from gateway.cli.quarantine_export import export
from gateway.cli.quarantine_replay import drop, replay
from gateway.cli.terminal import console, printable, table
from gateway.clock import rfc3339
from gateway.errors import EcluseError
from gateway.quarantine.reader import BROKER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.quarantine.reader import QuarantineRow

_SHOWN = 60
_HEX_COLUMNS = 32


def verbs() -> typer.Typer:
    """Return `ecluse quarantine …`."""
    group = typer.Typer(
        help="Refused uplinks: list, look at one, export, let in again, drop.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.command(name="list", help=verbatim(list_rows))(list_rows)
    for verb in (show, export, replay, drop):
        group.command(help=verbatim(verb))(verb)
    return group


def list_rows(
    reason: ReasonOption = "",
    site: SiteOption = "",
    device: DeviceOption = "",
    profile: ProfileOption = "",
    since: SinceOption = "",
    until: UntilOption = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest.")] = 50,
    config_file: ConfigOption = None,
) -> None:
    """List what was refused, newest first, and how many there are by reason.

    Examples:
      ecluse quarantine list
      ecluse quarantine list --reason 'missing field' --device bin-00042 --since 2h
    """
    with told():
        settings = config.load(config_file)
        choice = chosen(
            settings, reason=reason, site=site, device=device, profile=profile, since=since, until=until
        )
        with reader(settings) as quarantine:
            rows = quarantine.list(choice, limit=limit)
            counts, evicted = quarantine.counts(), quarantine.evicted()
    screen = console()
    if not counts:
        screen.print("Nothing is in quarantine.")
    elif not rows:
        screen.print("Nothing in quarantine is like that.")
    else:
        headings = ("Id", "Received", "Site", "Device", "Profile", "Reason", "Detail", "Payload")
        screen.print(table(*headings, rows=map(_row, rows)))
    if counts:
        shown = sorted(counts.items(), key=lambda pair: -pair[1])
        screen.print(table("Reason", "Waiting", rows=shown, title="All that waits"))
    if evicted:
        screen.print(
            f"{evicted} older ones gave way to newer ones (see [quarantine] in the settings).", markup=False
        )


def show(
    row: Annotated[int, typer.Argument(metavar="ID", help="Its number, from the list.")],
    raw: Annotated[bool, typer.Option("--raw", help="The payload alone, byte for byte.")] = False,
    config_file: ConfigOption = None,
) -> None:
    """Show one refused uplink whole: reason, detail, topic, payload (as text, or in hexadecimal).

    Example, to try a profile that was mended:
      ecluse quarantine show 12 --raw | ecluse profile try device_profiles/bin-level --param empty=1800
    """
    with told():
        with reader(config.load(config_file)) as quarantine:
            found = quarantine.show(row)
        if found is None:
            hint = "it may have given way to newer ones: ecluse quarantine list"
            raise EcluseError(f"there is no {row} in quarantine", hint=hint)
    if raw:
        sys.stdout.buffer.write(found.payload)
        return
    screen = console()
    for name, value in _facts(found):
        screen.print(Text(f"{name:<10}", style="bold") + Text(printable(value)), soft_wrap=True)
    screen.print(Text("payload", style="bold") + Text(f"   {len(found.payload)} bytes"))
    screen.print(Text(_payload(found.payload)), soft_wrap=True)


def _row(row: QuarantineRow) -> tuple[object, ...]:
    payload = _text(row.payload[: 4 * _SHOWN])
    return (
        row.id,
        rfc3339(row.received_ns),
        row.site,
        row.device,
        row.profile,
        row.reason,
        row.detail,
        payload if len(payload) <= _SHOWN else f"{payload[:_SHOWN]}…",
    )


def _facts(row: QuarantineRow) -> Iterator[tuple[str, str]]:
    yield "reason", row.reason
    yield "detail", row.detail
    yield "received", rfc3339(row.received_ns)
    yield "topic", row.topic.decode(errors="replace")
    yield "site", row.site
    yield "device", row.device
    yield "profile", row.profile
    if row.sink == BROKER:
        yield "place", "in no journal: the first bytes of a packet that could not be taken whole"
    else:
        where = f"outbox entry {row.position} of {row.sink}" if row.sink else f"journal record {row.position}"
        yield "place", f"{where}, number {row.index} in it"
    if row.damaged:
        yield "damaged", "the payload is not what was put here: look at the disk. It is not replayed"
    if row.retained:
        yield "retained", "the broker had kept it, and said it when the gateway subscribed"


def _payload(payload: bytes) -> str:
    """Return the whole payload: text where it is text, else hexadecimal."""
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        lines = range(0, len(payload), _HEX_COLUMNS)
        return "\n".join(payload[at : at + _HEX_COLUMNS].hex(" ") for at in lines)
    return printable(text)


def _text(payload: bytes) -> str:
    return printable(payload.decode(errors="replace"))
