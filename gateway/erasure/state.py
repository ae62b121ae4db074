"""Taking a device out of the state: rows, pasts, last readings, names, identities, rates, roster.

Cells go first, a block a transaction; the names by which they are found go last. So what a crash has left
is a state that a gateway can go on from, and a second run finds the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import orjson

from gateway import packing, roster, saving
from gateway.aggregate import erasing
from gateway.aggregate.hot import HELD, PASTS, ROWS
from gateway.aggregate.state import SERIES, TEXTS
from gateway.model import Changes

if TYPE_CHECKING:
    from gateway.erasure.target import Target
    from gateway.journal.checkpoint import Checkpoint
    from gateway.model import Int32
    from gateway.saving import Saved

    Codes = dict[str, list[int]]
    """The codes of the device's series, by the owner of their table."""


@dataclass(slots=True)
class Found:
    """What went of a state."""

    rows: int = 0
    series: int = 0
    texts: int = 0
    known: bool = False
    """Whether it was in the roster, or accepted without being in it."""
    codes: Codes = field(default_factory=dict)


def erase(state: Checkpoint, saved: Saved, target: Target) -> Found:
    """Take a device out of the state; `saved` is what was restored from it. Raises StateError."""
    found = Found(codes=codes_of(state, target))
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
    found.known = _erase_from_roster(state, target, changes) or target.key in map(tuple, saved.accepted)
    state.commit(changes, _meta(saved, target))
    return found


def codes_of(state: Checkpoint, target: Target) -> Codes:
    """Return the codes of a device's series, by owner; only those owners that have any."""
    found: Codes = {}
    for owner in state.owners(SERIES):
        for start in state.starts(SERIES, owner):
            for body in state.load(SERIES, owner, start):
                codes = erasing.codes_of(body, start, *target.key)
                if codes:
                    found.setdefault(owner, []).extend(codes)
    return found


def sites_of(state: Checkpoint, saved: Saved, device: str) -> set[str]:
    """Return the sites at which the state knows a device of that identifier."""
    sites = {site for site, known, _ in saved.rules.devices.entries() if known == device}
    sites |= {site for site, known in saved.accepted if known == device}
    for owner in state.owners(SERIES):
        for start in state.starts(SERIES, owner):
            for body in state.load(SERIES, owner, start):
                sites |= {key[0] for key in packing.unpack_texts(body) if key[1] == device}
    return sites


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


def _erase_from_roster(state: Checkpoint, target: Target, changes: Changes) -> bool:
    known = False
    for start in state.starts(saving.DEVICES, ""):
        for part, body in enumerate(state.load(saving.DEVICES, "", start)):
            left = roster.without(body, {target.key})
            if left is not None:
                changes.cells[saving.DEVICES, "", start, part] = left
                known = True
    return known


def _meta(saved: Saved, target: Target) -> dict[str, bytes]:
    """Return the values that name the device, without it."""
    saved.identities.forget(*target.key)
    saved.rates.forget(*target.key)
    accepted = [key for key in saved.accepted if tuple(key) != target.key]
    return {
        "identities": saved.identities.state(),
        "rates": saved.rates.state(),
        "accepted": orjson.dumps(accepted),
    }
