"""Taking a device out of the state: rows, pasts, last readings, names, identities, rates, roster.

Cells go first, a block a transaction; the names by which they are found go last. So what a crash has left
is a state that a gateway can go on from, and a second run finds the rest.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
import orjson

from gateway import packing, roster, saving
from gateway.aggregate import erasing
from gateway.aggregate.hot import HELD, PASTS, ROWS
from gateway.aggregate.state import MARKS, SERIES, TEXTS
from gateway.model import Changes

if TYPE_CHECKING:
    from gateway.erasure.target import Belonging
    from gateway.journal.checkpoint import Checkpoint
    from gateway.model import Int32
    from gateway.saving import Saved

    Codes = dict[str, list[int]]
    """The codes of the device's series, by the owner of their table."""


@dataclass(slots=True)
class Found:
    """What went of a state."""

    rows: int = 0
    blocks: int = 0
    """Those of a profile, where it is erased by age."""
    series: int = 0
    texts: int = 0
    known: bool = False
    """Whether it was in the roster, or accepted without being in it."""
    codes: Codes = field(default_factory=dict)


class Store(Protocol):
    """What is read of a state: of its file, or of a snapshot of it."""

    def load(self, kind: str, owner: str, start: int) -> list[bytes]:
        """Return the parts of a cell."""
        ...

    def starts(self, kind: str, owner: str) -> list[int]:
        """Return the starts that have cells of this kind."""
        ...

    def owners(self, kind: str) -> list[str]:
        """Return the owners that have cells of this kind."""
        ...


def erase(state: Checkpoint, saved: Saved, belonging: Belonging) -> Found:
    """Take a device out of the state; `saved` is what was restored from it. Raises StateError."""
    key = belonging.target.key
    found = Found(codes=codes_of(state, key))
    found.series = sum(map(len, found.codes.values()))
    for owner, codes in found.codes.items():
        for kind in erasing.KINDS:
            for start in state.starts(kind, owner):
                gone = _erase_cells(state, kind, owner, start, np.array(codes, np.int32))
                found.rows += gone if kind == ROWS else 0
        _drop_empty_blocks(state, owner)
    changes = Changes()
    found.texts = _erase_texts(state, changes)
    _erase_names(state, found.codes, changes)
    found.known = _erase_from_roster(state, key, changes) or key in saved.accepted
    state.commit(changes, _meta(saved, belonging))
    return found


def erase_blocks(state: Checkpoint, profile: str, before_ns: int, block_ns: int) -> int:
    """Take out a profile's blocks that ended before a time; return how many.

    A gateway lets go of them itself once it hears the profile again. The last readings of its series stay.
    """
    changes, gone = Changes(), 0
    for owner in state.owners(ROWS):
        old = [start for start in state.starts(ROWS, owner) if start + block_ns <= before_ns]
        if owner.partition("/")[0] != profile or not old:
            continue
        gone += len(old)
        changes.cells |= {(kind, owner, start, -1): None for start in old for kind in (ROWS, PASTS, HELD)}
        for body in state.load(MARKS, owner, 0):
            marks = orjson.loads(body)
            # A window that began before is not complete any more.
            marks["dropped_until"] = max(marks["dropped_until"], old[-1] + block_ns)
            changes.cells[MARKS, owner, 0, 0] = json.dumps(marks).encode()
    if changes.cells:
        state.commit(changes, {})
    return gone


def codes_of(state: Store, key: tuple[str, str]) -> Codes:
    """Return the codes of a device's series, by owner; only those owners that have any."""
    found: Codes = {}
    for owner in state.owners(SERIES):
        for start in state.starts(SERIES, owner):
            for body in state.load(SERIES, owner, start):
                codes = erasing.codes_of(body, start, *key)
                if codes:
                    found.setdefault(owner, []).extend(codes)
    return found


def names_in(state: Store, saved: Saved) -> set[tuple[str, str]]:
    """Return the (site, identifier) of every device that a state knows."""
    names = {(site, device) for site, device, _ in saved.rules.devices.entries()}
    names.update(saved.accepted)
    for owner in state.owners(SERIES):
        for start in state.starts(SERIES, owner):
            for body in state.load(SERIES, owner, start):
                keys = [key for key in packing.unpack_texts(body) if not erasing.is_erased(key)]
                names |= {(key[0], key[1]) for key in keys}
    return names


def _erase_cells(state: Checkpoint, kind: str, owner: str, start: int, codes: Int32) -> int:
    changes, gone = Changes(), 0
    for part, body in enumerate(state.load(kind, owner, start)):
        done = erasing.without_series(kind, body, start, codes)
        if done is not None:
            changes.cells[kind, owner, start, part] = done[0]
            gone += done[1]
    if changes.cells:
        state.commit(changes, {})
    return gone


def _drop_empty_blocks(state: Checkpoint, owner: str) -> None:
    """A block without rows is none."""
    changes = Changes()
    for start in state.starts(ROWS, owner):
        if all(map(erasing.is_empty, state.load(ROWS, owner, start))):
            changes.cells |= {(kind, owner, start, -1): None for kind in (ROWS, PASTS, HELD)}
    if changes.cells:
        state.commit(changes, {})


def _erase_texts(state: Checkpoint, changes: Changes) -> int:
    """Take out the texts that no row refers to any more: which device said which is not known."""
    starts = state.starts(TEXTS, "")
    if not starts:
        return 0
    used: set[int] = set()
    for owner in state.owners(ROWS):
        for start in state.starts(ROWS, owner):
            for body in state.load(ROWS, owner, start):
                used |= erasing.texts_used(body)
    gone = 0
    for start in starts:
        for part, body in enumerate(state.load(TEXTS, "", start)):
            before = packing.unpack_texts(body)
            unused = [code for code in range(start, start + len(before)) if code not in used]
            left = erasing.without_names(body, start, unused)
            changed = sum(a != b for a, b in zip(before, packing.unpack_texts(left), strict=True))
            if changed:
                changes.cells[TEXTS, "", start, part] = left
            gone += changed
    return gone


def _erase_names(state: Checkpoint, codes: Codes, changes: Changes) -> None:
    for owner, gone in codes.items():
        for start in state.starts(SERIES, owner):
            for part, body in enumerate(state.load(SERIES, owner, start)):
                changes.cells[SERIES, owner, start, part] = erasing.without_names(body, start, gone)


def _erase_from_roster(state: Checkpoint, key: tuple[str, str], changes: Changes) -> bool:
    known = False
    for start in state.starts(saving.DEVICES, ""):
        for part, body in enumerate(state.load(saving.DEVICES, "", start)):
            left = roster.without(body, {key})
            if left is not None:
                changes.cells[saving.DEVICES, "", start, part] = left
                known = True
    return known


def _meta(saved: Saved, belonging: Belonging) -> dict[str, bytes]:
    """Return the values that name the device, or tell what it said, without that."""
    key = belonging.target.key
    saved.identities.forget(*key, belonging.marks)
    saved.rates.forget(*key)
    accepted = [known for known in saved.accepted if known != key]
    return {
        "identities": saved.identities.state(),
        "rates": saved.rates.state(),
        "accepted": orjson.dumps(accepted),
    }
