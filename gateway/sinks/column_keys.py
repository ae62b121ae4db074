"""Which points a body of columns holds, and how it is without some: `outbox_model.Bodies`. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gateway.sinks import columns
from gateway.sinks.outbox_newer import point_key

if TYPE_CHECKING:
    from collections.abc import Collection


def keys(body: bytes, times: Collection[int] | None = None) -> list[tuple[int, bytes]]:
    """Return (place, key) of the points, or of those at these times alone."""
    content = columns.read(body)
    at = dict(columns.roles(content, columns.OWN))["time"].to_numpy()
    chosen = (
        np.arange(len(at)) if times is None else np.flatnonzero(np.isin(at, np.array([*times], np.int64)))
    )
    measurement = columns.measurement(content)
    tags = [
        [(key, value) for value in values.take(chosen).to_pylist()]
        for key, values in columns.roles(content, columns.TAG)
    ]
    found = []
    for number, place in enumerate(chosen.tolist()):
        series = measurement, [one[number] for one in tags if one[number][1] is not None]
        found.append((place, point_key(repr(series).encode(), int(at[place]))))
    return found


def without(body: bytes, places: Collection[int]) -> bytes:
    """Return the body without the rows at these places; nothing where none is left."""
    content = columns.read(body)
    kept = np.ones(len(content), np.bool_)
    kept[[*places]] = False
    return columns.write(content.filter(kept)) if kept.any() else b""
