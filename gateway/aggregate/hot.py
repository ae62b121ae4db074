"""Which blocks are in memory: a shelf's blocks come from the state file when they are needed, and go back.

A block that is not wholly in the state file stays in memory, whatever the budget: the next checkpoint
makes it one that can go. Blocks that were used longest ago go first.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np

from gateway import packing
from gateway.aggregate import carry, rows
from gateway.aggregate.blocks import Block, Pasts
from gateway.aggregate.layout import Layout
from gateway.errors import StateError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.aggregate.carry import NeighboursFactory
    from gateway.model import Changes
    from gateway.packing import Arrays
    from gateway.ports import StateStore

ROWS = "rows"
PASTS = "pasts"
HELD = "held"
"""The states of the pasts, in cells of their own: all that windows need of a block beside its rows."""
_MOST_PARTS = 24
"""A cell of more parts is written as one: each part costs a look-up, each joining all of its bytes."""


class Budget:
    """The bytes that all blocks in memory may have together, and the order in which they were used."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes = 0
        self._used: OrderedDict[tuple[str, int], tuple[Blocks, int]] = OrderedDict()

    def touch(self, blocks: Blocks, start: int, nbytes: int) -> None:
        """Note that a block was used, and how large it is now."""
        key = (blocks.owner, start)
        self.forget(blocks, start)
        self._used[key] = (blocks, nbytes)
        self.bytes += nbytes

    def forget(self, blocks: Blocks, start: int) -> None:
        """Note that a block is no longer in memory."""
        _, nbytes = self._used.pop((blocks.owner, start), (blocks, 0))
        self.bytes -= nbytes

    def relieve(self) -> None:
        """Put blocks out of memory until the rest fits, as far as they are saved."""
        if self.bytes <= self.limit:
            return
        for (_, start), (blocks, _) in list(self._used.items()):
            if blocks.evict(start) and self.bytes <= self.limit:
                return

    def __len__(self) -> int:
        return len(self._used)


