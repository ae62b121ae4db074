"""A status page with realistic contents, served by a real uvicorn on a free loopback port."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import uvicorn

from gateway.api.server import Answers, Key, application
from gateway.clock import ManualClock
from gateway.console.page import Demo, StatusPage
from gateway.console.values import StatusValues
from gateway.health.histogram import Histogram
from gateway.health.snapshot import (
    ClockHealth,
    Component,
    Connection,
    Depth,
    Fleet,
    SinkBook,
    Snapshot,
    State,
)
from gateway.model import Column, FieldType, Points
from gateway.profile_folder import ProfileFolder
from gateway.sinks import columns
from gateway.sinks.embedded import EmbeddedSettings, EmbeddedSink
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from gateway.model import Chosen
    from gateway.profiles.plan import ProfilePlan

NOW_NS = 1_795_342_500_000_000_000
"""2026-11-22T10:15:00Z."""
MINUTE_NS = 60 * 10**9
DEMO = Demo(
    publish='mosquitto_pub -p 1883 -t city/lyon/bin/bin-00001/up -m \'{"dist": "much"}\'',
    kill="kill -9 4711",
    sink="embedded",
)


def snapshot(*, ready: bool = True, missing: int = 0) -> Snapshot:
    """Return what a gateway of a middling city tells; with uplinks `missing` its first book is off."""
    broker = Component(
        "broker", State.OK, NOW_NS - 3 * 3_600 * 10**9, detail="MQTT 5 at mqtts://broker.lyon.example:8883"
    )
    sink = Component(
        "sink influx",
        State.OK if ready else State.DOWN,
        NOW_NS - 90 * 10**9,
        last_error="" if ready else "no answer from http://127.0.0.1:8086 <connection refused>",
        detail="InfluxDB 2.7 at http://127.0.0.1:8086" if ready else "",
    )
    river = Component("river", State.OK, NOW_NS - 3 * 3_600 * 10**9, detail="running")
    durable, stored = Histogram(), Histogram()
    durable.observe(0.004, 1_203_000)
    durable.observe(0.04, 1_567)
    stored.observe(0.8, 1_500_000)
    return Snapshot(
        version="0.1.0",
        now_ns=NOW_NS,
        started_ns=NOW_NS - 3 * 3_600 * 10**9,
        time_factor=60.0,
        components=(broker, river, sink),
        uplinks={
            "journalled": 1_204_567 + missing,
            "decoded": 1_203_000,
            "quarantined": 1_402,
            "duplicate": 120,
            "ignored": 3,
            "erased": 0,
            "rate_limited": 0,
            "set_aside": 0,
            "pending": 42,
            "difference": missing,
        },
        readings={
            "decoded": 7_200_000,
            "aggregated": 7_190_000,
            "raw_only": 9_000,
            "rejected": 900,
            "duplicate": 90,
            "conflicting": 10,
            "difference": 0,
        },
        sinks={
            "influx": SinkBook(
                made=1_500_900,
                stored=1_500_000,
                waiting=900,
                retries=0 if ready else 7,
                last_success_ns=NOW_NS - 10**9,
            ),
            "embedded": SinkBook(made=1_500_900, stored=1_500_890, refused=10, last_success_ns=NOW_NS),
        },
        reasons={"not json": 900, "unknown device": 400, "in the future": 102},
        late=12,
        windows=12_345,
        corrections=67,
        connection=Connection(
            state="connected",
            protocol="5",
            connects=2,
            uplinks=1_204_609,
            bytes=145_000_000,
            last_heard_ns=NOW_NS,
        ),
        fleet=Fleet(known=10_000, heard=9_870, silent=17, unknown=4),
        queues={
            "received": Depth(items=12, bytes=1_800, seconds=0.01, limit_bytes=64_000_000),
            "journal": Depth(limit_items=1),
            "decode": Depth(42, 6_300, 0.2, limit_items=100_000, limit_bytes=64_000_000),
            "windows": Depth(bytes=52_000_000, limit_bytes=64_000_000),
            "memory of outbox-lines": Depth(bytes=150_000, limit_bytes=32 << 20),
            "outbox influx": Depth(
                900, 140_000, 1.4, limit_bytes=10**10, entries=3, behind=400, empty_s=9_000.0
            ),
            "outbox embedded": Depth(5, 900, 18_000.0, limit_bytes=10**10, entries=1),
            "quarantine": Depth(items=1_402, bytes=200_000, limit_items=100_000),
        },
        watermarks={"bin-level": NOW_NS - 72 * 3_600 * 10**9, "water-meter": NOW_NS - 7 * 86_400 * 10**9},
        series=31_000,
        hot_blocks=310,
        hot_bytes=52_000_000,
        loop_lag_s=0.0012,
        durable=durable,
        stored={"influx": stored, "embedded": Histogram()},
    )


def _column(values: np.ndarray[tuple[int], np.dtype[np.float64]], decimals: int) -> Column:
    return Column(FieldType.FLOAT, values.round(decimals))


def bins(count: int = 14, each: int = 40) -> list[Points]:
    """Return raw readings of bins, oldest first, and their newest hourly windows."""
    tags = [(("device", f"bin-{n:05d}"), ("profile", "bin-level"), ("site", "lyon")) for n in range(count)]
    series = np.tile(np.arange(count, dtype=np.int32), each)
    step = np.repeat(np.arange(each), count)
    level = (step * 2.3 + series * 7.1) % 100
    raw = Points(
        measurement="waste",
        tags=tags,
        series=series,
        time=NOW_NS - (each - step).astype(np.int64) * 15 * MINUTE_NS,
        fields={
            "distance": _column(2000 - level * 17, 0),
            "filling_level": _column(level, 1),
            "temperature": _column(9 + level / 40, 1),
            "battery": _column(3.6 - series / 100, 2),
            "tilt": Column(FieldType.STRING, np.where(series == 3, "tilted", "upright").astype(object)),
            "quality": Column(FieldType.INTEGER, np.ones(len(series), dtype=np.int64)),
        },
    )
    start = np.full(count, NOW_NS - 75 * MINUTE_NS, dtype=np.int64)
    hours = Points(
        measurement="waste_1h",
        tags=tags,
        series=np.arange(count, dtype=np.int32),
        time=start,
        fields={
            "coverage": _column(np.linspace(0.5, 1.0, count), 2),
            "filling_level_mean": _column(np.linspace(10, 90, count), 1),
        },
        window_end=start + 60 * MINUTE_NS,
        revision=np.zeros(count, dtype=np.int32),
    )
    return [raw, hours]


def filled(folder: Path, *contents: Points) -> EmbeddedSink:
    """Return a real embedded store that holds points."""
    clock = ManualClock(NOW_NS)
    store = EmbeddedSink(EmbeddedSettings(path=folder / "points.duckdb"), clock=clock)
    if contents:
        # On the store's own thread, without a loop: a browser's test has one running already.
        store._thread.submit(store._store.write, [columns.encode(points) for points in contents]).result()
    return store


def close(store: EmbeddedSink) -> None:
    """Close it, without a loop."""
    store._thread.submit(store._store.close).result()
    store._thread.shutdown()


@dataclass
class ToldQuarantine:
    """`ports.Quarantine` that answers as it was told to, one after the other, and notes what was asked."""

    answers: list[Mapping[str, Any] | Exception] = field(default_factory=list)
    asked: list[tuple[str, Chosen, int]] = field(default_factory=list)

    async def replay(self, chosen: Chosen, *, limit: int, rehearse: bool) -> Mapping[str, Any]:
        """Answer."""
        return self._answer("rehearse" if rehearse else "replay", chosen, limit)

    async def drop(self, chosen: Chosen, *, limit: int) -> Mapping[str, Any]:
        """Answer."""
        return self._answer("drop", chosen, limit)

    def _answer(self, what: str, chosen: Chosen, limit: int) -> Mapping[str, Any]:
        self.asked.append((what, chosen, limit))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@dataclass
class Site:
    """A served page: its address, and which sinks were paused. `now` may be exchanged while it runs."""

    url: str
    now: Snapshot
    paused: list[tuple[str, float]] = field(default_factory=list)
    quarantine: ToldQuarantine = field(default_factory=ToldQuarantine)
    refuses: Exception | None = None
    """What copying the stores ends with."""
    rewritten: list[bytes] = field(default_factory=list)
    plans: dict[str, ProfilePlan] = field(default_factory=dict)
    """The profiles that are said to be in force."""
    waits: str = ""
    """What a rewriting has to wait for."""

    async def rewrite(self, body: bytes) -> str:
        """Take what a reprocessing rewrites."""
        if self.refuses is not None:
            raise self.refuses
        if not self.waits:
            self.rewritten.append(body)
        return self.waits


@contextlib.contextmanager
def site(
    folder: Path,
    *,
    now: Snapshot | None = None,
    token: str | None = None,
    demo: Demo | None = DEMO,
    with_store: bool = True,
) -> Iterator[Site]:
    """Serve the page, the metrics and the questions until the block ends."""
    store = filled(folder, *bins()) if with_store else None
    served = Site(url="", now=now or snapshot())
    page = StatusPage(demo=demo)
    values = None if store is None else StatusValues(store, ManualClock(NOW_NS))

    async def render(accept_language: str) -> str:
        families = None if values is None else await values.families()
        rates = {"uplinks": 812.4, "readings": 4_870.0}
        return page.render(served.now, families=families, rates=rates, accept_language=accept_language)

    def pause(name: str, seconds: float) -> bool:
        if name in served.now.sinks:
            served.paused.append((name, seconds))
        return name in served.now.sinks

    def confirm_clock() -> bool:
        suspect, served.now = served.now.clock.suspect, replace(served.now, clock=ClockHealth())
        return suspect

    async def copy_stores() -> list[str]:
        if served.refuses is not None:
            raise served.refuses
        return ["embedded.duckdb"]

    answers = Answers(
        snapshot=lambda: served.now,
        page=render,
        store=store,
        pause=pause,
        confirm_clock=confirm_clock,
        copy_stores=copy_stores,
        rewrite=served.rewrite,
        lend=lambda: True,
        quarantine=served.quarantine,
        profiles=ProfileFolder(folder / "profiles", lambda: served.plans),
    )
    app = application(answers, key=Key(token))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", ws="none", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server.started, within_s=10, what="uvicorn")
    served.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield served
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        if store is not None:
            close(store)
