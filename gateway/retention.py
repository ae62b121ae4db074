"""Deletes by itself what profiles keep no longer (`keep`): from the embedded stores, and from the quarantine.

Some of it at a time, so that nothing waits for long. The state needs no deleting: it holds readings for as
long as windows can be corrected by them. The journal has a retention of its own.

Delivery guarantees: none of them is touched. What is deleted is stored, and past its time; a point that is
written again afterwards, as a late correction can, goes at the next turn.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from gateway.errors import SinkUnavailable
from gateway.sinks.embedded import Kept

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from gateway.ports import Clock
    from gateway.profiles.plan import ProfilePlan
    from gateway.quarantine.store import QuarantineStore
    from gateway.sinks.embedded import EmbeddedSink

RAW = "raw"
EVERY_S = 60.0
ROWS_AT_ONCE = 1_000
"""Rows of the quarantine that one turn deletes of a profile: some milliseconds."""
log = structlog.get_logger("ecluse")


class Retention:
    """Knows the profiles that were ever in force and are not forgotten, and where their data is."""

    def __init__(
        self,
        *,
        plans: Callable[[], Iterable[ProfilePlan]],
        stores: Sequence[EmbeddedSink],
        quarantine: QuarantineStore,
        clock: Clock,
    ) -> None:
        self._plans = plans
        self._stores = stores
        self._quarantine = quarantine
        self._clock = clock

    async def run(self) -> None:
        """Delete, again and again. Raises StateError (fatal): the quarantine cannot be written."""
        while True:
            await asyncio.sleep(EVERY_S)
            await self.turn()

    async def turn(self) -> int:
        """Delete some of what is past its time; return how many rows went. Raises StateError (fatal)."""
        plans = [plan for plan in self._plans() if plan.keep]
        kept = list(kept_by(plans))
        gone = 0
        for store in self._stores if kept else ():
            try:
                gone += await store.drop(kept)
            except SinkUnavailable as error:
                log.warning("nothing was deleted that is past its time", sink=store.name, error=str(error))
        now_ns = self._clock.now_ns()
        for plan in plans:
            if RAW in plan.keep:
                gone += await self._quarantine.forget(plan.name, now_ns - plan.keep[RAW], most=ROWS_AT_ONCE)
        return gone


def kept_by(plans: Iterable[ProfilePlan]) -> Iterator[Kept]:
    """Yield how long each profile's points of each measurement are kept, where it says so."""
    for plan in plans:
        for what, keep_ns in plan.keep.items():
            measurement = plan.family if what == RAW else f"{plan.family}_{what}"
            yield Kept(measurement, plan.name, keep_ns)
