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
    from pathlib import Path

    from gateway.config import Settings

_ENDING = (signal.SIGTERM, signal.SIGINT)


def run(
    config_file: ConfigOption = None,
    demo_try: Annotated[
        str, typer.Option(hidden=True, help="JSON that `ecluse demo` hands to the status page.")
    ] = "",
) -> None:
    """Run the gateway until it is told to stop (Ctrl-C or SIGTERM).

    Told once, it decodes and writes what it has, for as long as stop_grace allows; told twice, it only
    saves where it is; a third time ends it at once. What it received and acknowledged is in its state
    folder: it may be killed at any instant.

    SIGHUP makes it read profiles, devices, passwords, tokens and certificates again.

    Settings that are wrong are refused with every problem at once, and nothing is started.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until it can be answered: its own default is the end
    memory.give_back_large_arrays()
    with told():
        settings = config.load(config_file)
        logs.configure(settings.log)
        require_profiles(settings.profiles_dir)
        demo = Demo.from_json(demo_try) if demo_try else None
        try:
            asyncio.run(_serve(settings, demo, config_file))
        except ExceptionGroup as group:
            ours, bugs = group.split(EcluseError)
            if ours is None or bugs is not None:
                raise
            raise _first(ours) from None


async def _serve(settings: Settings, demo: Demo | None, config_file: Path | None) -> None:
    from gateway.app import Gateway  # noqa: PLC0415 - everything loads with it: only where it is run

    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    gateway = Gateway(settings, demo, reread=lambda: config.load(config_file))

    def stop() -> None:
        if not stopping.is_set():
            stopping.set()
            return
        gateway.hurry()
        for number in _ENDING:  # the next one ends the process, as it would any other
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)

    for number in _ENDING:
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGHUP, gateway.reload)
    await gateway.run(stopping, logs.ReplayProgress())


def _first(group: ExceptionGroup[EcluseError]) -> EcluseError:
    error = group.exceptions[0]  # never empty
    return _first(error) if isinstance(error, ExceptionGroup) else error
