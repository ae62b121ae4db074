"""Brings what the operator wants into force: through the journal, while the river flows."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from gateway import memory, wanted
from gateway.rules import Limits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from gateway.config import Settings
    from gateway.pipeline import River
    from gateway.ports import Clock
    from gateway.rules import Rules
    from gateway.survey import Changeable
    from gateway.wanted import Wanted

WATCH_S = 1.0
log = structlog.get_logger("ecluse")


class Wishes:
    """Compares profiles and devices, as they are on disk, with the rules in force."""

    def __init__(
        self, settings: Settings, *, rules: Rules, river: River, known: Changeable, clock: Clock
    ) -> None:
        self._settings = settings
        self._rules = rules
        self._river = river
        self._known = known
        self._clock = clock
        self._stamp: wanted.Stamp = ()
        self._referred: tuple[Path, ...] = ()
        self._told: frozenset[str] = frozenset()
        self._taking = asyncio.Lock()

    async def take(self) -> bool:
        """Read everything, and let what has changed take effect; returns whether anything did.

        While the clock is suspect, nothing does: `watch` takes it later.
        """
        if self._river.watched.span is not None:
            self._stamp = ()
            return False
        async with self._taking:
            with memory.collector_paused():
                return await self._take()

    async def _take(self) -> bool:
        settings = self._settings
        self._stamp = await self._look()
        wish = await asyncio.to_thread(
            wanted.read, settings.profiles_dir, settings.devices.file, rules=self._rules
        )
        self._tell(wish)
        if wish.referred != self._referred:
            self._referred = wish.referred
            self._stamp = ()  # they may have changed since they were read: look once more
        # Aside, since a million devices are compared; nobody else changes the rules meanwhile.
        changes = await asyncio.to_thread(
            self._rules.changes_to,
            plans=wish.plans,
            devices=wish.devices,
            limits=limits_of(settings),
            at_ns=self._clock.now_ns(),
        )
        began_ns = self._clock.monotonic_ns()
        if not await self._river.change(changes):
            self._stamp = ()
            return False
        if changes:
            took_ms = (self._clock.monotonic_ns() - began_ns) // 1_000_000
            log.info("changes are in force", records=len(changes), took_ms=took_ms)
        return bool(changes)

    async def watch(self, changed: Callable[[], Awaitable[None]], *, every_s: float = WATCH_S) -> None:
        """Take what changes on disk, once it has stayed the same for a moment: a file is written in parts.

        `changed` is called when something has taken effect.
        """
        before = self._stamp
        while True:
            await asyncio.sleep(every_s)
            now = await self._look()
            if now == before and now != self._stamp and await self.take():
                await changed()
            before = now

    async def _look(self) -> wanted.Stamp:
        settings = self._settings
        return await asyncio.to_thread(
            wanted.stamp, settings.profiles_dir, settings.devices.file, self._referred
        )

    def _tell(self, wish: Wanted) -> None:
        """Note what was refused; say what was not said the last time."""
        known = self._known
        known.profile_problems, known.device_problems = wish.profile_problems, wish.device_problems
        known.wanted_since_ns = self._clock.now_ns()
        problems = {str(problem): problem for problem in (*wish.profile_problems, *wish.device_problems)}
        for text, problem in problems.items():
            if text not in self._told:
                log.warning(
                    "refused",
                    where=problem.where,
                    line=problem.line,
                    column=problem.column,
                    what=problem.what,
                    hint=problem.hint,
                )
        self._told = frozenset(problems)


def limits_of(settings: Settings) -> Limits:
    """Return the settings on which decoding and windows depend."""
    return Limits(
        default_zone=settings.default_zone,
        zones={name: site.zone for name, site in settings.sites.items()},
        accept_unknown=settings.devices.unknown == "accept",
        max_unknown=settings.devices.max_unknown,
        max_series=settings.devices.max_series,
        max_rate=settings.devices.max_rate,
    )
