"""Series codes for the rows of one group, bounded in number."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gateway.decode.growing import GrowingColumn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.model import Int32, SeriesTable

_REMEMBERED = 1_000_000


class SeriesCodes:
    """Gives (site, device, *dimensions) their codes in one table, in order of first sight.

    Remembers them by route code, so that a row costs one array look-up where there are no
    dimensions, and one dict look-up where there are.
    """

    def __init__(self, table: SeriesTable, max_series: int) -> None:
        self.table = table
        self.max_series = max_series
        self._plain = GrowingColumn(-1, np.int32)
        self._split: dict[tuple[int | str, ...], int] = {}

    def admit(self, code: int, key: tuple[str, str]) -> None:
        """Make room for a route's code."""
        self._plain.set(code, self.table.codes.get(key, -1))

    def forget(self) -> None:
        """Forget the route codes, since they are about to be given anew; the table stays."""
        self._plain.clear()
        self._split.clear()

    def codes(
        self, routes: Int32, labels: Sequence[Sequence[str]], devices: Sequence[tuple[str, str]]
    ) -> Int32:
        """Return a series code for each row, int32[n]; -1 where the table is full.

        `routes` int32[n] are route codes, `labels` one sequence[n] a dimension, `devices` the
        (site, device) of each route code.
        """
        return self._by_labels(routes, labels, devices) if labels else self._by_device(routes, devices)

    def _by_device(self, routes: Int32, devices: Sequence[tuple[str, str]]) -> Int32:
        series: Int32 = self._plain.take(routes)
        if (series < 0).any():
            for row in np.flatnonzero(series < 0).tolist():
                route = int(routes[row])
                series[row] = code = self._code(devices[route])
                self._plain.set(route, code)
        return series

    def _by_labels(
        self, routes: Int32, labels: Sequence[Sequence[str]], devices: Sequence[tuple[str, str]]
    ) -> Int32:
        keys: list[tuple[int | str, ...]] = list(zip(routes.tolist(), *labels, strict=True))
        found = list(map(self._split.get, keys))
        if None in found:
            if len(self._split) > _REMEMBERED:
                self._split.clear()
            for row, (route, *split) in enumerate(keys):
                if found[row] is None:
                    code = self._code((*devices[int(route)], *map(str, split)))
                    found[row] = code
                    if code >= 0:
                        self._split[keys[row]] = code
        return np.array(found, dtype=np.int32)

    def _code(self, key: tuple[str, ...]) -> int:
        code = self.table.codes.get(key)
        if code is not None:
            return code
        return self.table.code(key) if len(self.table) < self.max_series else -1
