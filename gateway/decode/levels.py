"""Lists and objects of free keys inside payloads become rows, level by level.

The uplinks are level (); `lanes[]` is the level of all lanes of all uplinks, one row a lane.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from gateway.decode.records import Objects
from gateway.profiles.paths import Step, Take

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.decode.records import Records
    from gateway.decode.shape import Opening
    from gateway.model import Int64

Level = tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one level, in the order of the payloads.

    `records` has one entry a row; `uplink` int64[m] is each row's place among the uplinks, `parent`
    int64[m] its row in the level above; `keys` holds the keys where the level is a bound object.
    """

    records: Records
    uplink: Int64
    parent: Int64
    keys: list[str]


class Levels:
    """The levels of some parsed uplinks, each flattened once, when first asked for."""

    def __init__(self, records: Records, openings: Mapping[Level, Opening]) -> None:
        every = np.arange(len(records), dtype=np.int64)
        self._openings = openings
        self._rows: dict[Level, Rows] = {(): Rows(records, every, every, [])}

    def rows(self, level: Level) -> Rows:
        """Return a level's rows."""
        if level not in self._rows:
            self._rows[level] = self._opened(self._openings[level])
        return self._rows[level]

    def ancestors(self, level: Level, above: Level) -> Int64 | None:
        """Return for each row of `level` its row in the level `above`; None where they are the same."""
        if level == above:
            return None
        rows = self.rows(level)
        if not above:
            return rows.uplink
        higher = self.ancestors(self._openings[level].parent, above)
        return rows.parent if higher is None else higher[rows.parent]

    def _opened(self, opening: Opening) -> Rows:
        parents = self.rows(opening.parent)
        assert isinstance(parents.records, Objects), "payloads with levels are parsed into objects"
        found = opening.containers(parents.records.objects)
        containers: Sequence[Any] = [container or () for container in found]
        counts = np.fromiter(map(len, containers), dtype=np.int64, count=len(containers))
        parent = np.repeat(np.arange(len(containers), dtype=np.int64), counts)
        keys: list[str] = []
        if opening.take is Take.BIND:
            keys = list(chain.from_iterable(containers))
            containers = [container.values() if container else () for container in containers]
        objects = list(chain.from_iterable(containers))
        if opening.empty is not None:
            objects = [inner or opening.empty for inner in objects]
        return Rows(Objects(objects), parents.uplink[parent], parent, keys)
