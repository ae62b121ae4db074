"""What the gateway knows of itself at one moment: read by the status page, the metrics and the command.

Counters count since the gateway first ran (the checkpoint keeps them) unless a docstring says otherwise.
Times are ns UTC of the gateway's clock; durations are real seconds.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from gateway.health.histogram import Histogram


class State(StrEnum):
    """How a component is. Ready is: every component is OK."""

    OK = "ok"
    STARTING = "starting"
    DEGRADED = "degraded"
    """Works, and someone should look: nothing is lost."""
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Component:
    """One part, named `broker`, `journal`, `state`, `river`, `profiles`, `devices` or `sink NAME`."""

    name: str
    state: State
    since_ns: int
    last_error: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Depth:
    """How full a queue is: items (uplinks, points or rows), bytes, and the age of its oldest in seconds.

    `limit_bytes` and `limit_items` are 0 where the queue is bounded otherwise. Of an outbox: `entries` on
    disk or in memory, how many of the items are `behind` (newer ones go first), and in how many seconds
    nothing will wait at the pace of the last ones (`empty_s`; None: never).
    """

    items: int = 0
    bytes: int = 0
    seconds: float = 0.0
    limit_bytes: int = 0
    limit_items: int = 0
    entries: int = 0
    behind: int = 0
    empty_s: float | None = None


@dataclass(frozen=True, slots=True)
class Connection:
    """The session at the broker, since this process started."""

    state: str = "starting"
    protocol: str = ""
    connects: int = 0
    sessions_lost: int = 0
    takeovers: int = 0
    silences: int = 0
    uplinks: int = 0
    bytes: int = 0
    oversize: int = 0
    """Packets over `broker.max_packet`: acknowledged, first bytes in quarantine, in no book."""
    refused_qos0: int = 0
    """Uplinks at QoS 0 refused while a full outbox held the river: in no book."""
    last_heard_ns: int = 0


@dataclass(frozen=True, slots=True)
class Fleet:
    """Devices: known to the registry, heard since the start, silent for over three times their interval."""

    known: int = 0
    heard: int = 0
    silent: int = 0
    unknown: int = 0


@dataclass(frozen=True, slots=True)
class SinkBook:
    """The third book, of one sink, and how its writing goes. Retries count since this process started."""

    made: int = 0
    stored: int = 0
    waiting: int = 0
    refused: int = 0
    dropped: int = 0
    superseded: int = 0
    replayed: int = 0
    not_delivered: int = 0
    retries: int = 0
    last_success_ns: int = 0

    def difference(self) -> int:
        """Return left side minus right side: 0 where the book balances."""
        return self.made - self.stored - self.waiting - self.refused - self.dropped - self.superseded


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything at once."""

    version: str
    now_ns: int
    started_ns: int
    time_factor: float
    components: tuple[Component, ...]
    uplinks: dict[str, int]
    """The first book by column, with `difference`."""
    readings: dict[str, int]
    """The second book by column, with `difference`."""
    sinks: dict[str, SinkBook]
    reasons: dict[str, int]
    late: int
    windows: int
    corrections: int
    connection: Connection
    fleet: Fleet
    queues: dict[str, Depth] = field(default_factory=dict)
    """`received` (read, not durable), `journal` (records being synced), `decode` (durable, not decoded),
    `windows` (readings behind open ones), `memory of LOG`, `outbox NAME`, `quarantine`."""
    watermarks: dict[str, int] = field(default_factory=dict)
    """Profile → event time before which its windows are final; ns UTC."""
    quarantine_evicted: int = 0
    """Quarantined rows that gave way to newer ones."""
    series: int = 0
    hot_blocks: int = 0
    hot_bytes: int = 0
    loop_lag_s: float = 0.0
    durable: Histogram = field(default_factory=Histogram)
    """Received → durable in the journal, uplinks, real seconds, since this process started."""
    stored: dict[str, Histogram] = field(default_factory=dict)
    """Received → stored by that sink, points, real seconds, since this process started."""

    @property
    def ready(self) -> bool:
        """Whether every component is OK."""
        return all(component.state is State.OK for component in self.components)

    @property
    def balanced(self) -> bool:
        """Whether the three books balance."""
        differences = [self.uplinks["difference"], self.readings["difference"]]
        return not any([*differences, *(book.difference() for book in self.sinks.values())])

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, `ready` and `balanced` included."""
        values = asdict(self)
        for name, book in self.sinks.items():
            values["sinks"][name]["difference"] = book.difference()
        return values | {"ready": self.ready, "balanced": self.balanced}
