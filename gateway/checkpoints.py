"""The outlets of the river, and the checkpoints that tie them and the state to a place in the journal."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from gateway import saving

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.ports import Journal, StateStore
    from gateway.saving import Cut, Saved
    from gateway.treatment import Product, Treatment


class Outlet(Protocol):
    """Where a product goes before the checkpoint: an outbox log with its encoder, or the quarantine."""

    name: str

    @property
    def full(self) -> bool:
        """Whether nothing more may be journalled for now: the outbox of a `hold` sink is full."""
        ...

    async def room(self) -> None:
        """Return once it is not full."""
        ...

    async def take(self, product: Product) -> None:
        """Take what concerns this outlet, full or not."""
        ...

    async def settle(self) -> dict[str, Any]:
        """Make durable all that was taken and is needed; return what the checkpoint must remember of it."""
        ...

    async def recover(self, mark: dict[str, Any]) -> None:
        """Go back to a checkpoint's mark ({} at the very start): the replay makes the rest again."""
        ...

    async def checkpointed(self, mark: dict[str, Any]) -> None:
        """That mark is now the one to recover to."""
        ...


class Checkpoints:
    """Makes them, one at a time; `last` is the one that a crash would go back to.

    `keep_after` is the position behind which the journal is still needed, besides the last checkpoint's.
    """

    def __init__(
        self,
        *,
        journal: Journal,
        treatment: Treatment,
        outlets: Sequence[Outlet],
        state: StateStore,
        saved: Saved,
        keep_after: Callable[[], int],
    ) -> None:
        self.last = saved.cut
        self._devices = saved.rules.devices
        self._journal = journal
        self._treatment = treatment
        self._outlets = outlets
        self._state = state
        self._keep_after = keep_after

    async def recover(self) -> None:
        """Put the outlets back to the last one."""
        for outlet in self._outlets:
            await outlet.recover(self.last.marks.get(outlet.name, {}))

    async def make(self, cut: Cut) -> None:
        """Tie the state to the cut's position, once what the outlets took is durable; adds their marks."""
        treatment = self._treatment
        now = replace(cut, marks=await self._settle())
        changes, devices = treatment.aggregator.dirty(), treatment.rules.devices
        changes.cells.update(saving.device_cells(devices, self._devices))
        if now == self.last and not changes.cells:
            return
        meta = saving.encode(
            now,
            books=treatment.books.treated(),
            rules=treatment.rules if treatment.rules_changed else None,
            identities=treatment.identities,
            rates=treatment.rates,
            accepted=treatment.routes.unknown,
        )
        await asyncio.to_thread(self._state.commit, changes, meta)
        treatment.rules_changed, self._devices = False, devices
        treatment.aggregator.committed()
        self.last = now
        for outlet in self._outlets:
            await outlet.checkpointed(now.marks[outlet.name])
        await self._journal.trim(min(now.position, self._keep_after()) + 1)

    async def _settle(self) -> dict[str, dict[str, Any]]:
        """Settle all outlets; return their marks by name."""
        async with asyncio.TaskGroup() as settling:
            tasks = {o.name: settling.create_task(o.settle(), name=f"settle {o.name}") for o in self._outlets}
        return {name: task.result() for name, task in tasks.items()}
