"""Stage by stage, in microseconds of CPU a message: the real river over real files, without a broker.

    python -m tests.benchmarks.stages [--messages 400000] [--devices 10000] [--read 1500]

Batches that were framed in advance go through the real journal, treatment, encoders, outbox and checkpoint;
the functions named in `_STAGES` are timed where they run, each without those inside it, in its own thread.
So a regression shows its place. What is not named is "the rest": event loop, queues, copies. The socket, the
broker's answers and the way to a database are not in it; the end-to-end rounds have them. The sink takes
everything at once, as one that keeps up.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol
from unittest import mock

from gateway import assembly, config, saving, treatment
from gateway.aggregate.aggregator import Aggregator
from gateway.closing import Closing
from gateway.decode.profile_decoder import ProfileDecoder
from gateway.decode.routes import Routes
from gateway.ingest import packets
from gateway.journal.checkpoint import Checkpoint
from gateway.journal.segments import Segments
from gateway.model import RawBatch
from gateway.ports import ClockFace
from gateway.rules import Limits
from gateway.sinks.line_protocol import LineEncoder
from gateway.sinks.outbox_file import OutboxFile
from gateway.sinks.outbox_log import OutboxLog
from gateway.treatment import Treatment
from gateway.wanted import read as read_wishes
from tests.benchmarks.headline import (
    EVENT_ORIGIN_NS,
    HEADLINE,
    READINGS_A_WINDOW,
    SITE,
    WINDOW_S,
    ZONE,
    write_devices,
    write_profile,
)
from tests.benchmarks.messages import Packets
from tests.integration.gateway_process import PROJECT

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Sequence

    from gateway.pipeline import River

_STAGES: Final[tuple[tuple[str, Any, str], ...]] = (
    ("scan", packets, "_scan"),
    ("acknowledge", packets, "acknowledgements"),
    ("journal", Segments, "append"),
    ("topic codes", Routes, "codes"),
    ("parse", ProfileDecoder, "begin"),
    ("columns", ProfileDecoder, "finish"),
    ("decode: the rest", treatment, "decode_together"),
    ("bounds", treatment, "bound"),
    ("ranges", treatment, "range_flags"),
    ("neighbour tests", assembly, "assess"),
    ("aggregate", Aggregator, "add"),
    ("windows", Aggregator, "due"),
    ("points, raw", treatment, "raw_points"),
    ("points, windows", treatment, "window_points"),
    ("outbox", OutboxLog, "append"),
    ("outbox", OutboxFile, "write"),
    ("outbox", OutboxFile, "purge"),
    ("checkpoint: what changed", Aggregator, "dirty"),
    ("checkpoint: books", saving, "encode"),
    ("checkpoint: commit", Checkpoint, "commit"),
    ("treatment: the rest", Treatment, "uplinks"),
)
_READ: Final = 1_500
"""Messages a read of the socket brings under load: about a quarter of a mebibyte."""
_QUEUED: Final = 20_000
_FLUSH_S: Final = 1.3
"""As long as the river takes to close the last windows that are due."""


class Stopwatch:
    """CPU seconds by stage, each without the stages that ran inside it."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._inside = threading.local()

    def timed(self, name: str | Callable[..., str], function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, timed; the name may depend on its arguments."""

        def call(*args: Any, **kwargs: Any) -> Any:
            inside = self._inside.__dict__.setdefault("stack", [0.0])
            inside.append(0.0)
            began = time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                spent = time.thread_time() - began
                self.seconds[name if isinstance(name, str) else name(*args)] += spent - inside.pop()
                inside[-1] += spent

        return call

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Time all stages until the block ends."""
        stages: list[tuple[str | Callable[..., str], Any, str]]
        stages = [*_STAGES, (_encoding, LineEncoder, "encode")]
        with contextlib.ExitStack() as undo:
            for name, owner, attribute in stages:
                before = getattr(owner, attribute)
                undo.callback(setattr, owner, attribute, before)
                setattr(owner, attribute, self.timed(name, before))
            yield


def _encoding(_encoder: object, points: Any) -> str:
    return "encode, raw" if points.window_end is None else "encode, windows"


class Counting(Protocol):
    """A clock that goes on with the messages."""

    messages: int

    def now_ns(self) -> int:
        """Return the event time of the last message that was read."""
        ...


class MessageClock:
    """Event time goes on with the messages: 5 a device and window. Monotonic time is the machine's."""

    factor = 1.0
    era = 0
    suspect = False

    def __init__(self, devices: int) -> None:
        self._step_ns = WINDOW_S * 10**9 // READINGS_A_WINDOW // devices
        self.messages = 0

    def at_ns(self, message: int) -> int:
        """Return the event time of a message."""
        return EVENT_ORIGIN_NS + message * self._step_ns

    def now_ns(self) -> int:
        """Return the event time of the last message that was read."""
        return self.at_ns(self.messages)

    def monotonic_ns(self) -> int:
        """Return the machine's."""
        return time.monotonic_ns()

    def since_s(self, event_ns: int) -> float:
        """Return seconds of event time."""
        return (self.now_ns() - event_ns) / 1e9

    def face(self) -> ClockFace:
        """Return what never steps."""
        now_ns = self.now_ns()
        return ClockFace(now_ns, now_ns, self.monotonic_ns(), "", self.factor, 0.0)

    def hold(self) -> None:
        """Nothing is suspect here, though every run begins at the same time."""


def made(clock: MessageClock, devices: int, messages: int, size: int) -> list[tuple[bytes, int]]:
    """Return what reads of so many messages bring, made in advance: the bytes, and how many messages."""
    packed, parts, sent = Packets(devices, qos=1, level=5), list[tuple[bytes, int]](), 0
    while sent < messages:
        turn, first = divmod(sent, devices)
        end = min(first + size, devices, first + messages - sent)
        at_ms = clock.at_ns(sent) // 1_000_000
        parts.append((bytes(packed.block(turn, first, end, ts_ms=at_ms, sent=sent)), end - first))
        sent += end - first
    return parts


class Reads:
    """A source of reads that come from elsewhere; scanning and acknowledging are the real ones.

    It waits while more than `queued` uplinks are not decoded: else windows would close before them.
    """

    def __init__(
        self, river: River, clock: Counting, parts: Iterable[tuple[bytes, int]], *, queued: int = _QUEUED
    ) -> None:
        self._river = river
        self._clock = clock
        self._parts = parts
        self._queued = queued

    async def batches(self) -> AsyncGenerator[RawBatch, None]:
        """Yield one batch a read."""
        scanner = packets.Scanner(level=5)
        for data, count in self._parts:
            while self._river.queue.uplinks > self._queued:  # noqa: ASYNC110 - the queue tells nobody
                await asyncio.sleep(0.001)
            self._clock.messages += count
            for scan in scanner.feed(data):
                yield RawBatch(
                    source="mqtt",
                    connection=1,
                    session="ecluse",
                    protocol=5,
                    received_ns=self._clock.now_ns(),
                    frames=scan.frames,
                    topics=scan.topics,
                    payloads=scan.payloads,
                    headers=scan.headers,
                    packet_ids=scan.packet_ids,
                )

    async def acknowledge(self, batch: RawBatch) -> None:
        """Make the acknowledgements, and send them nowhere."""
        packets.acknowledgements(batch.packet_ids, batch.headers)

    def hold(self, *, held: bool) -> None:
        """There is nothing to refuse."""

    def promised(self, batch: RawBatch) -> RawBatch:
        """Return all of it."""
        return batch

    async def stop_reading(self) -> None:
        """There is nothing to stop."""

    async def close(self) -> None:
        """There is nothing to close."""


@dataclass(frozen=True, slots=True)
class Stages:
    """Microseconds of CPU a message, by stage; `total` is the whole process, the rest included."""

    messages: int
    total_us: float
    by_stage_us: dict[str, float]
    decoded: int
    windows: int
    seconds: float


def measure(folder: Path, *, messages: int, devices: int = HEADLINE.devices, read: int = _READ) -> Stages:
    """Let so many messages through the river; a first tenth is not counted."""
    return asyncio.run(_measure(folder, messages=messages, devices=devices, read=read))


async def _measure(folder: Path, *, messages: int, devices: int, read: int) -> Stages:
    settings, clock, watch = _settings(folder, devices), MessageClock(devices), Stopwatch()
    # Rules are saved once, by the checkpoint at the end of this first run.
    async with _flowing(settings, clock) as parts:
        await _want(parts, settings)
    with watch.watching():
        async with _flowing(settings, clock) as parts:
            river = parts.river
            await river.receive(Reads(river, clock, made(clock, devices, messages // 10, read)))
            shifted = _Shifted(clock)
            source = Reads(river, shifted, made(shifted, devices, messages, read))
            before = Counter(watch.seconds)
            cpu, began = time.process_time(), time.perf_counter()
            await river.receive(source)
            await asyncio.sleep(_FLUSH_S)
        cpu, seconds = time.process_time() - cpu, time.perf_counter() - began
        books = parts.treatment.books
    spent = {name: (watch.seconds[name] - before[name]) / messages * 1e6 for name in watch.seconds}
    total = cpu / messages * 1e6
    spent["the rest"] = total - sum(spent.values())
    return Stages(messages, total, spent, books.uplinks.decoded, books.windows, seconds)


class TakesAll:
    """A sink that takes everything and keeps nothing."""

    name = "null"
    overwrites = True

    async def write(self, bodies: Sequence[bytes]) -> None:
        """Take them."""

    async def check(self) -> str:
        """It is there."""
        return "takes all"

    async def close(self) -> None:
        """There is nothing to close."""


@contextlib.asynccontextmanager
async def _flowing(settings: config.Settings, clock: MessageClock) -> AsyncIterator[assembly.Parts]:
    """Open the river and let it flow; at the end everything is treated, delivered and checkpointed."""
    taking = mock.patch.object(assembly, "build_sinks", return_value={TakesAll.name: TakesAll()})
    async with Closing() as closing:
        with taking:
            parts = await assembly.open_parts(
                settings,
                closing=closing,
                clock=clock,  # a clock, and not the machine's
                caught_up=lambda: True,
            )
        await parts.river.recover(lambda _: None, asyncio.Event())
        working = asyncio.create_task(parts.river.work())
        writing = [asyncio.create_task(writer.run()) for writer in parts.writers.values()]
        yield parts
        await parts.river.queue.close()
        await working
        for writer in parts.writers.values():
            writer.stop(grace_s=_FLUSH_S)
        await asyncio.gather(*writing)


class _Shifted(MessageClock):
    """A clock whose messages are counted from where another stands."""

    def __init__(self, clock: MessageClock) -> None:
        self._clock, self._from = clock, clock.messages

    @property
    def messages(self) -> int:
        return self._clock.messages

    @messages.setter
    def messages(self, count: int) -> None:
        self._clock.messages = count

    def at_ns(self, message: int) -> int:
        return self._clock.at_ns(self._from + message)

    def now_ns(self) -> int:
        return self._clock.now_ns()


def _settings(folder: Path, devices: int) -> config.Settings:
    """Write and read the settings: those of the headline, grace a quarter of the shortest window."""
    write_devices(folder / "devices.csv", devices)
    profiles = write_profile(PROJECT / "device_profiles", folder, 1.0)
    path = folder / "ecluse.toml"
    path.write_text(
        f'state_dir = "state"\nprofiles_dir = "{profiles}"\ndefault_zone = "{ZONE}"\n'
        f'[sites.{SITE}]\nzone = "{ZONE}"\n[devices]\nfile = "devices.csv"\n[windows]\ngrace = "225s"\n'
        '[[sinks]]\nname = "null"\nkind = "influxdb1"\nurl = "http://127.0.0.1:9"\n',
        encoding="utf-8",
    )
    (folder / "state").mkdir()
    return config.load(path)


async def _want(parts: assembly.Parts, settings: config.Settings) -> None:
    """Bring profile and devices into force."""
    rules = parts.treatment.rules
    wish = read_wishes(settings.profiles_dir, settings.devices.file, rules=rules)
    limits = Limits(default_zone=ZONE, zones={SITE: ZONE})
    changes = rules.changes_to(plans=wish.plans, devices=wish.devices, limits=limits, at_ns=EVENT_ORIGIN_NS)
    await parts.river.change(changes)


def table(found: Stages) -> str:
    """Return the stages as a Markdown table, dearest first."""
    rows = sorted(found.by_stage_us.items(), key=lambda item: -item[1])
    lines = ["| stage | µs/msg |", "|---|---:|", *(f"| {name} | {us:.3f} |" for name, us in rows)]
    return "\n".join([*lines, f"| **all** | **{found.total_us:.3f}** |"])


def main() -> None:
    """Measure what the command line says, and print it."""
    parser = argparse.ArgumentParser(description="Stage by stage, in µs of CPU a message.")
    parser.add_argument("--messages", type=int, default=400_000)
    parser.add_argument("--devices", type=int, default=HEADLINE.devices)
    parser.add_argument("--read", type=int, default=_READ, help="messages a read of the socket brings")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), messages=asked.messages, devices=asked.devices, read=asked.read)
    print(table(found))  # noqa: T201 - its answer
    print(f"\n{found.messages:,} messages in {found.seconds:.1f} s, {found.windows:,} windows written")  # noqa: T201


if __name__ == "__main__":
    main()
