"""`ecluse sniff`: what is published on the broker, and which profile reads it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Annotated, Optional

import typer
from rich.live import Live

from gateway import config
from gateway.cli.failures import told
from gateway.cli.options import ConfigOption
from gateway.cli.overheard import Overheard
from gateway.cli.terminal import console, table
from gateway.clock import SystemClock
from gateway.errors import EcluseError
from gateway.profiles.durations import duration_ns
from gateway.profiles.load import load

if TYPE_CHECKING:
    from rich.table import Table

    from gateway.ingest.settings import MqttSettings

_REFRESH_S = 1.0
_SHOWN_LIVE = 30
_NS_PER_S = 1_000_000_000


def sniff(
    filters: Annotated[
        Optional[list[str]],  # noqa: UP045 - typer reads it at run time
        typer.Argument(help="Topic filters, such as 'city/#'; else everything that is let through."),
    ] = None,
    config_file: ConfigOption = None,
    duration: Annotated[str, typer.Option("--for", help="How long to listen.")] = "30s",
    as_json: Annotated[bool, typer.Option("--json", help="At the end, a JSON line a kind of topic.")] = False,
) -> None:
    """Listen to the broker: topics by kind, rates, payloads, and which profile reads them, or why none does.

    Beside the gateway and without a trace: another client, at QoS 0, nothing acknowledged for it or kept.
    What fits no profile is grouped by its levels, those with a digit taken for names.

    Examples:
      ecluse sniff 'city/#'
      ecluse sniff 'application/+/device/+/event/up' --for 5min
    """
    from gateway.upstream import mqtt_settings  # noqa: PLC0415 - the clients load only where they are used

    with told():
        settings = config.load(config_file)
        heard = Overheard(load(settings.profiles_dir).plans)
        clock, longest = SystemClock(), _seconds(duration)
        began = clock.monotonic_ns()
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(
                _listen(mqtt_settings(settings.broker), filters or ["#"], heard, longest, live=not as_json)
            )
    seconds = max((clock.monotonic_ns() - began) / _NS_PER_S, 1e-3)
    if as_json:
        for row in _rows(heard, seconds):
            print(json.dumps(dict(zip(_NAMES, row, strict=True)), ensure_ascii=False))  # noqa: T201 - the answer
        return
    console().print(_table(heard, seconds))
    if heard.left_out:
        console().print(f"{heard.left_out} messages of further kinds of topics are not listed")


async def _listen(
    session: MqttSettings, filters: list[str], heard: Overheard, seconds: float, *, live: bool
) -> None:
    from gateway.registry.listening import listen  # noqa: PLC0415 - as above

    clock, screen = SystemClock(), console(stderr=True)
    began = clock.monotonic_ns()

    def so_far() -> Table:
        return _table(heard, max((clock.monotonic_ns() - began) / _NS_PER_S, 1e-3), most=_SHOWN_LIVE)

    with contextlib.ExitStack() as closing:
        shown = None
        if live and screen.is_terminal:
            shown = closing.enter_context(Live(console=screen, transient=True, auto_refresh=False))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds), contextlib.aclosing(listen(session, filters)) as messages:
                latest = 0.0
                async for message in messages:
                    heard.add(message.topic, message.payload, clock.now_ns())
                    if shown and clock.monotonic_ns() / _NS_PER_S - latest > _REFRESH_S:
                        latest = clock.monotonic_ns() / _NS_PER_S
                        shown.update(so_far(), refresh=True)


_NAMES = ("topics", "how_many", "messages", "per_second", "payload", "profile")


def _table(heard: Overheard, seconds: float, most: int | None = None) -> Table:
    title = f"{heard.messages} messages in {seconds:.0f} s"
    headings = ("topics", "how many", "messages", "a second", "payload", "profile")
    return table(*headings, rows=_rows(heard, seconds, most), title=title)


def _rows(heard: Overheard, seconds: float, most: int | None = None) -> list[tuple[object, ...]]:
    kinds = sorted(heard.kinds.values(), key=lambda kind: -kind.messages)[:most]
    return [
        (
            kind.pattern,
            len(kind.topics),
            kind.messages,
            round(kind.messages / seconds, 2),
            max(kind.shapes, key=lambda shape: kind.shapes[shape]),
            heard.verdict(kind),
        )
        for kind in kinds
    ]


def _seconds(text: str) -> float:
    try:
        return duration_ns(text) / _NS_PER_S
    except ValueError as error:
        raise EcluseError(f"--for: {error}") from error
