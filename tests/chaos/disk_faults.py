"""Everything that a disk can do to a gateway: full, read-only, without syncs, torn, rotten.

A disk is full on a small tmpfs where mounting is permitted, and for one file at a time through a preloaded
shim, which also lets syncs fail and makes a file read-only under a running gateway. Whatever fails ends the
process with code 5; nothing is tried again as if it had worked, so nothing that was acknowledged is missing.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from gateway.journal.checkpoint import soundness
from gateway.quarantine.reader import QuarantineReader
from tests.brokers import mosquitto
from tests.chaos.database_proxy import DatabaseProxy
from tests.chaos.disks import BROKEN, FULL, READ_ONLY, FaultyDisk, SmallDisk, flip, tear
from tests.chaos.life import BY_SINK, Life, check_books, living, rest, weigh
from tests.chaos.outcome import Outcome
from tests.databases import influxdb
from tests.integration import stored
from tests.integration.oracle import Truth
from tests.integration.recount import recount
from tests.processes import wait_until

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from firmware_sim.ledger import Contents
    from tests.chaos.outcome import Scenario
    from tests.integration.oracle import Key, Tables
    from tests.integration.recount import Recount

STORAGE = 5
"""The exit code."""
KINDS = {
    "journal": "/journal/journal-",
    "outbox": "/outbox-lines.db",
    "checkpoint": "/state/state.db",
    "quarantine": "/quarantine.db",
}
"""What each kind of file has in its path."""
DISK_BYTES = 96 << 20
MORE = {"journal": {"segment": "500kB"}}
FAULTS = 0.05
"""Enough malformed uplinks that the quarantine is written all the time."""

Way = tuple[str, int]
WAYS: dict[str, Way] = {
    "full": ("write", FULL),
    "read-only": ("write", READ_ONLY),
    "not synced": ("sync", BROKEN),
}


@contextlib.contextmanager
def _stage(
    folder: Path, environment: Mapping[str, str] | None = None, **how: Any
) -> Iterator[tuple[Life, DatabaseProxy]]:
    """Set up a broker, a database behind a proxy, a city and a gateway with that environment."""
    with (
        mosquitto(folder) as broker,
        influxdb(folder / "influx") as influx,
        DatabaseProxy(influx, slow_s=0, too_slow_s=0).running() as proxy,
    ):
        sink = {"name": "influx", "kind": "influxdb1", "url": proxy.url}
        more = {**MORE, **how.pop("more", {})}
        with living(
            folder, broker, sink, environment=environment, more=more, **{"faults": FAULTS, **how}
        ) as life:
            yield life, proxy


# --- disks that fail ---


def failing(folder: Path, rng: random.Random, acts: Sequence[tuple[str, str]]) -> Outcome:
    """Let writes or syncs of one kind of file fail, in an order of the seed's: (kind, way)."""
    disk = FaultyDisk(folder / "shim")
    recoveries: list[float] = []
    with _stage(folder, disk.environment) as (life, proxy):
        for kind, way in rng.sample(acts, len(acts)):
            life.flows(20)
            rest(rng.uniform(0.0, 1.0))
            what, error = WAYS[way]
            disk.fail("sync" if what == "sync" else "write", KINDS[kind], error)
            recoveries.append(
                _ends_and_comes_back(life, f"{kind} {way}", disk.mend, again=rng.random() < 0.3)
            )
        return _nothing_lost(life, proxy, faults=len(acts), recoveries=recoveries)


def small(folder: Path, rng: random.Random, *, times: int) -> Outcome:
    """Fill the disk under the whole state folder, and mount it read-only before a start."""
    recoveries: list[float] = []
    with SmallDisk.mount(folder / "state", DISK_BYTES) as disk:
        if disk is None:
            print("  no tmpfs can be mounted here: the shim alone makes disks full")  # noqa: T201
            return failing(folder, rng, [(kind, "full") for kind in KINDS] * times)
        print("  on a tmpfs")  # noqa: T201
        with _stage(folder) as (life, proxy):
            for _ in range(times):
                life.flows(20)
                rest(rng.uniform(0.0, 1.0))
                disk.fill()
                recoveries.append(_ends_and_comes_back(life, "full", disk.free, again=rng.random() < 0.3))
            assert life.running.stop() == 0
            (life.running.state / "http.address").unlink(missing_ok=True)
            disk.read_only(on=True)
            life.running.start(ready=False)
            recoveries.append(
                _ends_and_comes_back(life, "read-only", lambda: disk.read_only(on=False), again=False)
            )
            return _nothing_lost(life, proxy, faults=times + 1, recoveries=recoveries)


