"""Which rows of the quarantine a command means, and how it reads them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.clock import Scale, SystemClock
from gateway.errors import EcluseError
from gateway.literals import duration_ns
from gateway.model import Chosen
from gateway.profiles.durations import instant_ns, instant_text
from gateway.quarantine.reader import QuarantineReader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.config import Settings

QUARANTINE_FILE = "quarantine.db"
"""The quarantine, in the state folder."""

ReasonOption = Annotated[str, typer.Option("--reason", help="Only with this reason, such as 'not json'.")]
SiteOption = Annotated[str, typer.Option("--site", help="Only of this site.")]
DeviceOption = Annotated[str, typer.Option("--device", help="Only of this device.")]
ProfileOption = Annotated[str, typer.Option("--profile", help="Only of this profile.")]
SinceOption = Annotated[
    str,
    typer.Option("--since", help="Only received since then: a span of gateway time (2h), or RFC 3339."),
]
UntilOption = Annotated[
    str, typer.Option("--until", help="Only received before then: so long ago (2h), or RFC 3339.")
]


def chosen(
    settings: Settings, *, reason: str, site: str, device: str, profile: str, since: str, until: str
) -> Chosen:
    """Return what the options mean; an empty one means all. Raises typer.BadParameter, EcluseError."""
    return Chosen(
        reason=reason or None,
        site=site or None,
        device=device or None,
        profile=profile or None,
        since_ns=_instant(since, settings, "--since"),
        until_ns=_instant(until, settings, "--until"),
    )


def asked(choice: Chosen) -> dict[str, str]:
    """Return a choice as the gateway is asked for it over HTTP."""
    instants = {"since": choice.since_ns, "until": choice.until_ns}
    texts = {
        "reason": choice.reason,
        "site": choice.site,
        "device": choice.device,
        "profile": choice.profile,
        "after": str(choice.after),
        "through": None if choice.through is None else str(choice.through),
        **{name: None if at is None else instant_text(at) for name, at in instants.items()},
    }
    return {name: text for name, text in texts.items() if text is not None}


@contextlib.contextmanager
def reader(settings: Settings) -> Iterator[QuarantineReader]:
    """Open the quarantine. Raises EcluseError where no gateway has made one, StateError."""
    file = settings.state_dir / QUARANTINE_FILE
    if not file.is_file():
        hint = "is --config the one of the gateway?"
        raise EcluseError(f"no gateway has run with the state folder {settings.state_dir}", hint=hint)
    with contextlib.closing(QuarantineReader.open(file)) as opened:
        yield opened


def _instant(text: str, settings: Settings, option: str) -> int | None:
    if not text:
        return None
    with contextlib.suppress(ValueError):
        return _whole_us(_clock(settings).now_ns() - duration_ns(text))
    try:
        return instant_ns(text)
    except ValueError as error:
        what = f"«{text}» is neither a span such as 2h nor a time such as 2026-11-22T10:00:00Z"
        raise typer.BadParameter(what, param_hint=option) from error


def _whole_us(at_ns: int) -> int:
    """Return a time as it is written: what is counted here and what the gateway takes are then the same."""
    return at_ns // 1_000 * 1_000


def _clock(settings: Settings) -> SystemClock:
    """Return the gateway's clock, which a demonstration scales."""
    file = settings.time_scale_file
    try:
        return SystemClock(Scale.read(file) if file else None)
    except (OSError, ValueError, TypeError) as error:
        raise EcluseError(f"{file} cannot be read: {error}") from error
