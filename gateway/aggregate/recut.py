"""Cutting a shelf's readings into other blocks, when its shortest window or its zones have changed.

A rare act of the operator: all kept rows of the shelf are in memory while it lasts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gateway.aggregate.ordering import Ordering
from gateway.aggregate.rows import empty, joined

if TYPE_CHECKING:
    from gateway.aggregate.carry import Assess
    from gateway.aggregate.shelf import Shelf
    from gateway.profiles.plan import GroupPlan, ProfilePlan


def recut(shelf: Shelf, profile: ProfilePlan, group: GroupPlan, assess: Assess) -> None:
    """Go on with a version of the profile (or with zones) that cuts time otherwise.

    Every kept reading is taken anew, from the past that each series' oldest block remembers: flags and
    increments come out as they were, unless the tests have changed too.
    """
    shelf.adopt(profile, group)
    pieces = [empty(shelf.layout)]
    for start in reversed(shelf.blocks.starts()):
        block = shelf.blocks.get(start)
        pieces.append(block.rows())
        if shelf.layout.ordered:
            series = block.pasts.series.copy()
            shelf.remember(series, block.pasts.recall(series))  # the oldest block is the last to say
        shelf.blocks.drop(start)
    rows = joined(pieces)
    rows = rows.take(np.lexsort((rows.time, rows.series)))
    rows.unsaved[:] = True
    rows.revised[:] = False
    starts, _ = shelf.blocks_of(rows.series, rows.time)
    if shelf.layout.ordered:
        Ordering(shelf, assess).take(rows, starts)
        return
    for start in np.unique(starts).tolist():
        block = shelf.blocks.get(start)
        block.append(rows.take(np.flatnonzero(starts == start)))
        shelf.blocks.touch(block)