def _ends_and_comes_back(life: Life, what: str, mend: Callable[[], None], *, again: bool) -> float:
    """See the gateway end and say why, perhaps twice; mend what failed; return how long its start takes."""
    running = life.running
    for number in range(1 + again):
        said = len(running.log)
        if number:
            running.start(ready=False)
        assert running.ended(within_s=60) == STORAGE, f"{what}\n{running.log[-3000:]}"
        told = running.log[max(0, said - 3000) :]
        assert "Traceback" not in told, f"{what}\n{told}"
        assert any(word in told for word in ("cannot be", "unknown devices")), f"{what}\n{told}"
    mend()
    began = time.monotonic()
    running.start()
    return time.monotonic() - began


def _nothing_lost(life: Life, proxy: DatabaseProxy, *, faults: int, recoveries: Sequence[float]) -> Outcome:
    """Calm down, and hold everything to the ledger."""
    ledger, status = life.calm()
    assert status["ready"], status["components"]
    assert life.running.stop() == 0, life.running.log[-3000:]
    check_books(life.running.state, ledger, life.specs, status)
    cost = weigh(Truth.of(ledger, life.specs), _had(proxy), by=status["over_ns"])
    return Outcome(faults, len(ledger.entries), cost.lost, cost.doubled, tuple(recoveries))


def _had(proxy: DatabaseProxy) -> Any:
    return stored.from_influx(proxy.influx)


# --- files that rot ---


def torn(folder: Path, rng: random.Random, *, times: int) -> Outcome:
    """Kill it, and leave the beginning of one more transaction at the end of each WAL: nothing is lost."""
    recoveries: list[float] = []
    faults = 0
    with _stage(folder) as (life, proxy):
        for _ in range(times):
            life.flows(50)
            rest(rng.uniform(0.0, 1.0))
            life.running.kill()
            faults += tear(life.running.state)
            recoveries.append(_started(life))
        assert faults >= times
        assert "damaged" not in life.running.log
        return _nothing_lost(life, proxy, faults=faults, recoveries=recoveries)


def rotten_state(folder: Path, rng: random.Random, *, times: int) -> Outcome:
    """Flip bits of the state, and of its newest copy where there are two: an older one and the journal do."""
    recoveries: list[float] = []
    faults = 0
    with _stage(folder) as (life, proxy):
        state = life.running.state
        for number in range(1, times + 1):
            wait_until(lambda: bool(_copies(state)), within_s=30, what="a copy")
            life.flows(50)
            assert life.running.stop() == 0, life.running.log[-3000:]
            spoiled = [state / "state.db", *(_copies(state)[:1] if len(_copies(state)) > 1 else [])]
            for path in spoiled:
                while not soundness(path):  # else it was a place that nobody reads
                    _flipped(path, rng)
            faults += len(spoiled)
            recoveries.append(_started(life))
            _is_said(life, "state.db", number)
        return _nothing_lost_but_ready(life, proxy, faults=faults, recoveries=recoveries)


def _copies(state: Path) -> list[Path]:
    return sorted((path for path in state.glob("state-*.db") if path.stem[6:].isdecimal()), reverse=True)


def rotten_outbox(folder: Path, rng: random.Random, *, times: int) -> Outcome:
    """Flip bits of an outbox in which points wait: those that cannot be read count as dropped."""
    recoveries: list[float] = []
    with _stage(folder) as (life, proxy):
        for _ in range(times):
            life.flows(20)
            proxy.down()
            life.flows(200)
            life.running.wait(lambda now: now["sinks"]["influx"]["waiting"] > 300, "points wait")
            rest(rng.uniform(1.0, 2.0))  # for a checkpoint
            if rng.random() < 0.5:
                life.running.kill()
                _merged(life.running.state / "outbox-lines.db")
            else:
                life.running.stop()
            _flipped(life.running.state / "outbox-lines.db", rng)
            recoveries.append(_started(life))
            proxy.up()
        ledger, status = life.calm()
        assert life.running.stop() == 0, life.running.log[-3000:]
        check_books(life.running.state, ledger, life.specs, _without_drops(status))
        cost = weigh(Truth.of(ledger, life.specs), _had(proxy), by=status["over_ns"])
        dropped = status["sinks"]["influx"]["dropped"]
        print(f"  dropped: {dropped}, missing or not corrected: {cost.lost}")  # noqa: T201
        assert cost.lost <= dropped
        return Outcome(times, len(ledger.entries), 0, cost.doubled, tuple(recoveries))


