"""How long a message is on its way: publish → receipt → durable, and publish → visible in the database.

Device times are those of the shared clock, so each message carries the moment at which it was published, to
well under a millisecond of the machine's time. Publish → durable is not seen from outside in one piece: the
journal has each message's receipt, the gateway's own histogram the time from receipt to durable; the sum of
both p99 is given, which is not less than the p99 of the sum but for rounding.
"""

from __future__ import annotations

import asyncio
import re
import time
import urllib.parse
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import orjson

from gateway.ingest.packets import batch_of
from gateway.journal.journal import Journal
from gateway.model import Frames
from tests.benchmarks.headline import id_width
from tests.databases import fetch

if TYPE_CHECKING:
    from pathlib import Path

    from firmware_sim.clock import Scale

_POLL_S: Final = 0.02
_TS: Final = re.compile(rb'"ts":(\d+)')


def visible(url: str, scale: Scale, *, seconds: float, devices: int) -> list[float]:
    """Poll InfluxDB for the newest readings of ten devices; return how old each was when first seen, s.

    A poll every 20 ms: that much is in the figures.
    """
    ten = f"/^bin-{'0' * (id_width(devices) - 1)}[0-9]$/"
    query = f"SELECT rssi FROM waste WHERE device =~ {ten} GROUP BY device ORDER BY time DESC LIMIT 1"  # noqa: S608
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


def to_receipt(journal: Path, scale: Scale, *, since_ns: int) -> list[float]:
    """Return publish → receipt of every message in the journal sent after an event time, s."""
    return asyncio.run(_to_receipt(journal, scale, since_ns))


async def _to_receipt(folder: Path, scale: Scale, since_ns: int) -> list[float]:
    journal = await Journal.open(folder, retention_ns=0, retention_bytes=1 << 62, floor=0)
    late: list[float] = []
    try:
        async for position, record in journal.read(0):
            if not isinstance(record, Frames):
                continue
            for payload in batch_of(record, position).payloads:
                found = _TS.search(payload)
                assert found is not None
                at_ns = int(found[1]) * 1_000_000
                if at_ns >= since_ns:
                    late.append((record.received_ns - at_ns) / scale.factor / 1e9)
    finally:
        await journal.close()
    return late


def histogram_quantile(histogram: dict[str, Any], share: float) -> float:
    """Return the upper bound of the bucket that holds that share, as /api/status gives a histogram."""
    counts, bounds = np.cumsum(histogram["counts"]), [*histogram["bounds"], float("inf")]
    return float(bounds[int(np.searchsorted(counts, share * counts[-1]))]) if counts[-1] else float("nan")


def quantiles(late: list[float]) -> dict[str, float]:
    """Return median, p99 and greatest in seconds."""
    if not late:
        return {}
    median, high = np.quantile(late, [0.5, 0.99])
    return {"samples": len(late), "p50_s": float(median), "p99_s": float(high), "max_s": max(late)}
