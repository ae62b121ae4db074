"""Runs the HTTP server of one gateway, and writes down its address."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

import structlog
import uvicorn

from gateway import durable
from gateway.api.address import ADDRESS_FILE
from gateway.api.server import Answers, Key, application
from gateway.errors import ConfigurationError, Problem, SinkUnavailable, StateError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from gateway import config
    from gateway.backup.held import StoreCopies
    from gateway.console.page import StatusPage
    from gateway.console.values import StatusValues
    from gateway.intake import RewriteIntake
    from gateway.ports import Profiles, Quarantine, TimeSeries
    from gateway.sinks.writer import Writer
    from gateway.survey import Survey

GRACE_S = 3
"""How long an answer under way may take once the gateway stops."""
log = structlog.get_logger("ecluse.http")


class _Server(uvicorn.Server):
    """Leaves the signals to the composition root."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def listen(http: config.Http) -> socket.socket:
    """Take the address, before anything else is started. Raises ConfigurationError where it is not free."""
    family = socket.AF_INET6 if ":" in http.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((http.host, http.port))
        listener.listen()  # two that are bound and do not listen could share the address
    except OSError as error:
        listener.close()
        what = f"cannot listen on {http.host}:{http.port}: {error.strerror}"
        raise ConfigurationError([Problem("http", what, "another port, or 0 for a free one")]) from error
    return listener


async def serve(
    folder: Path,
    *,
    listener: socket.socket,
    key: Key,
    survey: Survey,
    page: StatusPage,
    values: StatusValues | None,
    store: TimeSeries | None,
    writers: Mapping[str, Writer],
    copies: StoreCopies,
    intake: RewriteIntake,
    lend: Callable[[], bool],
    quarantine: Quarantine,
    profiles: Profiles,
    stopping: asyncio.Event,
) -> None:
    """Serve until `stopping`, or until cancelled; then finish what is being answered.

    The address is written down in `folder`, the gateway's state folder.
    """

    async def status(accept_language: str) -> str:
        try:
            families = None if values is None else await values.families()
        except SinkUnavailable:  # its component says so on the same page
            families = []
        return page.render(
            survey.snapshot(), families=families, rates=survey.rates(), accept_language=accept_language
        )

    def pause(name: str, seconds: float) -> bool:
        if name not in writers:
            return False
        writers[name].pause(seconds)
        return True

    await copies.clear()
    answers = Answers(
        snapshot=survey.snapshot,
        page=status,
        store=store,
        pause=pause,
        confirm_clock=survey.confirm_clock,
        copy_stores=copies.make,
        rewrite=intake.take,
        lend=lend,
        quarantine=quarantine,
        profiles=profiles,
    )
    server = _Server(
        uvicorn.Config(
            application(answers, key=key),
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=GRACE_S,
        )
    )
    _say_where(folder, listener)
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="uvicorn")
    waiting = asyncio.create_task(stopping.wait(), name="stopping")
    try:
        await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
        server.should_exit = True
        await serving


def _say_where(folder: Path, listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - where we listen, not whom we let in
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    with durable.translated(StateError, "the address cannot be written down"):
        (folder / ADDRESS_FILE).write_text(f"{url}\n", encoding="utf-8")
    log.info("status page", url=f"{url}/")