def _without_drops(status: Mapping[str, Any]) -> dict[str, Any]:
    """Return a status as if what was dropped had not been made."""
    sinks = {name: book | {"made": book["made"] - book["dropped"]} for name, book in status["sinks"].items()}
    return {**status, "sinks": sinks}


def rotten_quarantine(folder: Path, rng: random.Random, *, times: int) -> Outcome:
    """Flip bits of the quarantine: what is there is what was refused, what is not is counted."""
    recoveries: list[float] = []
    with _stage(folder) as (life, proxy):
        path = life.running.state / "quarantine.db"
        for _ in range(times):
            life.flows(200)
            assert life.running.stop() == 0, life.running.log[-3000:]
            _flipped(path, rng)
            recoveries.append(_started(life))
        ledger, status = life.calm()
        assert life.running.stop() == 0, life.running.log[-3000:]
        again = _recounted(life, ledger)
        assert status["balanced"]
        assert status["reasons"] == dict(again.reasons)
        rows, spoiled = _rows(life.running.state)
        assert rows <= again.refused
        missing = sum(again.refused.values()) - sum(rows.values())
        print(f"  rows: {sum(rows.values())}, missing: {missing}, said: {status['quarantine_evicted']}")  # noqa: T201
        assert missing <= status["quarantine_evicted"] + spoiled
        cost = weigh(Truth.of(ledger, life.specs), _had(proxy), by=status["over_ns"])
        return Outcome(times, len(ledger.entries), cost.lost, cost.doubled, tuple(recoveries))


def rotten_journal(folder: Path, rng: random.Random, *, times: int) -> Outcome:
    """Flip bits of a journal that is not treated yet: the records that are hit are set aside, and said.

    Its uplinks had been acknowledged and are lost: there is no other copy. They are counted apart.
    """
    recoveries: list[float] = []
    held: dict[tuple[str, int], int] = {}
    more = {"checkpoint": {"every": "10min"}}
    with _stage(folder, faults=0.0, more=more) as (life, proxy):
        for _ in range(times):
            life.flows(20)
            proxy.down()
            life.flows(300)
            rest(rng.uniform(0.0, 0.5))
            life.running.kill()
            newest = sorted((life.running.state / "journal").glob("journal-*.db"))[-2:]
            for path in newest:
                _merged(path)
            path = max(newest, key=lambda path: path.stat().st_size)
            held |= _held(path)
            _flipped(path, rng, where=b"city/")
            recoveries.append(_started(life))
            assert path.exists(), "never deleted"
            proxy.up()
        ledger, status = life.calm(missing=True)
        assert life.running.stop() == 0, life.running.log[-3000:]
        assert status["balanced"]
        return Outcome(times, *_survivors(life, ledger, status, _had(proxy), held), tuple(recoveries))


def _held(path: Path) -> dict[tuple[str, int], int]:
    """Return the uplinks of each record of a sound segment, by its file and position."""
    with contextlib.closing(sqlite3.connect(path)) as segment:
        rows = segment.execute("SELECT position, count FROM records").fetchall()
    return {(path.name, position): count for position, count in rows}


def _damaged(life: Life, held: Mapping[tuple[str, int], int]) -> int:
    """Return how many uplinks were in the records that the gateway said to be damaged.

    A row that rots may take its number of uplinks with it: the books then count less than that.
    """
    lines = [json.loads(line) for line in life.running.log.splitlines() if "the journal is damaged" in line]
    said = {(line["file"], place) for line in lines for place in range(line["first"], line["last"] + 1)}
    return sum(count for record, count in held.items() if record in said)


