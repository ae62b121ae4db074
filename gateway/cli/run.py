"""`ecluse run`: the gateway itself."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Annotated

import typer

from gateway import config, lending, logs, memory
from gateway.cli.failures import told
from gateway.cli.options import ConfigOption
from gateway.console.page import Demo
from gateway.errors import EcluseError
from gateway.wanted import require_profiles

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.app import Gateway
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

    told = _Told(asyncio.get_running_loop())
    while True:
        gateway = Gateway(settings, demo, reread=lambda: config.load(config_file))
        stopping = told.tells(gateway)
        await gateway.run(stopping, logs.ReplayProgress())
        if not gateway.lends or told.to_end or not await told.given_back(settings.state_dir):
            return


class _Told:
    """What signals tell the gateway that runs, one after the other where it steps aside in between."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.to_end = False
        """Whether the process is to end."""
        self._loop = loop
        self._stopping = asyncio.Event()
        self._gateway: Gateway | None = None
        for number in _ENDING:
            loop.add_signal_handler(number, self._stop)

    def tells(self, gateway: Gateway) -> asyncio.Event:
        """Let signals reach this gateway; return what is set once it is to stop."""
        self._gateway, self._stopping = gateway, asyncio.Event()
        if self.to_end:
            self._stopping.set()
        self._loop.add_signal_handler(signal.SIGHUP, gateway.reload)
        return self._stopping

    async def given_back(self, folder: Path) -> bool:
        """Wait until the folder is given back; False where we are to end meanwhile."""
        self._gateway, self._stopping = None, asyncio.Event()
        return await lending.given_back(folder, self._stopping)

    def _stop(self) -> None:
        if not self.to_end:
            self.to_end = True
            self._stopping.set()
            return
        if self._gateway is not None:
            self._gateway.hurry()
        for number in _ENDING:  # the next one ends the process, as it would any other
            self._loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)


def _first(group: ExceptionGroup[EcluseError]) -> EcluseError:
    error = group.exceptions[0]  # never empty
    return _first(error) if isinstance(error, ExceptionGroup) else error
