"""The usual Python gateway, frozen: aiomqtt, json, pydantic, influxdb-client's Points.

    python -m tests.benchmarks.reference --port 1883 --url http://127.0.0.1:8086 --counters reference.bin

Written as tutorials write it, with care for its speed where they would take it: one subscription at QoS 1,
one pydantic model, points written 5,000 at a time or each second by the asynchronous client. Never tuned
further, and never changed: it is what the ratio is a ratio to. `LACKS` says what it does not do; the list is
printed beside every ratio. Ends at SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import time
from pathlib import Path
from typing import Final

import aiomqtt
from influxdb_client import Point, WritePrecision
from influxdb_client.client.influxdb_client_async import InfluxDBClientAsync
from pydantic import BaseModel, Field, ValidationError

from tests.benchmarks.counters import Counters

LACKS: Final = (
    "no journal: what it acknowledged and had not written is lost in a crash",
    "no windows: raw readings only, no statistics, no corrections of late readings",
    "no duplicate is noticed, no conflict",
    "no quality tests but pydantic's bounds; no filling level",
    "no quarantine: a bad message is dropped",
    "no outbox: a database that is away stops it, and the queue grows in memory",
    "no books, no metrics, no status",
    "one profile, in code",
)
WRITTEN, READY, REFUSED, DEALT = range(4)
"""Slots of its counters; DEALT: messages that became a point, to the last fifty."""
BATCH: Final = 5_000
FLUSH_S: Final = 1.0


class BinLevel(BaseModel):
    """One message of a bin sensor."""

    id: str
    seq: int
    ts: int = Field(gt=0)
    dist_mm: float = Field(ge=20, le=4500)
    temp_c: float = Field(ge=-40, le=120)
    battery_v: float = Field(ge=2.0, le=4.2)
    tilt: int = Field(ge=0, le=1)
    rssi: float = Field(ge=-150, le=0)


def point_of(topic: str, payload: bytes) -> Point:
    """Validate one message; return its point. Raises ValueError, ValidationError."""
    _city, site, _bin, device, _up = topic.split("/")
    level = BinLevel(**json.loads(payload))
    return (
        Point("waste")
        .tag("site", site)
        .tag("device", device)
        .field("distance", level.dist_mm)
        .field("temperature", level.temp_c)
        .field("battery", level.battery_v)
        .field("tilt", "tilted" if level.tilt else "upright")
        .field("rssi", level.rssi)
        .time(level.ts, WritePrecision.MS)
    )


async def run(port: int, url: str, counters: Counters) -> None:
    """Receive and write until cancelled."""
    async with (
        InfluxDBClientAsync(url=url, token="a-token", org="city") as database,  # noqa: S106 - a made-up one
        aiomqtt.Client("127.0.0.1", port, identifier="usual-gateway") as client,
    ):
        await client.subscribe("city/+/bin/+/up", qos=1)
        counters[READY] = 1
        points: list[Point] = []
        flushed = time.monotonic()

        async def flush() -> None:
            nonlocal points, flushed
            full, points, flushed = points, [], time.monotonic()
            await writing.write(bucket="ecluse", record=full, write_precision=WritePrecision.MS)
            counters[WRITTEN] += len(full)

        writing = database.write_api()
        try:
            async for message in client.messages:
                try:
                    points.append(point_of(str(message.topic), message.payload))
                except (ValueError, ValidationError):
                    counters[REFUSED] += 1
                if not len(points) % 50:
                    counters[DEALT] = counters[WRITTEN] + len(points)
                if len(points) >= BATCH or time.monotonic() - flushed > FLUSH_S:
                    await flush()
        finally:
            if points:
                await flush()


async def until_told(port: int, url: str, counters: Counters) -> None:
    """Run until SIGTERM."""
    task = asyncio.create_task(run(port, url, counters))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await asyncio.wait({task})
    if not task.cancelled():
        task.result()


def main() -> None:
    """Receive on the port and write to the address that the command line names."""
    parser = argparse.ArgumentParser(description="The usual Python gateway.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--counters", type=Path, required=True)
    asked = parser.parse_args()
    asyncio.run(until_told(asked.port, asked.url, Counters(asked.counters)))


if __name__ == "__main__":
    main()
