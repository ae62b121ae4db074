"""What a flood does to the other devices, and to memory, quarantine and series.

    python -m tests.benchmarks.flood            # about four minutes

1,000 bins send 2,000 messages/s through a real Mosquitto and Écluse to a real InfluxDB; beside them nothing,
one known device with 50,000 messages/s (or as many as the broker takes), the same with a limit a device, or
100,000 ids that no registry knows. The flood is not held back by anything but the broker: where it brings
more than the gateway takes, the broker queues, and everyone waits in that queue.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import psutil

from firmware_sim.clock import Scale
from gateway.health.histogram import Histogram
from gateway.ingest.packets import batch_of
from gateway.journal.journal import Journal
from gateway.model import Frames
from tests.benchmarks import generator, latency, sinks, systems
from tests.benchmarks.counters import Counters
from tests.benchmarks.generator import Connection
from tests.benchmarks.headline import (
    EVENT_ORIGIN_NS,
    GRACE_S,
    SITE,
    ZONE,
    Workload,
    id_width,
    write_devices,
    write_profile,
)
from tests.benchmarks.load import load
from tests.benchmarks.measure import peak_mb
from tests.benchmarks.messages import payload, topic, values
from tests.brokers import mosquitto
from tests.integration.gateway_process import PROJECT, gateway
from tests.processes import stop, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from tests.integration.gateway_process import GatewayProcess

OTHERS: Final = Workload(devices=1_000, rate=2_000, sink="influxdb")
RATE: Final = 50_000
STRANGERS: Final = 100_000
LIMIT: Final = "60/min"
"""Of event time, as the gateway's clock is scaled: 360 messages/s of the machine's time."""
CASES: Final = {"alone": "", "one device": "one", "one device, limited": "one", "unknown ids": "strangers"}
WARM_S: Final = 3.0
SPAN_S: Final = 10.0
_BLOCK: Final = 500
_WINDOW: Final = 4_000
_TS: Final = re.compile(rb'"ts":(\d+)')


def case(folder: Path, name: str, *, span_s: float = SPAN_S) -> dict[str, Any]:
    """Run one of `CASES` in a new folder; return its figures."""
    folder.mkdir(parents=True, exist_ok=True)
    scale = Scale.starting_now(OTHERS.factor(OTHERS.rate), event_origin_ns=EVENT_ORIGIN_NS)
    scale.write(folder / "clock.json")
    # The device that floods is known, and one more than those that are watched.
    write_devices(folder / "devices.csv", OTHERS.devices + 1)
    more: dict[str, Any] = {
        "sites": {SITE: {"zone": ZONE}},
        "windows": {"grace": f"{round(GRACE_S * scale.factor)}s"},
        "broker": {"silence": "10min"},
        "devices": {"max_rate": LIMIT if name.endswith("limited") else "off"},
    }
    profiles = write_profile(PROJECT / "device_profiles", folder, scale.factor)
    with (
        mosquitto(folder) as broker,
        sinks.sink(folder, OTHERS.sink) as sink,
        gateway(folder, broker, sink.settings, scale=scale, profiles=profiles, more=more) as running,
    ):
        found = _flooded(folder, (broker.port, sink.url), running, CASES[name], span_s)
        assert running.stop() == 0, running.log[-2000:]
    late = asyncio.run(_to_receipt(folder / "state" / "journal", scale, found.pop("since_ns")))
    received = latency.quantiles(late)
    return found | {
        "publish → receipt": received,
        "publish → durable, p99 at most": received["p99_s"] + found["receipt → durable, p99 at most"],
    }


def _flooded(
    folder: Path, at: tuple[int, str], running: GatewayProcess, kind: str, span_s: float
) -> dict[str, Any]:
    """Let everything flow, the flood beside it; return what was seen once all has been dealt with."""
    port, url = at
    scale, process = Scale.read(folder / "clock.json"), running.process
    assert process is not None
    with load(folder, port, OTHERS) as sending, _flood(folder, port, kind) as flooding:
        sent = Counters(folder / "sent.bin")
        wait_until(lambda: sent[generator.SENT] > 0, within_s=30, what="the load")
        time.sleep(WARM_S)
        since_ns, cpu = scale.event_ns(time.time_ns()), _cpu_s(process.pid)
        before = flooding[generator.SENT] if flooding else 0
        visible = latency.visible(url, scale, seconds=span_s, devices=OTHERS.devices)
        cpu, now = _cpu_s(process.pid) - cpu, running.status() or {}
        flooded = flooding[generator.SENT] - before if flooding else 0
        for counters in (sent, flooding):
            if counters is not None:
                counters[generator.STOP] = 1
        said, _ = sending.communicate(timeout=systems.DRAIN_S)
    ended, total = time.monotonic(), int(json.loads(said)["messages"])
    total += flooding[generator.SENT] if flooding else 0
    status = running.drained(uplinks=total, within_s=systems.DRAIN_S)
    uplinks = status["uplinks"]
    return {
        "since_ns": since_ns,
        "flood messages/s": flooded / span_s,
        "gateway cores": cpu / span_s,
        "publish → visible": latency.quantiles(visible),
        "receipt → durable, p99 at most": Histogram(**status["durable"]).quantile(0.99),
        "drained after s": time.monotonic() - ended,
        "peak MB": peak_mb(psutil.Process(process.pid)),
        "behind at the end of the span": total - int(now["uplinks"]["journalled"]) if now else None,
        "series": status["series"],
        "quarantine rows": status["queues"]["quarantine"]["items"],
        "quarantine evicted": status["quarantine_evicted"],
        "uplinks": uplinks,
        "problems": _problems(status, total),
    }


def _problems(status: dict[str, Any], sent: int) -> list[str]:
    """Return what does not add up, or is beyond its setting."""
    limits = {
        "the books balance": status["balanced"],
        f"all {sent} are journalled": status["uplinks"]["journalled"] == sent,
        "quarantine.total": status["queues"]["quarantine"]["items"] <= 100_000,
        "series: one a known device": status["series"] <= OTHERS.devices + 1,
    }
    return [what for what, holds in limits.items() if not holds]


@contextlib.contextmanager
def _flood(folder: Path, port: int, kind: str) -> Iterator[Counters | None]:
    """Run the flood in a process of its own, until the block ends."""
    if not kind:
        yield None
        return
    command = [sys.executable, "-m", "tests.benchmarks.flood", "--send", kind, "--port", str(port)]
    command += ["--folder", str(folder)]
    with (folder / "flood.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        counters = Counters(folder / "flood.bin")
        yield counters
        counters[generator.STOP] = 1
        assert process.wait(timeout=systems.DRAIN_S) == 0, (folder / "flood.log").read_text()[-2000:]
    finally:
        stop(process)


def send(folder: Path, port: int, kind: str) -> None:
    """Send a flood at QoS 1 until told to stop: 50,000 messages/s, or as fast as the broker takes them."""
    scale, counters = Scale.read(folder / "clock.json"), Counters(folder / "flood.bin")
    width = id_width(OTHERS.devices + 1)
    flooder = f"bin-{OTHERS.devices:0{width}d}"
    names = [flooder] * _BLOCK if kind == "one" else [f"x{n:06d}" for n in range(STRANGERS)]
    rows, at_ts, at_id = _matrix(names)
    link, began, first = Connection.open(port, "ecluse-flood"), time.perf_counter(), 0
    step_ms = max(1, round(scale.factor * 1_000 / RATE))
    while not counters[generator.STOP]:
        due = began + link.sent / RATE - time.perf_counter()
        if due > 0:
            time.sleep(due)
        link.answers()
        if link.sent + _BLOCK - link.answered > _WINDOW:
            time.sleep(0.001)
            continue
        block = rows[first : first + _BLOCK]
        now_ms = scale.event_ns(time.time_ns()) // 1_000_000
        block[:, at_ts : at_ts + 13] = _digits(now_ms - step_ms * np.arange(_BLOCK)[::-1])
        ids = (link.sent + np.arange(_BLOCK)) % 65_535 + 1
        block[:, at_id : at_id + 2] = ids.astype(">u2").view(np.uint8).reshape(-1, 2)
        link.send(block.data.cast("B"), _BLOCK)
        counters[generator.SENT] = link.sent
        first = (first + _BLOCK) % len(rows)
    while link.answered < link.sent:
        time.sleep(0.001)
        link.answers()


def _matrix(names: Sequence[str]) -> tuple[NDArray[np.uint8], int, int]:
    """Return packets of equal length as rows, and where the time and the packet identifier stand in them."""
    said = values(np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64))
    packets = []
    for name in names:
        where = topic(name).encode()
        body = len(where).to_bytes(2, "big") + where + b"\0\1" + payload(name, 10_000, 10**12, said, 0)
        packets.append(bytes((0x32, len(body) & 0x7F | 0x80, len(body) >> 7)) + body)
    assert len({len(packet) for packet in packets}) == 1
    rows = np.frombuffer(b"".join(packets), dtype=np.uint8).reshape(len(names), -1).copy()
    return rows, packets[0].index(b'"ts":') + 5, packets[0].index(b"/up") + 3


def _digits(numbers: NDArray[np.int64]) -> NDArray[np.uint8]:
    return (numbers[:, None] // 10 ** np.arange(12, -1, -1) % 10 + ord("0")).astype(np.uint8)


async def _to_receipt(folder: Path, scale: Scale, since_ns: int) -> list[float]:
    """Return publish → receipt of what the others sent after an event time, s."""
    watched = {topic(f"bin-{n:0{id_width(OTHERS.devices)}d}").encode() for n in range(OTHERS.devices)}
    journal = await Journal.open(folder, retention_ns=0, retention_bytes=1 << 62, floor=0)
    late: list[float] = []
    try:
        async for position, record in journal.read(0):
            if not isinstance(record, Frames):
                continue
            batch = batch_of(record, position)
            for name, body in zip(batch.topics, batch.payloads, strict=True):
                if name in watched and (found := _TS.search(body)):
                    at_ns = int(found[1]) * 1_000_000
                    if at_ns >= since_ns:
                        late.append((record.received_ns - at_ns) / scale.factor / 1e9)
    finally:
        await journal.close()
    return late


def _cpu_s(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def measure(folder: Path, *, span_s: float = SPAN_S) -> dict[str, Any]:
    """Run every case, each with fresh servers."""
    cases = {name: case(folder / f"flood-{number}", name, span_s=span_s) for number, name in enumerate(CASES)}
    return {"others": OTHERS.named(), "flood": f"{RATE:,}/s", "limit": LIMIT, "cases": cases}


def main() -> None:
    """Measure and print; or be the flood."""
    parser = argparse.ArgumentParser(description="Flood a gateway, and watch the other devices.")
    parser.add_argument("--send", choices=sorted(set(CASES.values()) - {""}), help="be the flood")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--folder", type=Path)
    asked = parser.parse_args()
    if asked.send:
        send(asked.folder, asked.port, asked.send)
        return
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(Path(folder)), indent=2, ensure_ascii=False))  # noqa: T201 - its answer


if __name__ == "__main__":
    main()
