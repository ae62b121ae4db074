"""The broker's limit: Écluse's own packet core that receives, acknowledges, and does nothing else.

    python -m tests.benchmarks.null_subscriber --port 1883 --counters received.bin

The same CONNECT, the same gathering, the same acknowledgements as the gateway; no journal, no decoding.
What it reaches is what a broker can deliver to one subscriber on this machine. Ends at SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from dataclasses import replace
from pathlib import Path

from gateway import config
from gateway.clock import SystemClock
from gateway.ingest.mqtt import MqttSource
from gateway.ingest.settings import SessionState, SessionStatus
from gateway.upstream import mqtt_settings
from tests.benchmarks.counters import Counters

FILTER = "city/+/bin/+/up"
RECEIVED, READY = range(2)
"""Slots of its counters."""


async def receive(port: int, counters: Counters, protocol: str) -> None:
    """Receive until told to stop."""
    broker = config.Broker.model_validate(
        {"url": f"mqtt://127.0.0.1:{port}", "client_id": "ecluse-null", "protocol": protocol}
    )
    settings = replace(mqtt_settings(broker), filters=[(FILTER, 1)])

    def note(status: SessionStatus) -> None:
        counters[READY] = status.state is SessionState.CONNECTED

    source = MqttSource(settings=settings, clock=SystemClock(), on_change=note)
    stopping = asyncio.create_task(_told_to_stop(source))
    async for batch in source.batches():
        await source.acknowledge(batch)
        counters[RECEIVED] += len(batch)
    await stopping
    await source.close()


async def _told_to_stop(source: MqttSource) -> None:
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    await told.wait()
    await source.stop_reading()


def main() -> None:
    """Receive on the port that the command line names."""
    parser = argparse.ArgumentParser(description="Receive and acknowledge, and nothing else.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--counters", type=Path, required=True)
    parser.add_argument("--protocol", default="auto")
    arguments = parser.parse_args()
    asyncio.run(receive(arguments.port, Counters(arguments.counters), arguments.protocol))


if __name__ == "__main__":
    main()
