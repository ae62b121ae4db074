"""How long a message is on its way: publish → durable, and publish → visible in the database.

Device times are those of the shared clock, so each message carries the moment at which it was published, to
well under a millisecond of the machine's time.
"""

from __future__ import annotations

import time
import urllib.parse
from typing import TYPE_CHECKING, Final

import numpy as np
import orjson

from tests.benchmarks.headline import id_width
from tests.databases import fetch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from firmware_sim.clock import Scale

_POLL_S: Final = 0.02
_WATCHED: Final = 20


def visible(url: str, scale: Scale, *, seconds: float, devices: int) -> list[float]:
    """Poll InfluxDB for the newest readings of some devices; return how old each was when first seen, s.

    A poll every 20 ms: that much is in the figures. The devices are spread over the fleet, which publishes
    one after the other: else all would stand at the same place of the gateway's flush interval.
    """
    width = id_width(devices)
    named = [f"bin-{number:0{width}d}" for number in range(0, devices, max(1, devices // _WATCHED))]
    either = " OR ".join(f"device = '{name}'" for name in named)
    query = f"SELECT rssi FROM waste WHERE {either} GROUP BY device ORDER BY time DESC LIMIT 1"  # noqa: S608
    form = urllib.parse.urlencode({"db": "ecluse", "epoch": "ns", "q": query}).encode()
    newest: dict[str, int] = {}
    late: list[float] = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = orjson.loads(fetch(f"{url}/query", data=form))
        now = scale.event_ns(time.time_ns())
        for series in answer["results"][0].get("series", ()):
            device, at_ns = series["tags"]["device"], int(series["values"][0][0])
            if newest.get(device, at_ns) != at_ns:
                late.append((now - at_ns) / scale.factor / 1e9)
            newest[device] = at_ns
        time.sleep(_POLL_S)
    return late


def quantiles(late: Sequence[float]) -> dict[str, float]:
    """Return median, p99 and greatest in seconds; nothing of nothing."""
    if not len(late):
        return {}
    median, high = np.quantile(late, [0.5, 0.99])
    return {"samples": len(late), "p50_s": float(median), "p99_s": float(high), "max_s": max(late)}
