"""`ecluse quarantine`: what was refused, whole, and why. Only reads, whether a gateway runs or not."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from gateway import config
from gateway.cli.failures import told
from gateway.cli.options import ConfigOption, verbatim
from gateway.cli.terminal import console, printable, table
from gateway.clock import Scale, SystemClock, rfc3339
from gateway.errors import EcluseError
from gateway.literals import duration_ns
from gateway.profiles.durations import instant_ns
from gateway.quarantine.reader import BROKER, QuarantineReader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.quarantine.reader import QuarantineRow

QUARANTINE_FILE = "quarantine.db"
"""The quarantine, in the state folder."""

_SHOWN = 60
_HEX_COLUMNS = 32


def verbs() -> typer.Typer:
    """Return `ecluse quarantine …`."""
    group = typer.Typer(
        help="Refused uplinks: list them, look at one.", no_args_is_help=True, rich_markup_mode=None
    )
    group.command(name="list", help=verbatim(list_rows))(list_rows)
    group.command(help=verbatim(show))(show)
    return group


def list_rows(
    reason: Annotated[str, typer.Option(help="Only with this reason, such as 'not json'.")] = "",
    site: Annotated[str, typer.Option(help="Only of this site.")] = "",
    device: Annotated[str, typer.Option(help="Only of this device.")] = "",
    profile: Annotated[str, typer.Option(help="Only of this profile.")] = "",
    since: Annotated[
        str, typer.Option(help="Only received since then: a span of gateway time (2h), or RFC 3339.")
    ] = "",
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
        since_ns = _since(since, settings)
        with _reader(settings) as reader:
            rows = reader.list(
                reason=reason or None,
                site=site or None,
                device=device or None,
                profile=profile or None,
                since_ns=since_ns,
                limit=limit,
            )
            counts, evicted = reader.counts(), reader.evicted()
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
        with _reader(config.load(config_file)) as reader:
            found = reader.show(row)
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


def _since(text: str, settings: config.Settings) -> int | None:
    if not text:
        return None
    with contextlib.suppress(ValueError):
        return _clock(settings).now_ns() - duration_ns(text)
    try:
        return instant_ns(text)
    except ValueError as error:
        what = f"«{text}» is neither a span such as 2h nor a time such as 2026-11-22T10:00:00Z"
        raise typer.BadParameter(what, param_hint="--since") from error


def _clock(settings: config.Settings) -> SystemClock:
    """Return the gateway's clock, which a demonstration scales."""
    file = settings.time_scale_file
    try:
        return SystemClock(Scale.read(file) if file else None)
    except (OSError, ValueError, TypeError) as error:
        raise EcluseError(f"{file} cannot be read: {error}") from error


@contextlib.contextmanager
def _reader(settings: config.Settings) -> Iterator[QuarantineReader]:
    """Open the quarantine. Raises EcluseError where no gateway has made one, StateError."""
    file = settings.state_dir / QUARANTINE_FILE
    if not file.is_file():
        hint = "is --config the one of the gateway?"
        raise EcluseError(f"no gateway has run with the state folder {settings.state_dir}", hint=hint)
    with contextlib.closing(QuarantineReader.open(file)) as reader:
        yield reader


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
        yield "damaged", "the payload is not what was put here: look at the disk, and do not replay it"


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
