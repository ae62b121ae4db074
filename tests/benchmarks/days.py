"""Growth: a fleet that reports for days, and a registry of a million devices; memory, disk, checkpoints.

    python -m tests.benchmarks.days [--devices 100000] [--days 3]
    python -m tests.benchmarks.days --start-up [--devices 1000000]

The real river over real files, without a broker: every bin reports every 15 minutes of a clock that goes with
the messages, so that days pass in minutes. The river has a process of its own, whose memory is told, and
reads what another one generates. What is written is read from the outbox and thrown away, as by the fastest
of databases. The journal keeps everything (150 bytes a message), since no copy of the state is made.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from struct import Struct
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import psutil

from gateway import config, memory
from gateway.ports import ClockFace
from tests.benchmarks.headline import EVENT_ORIGIN_NS, SITE, WINDOW_S, ZONE, write_devices, write_profile
from tests.benchmarks.measure import own_peak_mb
from tests.benchmarks.messages import Packets
from tests.benchmarks.stages import Reads, Stopwatch, _flowing, _want
from tests.brokers import mosquitto
from tests.integration.gateway_process import PROJECT, gateway

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.journal.checkpoint import Checkpoint
    from gateway.model import Changes
    from tests.integration.gateway_process import GatewayProcess

DAY_S: Final = 86_400
PACE: Final = 30
MB: Final = 1e6
_QUEUED: Final = 10_000
_READ: Final = 2_000
_HEAD: Final = Struct("<II")
_FLUSH_S: Final = 1.3
_SAMPLE_S: Final = 0.5
_SETTLES_S: Final = 8.0
"""A changed row is compared and checkpointed within this."""
_WINDOW_STAGES: Final = ("windows", "points, windows", "encode, windows")


class DaysClock:
    """All time goes on with the messages: one a device and window.

    Monotonic time, by which the river closes windows (1 s) and makes checkpoints (5 s), is a share of it: a
    checkpoint comes every 150 s of event time, six a window, and has thirty times as much as in a city.
    """

    factor = 1.0
    era = 0
    suspect = False

    def __init__(self, devices: int) -> None:
        self._devices = devices
        self.messages = 0

    def at_ns(self, message: int) -> int:
        """Return the event time of a message."""
        return EVENT_ORIGIN_NS + message * WINDOW_S * 10**9 // self._devices

    def now_ns(self) -> int:
        """Return the event time of the last message that was read."""
        return self.at_ns(self.messages)

    def monotonic_ns(self) -> int:
        """Return a share of event time."""
        return (self.now_ns() - EVENT_ORIGIN_NS) // PACE

    def since_s(self, event_ns: int) -> float:
        """Return seconds of event time."""
        return (self.now_ns() - event_ns) / 1e9

    def face(self) -> ClockFace:
        """Return what never steps."""
        now_ns = self.now_ns()
        return ClockFace(now_ns, now_ns, self.monotonic_ns(), "", self.factor, 0.0)

    def hold(self) -> None:
        """Nothing is suspect here, though every run begins at the same time."""


def generate(devices: int, messages: int, out: BinaryIO) -> None:
    """Write all devices' packets in turn, a read at a time: how many, how many bytes, the bytes."""
    made, clock, sent = Packets(devices, qos=1, level=5), DaysClock(devices), 0
    while sent < messages:
        turn, first = divmod(sent, devices)
        end = min(first + _READ, devices, first + messages - sent)
        data = made.block(turn, first, end, ts_ms=clock.at_ns(sent) // 1_000_000, sent=sent)
        out.write(_HEAD.pack(end - first, len(data)))
        out.write(data)
        sent += end - first


def generated(devices: int, messages: int) -> Iterator[tuple[bytes, int]]:
    """Yield what another process generates, a read at a time, as from a broker's socket."""
    module, count = "tests.benchmarks.days", ("--generate", str(messages), "--devices", str(devices))
    with subprocess.Popen(
        [sys.executable, "-m", module, *count], cwd=PROJECT, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        while head := process.stdout.read(_HEAD.size):
            number, size = _HEAD.unpack(head)
            yield process.stdout.read(size), number


@dataclass(slots=True)
class Commits:
    """What checkpoints wrote: (bytes, seconds, simulated hours) each."""

    found: list[tuple[int, float, float]] = field(default_factory=list)

    def watch(self, state: Checkpoint, clock: DaysClock) -> None:
        """Note each commit from now on."""
        commit = state.commit

        def noted(changes: Changes, meta: dict[str, bytes]) -> None:
            size = sum(len(body) for body in changes.cells.values() if body) + sum(map(len, meta.values()))
            began = time.perf_counter()
            commit(changes, meta)
            hours = (clock.now_ns() - EVENT_ORIGIN_NS) / 3.6e12
            self.found.append((size, time.perf_counter() - began, hours))

        state.commit = noted  # the same, and noted

    def mean(self, first: float, last: float, *, messages: int) -> dict[str, float]:
        """Return what a commit wrote on the average in a share of the run, and bytes a message."""
        chosen = self.found[int(first * len(self.found)) : max(1, int(last * len(self.found)))]
        size, seconds = sum(c[0] for c in chosen), sum(c[1] for c in chosen)
        hours = chosen[-1][2] - (self.found[int(first * len(self.found)) - 1][2] if first else 0.0)
        return {
            "commits": len(chosen),
            "mb_a_commit": round(size / len(chosen) / MB, 3),
            "seconds_a_commit": round(seconds / len(chosen), 4),
            "bytes_a_message": round(size / max(1.0, hours * 3600 / WINDOW_S * messages), 1),
        }


async def simulate(folder: Path, *, devices: int, days: float, hot: str = "64MB") -> dict[str, Any]:
    """Let a fleet report for some days, in this process; return what it took."""
    settings, clock, watch = _settings(folder, devices, hot), DaysClock(devices), Stopwatch()
    base_mb = _rss_mb()
    async with _flowing(settings, clock) as parts:  # a clock, and not the machine's
        await _want(parts, settings)
    commits, curve = Commits(), list[tuple[float, float]]()
    messages = int(days * DAY_S / WINDOW_S) * devices
    with watch.watching():
        async with _flowing(settings, clock) as parts:  # the same
            commits.watch(parts.state, clock)
            sampling = asyncio.create_task(_sample(clock, curve))
            cpu, began = time.process_time(), time.perf_counter()
            await parts.river.receive(Reads(parts.river, clock, generated(devices, messages), queued=_QUEUED))
            await asyncio.sleep(_FLUSH_S)
            cpu, seconds = time.process_time() - cpu, time.perf_counter() - began
            books, figures = parts.treatment.books, parts.treatment.aggregator.figures()
            sampling.cancel()
            await asyncio.gather(sampling, return_exceptions=True)
    us = {name: spent / messages * 1e6 for name, spent in watch.seconds.items()}
    windows_us = sum(us.get(name, 0.0) for name in _WINDOW_STAGES)
    peak_mb = own_peak_mb(os.getpid())
    state = settings.state_dir
    blocks = max(1, figures.blocks)
    return {
        "devices": devices,
        "days": days,
        "messages": messages,
        "decoded": books.uplinks.decoded,
        "aggregated": books.readings.aggregated,
        "windows": books.windows,
        "seconds": round(seconds, 1),
        "cpu_us_per_msg": round(cpu / messages * 1e6, 3),
        "windows_us_per_msg": round(windows_us, 3),
        "us_without_windows": round(cpu / messages * 1e6 - windows_us, 3),
        "stages_us": {name: round(each, 3) for name, each in sorted(us.items(), key=lambda item: -item[1])},
        "peak_mb": round(peak_mb, 1),
        "before_mb": round(base_mb, 1),
        "memory_mb": curve[:: max(1, len(curve) // 24)],
        "state_mb": round(_size(state, "state*") / MB, 1),
        "journal_mb": round(_size(state, "journal/*") / MB, 1),
        "blocks": figures.blocks,
        "hot_blocks": figures.hot_blocks,
        "hot_mb": round(figures.hot_bytes / MB, 1),
        "bytes_a_device_and_hot_window": round(figures.hot_bytes / max(1, figures.hot_blocks) / devices, 1),
        "bytes_a_device_and_cold_window": round(_size(state, "state*") / blocks / devices, 1),
        "checkpoints_at_the_start": commits.mean(0.0, 0.1, messages=devices),
        "checkpoints_at_the_end": commits.mean(0.9, 1.0, messages=devices),
    }


async def _sample(clock: DaysClock, curve: list[tuple[float, float]]) -> None:
    """Note simulated hours and the memory in use."""
    while True:
        await asyncio.sleep(_SAMPLE_S)
        curve.append((round((clock.now_ns() - EVENT_ORIGIN_NS) / 3.6e12, 1), round(_rss_mb(), 1)))


def _settings(folder: Path, devices: int, hot: str) -> config.Settings:
    """Write and read the settings: the shipped ones, and a sink."""
    write_devices(folder / "devices.csv", devices)
    profiles = write_profile(PROJECT / "device_profiles", folder, 1.0)
    path = folder / "ecluse.toml"
    path.write_text(
        f'state_dir = "state"\nprofiles_dir = "{profiles}"\ndefault_zone = "{ZONE}"\n'
        f'[sites.{SITE}]\nzone = "{ZONE}"\n[devices]\nfile = "devices.csv"\n'
        f'[windows]\nmemory = "{hot}"\n'
        '[[sinks]]\nname = "null"\nkind = "influxdb1"\nurl = "http://127.0.0.1:9"\n',
        encoding="utf-8",
    )
    (folder / "state").mkdir(exist_ok=True)
    return config.load(path)


def _rss_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / MB


def _size(folder: Path, pattern: str) -> int:
    return sum(path.stat().st_size for path in folder.glob(pattern) if path.is_file())


def start_up(folder: Path, *, devices: int = 1_000_000) -> dict[str, Any]:
    """Start the gateway with so many known devices: for the first time, again, and again with one changed.

    Then change another row while it runs. Each time until it is connected to its broker, or says that the
    row is in force; CPU is user + system of the process until then.
    """
    write_devices(folder / "devices.csv", devices)
    found: dict[str, Any] = {"devices": devices}
    sink = {"name": "null", "kind": "influxdb1", "url": "http://127.0.0.1:9"}
    with mosquitto(folder) as broker, gateway(folder, broker, sink, start=False) as running:
        for name in ("first", "again", "one_changed"):
            if name == "one_changed":
                _change_row(running.devices, devices // 2)
            found[name] = _started(running)
            assert running.component("devices")["detail"].startswith(f"{devices} "), running.component(
                "devices"
            )
            if name != "one_changed":
                assert running.stop() == 0
        found["changed_while_running"] = _changed(running, devices)
        found["state_mb"] = round(_size(running.state, "state*") / MB, 1)
        found["memory_bytes_a_device"] = round((found["again"]["mb"] - _bare(folder)["mb"]) * MB / devices)
        assert running.stop() == 0
    return found


def _started(running: GatewayProcess) -> dict[str, float]:
    began = time.perf_counter()
    running.start(ready=False)
    running.wait(lambda now: now["connection"]["state"] == "connected", "connected", within_s=120)
    return {"seconds": round(time.perf_counter() - began, 2), **_used(running)}


def _changed(running: GatewayProcess, devices: int) -> dict[str, float]:
    """Change one row of the file; return what it took until it was in force and in a checkpoint."""
    before, since = _used(running), running.component("devices")["since_ns"]
    _change_row(running.devices, devices // 3)
    lags = [0.0]
    until: list[float] = []

    def taken(now: dict[str, Any]) -> bool:
        lags.append(now["loop_lag_s"])
        devices = next(part for part in now["components"] if part["name"] == "devices")
        if devices["since_ns"] > since and not until:
            until.append(time.perf_counter() + _SETTLES_S)
        return bool(until) and time.perf_counter() > until[0]

    running.wait(taken, "the changed row in force", within_s=120)
    return {
        "cpu_s": round(_used(running)["cpu_s"] - before["cpu_s"], 2),
        "longest_loop_lag_s": round(max(lags), 3),
    }


def _change_row(file: Path, device: int) -> None:
    """Give one device another depth."""
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    lines[device + 1] = lines[device + 1].rpartition(",")[0] + ",2222\n"
    file.write_text("".join(lines), encoding="utf-8")


def _bare(folder: Path) -> dict[str, float]:
    """Return what a gateway that knows nobody has."""
    with mosquitto(folder) as broker, gateway(folder / "bare", broker, start=False) as running:
        return _started(running)


def _used(running: GatewayProcess) -> dict[str, float]:
    """CPU seconds and memory of the gateway up to now."""
    assert running.process is not None
    process = psutil.Process(running.process.pid)
    cpu, memory = process.cpu_times(), process.memory_info().rss
    return {"cpu_s": round(cpu.user + cpu.system, 2), "mb": round(memory / MB, 1)}


def measure(folder: Path, *, devices: int, days: float, hot: str = "64MB") -> dict[str, Any]:
    """Let a fleet report for some days in a process of its own; return what it took (see `simulate`)."""
    return _apart(folder, "--devices", devices, "--days", days, "--hot", hot)


def _apart(folder: Path, *arguments: object) -> dict[str, Any]:
    """Run this module in another process, and return what it found."""
    module = "tests.benchmarks.days"
    command = [sys.executable, "-m", "tests.benchmarks.as_installed", module, "--inside", folder, *arguments]
    done = subprocess.run([str(word) for word in command], cwd=PROJECT, check=True, stdout=subprocess.PIPE)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    """Measure what the command line says, and print it."""
    parser = argparse.ArgumentParser(description="Days of a fleet, in minutes.")
    parser.add_argument("--devices", type=int, default=100_000)
    parser.add_argument("--days", type=float, default=3)
    parser.add_argument("--hot", default="64MB", help="memory for open windows")
    parser.add_argument("--start-up", action="store_true", help="start with so many known devices instead")
    parser.add_argument("--generate", type=int, help="write so many messages to standard output instead")
    parser.add_argument("--inside", type=Path, help="measure in this process and this folder, answer in JSON")
    asked = parser.parse_args()
    if asked.generate:
        generate(asked.devices, asked.generate, sys.stdout.buffer)
        return
    if asked.inside:
        memory.give_back_large_arrays()
        found = asyncio.run(simulate(asked.inside, devices=asked.devices, days=asked.days, hot=asked.hot))
    else:
        with tempfile.TemporaryDirectory() as folder:
            if asked.start_up:
                found = start_up(Path(folder), devices=asked.devices)
            else:
                found = measure(Path(folder), devices=asked.devices, days=asked.days, hot=asked.hot)
    print(json.dumps(found, indent=None if asked.inside else 2))  # noqa: T201 - its answer


if __name__ == "__main__":
    main()
