"""Structured logs on stderr: for people on a console, as JSON for a collector."""

from __future__ import annotations

import logging
import sys
import time
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from typing import Any

    from gateway.config import Log
    from gateway.health.snapshot import Replay

PER_MINUTE = 30
"""The same event from the same place at most so often: a device must not be able to fill a disk."""
SAY_S = 1.0
"""How often a replay says how far it is."""
BAR = 30
"""Characters."""


class RateLimit:
    """A structlog processor: drops what comes too often, and says how much it dropped."""

    def __init__(self) -> None:
        self._began = 0.0
        self._seen: dict[str, int] = {}

    def __call__(
        self, _logger: object, _name: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Pass an event on, or raise DropEvent."""
        now = time.monotonic()
        if now - self._began > 60:
            self._began, self._seen = now, {}
        key = str(event.get("event"))
        self._seen[key] = count = self._seen.get(key, 0) + 1
        if count > PER_MINUTE:
            raise structlog.DropEvent
        if count == PER_MINUTE:
            event["more"] = "the same is not said again for a minute"
        return event


def configure(settings: Log) -> None:
    """Set the process's logging up, once."""
    levels = {
        "debug": logging.DEBUG,
        "info": logging.INFO,
        "warning": logging.WARNING,
        "error": logging.ERROR,
    }
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if settings.format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            RateLimit(),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(levels[settings.level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


class ReplayProgress:
    """Says how a replay goes: a bar where a person looks on, else a line every few seconds."""

    def __init__(self) -> None:
        self._log = structlog.get_logger("ecluse.recovery")
        self._said = time.monotonic()
        self._drawn = False

    def __call__(self, replay: Replay) -> None:
        """Be told how far it is."""
        now, done = time.monotonic(), replay.position >= replay.end
        if now - self._said > SAY_S and not done:
            self._said = now
            if sys.stderr.isatty():
                self._draw(replay)
            else:
                self._log.info(
                    "replaying the journal",
                    share=round(replay.share, 3),
                    position=replay.position,
                    of=replay.end,
                    left_s=round(replay.left_s, 1) if replay.left_s is not None else None,
                )
        elif done and self._drawn:
            self._drawn = False
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def _draw(self, replay: Replay) -> None:
        full = round(replay.share * BAR)
        sys.stderr.write(f"\r\x1b[K[{'#' * full}{'-' * (BAR - full)}] {replay.sentence()}")
        sys.stderr.flush()
        self._drawn = True
