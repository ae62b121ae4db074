"""What the gateway knows of itself at one moment: read by the status page, the metrics and the command.

Counters count since the gateway first ran (the checkpoint keeps them) unless a docstring says otherwise.
Times are ns UTC of the gateway's clock; durations are real seconds.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from gateway.clock import rfc3339
from gateway.health.histogram import Histogram


class State(StrEnum):
    """How a component is. Ready is: every component is OK."""

    OK = "ok"
    STARTING = "starting"
    DEGRADED = "degraded"
    """Works, and someone should look; what it may cost, its words say."""
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Component:
    """One part, of those that `docs/health.md` lists: `broker`, `journal`, … `sink NAME`."""

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
class Subscription:
    """A filter at the broker: the QoS asked for and the one granted, None where it was refused."""

    filter: str
    asked: int
    granted: int | None


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
    """Uplinks at QoS 0 refused while the river was held: in no book."""
    unreleased: int = 0
    """QoS 2 deliveries that are journalled and not over: the broker has yet to release them."""
    last_heard_ns: int = 0
    subscriptions: tuple[Subscription, ...] = ()
    """Of this connection, once the broker has answered."""


@dataclass(frozen=True, slots=True)
class Replay:
    """How far the replay after a start is: places in the journal, and the real seconds that it has taken."""

    begin: int
    position: int
    end: int
    seconds: float

    @property
    def share(self) -> float:
        """What is done, from 0 to 1, by the number of records."""
        return (self.position - self.begin) / (self.end - self.begin) if self.end > self.begin else 1.0

    @property
    def left_s(self) -> float | None:
        """How long the rest will take at this pace; None before anything is done."""
        return self.seconds * (1 - self.share) / self.share if self.share > 0 else None

    def sentence(self) -> str:
        """Say it in one line."""
        left = f", about {self.left_s:.0f} s left" if self.left_s is not None else ""
        return f"replaying the journal: {self.share:.0%}, record {self.position} of {self.end}{left}"


@dataclass(frozen=True, slots=True)
class ClockHealth:
    """The gateway's clock. While it is suspect, uplinks are journalled, and decoding waits.

    `shown_ns` is what the machine's clock shows, `expected_ns` what it should by the steady one, `newest_ns`
    the time of the newest record before: all event time. `step_s` is what lies between the first two in
    real seconds; `waiting` is how many uplinks wait, with so many `bytes`.
    """

    suspect: bool = False
    since_ns: int = 0
    shown_ns: int = 0
    expected_ns: int = 0
    newest_ns: int = 0
    step_s: float = 0.0
    waiting: int = 0
    bytes: int = 0

    def sentence(self) -> str:
        """Say what is wrong, and when it will end by itself."""
        if not self.suspect:
            return ""
        shown, newest = rfc3339(self.shown_ns), rfc3339(self.newest_ns)
        expected = (
            f"{rfc3339(self.expected_ns)} was expected"
            if abs(self.step_s) >= 1
            else "which is before the newest record"
        )
        return (
            f"clock suspect: the machine's clock shows {shown}, {expected}; uplinks are journalled and wait. "
            f"It is believed once it has not been set for 1 min and is past {newest}, "
            "or after: ecluse clock confirm"
        )


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
    `clock` (waits for it), `windows` (readings behind open ones), `memory of LOG`, `outbox NAME`,
    `quarantine`."""
    watermarks: dict[str, int] = field(default_factory=dict)
    """Profile → event time before which its windows are final; ns UTC."""
    quarantine_evicted: int = 0
    """Quarantined rows that gave way to newer ones."""
    quarantine_replayed: int = 0
    """Uplinks that were let in again from quarantine: a part of journalled."""
    quarantine_dropped: int = 0
    """Quarantined rows that a person deleted."""
    series: int = 0
    hot_blocks: int = 0
    hot_bytes: int = 0
    loop_lag_s: float = 0.0
    clock: ClockHealth = field(default_factory=ClockHealth)
    replay: Replay | None = None
    """The replay that goes on; None once it flows."""
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
        if self.replay is not None:
            values["replay"] |= {"share": self.replay.share, "left_s": self.replay.left_s}
        return values | {"ready": self.ready, "balanced": self.balanced}
