"""Which devices gave readings since somebody last asked: a mark a route, no Python object a reading."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.model import Bool, Int32


class Heard:
    """Marks by route code. Codes are given anew now and then: `keep` before."""

    def __init__(self) -> None:
        self._marks: Bool = np.zeros(0, dtype=np.bool_)
        self._kept: dict[tuple[str, str], None] = {}

    def note(self, codes: Int32, routes: int) -> None:
        """Note the routes of uplinks that gave readings; all codes are below `routes`."""
        if routes > len(self._marks):
            grown = np.zeros(max(routes, 2 * len(self._marks)), dtype=np.bool_)
            grown[: len(self._marks)] = self._marks
            self._marks = grown
        self._marks[codes] = True

    def keep(self, devices: Sequence[tuple[str, str]]) -> None:
        """Remember by name; `devices` is the (site, device) of each code."""
        codes = np.flatnonzero(self._marks)
        self._marks[codes] = False
        self._kept.update(dict.fromkeys([devices[code] for code in codes.tolist()]))

    def take(self, devices: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """Return the devices that were heard since the last call, each once."""
        self.keep(devices)
        heard = list(self._kept)
        self._kept = {}
        return heard
