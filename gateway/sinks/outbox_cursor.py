"""How far a sink has come in an outbox: one place, and the gaps that it left behind. Pure.

A sink that takes what is new first steps over what waits: that becomes a gap, a span of entries before its
place that still wait for it. All other entries up to its place are answered for.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from gateway.sinks.outbox_model import Mark

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    Stretch = tuple[int, int]
    """(after, until): the entries behind one number, up to and with another."""

MOST_GAPS = 8
"""A sink that goes away again while it fills a gap leaves another one; with so many it steps over no more."""


@dataclass(frozen=True, slots=True)
class Span:
    """The entries behind `after`, up to and with `until`."""

    after: Mark
    until: Mark

    @property
    def points(self) -> int:
        """How many points are in it."""
        return self.until.points - self.after.points

    @property
    def bytes(self) -> int:
        """How large the bodies in it are."""
        return self.until.bytes - self.after.bytes

    @property
    def entries(self) -> int:
        """How many entries it has."""
        return self.until.seq - self.after.seq

    def holds(self, seq: int) -> bool:
        """Tell whether an entry is in it."""
        return self.after.seq < seq <= self.until.seq

    def before(self, cut: Mark) -> Span | None:
        """Return what of it lies before a place; None where nothing does."""
        if self.until.seq <= cut.seq:
            return self
        return Span(self.after, cut) if self.after.seq < cut.seq else None


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a sink has come, and what became of its points; `base`: points made before it was there.

    `gaps`, in order, still wait before its place. Up to `fence` it must have everything before it may
    step over anything: what is known of the entries up to there does not tell which are first writings.
    """

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
    fence: int = 0
    gaps: tuple[Span, ...] = ()

    def as_list(self) -> list[Any]:
        """Return plain values, for JSON, in the order of the fields: the gaps last, a list each."""
        plain = [getattr(self, field.name) for field in fields(self)]
        return [*plain[:-1], [[*astuple(gap.after), *astuple(gap.until)] for gap in self.gaps]]

    @classmethod
    def from_list(cls, row: Sequence[Any]) -> Cursor:
        """Rebuild what `as_list` gave; what it did not know of (an older one's) is as it begins."""
        names = [field.name for field in fields(cls)][:-1]
        gaps = (Span(Mark(*gap[:3]), Mark(*gap[3:])) for one in row[len(names) :] for gap in one)
        return cls(**dict(zip(names, row, strict=False)), gaps=tuple(gaps))

    @property
    def stored(self) -> int:
        """What it has answered for and was neither refused nor dropped nor superseded."""
        behind = sum(gap.points for gap in self.gaps)
        return self.points - self.base - behind - self.refused - self.dropped - self.superseded

    @property
    def mark(self) -> Mark:
        """The furthest place that it has answered for."""
        return Mark(self.seq, self.points, self.bytes)

    @property
    def first(self) -> Mark:
        """The place up to which it has answered for everything."""
        return self.gaps[0].after if self.gaps else self.mark

    @property
    def may_step_over(self) -> bool:
        """Whether something may be sent before what waits."""
        return self.first.seq >= self.fence

    def waits(self, end: Mark) -> tuple[Span, ...]:
        """Return what waits for it in a log that ends there: its gaps, then what is new."""
        return (*self.gaps, Span(self.mark, end)) if end.seq > self.seq else self.gaps

    def waits_for(self, seq: int) -> bool:
        """Tell whether an entry of the log waits for it."""
        return seq > self.seq or any(gap.holds(seq) for gap in self.gaps)

    def clear_through(self, seq: int) -> int:
        """Return the last entry up to which, from behind `seq` on, none waits for it; or `seq`."""
        ahead = next((gap.after.seq for gap in self.gaps if gap.until.seq > seq), self.seq)
        return max(seq, ahead)

    def at(self, mark: Mark) -> Cursor:
        """Return the cursor at another place, its gaps and counts as they are."""
        return replace(self, seq=mark.seq, points=mark.points, bytes=mark.bytes)

    def past(self, mark: Mark) -> Cursor:
        """Return the cursor as it is once it needs nothing up to there of the span in which that lies."""
        if mark.seq > self.seq:
            return self.at(mark)
        gaps = (Span(mark, gap.until) if gap.holds(mark.seq) else gap for gap in self.gaps)
        return replace(self, gaps=tuple(gap for gap in gaps if gap.entries))

    def over(self, mark: Mark) -> Cursor:
        """Return the cursor as it is once it has stepped over all that waits up to there."""
        gap, gaps = Span(self.mark, mark), self.gaps
        if gaps and gaps[-1].until.seq == self.seq:
            gaps, gap = gaps[:-1], Span(gaps[-1].after, mark)
        return replace(self.at(mark), gaps=(*gaps, gap))

    def cut(self, mark: Mark) -> Cursor:
        """Return the cursor at a place that it lies behind, with what of its gaps lies before that."""
        left = (gap.before(mark) for gap in self.gaps)
        return replace(self.at(mark), gaps=tuple(gap for gap in left if gap is not None))

    def answered_behind(self, mark: Mark) -> int:
        """Return how many points behind a place it has answered for."""
        behind = sum(
            gap.until.points - max(gap.after.points, mark.points)
            for gap in self.gaps
            if gap.until.seq > mark.seq
        )
        return self.points - max(mark.points, self.base) - behind


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a log ended and where its cursors stood, whole: what a log can be founded on anew."""

    end: Mark
    cursors: Mapping[str, Cursor]

    def as_lists(self) -> list[list[Any]]:
        """Return plain values, for JSON: the end first, then a list a cursor."""
        return [list(astuple(self.end)), *(cursor.as_list() for cursor in self.cursors.values())]

    @classmethod
    def from_lists(cls, lists: Sequence[Sequence[Any]]) -> Standing:
        """Rebuild what `as_lists` gave."""
        end, *cursors = lists
        return cls(Mark(*end), {row[0]: Cursor.from_list(row) for row in cursors})


def unneeded(cursors: Iterable[Cursor], through: int) -> list[Stretch]:
    """Return the stretches of entries up to `through` of which none waits for any cursor, in order."""
    waits = [(cursor.seq, through) for cursor in cursors if cursor.seq < through]
    waits += [(gap.after.seq, gap.until.seq) for cursor in cursors for gap in cursor.gaps]
    found, seen = [], 0
    for after, until in sorted(waits):
        if after > seen:
            found.append((seen, min(after, through)))
        seen = max(seen, until)
    return [*found, (seen, through)] if seen < through else found


def rest_of(stretches: Sequence[Stretch], done: Sequence[Stretch]) -> Iterator[Stretch]:
    """Yield what of some stretches is in none of the others; both in order."""
    for begin, until in stretches:
        after = begin
        for gone_after, gone_until in done:
            if gone_until <= after or gone_after >= until:
                continue
            if gone_after > after:
                yield after, gone_after
            after = max(after, gone_until)
        if after < until:
            yield after, until
