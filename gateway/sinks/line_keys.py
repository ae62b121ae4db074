"""Which points a body of lines holds, and how it is without some: `outbox_model.Bodies`. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gateway.sinks import line_protocol
from gateway.sinks.outbox_newer import point_key

if TYPE_CHECKING:
    from collections.abc import Collection

_SERIES = re.compile(rb"(?:[^ \\]|\\.)*+", re.DOTALL)
"""Measurement and tags: a line up to its first bare space."""


def keys(body: bytes, times: Collection[int] | None = None) -> list[tuple[int, bytes]]:
    """Return (place, key) of the points, or of those at these times alone. Each line must have a time."""
    found = []
    for place, line in enumerate(line_protocol.split(body)):
        at = int(line[line.rindex(b" ") + 1 :])
        if times is None or at in times:
            series = _SERIES.match(line)
            found.append((place, point_key(series[0] if series else b"", at)))
    return found


def without(body: bytes, places: Collection[int]) -> bytes:
    """Return the body without the lines at these places."""
    lines = line_protocol.split(body)
    return b"\n".join(line for place, line in enumerate(lines) if place not in places)
