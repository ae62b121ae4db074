"""`ecluse run`: the gateway itself."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Annotated

import typer

from gateway import config, logs, memory
from gateway.cli.failures import told
from gateway.cli.options import ConfigOption
from gateway.console.page import Demo
from gateway.errors import EcluseError
from gateway.wanted import require_profiles

if TYPE_CHECKING:
    from gateway.config import Settings


def run(
    config_file: ConfigOption = None,
    demo_try: Annotated[
        str, typer.Option(hidden=True, help="JSON that `ecluse demo` hands to the status page.")
    ] = "",
) -> None:
    """Run the gateway until it is told to stop (Ctrl-C or SIGTERM).

    What it received and acknowledged is in its state folder: it may be killed at any instant.
    Settings that are wrong are refused with every problem at once, and nothing is started.
    """
    memory.give_back_large_arrays()
    with told():
        settings = config.load(config_file)
        logs.configure(settings.log)
        require_profiles(settings.profiles_dir)
        demo = Demo.from_json(demo_try) if demo_try else None
        try:
            asyncio.run(_serve(settings, demo))
        except ExceptionGroup as group:
            ours, bugs = group.split(EcluseError)
            if ours is None or bugs is not None:
                raise
            raise _first(ours) from None


async def _serve(settings: Settings, demo: Demo | None) -> None:
    from gateway.app import Gateway  # noqa: PLC0415 - everything loads with it: only where it is run

    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    await Gateway(settings, demo).run(stopping, logs.ReplayProgress())


def _first(group: ExceptionGroup[EcluseError]) -> EcluseError:
    error = group.exceptions[0]  # never empty
    return _first(error) if isinstance(error, ExceptionGroup) else error
