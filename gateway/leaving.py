"""A stop in order that ends in time: how long decoding and sinks go on, and what is said of the rest.

Whatever is not done by then is on the disk: undecoded uplinks in the journal, unwritten points in the
outbox; the next start goes on with both.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import structlog

from gateway.sinks.writer import WriterState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.pipeline import River
    from gateway.sinks.writer import Writer
    from gateway.survey import Survey

DECODING = 0.6
"""The share of the grace that decoding may take; the sinks write all the while, and have the rest."""
DOWN_S = 5.0
"""A sink that does not answer is not waited for any longer than this."""
log = structlog.get_logger("ecluse")


class Leaving:
    """One stop: `begin`, then `finish` once nothing more is received. `hurried` ends all waiting."""

    def __init__(
        self,
        *,
        grace_s: float,
        hurried: asyncio.Event,
        river: River,
        writers: Mapping[str, Writer],
        survey: Survey,
    ) -> None:
        self._grace_s = grace_s
        self._hurried = hurried
        self._river = river
        self._writers = writers
        self._survey = survey
        self._begun = asyncio.Event()
        self._began_s = 0.0

    def begin(self) -> None:
        """Let the grace run, from the first call on."""
        if not self._begun.is_set():
            self._began_s = asyncio.get_running_loop().time()
            self._begun.set()

    async def hasten(self) -> None:
        """End decoding when it has had its time: a task for as long as the river flows."""
        await self._begun.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._left_s(DECODING)):
                await self._hurried.wait()
        self._river.leave()

    async def finish(self, working: asyncio.Task[None], writing: Mapping[str, asyncio.Task[None]]) -> None:
        """Return once decoding and sinks are done, or have had their time; say what is left."""
        await working
        for writer in self._writers.values():
            down = writer.status.state is WriterState.DOWN
            writer.stop(grace_s=min(self._left_s(), DOWN_S) if down else self._left_s())
        hurrying = asyncio.create_task(self._hurry(writing), name="hurry")
        try:
            await asyncio.gather(*writing.values())
        finally:
            hurrying.cancel()
        self._tell()

    async def _hurry(self, writing: Mapping[str, asyncio.Task[None]]) -> None:
        await self._hurried.wait()
        for name, task in writing.items():
            if not task.done():
                self._writers[name].stop(grace_s=0)

    def _left_s(self, share: float = 1.0) -> float:
        """Return how much of the grace, or of a share of it, is left."""
        if self._hurried.is_set():
            return 0.0
        gone_s = asyncio.get_running_loop().time() - self._began_s
        return max(self._grace_s * share - gone_s, 0.0)

    def _tell(self) -> None:
        now = self._survey.snapshot()
        undecoded = now.uplinks["pending"]
        waiting = {name: book.waiting for name, book in now.sinks.items() if book.waiting}
        if undecoded or waiting:
            hint = "all of it is on disk: the next start goes on with it"
            log.warning("stopped before all was done", undecoded=undecoded, waiting=waiting, hint=hint)
        else:
            log.info("stopped", what="everything received is decoded and stored")
