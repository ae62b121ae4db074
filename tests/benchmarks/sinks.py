"""Where points go: the null sink, InfluxDB, VictoriaMetrics, the embedded store; each counts them itself."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
import urllib.parse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import duckdb

from tests.benchmarks import null_sink
from tests.benchmarks.counters import Counters
from tests.benchmarks.headline import EVENT_ORIGIN_NS
from tests.databases import fetch, influxdb, victoria_metrics
from tests.integration.gateway_process import PROJECT
from tests.processes import free_port, stop, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

STILL_S: Final = 15.0
POLL_S: Final = 0.1
_COUNT_S: Final = 120.0


@dataclass(frozen=True)
class Sink:
    """How the gateway's settings name it, how many raw points it has, its process."""

    settings: dict[str, Any]
    count: Callable[[], int]
    """Asks the database itself: dear, and for the embedded store only once the gateway has ended."""
    url: str = ""
    process: subprocess.Popen[bytes] | None = None
    counters: Path | None = None
    """The null sink's: asking it costs nothing."""


@contextlib.contextmanager
def sink(folder: Path, kind: str) -> Iterator[Sink]:
    """Run the sink of that kind: null, influxdb, victoriametrics or embedded (which is the gateway's own)."""
    named = {"name": "sink", "policy": "hold"}
    if kind == "embedded":
        yield Sink(named | {"kind": "embedded"}, lambda: _in_store(folder / "state" / "sink.duckdb"))
    elif kind == "influxdb":
        with influxdb(folder / "influx") as one:
            settings = named | {"kind": "influxdb1", "url": one.url}
            yield Sink(settings, lambda: _in_influx(one.url), one.url, one.process)
    elif kind == "victoriametrics":
        with victoria_metrics(folder / "victoria") as victoria:
            settings = named | {"kind": "victoriametrics", "url": victoria.url}
            yield Sink(settings, lambda: _in_victoria(victoria.url), victoria.url, victoria.process)
    else:
        port, path, log = free_port(), folder / "sink.bin", folder / "sink.log"
        counted, url = Counters(path), f"http://127.0.0.1:{port}"
        with module("null_sink", "--port", port, "--counters", path, log=log) as process:
            ready(process, lambda: bool(counted[null_sink.READY]), "null sink", log)
            settings = named | {"kind": "influxdb1", "url": url}
            yield Sink(settings, lambda: counted[null_sink.RAW_LINES], url, process, path)


@contextlib.contextmanager
def module(name: str, *arguments: object, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a module of this folder until the block ends."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", f"tests.benchmarks.{name}", *map(str, arguments)],
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        stop(process)


def ready(process: subprocess.Popen[bytes], condition: Callable[[], bool], what: str, log: Path) -> None:
    """Wait until it is ready; say why where it ended instead."""
    wait_until(lambda: process.poll() is not None or condition(), within_s=30, what=what)
    assert process.poll() is None, f"{what} ended: {log.read_text(errors='replace')[-2000:]}"


def all_of(count: Callable[[], int], enough: int) -> None:
    """Wait until a count is enough, or until it has stood still for some seconds: then something is lost."""
    seen, since = count(), time.monotonic()
    while seen < enough and time.monotonic() - since < STILL_S:
        time.sleep(POLL_S)
        if (now := count()) != seen:
            seen, since = now, time.monotonic()


def _in_influx(url: str) -> int:
    form = urllib.parse.urlencode({"db": "ecluse", "q": "SELECT count(rssi) FROM waste"}).encode()
    answer = json.loads(fetch(f"{url}/query", data=form, timeout_s=_COUNT_S))
    series = answer["results"][0].get("series")
    return int(series[0]["values"][0][1]) if series else 0


def _in_victoria(url: str) -> int:
    fetch(f"{url}/internal/force_flush")  # what was just written is not seen otherwise
    at_s = EVENT_ORIGIN_NS // 10**9 + 30 * 86_400
    asked = {"query": "sum(count_over_time(waste_rssi[60d]))", "time": at_s, "nocache": 1}
    form = urllib.parse.urlencode(asked).encode()
    answer = json.loads(fetch(f"{url}/api/v1/query", data=form, timeout_s=_COUNT_S))
    result = answer["data"]["result"]
    return int(result[0]["value"][1]) if result else 0


def _in_store(store: Path) -> int:
    with duckdb.connect(str(store), read_only=True) as connection:
        found = connection.execute("SELECT count(*) FROM waste").fetchone()
    assert found is not None
    return int(found[0])