def _survivors(
    life: Life, ledger: Contents, status: Any, had: Any, held: Mapping[tuple[str, int], int]
) -> tuple[int, int, int]:
    """Return messages, lost, doubled, where uplinks of which nothing is stored were never sent.

    A record that is hit once its points are stored leaves them there; but what is made after the next start
    knows nothing of it. So windows that would be others without the damaged records may be either.
    """
    kept = [entry for entry in ledger.entries if _is_stored(entry, had)]
    gone = len(ledger.entries) - len(kept)
    counted, damaged = status["uplinks"]["set_aside"], _damaged(life, held)
    print(f"  in damaged records: {damaged}, counted as set aside: {counted}, gone: {gone}")  # noqa: T201
    assert max(gone, counted) <= damaged
    assert counted == damaged or "nothing tells" in life.running.log
    ledger.entries[:] = kept
    truth = Truth.of(ledger, life.specs)
    heard = asyncio.run(recount(life.running.state, ledger, life.specs)).heard
    ledger.entries[:] = [one for one in kept if (one.topic.encode(), one.payload) in heard]
    either = _differing(truth.windows(), Truth.of(ledger, life.specs).windows())
    cost = weigh(truth, had, by=status["over_ns"], refused=either)
    return len(kept) + gone, cost.lost, cost.doubled


def _differing(one: Tables, other: Tables) -> set[tuple[str, Key]]:
    """Return (measurement, key) of the windows that are not the same in both."""
    return {
        (name, key)
        for name, points in one.items()
        for key, fields in points.items()
        if key not in other[name] or not stored.same(fields, other[name][key])
    }


def _is_stored(entry: Any, had: Any) -> bool:
    row = entry.readings[0]
    return (row.device, tuple(sorted(row.dimensions.items())), row.time_ns) in had[row.family]


VERSION = slice(60, 64)
"""Where a file says the version of its format."""


def _flipped(path: Path, rng: random.Random, *, where: bytes = b"") -> None:
    """Flip bits of a file, but for its version: what another version wrote is refused, with a sentence."""
    version = path.read_bytes()[VERSION]
    told = flip(path, rng, where=where)
    content = bytearray(path.read_bytes())
    content[VERSION] = version
    path.write_bytes(content)
    print(f"  {told}")  # noqa: T201


def _started(life: Life) -> float:
    """Start it; return how long that took."""
    began = time.monotonic()
    life.running.start()
    return time.monotonic() - began


def _merged(path: Path) -> None:
    """Bring a WAL into its file, as whoever opens and closes it does."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _is_said(life: Life, name: str, times: int) -> None:
    """The log names the file and where it is kept; the status says it; the file is there."""
    log = life.running.log
    assert log.count('"a damaged file is set aside"') >= times, log[-2000:]
    assert name in life.running.component("state")["last_error"]
    assert (life.running.state / f"{name}.damaged-{times}").exists()


def _nothing_lost_but_ready(
    life: Life, proxy: DatabaseProxy, *, faults: int, recoveries: Sequence[float]
) -> Outcome:
    """As `_nothing_lost`, once a start without damage has made it well again."""
    assert life.running.component("state")["state"] == "degraded"
    assert life.running.stop() == 0
    life.running.start()
    return _nothing_lost(life, proxy, faults=faults, recoveries=recoveries)


def _recounted(life: Life, ledger: Contents) -> Recount:
    return asyncio.run(recount(life.running.state, ledger, life.specs))


def _rows(state: Path) -> tuple[Counter[tuple[bytes, bytes, str]], int]:
    """Return the sound rows of the quarantine, and how many it says are damaged."""
    with contextlib.closing(QuarantineReader.open(state / "quarantine.db")) as reader:
        rows = reader.list(limit=1_000_000)
    sound = [row for row in rows if not row.damaged and row.reason != BY_SINK]
    return Counter((row.topic, row.payload, row.reason) for row in sound), sum(row.damaged for row in rows)


def _every(folder: Path, rng: random.Random) -> Outcome:
    return failing(folder, rng, [(kind, way) for kind in KINDS for way in WAYS] * 2)


SCENARIOS: dict[str, Scenario] = {
    "a disk that fails": _every,
    "a small disk": lambda folder, rng: small(folder, rng, times=5),
    "torn writes": lambda folder, rng: torn(folder, rng, times=6),
    "a rotten state": lambda folder, rng: rotten_state(folder, rng, times=4),
    "a rotten outbox": lambda folder, rng: rotten_outbox(folder, rng, times=8),
    "a rotten quarantine": lambda folder, rng: rotten_quarantine(folder, rng, times=8),
    "a rotten journal": lambda folder, rng: rotten_journal(folder, rng, times=6),
}