class Blocks:
    """The blocks of one shelf, by start. None stands for one that is only in the state file."""

    def __init__(
        self, owner: str, *, store: StateStore, budget: Budget, layout: Layout, factory: NeighboursFactory
    ) -> None:
        self.owner = owner
        self.layout = layout
        self._store = store
        self._budget = budget
        self._factory = factory
        self._blocks: dict[int, Block | None] = dict.fromkeys(store.starts(ROWS, owner))
        self._dropped: set[int] = set()

    def starts(self) -> list[int]:
        """Return the starts of all blocks, ascending."""
        return sorted(self._blocks)

    def hot(self) -> list[Block]:
        """Return the blocks that are in memory."""
        return [block for block in self._blocks.values() if block is not None]

    def __len__(self) -> int:
        return len(self._blocks)

    def get(self, start: int) -> Block:
        """Return the block that starts then, from the state file where it is there. Makes it where new."""
        block = self._blocks.get(start)
        if block is None:
            pasts = Pasts(carry.Carry.empty(self.layout, 0, self._factory))
            block = Block(start, self.layout, pasts)
            if start in self._blocks:
                self._load(block)
            self._blocks[start] = block
            self.touch(block)
        return block

    def read(self, start: int) -> Block:
        """Return a block to be read once: where it is not in memory, without it coming there.

        Then it has no neighbours, which windows do not need; of its past, held states alone.
        """
        block = self._blocks.get(start)
        if block is None and start in self._blocks:
            states = len(self.layout.states)
            since = np.full((states, 0), carry.NEVER, np.int64)
            past = carry.Carry(self._factory.empty(0, 0), np.zeros((states, 0)), since)
            block = Block(start, self.layout, Pasts(past))
            with self._told(start):
                self._load_rows(block)
                if states:
                    self._load_states(block)
        return self.get(start) if block is None else block

    def has(self, start: int) -> bool:
        """Return whether there is such a block."""
        return start in self._blocks

    def may_keep(self, block: Block, nbytes: int) -> bool:
        """Return whether this very block is in memory, not only read, and so many bytes more may be."""
        return self._blocks.get(block.start) is block and self._budget.bytes + nbytes <= self._budget.limit

    def touch(self, block: Block) -> None:
        """Note that a block was used or changed."""
        self._budget.touch(self, block.start, block.nbytes)

    def relieve(self) -> None:
        """Keep to the budget: called between two blocks where many are needed."""
        self._budget.relieve()

    def drop(self, start: int) -> None:
        """Forget a block for good."""
        del self._blocks[start]
        self._dropped.add(start)
        self._budget.forget(self, start)

    def evict(self, start: int) -> bool:
        """Put a block out of memory. False where it is not wholly in the state file."""
        block = self._blocks.get(start)
        if block is None or not block.is_saved:
            return False
        self._blocks[start] = None
        self._budget.forget(self, start)
        return True

    def adopt(self, layout: Layout) -> None:
        """Lay out the blocks in memory as another version of the profile does; the others when loaded."""
        old, self.layout = self.layout, layout
        for block in self.hot():
            block.runs = [rows.remapped(run, layout, old) for run in block.runs]
            block.pasts.carry = carry.remapped(block.pasts.carry, layout, old, self._factory)
            block.layout, block.partial = layout, None

    def save(self, changes: Changes) -> None:
        """Add what has changed since the last call to `changes`; the blocks are in flight from here on."""
        for start in self._dropped:
            changes.cells[ROWS, self.owner, start, -1] = None
            changes.cells[PASTS, self.owner, start, -1] = None
            changes.cells[HELD, self.owner, start, -1] = None
        self._dropped.clear()
        for block in self.hot():
            block.in_flight = False  # a checkpoint begins when the one before it is committed
            if not block.is_saved:
                self._save_rows(block, changes)
                self._save_pasts(block, changes)
                block.in_flight = True

    def committed(self) -> None:
        """Note that what `save` gave is durable."""
        for block in self.hot():
            block.in_flight = False

    def _save_rows(self, block: Block, changes: Changes) -> None:
        if not block.runs:
            return
        whole = block.parts >= _MOST_PARTS
        pieces = [block.rows()] if whole else [r.take(np.flatnonzero(r.unsaved)) for r in block.runs]
        piece = rows.joined(pieces)
        if len(piece):
            if whole:
                block.parts = 0
                changes.cells[ROWS, self.owner, block.start, -1] = None
            changes.cells[ROWS, self.owner, block.start, block.parts] = self._pack(piece.pack())
            block.parts += 1
        for run in block.runs:
            run.unsaved[:] = False

    def _save_pasts(self, block: Block, changes: Changes) -> None:
        pasts = block.pasts
        if pasts.changed or block.past_parts >= _MOST_PARTS:
            pasts.saved = block.past_parts = 0
            changes.cells[PASTS, self.owner, block.start, -1] = None
            changes.cells[HELD, self.owner, block.start, -1] = None
        if pasts.saved < pasts.count:
            new = np.arange(pasts.saved, pasts.count)
            columns = {"series": pasts.series[new], **pasts.carry.take(new).pack()}
            held = {name: columns[name] for name in ("series", "state", "since")}
            rest = {name: column for name, column in columns.items() if name not in ("state", "since")}
            changes.cells[PASTS, self.owner, block.start, block.past_parts] = self._pack(rest)
            changes.cells[HELD, self.owner, block.start, block.past_parts] = self._pack(held)
            block.past_parts += 1
        pasts.saved, pasts.changed = pasts.count, False

    def _load(self, block: Block) -> None:
        """Fill a block from the state file. Raises `StateError` where that is damaged."""
        with self._told(block.start):
            self._load_rows(block)
            bodies = self._store.load(PASTS, self.owner, block.start)
            for body, held in zip(bodies, self._store.load(HELD, self.owner, block.start), strict=True):
                layout, columns = _unpack(body)
                columns |= _unpack(held)[1]
                past = carry.unpack(columns, self.layout, layout, self._factory)
                block.pasts.add(columns["series"], past)
            block.pasts.saved, block.past_parts = block.pasts.count, len(bodies)

    def _load_rows(self, block: Block) -> None:
        bodies, parts = self._store.load(ROWS, self.owner, block.start)[::-1], []
        while bodies:
            parts.append(_unpack(bodies.pop()))  # as many bytes are never held twice
        block.runs = [rows.latest_of([_rows_in(part, self.layout) for part in parts])] if parts else []
        block.parts = len(parts)

    def _load_states(self, block: Block) -> None:
        """Fill the past of a block that is only read with the held states."""
        for body in self._store.load(HELD, self.owner, block.start):
            layout, columns = _unpack(body)
            state, since = columns["state"], columns["since"]
            if layout != self.layout:
                state, since = carry.moved_states(state, since, self.layout, layout)
            series = columns["series"]
            nothing = self._factory.empty(0, len(series))
            block.pasts.add(series, carry.Carry(nothing, state, since))

    @contextlib.contextmanager
    def _told(self, start: int) -> Iterator[None]:
        """Say which block cannot be read."""
        try:
            yield
        except (ValueError, KeyError, TypeError) as error:
            raise StateError(f"the state of {self.owner} at {start} cannot be read: {error}") from error

    def _pack(self, columns: Arrays) -> bytes:
        return packing.pack({"layout": self.layout.to_array(), **columns})


def _unpack(body: bytes) -> tuple[Layout, Arrays]:
    """Return the layout of a stored part, and its columns."""
    columns = packing.unpack(body)
    return Layout.from_array(columns.pop("layout")), columns


def _rows_in(part: tuple[Layout, Arrays], layout: Layout) -> rows.Rows:
    """Return a stored part's rows, laid out as the profile does now."""
    old, columns = part
    stored = rows.Rows(**columns, unsaved=np.zeros(columns["series"].shape, np.bool_))
    return stored if old == layout else rows.remapped(stored, layout, old)
