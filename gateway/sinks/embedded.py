"""The embedded time-series store: DuckDB, one file, written and asked by this process alone.

A table a measurement, wide, append-only: a point written again is one more row, and every answer takes of
each field the value written last, as InfluxDB's overwriting does. `maintain` merges such rows, drops what
is past its retention, and keeps the file within its size.

Delivery guarantees: a write is one transaction, durable when it returns; after a crash the whole of it is
there or nothing. All work runs in one thread of its own, so a long question delays writes, which wait in
the outbox. A second process cannot open the file: questions go through the gateway.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from gateway.errors import PointsRejected
from gateway.sinks.embedded_store import Measurement, Store
from gateway.sinks.embedded_upkeep import EmbeddedSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import pyarrow as pa

    from gateway.ports import Clock

__all__ = ["EmbeddedSettings", "EmbeddedSink", "Measurement"]

P = ParamSpec("P")
T = TypeVar("T")


class EmbeddedSink:
    """The store as a sink, and the questions that it answers. Its bodies are those of `columns.encode`."""

    overwrites = True

    def __init__(self, settings: EmbeddedSettings, *, clock: Clock) -> None:
        self.name = settings.name
        self._store = Store(settings, clock=clock)
        self._closed = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=settings.name)

    async def write(self, bodies: Sequence[bytes]) -> None:
        """Store the points of some outbox entries, in their order (a later one wins), in one transaction.

        Raises `SinkUnavailable` (disk full, file locked or damaged) with nothing of it stored, or
        `PointsRejected` for points whose field has another type in the store.
        """
        refused = await self._run(Store.write, bodies)
        if refused:
            raise PointsRejected(
                f"{self.name} refused {len(refused)} points, the first one: {refused[0][1]}", lines=refused
            )

    async def check(self) -> str:
        """Open the file; return the library's version and the file. Raises `SinkUnavailable`."""
        return await self._run(Store.check)

    async def close(self) -> None:
        """Finish what runs, close the file, end the thread. Closing twice does nothing more."""
        if not self._closed:
            self._closed = True
            await self._run(Store.close)
            self._thread.shutdown(wait=False)

    async def query(
        self,
        measurement: str,
        *,
        site: str | None = None,
        device: str | None = None,
        fields: Sequence[str] | None = None,
        start_ns: int | None = None,
        end_ns: int | None = None,
        last_ns: int | None = None,
        limit: int | None = 10_000,
    ) -> pa.Table:
        """Return points, oldest first: `time` (timestamp[ns] UTC), the tags, the fields (null where absent).

        Event time from `start_ns` (included) to `end_ns` (excluded), or the last `last_ns` up to now; the
        newest `limit` points. Raises `QueryError` naming what exists.
        """
        return await self._run(
            Store.query,
            measurement,
            site=site,
            device=device,
            fields=fields,
            start_ns=start_ns,
            end_ns=end_ns,
            last_ns=last_ns,
            limit=limit,
        )

    async def latest(self, measurement: str, *, last_ns: int | None = None) -> pa.Table:
        """Return one row a series (device and dimensions): its newest `time`, each field's newest value.

        With `last_ns` only what is younger, which reads less. Raises `QueryError`.
        """
        return await self._run(Store.latest, measurement, last_ns=last_ns)

    async def series(
        self, measurement: str, field: str, *, site: str, device: str, last_ns: int, limit: int = 500
    ) -> pa.Table:
        """Return one field of one device, oldest first, for a small chart. Raises `QueryError`."""
        return await self.query(
            measurement, site=site, device=device, fields=[field], last_ns=last_ns, limit=limit
        )

    async def measurements(self) -> list[Measurement]:
        """Return what there is, by name."""
        return await self._run(Store.measurements)

    async def write_parquet(
        self, path: Path, measurement: str, *, start_ns: int | None = None, end_ns: int | None = None
    ) -> int:
        """Write points to a Parquet file, oldest first; return how many. Raises `QueryError`, OSError."""
        return await self._run(Store.write_parquet, path, measurement, start_ns=start_ns, end_ns=end_ns)

    async def copy_to(self, path: Path) -> None:
        """Copy the whole file to a new one, not synced; writes and questions wait meanwhile.

        Raises `SinkUnavailable`: it cannot be read, or there is no room for it; nothing is left then.
        """
        await self._run(Store.copy_to, path)

    async def maintain(self) -> None:
        """Merge, drop what is too old or too much. Runs by itself once a minute of writing."""
        await self._run(Store.maintain)

    async def _run(self, work: Callable[Concatenate[Store, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, lambda: work(self._store, *args, **kwargs))
