"""How full every queue is, against its bound; when a sink's will be empty; which sink gives up points."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.health.snapshot import Depth

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.ingest.mqtt import MqttSource
    from gateway.journal.journal import Journal
    from gateway.outlets import LogOutlet
    from gateway.pipeline import River
    from gateway.ports import Clock
    from gateway.quarantine.store import QuarantineStore

SAMPLES = 20
"""One each half second: how fast a queue empties is judged by the last ten seconds."""
CALM_S = 600.0
"""A sink that has given up nothing for so long is well again."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What settings allow.

    In bytes: uplinks not acknowledged, readings behind open windows, uplinks that wait for a suspect clock;
    in rows: quarantine. 0: nothing is said of it.
    """

    received: int = 0
    windows: int = 0
    quarantine: int = 0
    suspect: int = 0


@dataclass(slots=True)
class _GivenUp:
    """How many points a sink has given up; `since_ns` and `before`: this time, 0 where it has not yet."""

    dropped: int
    before: int = 0
    since_ns: int = 0
    last_ns: int = 0


class Queues:
    """Asks every queue. `sample` is called once in a while; the rest costs no disk access."""

    def __init__(
        self,
        *,
        clock: Clock,
        river: River,
        journal: Journal,
        quarantine: QuarantineStore,
        logs: Sequence[LogOutlet],
        bounds: Bounds,
    ) -> None:
        self._clock = clock
        self._river = river
        self._journal = journal
        self._quarantine = quarantine
        self._logs = logs
        self._bounds = bounds
        self._waiting: deque[tuple[int, dict[str, int]]] = deque(maxlen=SAMPLES)
        self._given_up: dict[str, _GivenUp] = {}

    def sample(self) -> None:
        """Note how much waits for each sink, and what it has given up."""
        waiting = {}
        for log, name in self._sinks():
            totals = log.outbox.totals(name)
            waiting[name] = totals.waiting
            known = self._given_up.setdefault(name, _GivenUp(totals.dropped))
            if totals.dropped > known.dropped:
                now = self._clock.now_ns()
                if not self.given_up(name):
                    known.since_ns, known.before = now, known.dropped
                known.dropped, known.last_ns = totals.dropped, now
        self._waiting.append((self._clock.monotonic_ns(), waiting))

    def given_up(self, sink: str) -> tuple[int, int] | None:
        """Return since when a sink gives up points, ns UTC, and how many; None where it does not."""
        known = self._given_up.get(sink)
        if known is None or not known.last_ns or self._clock.since_s(known.last_ns) > CALM_S:
            return None
        return known.since_ns, known.dropped - known.before

    def depths(self, source: MqttSource | None, hot_bytes: int) -> dict[str, Depth]:
        """Return how full each is, by its name; `hot_bytes` are those of the readings behind open windows."""
        queue, bounds = self._river.queue, self._bounds
        depths = {}
        if source is not None:
            status = source.status
            depths["received"] = Depth(
                status.unacknowledged, status.unacknowledged_bytes, limit_bytes=bounds.received
            )
        depths["journal"] = Depth(self._journal.figures().waiting, limit_items=1)
        depths["decode"] = Depth(
            queue.uplinks,
            queue.bytes,
            self._age(queue.oldest_ns),
            limit_items=queue.max_uplinks,
            limit_bytes=queue.max_bytes,
        )
        if (span := self._river.watched.span) is not None:
            depths["clock"] = Depth(
                span.uplinks, span.bytes, self._age(span.segments[0].at_ns), limit_bytes=bounds.suspect
            )
        depths["windows"] = Depth(bytes=hot_bytes, limit_bytes=bounds.windows)
        for log in self._logs:
            used, limit = log.outbox.memory
            depths[f"memory of {log.name}"] = Depth(bytes=used, limit_bytes=limit)
        depths |= {f"outbox {name}": self._outbox(log, name) for log, name in self._sinks()}
        depths["quarantine"] = Depth(
            self._quarantine.rows, self._quarantine.bytes, limit_items=bounds.quarantine
        )
        return depths

    def _outbox(self, log: LogOutlet, name: str) -> Depth:
        depth = log.outbox.depth(name)
        return Depth(
            depth.points,
            depth.bytes,
            self._age(depth.oldest_ns),
            entries=depth.entries,
            behind=depth.behind,
            limit_bytes=log.outbox.max_bytes,
            empty_s=self._empty_s(name, depth.points),
        )

    def _empty_s(self, sink: str, waiting: int) -> float | None:
        """Return in how many seconds nothing will wait, at the pace of the last samples; None: never."""
        if not waiting:
            return 0.0
        if len(self._waiting) < 2:
            return None
        (began, before), (ended, now) = self._waiting[0], self._waiting[-1]
        emptied = before.get(sink, 0) - now.get(sink, 0)
        return waiting * ((ended - began) / 1e9) / emptied if emptied > 0 else None

    def _sinks(self) -> Iterator[tuple[LogOutlet, str]]:
        return ((log, name) for log in self._logs for name in log.sinks)

    def _age(self, oldest_ns: int | None) -> float:
        return max(self._clock.since_s(oldest_ns), 0.0) if oldest_ns else 0.0
