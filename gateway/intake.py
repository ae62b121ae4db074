"""Takes what a reprocessing writes and removes into the journal of the gateway that runs.

From there it goes the way of everything else: durable once it is answered, delivered to every outbox in the
journal's order, made again by a replay. It comes in records of bounded size, one after the other, and leaves
the better part of each outbox to what is live.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.errors import QueryError
from gateway.model import Control, ControlKind
from gateway.sinks import rewrites

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.outlets import LogOutlet
    from gateway.pipeline import River
    from gateway.ports import Clock, Journal

SHARE = 4
"""A quarter of an outbox may wait when more of a reprocessing is taken."""


class RewriteIntake:
    """The gateway's door for a reprocessing; closed while the gateway starts and stops."""

    def __init__(
        self, *, river: River, journal: Journal, logs: Sequence[LogOutlet], clock: Clock, outbox_bytes: int
    ) -> None:
        self._river = river
        self._journal = journal
        self._logs = logs
        self._clock = clock
        self._most_waiting = outbox_bytes // SHARE
        self._one = asyncio.Lock()
        self.is_open = False

    async def take(self, body: bytes) -> str:
        """Return "" once it is durable and on its way; else why not now: to be asked again.

        Raises QueryError: it is none of `rewrites`.
        """
        try:
            await asyncio.to_thread(rewrites.decode, body)
        except ValueError as error:
            raise QueryError(
                str(error), hint="is ecluse replay of the same version as the gateway?"
            ) from error
        async with self._one:
            if why := self._obstacle():
                return why
            at_ns = max(self._clock.now_ns(), self._journal.newest_ns)
            taken = await self._river.change([Control(ControlKind.REWRITE, at_ns, body)])
            return "" if taken else "the clock is suspect (ecluse clock show)"

    def _obstacle(self) -> str:
        if not self.is_open:
            return "the gateway is starting or stopping"
        for log in self._logs:
            for sink in log.sinks:
                if log.full or log.outbox.depth(sink).bytes > self._most_waiting:
                    return f"too much waits for the sink {sink}"
        return ""
