"""What an outbox is made of, as values: entries, places, cursors, and what passes between memory and file.

Entries carry how many points and bytes were made up to and with them, so that every sum is a
difference of two numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from gateway.sinks.outbox_cursor import Cursor, Standing

    Held = tuple["Mark", "Entry"]
    """An entry and the place behind it."""


LIVE = 0
"""Stands for what is new, beside gaps, which are known by their last entry."""


class Policy(StrEnum):
    """What happens when a sink's waiting bytes are over the log's limit."""

    HOLD = "hold"
    """The river stops until the sink is back; nothing is dropped."""
    DROP_OLDEST = "drop-oldest"
    """The oldest entries are passed over and counted as dropped."""


class Order(StrEnum):
    """What a sink gets first when it has been away."""

    BACKLOG = "backlog"
    """Everything in the order in which it was made."""
    LIVE = "live"
    """What is new; what waited is filled in between."""


class Bodies(Protocol):
    """What must be known of the encoding: which points a body holds, and how it is without some."""

    def keys(self, body: bytes, times: Collection[int] | None = None) -> list[tuple[int, bytes]]:
        """Return (place in the body, key) of its points, or of those at these times (ns) alone.

        A key names a point, series and time, in 24 bytes (`point_key`), whatever its fields.
        """
        ...

    def without(self, body: bytes, places: Collection[int]) -> bytes:
        """Return the body without the points at these places."""
        ...


@dataclass(frozen=True, slots=True)
class Entry:
    """Encoded points. `oldest_ns` is the receive time of the oldest uplink in them, ns UTC; 0: of none.

    `again`: an older entry may hold another writing of some of them.
    """

    body: bytes
    count: int
    oldest_ns: int
    again: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the log: all entries up to `seq`, with the points and bytes ever made up to there."""

    seq: int = 0
    points: int = 0
    bytes: int = 0

    def add(self, entry: Entry) -> Mark:
        """Return the place behind one more entry."""
        return Mark(self.seq + 1, self.points + entry.count, self.bytes + len(entry.body))

    def less(self, entry: Entry) -> Mark:
        """Return the place before an entry that ends here."""
        return Mark(self.seq - 1, self.points - entry.count, self.bytes - len(entry.body))


class Outcome(NamedTuple):
    """What became of an entry's points at a sink, where they were not stored."""

    refused: int = 0
    dropped: int = 0
    superseded: int = 0

    def plus(self, other: Outcome) -> Outcome:
        """Return the sum."""
        return Outcome(
            self.refused + other.refused, self.dropped + other.dropped, self.superseded + other.superseded
        )


@dataclass(frozen=True, slots=True)
class Recovered:
    """What recovery did. `end`: where the log now ends. `lost`: entries that only the checkpoint knew.

    `replayed`: by sink, points that had been sent beyond the end and will be made again, as far as the
    file knows. `resent`: by sink, entries that had been sent according to the checkpoint and will be
    sent once more.
    """

    end: int
    lost: int = 0
    replayed: Mapping[str, int] = field(default_factory=dict)
    resent: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Depth:
    """What waits for a sink. `oldest_ns`: receive time of the oldest uplink in it, ns UTC; None if empty.

    `behind`: how many of the points were stepped over, so that newer ones go first.
    """

    points: int
    bytes: int
    entries: int
    oldest_ns: int | None
    behind: int = 0


@dataclass(frozen=True, slots=True)
class SinkTotals:
    """What became of points, since the sink was registered.

    made = stored + waiting + refused + dropped + superseded. `replayed` stands outside: points sent
    before a crash, as far as the file knows, and made again after it.
    """

    made: int
    stored: int
    waiting: int
    refused: int
    dropped: int
    superseded: int
    replayed: int


@dataclass(frozen=True, slots=True)
class Settled:
    """A place that can be recovered to: the log's end, and the last entry that each sink has answered for."""

    end: int
    cursors: Mapping[str, int]
    standing: Standing


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a file holds, but for its entries. `rows_through`: its last entry, 0 where it has none.

    `oldest_ns`: by sink and span that waits for it (the last entry of a gap, or `LIVE`), the receive time of
    the oldest uplink in its first entry. `newer`: by sink, the key of each point of which it had a writing
    before an older one, and in which entry.
    """

    end: Mark
    marks: Sequence[Mark]
    cursors: Mapping[str, Cursor]
    outcomes: Mapping[str, Mapping[int, Outcome]]
    oldest_ns: Mapping[str, Mapping[int, int | None]]
    newer: Mapping[str, Mapping[bytes, int]]
    rows_through: int


@dataclass(frozen=True, slots=True)
class Change:
    """One transaction: end, marks and cursors whole; outcomes as they are now, where they changed; entries.

    `newer`: (sink, key, entry) of writings that were sent before older ones; those of a sink without gaps
    are forgotten. `cut`: what lies behind it is deleted first. What became of entries up to the first mark
    is forgotten. `synced`: whether it, and all before it, must be on the disk when it returns.
    """

    end: Mark
    marks: Sequence[Mark]
    cursors: Mapping[str, Cursor]
    outcomes: Sequence[tuple[str, int, Outcome]]
    newer: Sequence[tuple[str, bytes, int]]
    held: Sequence[Held]
    cut: int | None
    synced: bool


@dataclass(frozen=True, slots=True)
class Found:
    """What a file has right behind `after`: entries; or, where none can be read, the place to go on from."""

    after: int
    taken: Sequence[Held]
    gap: Mark | None = None
