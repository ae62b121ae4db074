"""Devices that were heard and are in no registry: who, since when, how often, and a sample.

The river tells of each uplink and never waits: what it tells is gathered in memory and written a batch
at a time, on a worker's thread. The number of strangers is bounded: once the list is full a new one
takes the place of the one not heard for longest, if that has been silent for a week; else it is
counted as overflow and not listed. A flood of invented names thus cannot push a real one out.

Delivery guarantees: none. A crash loses what was not flushed; the uplinks themselves are in quarantine.
"""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway import damage, durable
from gateway.errors import StateError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.damage import Aside

SAMPLE_BYTES = 4_096
SILENT_NS = 7 * 86_400 * 10**9

_FORMAT = durable.Format(
    application_id=0x45434C55,
    version=1,
    page_bytes=4_096,
    schema="""
    CREATE TABLE unknown (
        site TEXT NOT NULL, device TEXT NOT NULL, topic TEXT NOT NULL,
        first_ns INTEGER NOT NULL, last_ns INTEGER NOT NULL, count INTEGER NOT NULL,
        sample BLOB NOT NULL, PRIMARY KEY (site, device)
    ) WITHOUT ROWID;
    CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    INSERT INTO counters VALUES ('overflow', 0), ('evicted', 0)
    """,
)


@dataclass(frozen=True, slots=True)
class UnknownDevice:
    """A stranger. `sample` is its last payload, cut at `SAMPLE_BYTES`; times are ns UTC."""

    site: str
    device: str
    topic: str
    first_ns: int
    last_ns: int
    count: int
    sample: bytes


@dataclass(frozen=True, slots=True)
class UnknownFigures:
    """`listed` devices; `overflow` uplinks of devices that found no room; `evicted` devices."""

    listed: int
    overflow: int
    evicted: int


class UnknownDevices:
    """The list of strangers, in a SQLite file that other programs may read meanwhile.

    `unknown` may be called from any thread and does not touch the disk; `flush`, `list`, `forget`,
    `figures` and `close` block, and raise StateError where the file cannot be written or read.
    """

    def __init__(self, path: Path, *, max_devices: int = 1_000, mend: bool = False) -> None:
        """Open the file, or make it. Raises StateError.

        `mend`: a damaged one is set aside (`aside`), and the list begins anew. For the gateway alone:
        whoever else looks at the file must not move it.
        """
        self._max = max_devices
        self._path = path
        self._lock = threading.Lock()
        self._disk = threading.Lock()
        self._heard: dict[tuple[str, str], UnknownDevice] = {}
        self._overflow = 0
        self.aside: Aside | None
        with self._translated():
            self.aside = damage.mended(path, _FORMAT, judge=_judge) if mend else None
            self._connection = _open(path)

    def unknown(self, site: str, device: str, topic: str, payload: bytes, at_ns: int) -> None:
        """Note an uplink of a device that is not in the registry."""
        key = (site, device)
        with self._lock:
            before = self._heard.get(key)
            if before is None and len(self._heard) >= self._max:
                self._overflow += 1
                return
            self._heard[key] = UnknownDevice(
                site=site,
                device=device,
                topic=topic,
                first_ns=before.first_ns if before else at_ns,
                last_ns=max(before.last_ns, at_ns) if before else at_ns,
                count=before.count + 1 if before else 1,
                sample=bytes(payload[:SAMPLE_BYTES]),
            )

    def flush(self) -> None:
        """Write what was noted since the last call, in one transaction."""
        with self._lock:
            heard, self._heard = self._heard, {}
            overflow, self._overflow = self._overflow, 0
        if not heard and not overflow:
            return
        with self._translated(), durable.transaction(self._connection):
            for device in heard.values():
                if not self._update(device) and not self._insert(device):
                    overflow += device.count
            self._count("overflow", overflow)

    def list(self) -> list[UnknownDevice]:
        """Return the strangers, the one heard last first; what was not flushed is not among them."""
        with self._translated():
            rows = self._connection.execute(
                "SELECT site, device, topic, first_ns, last_ns, count, sample FROM unknown"
                " ORDER BY last_ns DESC, site, device"
            ).fetchall()
        return [UnknownDevice(*row) for row in rows]

    def forget(self, site: str, device: str) -> bool:
        """Take a device off the list, as after its adoption; tell whether it stood there."""
        with self._lock:
            noted = self._heard.pop((site, device), None)
        with self._translated(), durable.transaction(self._connection):
            gone = self._connection.execute(
                "DELETE FROM unknown WHERE site = ? AND device = ?", (site, device)
            ).rowcount
        return bool(gone) or noted is not None

    def figures(self) -> UnknownFigures:
        """Return how many are listed, and how many found no room."""
        with self._translated():
            counters = dict(self._connection.execute("SELECT name, value FROM counters").fetchall())
            listed = self._listed()
        return UnknownFigures(listed=listed, overflow=counters["overflow"], evicted=counters["evicted"])

    def close(self) -> None:
        """Flush, and close the file."""
        try:
            self.flush()
        finally:
            self._connection.close()

    def _update(self, device: UnknownDevice) -> bool:
        values = (device.topic, device.last_ns, device.count, device.sample, device.site, device.device)
        sql = (
            "UPDATE unknown SET topic = ?, last_ns = max(last_ns, ?), count = count + ?, sample = ?"
            " WHERE site = ? AND device = ?"
        )
        return self._connection.execute(sql, values).rowcount == 1

    def _insert(self, device: UnknownDevice) -> bool:
        """List a new stranger where there is room, or where one has been silent for long."""
        if self._listed() >= self._max and not self._evict(before_ns=device.last_ns - SILENT_NS):
            return False
        values = (device.site, device.device, device.topic, device.first_ns, device.last_ns)
        self._connection.execute(
            "INSERT INTO unknown VALUES (?, ?, ?, ?, ?, ?, ?)", (*values, device.count, device.sample)
        )
        return True

    def _evict(self, *, before_ns: int) -> bool:
        sql = (
            "DELETE FROM unknown WHERE (site, device) IN"
            " (SELECT site, device FROM unknown WHERE last_ns < ? ORDER BY last_ns LIMIT 1)"
        )
        evicted = self._connection.execute(sql, (before_ns,)).rowcount
        self._count("evicted", evicted)
        return evicted == 1

    def _listed(self) -> int:
        return int(self._connection.execute("SELECT count(*) FROM unknown").fetchone()[0])

    def _count(self, name: str, by: int) -> None:
        if by:
            self._connection.execute("UPDATE counters SET value = value + ? WHERE name = ?", (by, name))

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        with self._disk, durable.translated(StateError, f"unknown devices ({self._path})"):
            yield


def _judge(connection: sqlite3.Connection) -> str:
    names = {row[0] for row in connection.execute("SELECT name FROM counters")}
    return "" if {"overflow", "evicted"} <= names else "its counters are gone"


def _open(path: Path) -> sqlite3.Connection:
    """Open the file, made where there is none. Raises sqlite3.Error, OSError, StateError."""
    if not path.exists():
        durable.create(path, _FORMAT)
    connection = durable.connect(path)
    try:
        durable.upgrade(connection, path, _FORMAT, StateError)
        connection.execute("SELECT 1 FROM unknown, counters LIMIT 1")
    except BaseException:
        connection.close()
        raise
    return connection
