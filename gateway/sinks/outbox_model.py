"""What an outbox is made of, as values: entries, places, cursors, and what passes between memory and file.

Entries carry how many points and bytes were made up to and with them, so that every sum is a
difference of two numbers.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Held = tuple["Mark", "Entry"]
    """An entry and the place behind it."""


class Policy(StrEnum):
    """What happens when a sink's waiting bytes are over the log's limit."""

    HOLD = "hold"
    """The river stops until the sink is back; nothing is dropped."""
    DROP_OLDEST = "drop-oldest"
    """The oldest entries are passed over and counted as dropped."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Encoded points. `oldest_ns` is the receive time of the oldest uplink in them, ns UTC."""

    body: bytes
    count: int
    oldest_ns: int


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the log: all entries up to `seq`, with the points and bytes ever made up to there."""

    seq: int = 0
    points: int = 0
    bytes: int = 0

    def add(self, entry: Entry) -> Mark:
        """Return the place behind one more entry."""
        return Mark(self.seq + 1, self.points + entry.count, self.bytes + len(entry.body))


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a sink has come, and what became of its points; `base`: points made before it was there."""

    sink: str
    policy: str
    seq: int
    points: int
    bytes: int
    base: int
    refused: int = 0
    dropped: int = 0
    superseded: int = 0
    replayed: int = 0

    @property
    def stored(self) -> int:
        """What lies behind the cursor and was neither refused nor dropped nor superseded."""
        return self.points - self.base - self.refused - self.dropped - self.superseded

    @property
    def mark(self) -> Mark:
        """The place where it stands."""
        return Mark(self.seq, self.points, self.bytes)

    def at(self, mark: Mark) -> Cursor:
        """Return the cursor at another place, its counts as they are."""
        return replace(self, seq=mark.seq, points=mark.points, bytes=mark.bytes)


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
    """What waits for a sink. `oldest_ns`: receive time of the oldest uplink in it, ns UTC; None if empty."""

    points: int
    bytes: int
    entries: int
    oldest_ns: int | None


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
class Standing:
    """Where a log ended and where its cursors stood, whole: what a log can be founded on anew."""

    end: Mark
    cursors: Mapping[str, Cursor]

    def as_lists(self) -> list[list[Any]]:
        """Return plain values, for JSON: the end first, then a list a cursor."""
        return [list(astuple(self.end)), *(list(astuple(cursor)) for cursor in self.cursors.values())]

    @classmethod
    def from_lists(cls, lists: Sequence[Sequence[Any]]) -> Standing:
        """Rebuild what `as_lists` gave."""
        end, *cursors = lists
        return cls(Mark(*end), {row[0]: Cursor(*row) for row in cursors})


@dataclass(frozen=True, slots=True)
class Settled:
    """A place that can be recovered to: the log's end, and the last entry that each sink has answered for."""

    end: int
    cursors: Mapping[str, int]
    standing: Standing


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a file holds, but for its entries. `rows_through`: its last entry, 0 where it has none.

    `oldest_ns`: by sink, the receive time of the oldest uplink in the first entry that waits for it.
    """

    end: Mark
    marks: Sequence[Mark]
    cursors: Mapping[str, Cursor]
    outcomes: Mapping[str, Mapping[int, Outcome]]
    oldest_ns: Mapping[str, int | None]
    rows_through: int


@dataclass(frozen=True, slots=True)
class Change:
    """One transaction: end, marks and cursors whole; outcomes as they are now, where they changed; entries.

    `cut`: what lies behind it is deleted first. What became of entries up to the first mark is
    forgotten. `synced`: whether it, and all before it, must be on the disk when it returns.
    """

    end: Mark
    marks: Sequence[Mark]
    cursors: Mapping[str, Cursor]
    outcomes: Sequence[tuple[str, int, Outcome]]
    held: Sequence[Held]
    cut: int | None
    synced: bool


@dataclass(frozen=True, slots=True)
class Found:
    """What a file has right behind `after`: entries; or, where none can be read, the place to go on from."""

    after: int
    taken: Sequence[Held]
    gap: Mark | None = None
