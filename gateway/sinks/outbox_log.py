"""One log of encoded points with a cursor a sink, as it is in memory. Pure: it knows no file and no loop.

What a sink's cursor lies past, but for its gaps, is stored, refused, dropped or superseded; the rest waits;
nothing can be in both. The books of a sink are differences of sums that the entries carry, so they
balance by construction, whatever is cut off, passed over or damaged.

Entries that wait are in the tail; those before its start are in the file, which `outbox.py` reads.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gateway.sinks.outbox_cursor import MOST_GAPS, Cursor, Span
from gateway.sinks.outbox_hand import Hand, spread
from gateway.sinks.outbox_model import LIVE, Mark, Order, Outcome, Policy, Recovered
from gateway.sinks.outbox_newer import Newer
from gateway.sinks.outbox_tail import Tail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from gateway.sinks.outbox_cursor import Standing
    from gateway.sinks.outbox_model import Bodies, Entry, Found, Held, Loaded


class OutboxLog:
    """End, cursors and books of a log, and its tail. `max_bytes` bounds what waits for one sink.

    Methods raise KeyError for a sink that is not registered.
    """

    def __init__(self, loaded: Loaded, max_bytes: int, bodies: Bodies) -> None:
        self.damaged: list[tuple[str, int, int]] = []
        """(sink, first, last): entries that could not be read and were passed over."""
        self.end = loaded.end
        self.cursors = dict(loaded.cursors)
        self.tail = Tail(loaded.end)
        self.marks = {mark.seq: mark for mark in loaded.marks}
        """Places that a checkpoint holds, or may hold soon, in their order."""
        self.max_bytes = max_bytes
        self._bodies = bodies
        self._orders: dict[str, Order] = {}
        self._oldest_ns = {sink: dict(loaded.oldest_ns.get(sink, {})) for sink in self.cursors}
        self._hands = {sink: Hand() for sink in self.cursors}
        self._outcomes = {sink: dict(loaded.outcomes.get(sink, {})) for sink in self.cursors}
        self._newer = {sink: Newer(bodies, loaded.newer.get(sink, {})) for sink in self.cursors}
        self._changed: set[tuple[str, int]] = set()
        self._rescued = {sink: dict(sent) for sink, sent in loaded.newer.items() if sink not in self.cursors}
        """Of a damaged file whose cursors could not be read: for `found`."""

    @property
    def holding(self) -> list[str]:
        """The sinks that must get everything and wait for as much as the log may hold, or more."""
        return [
            sink
            for sink, cursor in self.cursors.items()
            if cursor.policy == Policy.HOLD and self.waiting_bytes(sink) >= self.max_bytes
        ]

    def waiting_bytes(self, sink: str) -> int:
        """Return how many bytes wait for a sink."""
        return sum(span.bytes for span in self.cursors[sink].waits(self.end))

    def waits_for(self, seq: int) -> bool:
        """Tell whether an entry waits for any sink."""
        return any(cursor.waits_for(seq) for cursor in self.cursors.values())

    def in_file(self, span: Span) -> bool:
        """Whether the next entries of a span are in the file alone."""
        return span.after.seq < self.tail.start.seq

    def filed(self, span: Span) -> Mark:
        """Return the last place of a span that is in the file alone."""
        return min(span.until, self.tail.start, key=lambda mark: mark.seq)

    def oldest_ns(self, sink: str, *, live: bool = False) -> int | None:
        """Return the receive time of the oldest uplink that waits (`live`: behind all gaps); None: none does.

        For what is in the file alone: of the last entry that was read, until the next one is.
        """
        waits = self.cursors[sink].waits(self.end)
        if live:
            waits = tuple(span for span in waits if span.after.seq >= self.cursors[sink].seq)
        if not waits:
            return None
        first = waits[0].after.seq + 1
        held = self._hands[sink].given.get(first) or self.tail.get(first)
        return held[1].oldest_ns if held else self._oldest_ns[sink].get(self._name(sink, waits[0]))

    def register(self, sink: str, policy: Policy, order: Order) -> None:
        """Give a sink a cursor at the end of the log; one that has a cursor keeps it, with this policy."""
        end = self.end
        new = Cursor(sink, policy, end.seq, end.points, end.bytes, base=end.points)
        self.cursors[sink] = replace(self.cursors.get(sink, new), policy=policy)
        self._orders[sink] = order
        self._oldest_ns.setdefault(sink, {})
        self._hands.setdefault(sink, Hand())
        self._outcomes.setdefault(sink, {})
        self._newer.setdefault(sink, Newer(self._bodies, {}))

    def unregister(self, sink: str) -> None:
        """Forget a sink: what waits for it alone is nobody's."""
        known: tuple[dict[str, Any], ...] = (self.cursors, self._orders, self._oldest_ns)
        for each in (*known, self._hands, self._outcomes, self._newer):
            each.pop(sink, None)
        self._changed = {(other, seq) for other, seq in self._changed if other != sink}
        self.let_go()

    def append(self, entries: Iterable[Entry]) -> None:
        """Put entries behind the end."""
        for entry in entries:
            self.end = self.end.add(entry)
            self.tail.push(self.end, entry)
        self.let_go()

    def turn(self, sink: str, *, backlog: bool = True) -> Span | None:
        """Return what is next for a sink; `backlog` False: only what is behind all gaps. None: nothing."""
        cursor = self.cursors[sink]
        waits = cursor.waits(self.end)
        live = waits[-1] if waits and waits[-1].after.seq >= cursor.seq else None
        if not cursor.gaps or (live and self._goes_live(sink)):
            return live
        return cursor.gaps[0] if backlog else None

    def step_over(self, sink: str, is_young: Callable[[int], bool]) -> bool:
        """Let a sink that wants what is new first leave what waits for later, but for what is young.

        `is_young` is asked about receive times, ns UTC. Nothing happens where what is new may not be sent
        before what waits, or where there are too many gaps; tells whether something did.
        """
        cursor, tail = self.cursors[sink], self.tail
        place = self.end
        while place.seq > cursor.seq and (held := tail.get(place.seq)) is not None:
            if not is_young(held[1].oldest_ns):
                break
            place = held[0].less(held[1])
        joins = bool(cursor.gaps) and cursor.gaps[-1].until.seq == cursor.seq
        if place.seq <= cursor.seq or not self._goes_live(sink):
            return False
        if len(cursor.gaps) >= MOST_GAPS and not joins:
            return False
        known, oldest = self._oldest_ns[sink], self.oldest_ns(sink, live=True)
        known[place.seq] = known.pop(cursor.seq, None) if joins else oldest
        known[LIVE] = None
        self.cursors[sink] = cursor.over(place)
        return True

    def take(self, sink: str, span: Span, max_points: int, max_bytes: int) -> list[tuple[int, Entry]]:
        """Give a sink the next entries of its turn, from memory: one at least, else up to both limits."""
        return self._give(sink, self.tail.take(span.after.seq, max_points, max_bytes, through=span.until.seq))

    def take_found(
        self, sink: str, span: Span, found: Found, max_points: int, max_bytes: int
    ) -> list[tuple[int, Entry]]:
        """Give a sink what the file has, and what follows in memory; pass over what cannot be read.

        Nothing where its cursor was moved meanwhile past what was found, or is moved past a gap now.
        """
        cursor = self.cursors[sink]
        if found.gap is not None and cursor.waits_for(found.after + 1):
            self.damaged.append((sink, found.after + 1, found.gap.seq))
            counts = {found.gap.seq: found.gap.points - span.after.points}
            self._drop(cursor, Span(span.after, found.gap), counts)
        taken = [held for held in found.taken if cursor.waits_for(held[0].seq)]
        if taken:
            before = taken[0][0].seq - 1
            taken = self.tail.take(before, max_points, max_bytes, through=span.until.seq, first=taken)
        return self._give(sink, taken)

    def advance(self, sink: str, through: int, *, refused: int) -> None:
        """Take a sink's answer for entries of its turn up to `through`: stored, but for `refused` points.

        Entries that were dropped while the sink had them in hand count as what became of them after
        all. Raises ValueError where more was refused than there is, or the sink has no such entry.
        """
        cursor, hand = self.cursors[sink], self._hands[sink]
        late = {seq: count for seq, count in hand.passed.items() if seq <= through}
        span = next((span for span in cursor.waits(self.end) if span.holds(through)), None)
        dealt = self._dealt_with(sink, span, through)
        counts = {**late, **{place.seq: entry.count for place, entry in dealt}}
        skipped = {seq: count for seq, count in hand.skipped.items() if seq in counts}
        superseded = sum(skipped.values())
        if refused > sum(counts.values()) - superseded:
            raise ValueError(f"{sink}: more points refused than there are up to {through}")
        if span is not None:
            self._note_newer(cursor, dealt)
            self._oldest_ns[sink][self._name(sink, span)] = dealt[-1][1].oldest_ns
            self._settle(sink, cursor.past(dealt[-1][0]))
        self._count(sink, refused=refused, superseded=superseded, dropped=-sum(late.values()))
        if refused or superseded or late:
            self._note(sink, spread(counts, refused=refused, skipped=skipped, late=late))
        for answered in [seq for seq in hand.given if seq <= through]:
            del hand.given[answered]
            hand.passed.pop(answered, None)
            hand.skipped.pop(answered, None)
        self.let_go()

    def leave_to_file(self, through: int) -> None:
        """Let memory go of entries up to there, which the file has, as far as they wait for anyone."""
        for sink, cursor in self.cursors.items():
            for span in cursor.waits(self.end):
                if span.after.seq < through and (held := self.tail.get(span.after.seq + 1)):
                    self._oldest_ns[sink][self._name(sink, span)] = held[1].oldest_ns
        self.tail.let_go(through)
        self.let_go()

    def let_go(self) -> None:
        """Let memory go of what waits for nobody, at its beginning."""
        start = self.tail.start.seq
        clear = (cursor.clear_through(start) for cursor in self.cursors.values())
        self.tail.let_go(min(clear, default=self.end.seq))

    def excess(self, sink: str) -> tuple[Span, int] | None:
        """Return the span of which the oldest entries must be dropped, and to which place, in bytes."""
        over = self.waiting_bytes(sink) - self.max_bytes
        if self.cursors[sink].policy != Policy.DROP_OLDEST or over <= 0:
            return None
        span = self.cursors[sink].waits(self.end)[0]
        return span, min(span.after.bytes + over, span.until.bytes)

    def drop_oldest(self, sink: str, filed: Sequence[tuple[Mark, int]], next_ns: int | None) -> None:
        """Drop a sink's oldest entries until what waits is within the limit, or its first span is dropped.

        `filed`: the places of those that are in the file, with their points; `next_ns`: of the one behind.
        """
        excess = self.excess(sink)
        if excess is None:
            return
        span, enough = excess
        passed = [(mark, count) for mark, count in filed if span.holds(mark.seq)]
        mark = passed[-1][0] if passed else span.after
        while mark.bytes < enough:
            held = self.tail.get(mark.seq + 1)
            before = mark
            mark = held[0] if held else self.filed(span)  # else: the file has no more, though it should
            passed.append((mark, mark.points - before.points))
        counts = {mark.seq: count for mark, count in passed}
        hand = self._hands[sink]
        hand.passed.update({seq: count for seq, count in counts.items() if seq in hand.given})
        if filed:
            self._oldest_ns[sink][self._name(sink, span)] = next_ns
        self._drop(self.cursors[sink], Span(span.after, mark), counts)

    def checkpoint(self, end: int, oldest: int) -> None:
        """Note that a checkpoint holds this end, and that no recovery goes back before `oldest`."""
        if end not in self.marks or oldest > end:
            raise ValueError(f"the outbox does not know of a checkpoint at {end} (back to {oldest})")
        self.marks = {seq: mark for seq, mark in self.marks.items() if seq >= oldest}
        self._forget(lambda seq: seq <= oldest)

    def found(self, standing: Standing) -> None:
        """Take end and cursors from a checkpoint that the file is behind, or was lost: before anything else.

        What waited then is waited for in the file; what the file does not have, sinks are passed over.
        A sink that the checkpoint does not know begins at the end.
        """
        self.end = standing.end
        self.tail, self.marks = Tail(self.end), {self.end.seq: self.end}
        self._outcomes = {sink: {} for sink in self.cursors}
        self._changed = set()
        for sink, cursor in list(self.cursors.items()):
            del self.cursors[sink]
            if sink in standing.cursors:
                self.cursors[sink] = standing.cursors[sink]
            self.register(sink, Policy(cursor.policy), self._orders.get(sink, Order.BACKLOG))
            self._newer[sink].restore(self._rescued.pop(sink, {}))
            self._settle(sink, self.cursors[sink])

    def recover(self, end: int, cursors: Mapping[str, int]) -> Recovered:
        """Cut the log back to a checkpoint's end, and every cursor with it; the file holds what waits.

        Where that end is older than any that was kept, the log is cut at the first place behind it
        that is known: nothing is lost, and some points are made and sent twice. The entries between are
        then sent before anything that the replay makes: it does not know of these writings. Where the log
        ends before it, what is missing is lost, and its numbers are not given again.
        """
        known = next((mark for seq, mark in self.marks.items() if seq >= end), self.end)
        lost = max(0, end - known.seq)
        cut = Mark(known.seq + lost, known.points, known.bytes)
        before = self.cursors
        resent = {
            sink: min(seq, known.seq) - before[sink].seq
            for sink, seq in cursors.items()
            if sink in before and before[sink].seq < min(seq, known.seq)
        }
        self.cursors = {sink: self._cut_back(cursor, known, cut) for sink, cursor in before.items()}
        if known.seq > end:
            self.cursors = {sink: replace(cursor, fence=cut.seq) for sink, cursor in self.cursors.items()}
        replayed = {sink: self.cursors[sink].replayed - before[sink].replayed for sink in before}
        self._forget(lambda seq: seq > known.seq)
        self.marks = {seq: mark for seq, mark in self.marks.items() if seq < cut.seq} | {cut.seq: cut}
        self._hands = {sink: Hand() for sink in before}
        self.end, self.tail = cut, Tail(cut)
        for sink, cursor in self.cursors.items():
            if cursor.gaps:  # the last one may be cut short
                oldest, was = self._oldest_ns[sink], before[sink].gaps[len(cursor.gaps) - 1]
                oldest[cursor.gaps[-1].until.seq] = oldest.get(was.until.seq)
            self._settle(sink, cursor)
        return Recovered(cut.seq, lost, {sink: n for sink, n in replayed.items() if n}, resent)

    def changed_outcomes(self) -> list[tuple[str, int, Outcome]]:
        """Return what changed since the last call, as it is now: whoever asks must write it."""
        changed, self._changed = self._changed, set()
        return [(sink, seq, self._outcomes[sink][seq]) for sink, seq in changed]

    def changed_newer(self) -> list[tuple[str, bytes, int]]:
        """Return the writings that were sent before older ones since the last call, likewise."""
        return [
            (sink, key, seq)
            for sink, newer in self._newer.items()
            for key, seq in newer.take_unsaved().items()
        ]

    # What follows runs inside the methods above.

    def _goes_live(self, sink: str) -> bool:
        """Tell whether a sink is given what is new before what waits."""
        wants = self._orders.get(sink) is Order.LIVE
        return wants and self.cursors[sink].may_step_over and not self._newer[sink].full

    def _name(self, sink: str, span: Span) -> int:
        """Return what a span is known by."""
        return LIVE if span.after.seq >= self.cursors[sink].seq else span.until.seq

    def _give(self, sink: str, taken: Sequence[Held]) -> list[tuple[int, Entry]]:
        newer, hand = self._newer[sink], Hand({held[0].seq: held for held in taken})
        given = [(mark.seq, newer.left_of(mark.seq, entry)) for mark, entry in taken]
        for (seq, left), (_, entry) in zip(given, taken, strict=True):
            if left.count < entry.count:
                hand.skipped[seq] = entry.count - left.count
        self._hands[sink] = hand
        return given

    def _dealt_with(self, sink: str, span: Span | None, through: int) -> list[Held]:
        """Return the entries of a span up to `through`, which the sink has in hand or in memory."""
        given = self._hands[sink].given
        if span is None:
            if through > self.end.seq:
                raise ValueError(f"{sink} has no entry {through} in hand")
            return []
        dealt = []
        for seq in range(span.after.seq + 1, through + 1):
            held = given.get(seq) or self.tail.get(seq)
            if held is None:
                raise ValueError(f"{sink} has no entry {seq} in hand")
            dealt.append(held)
        return dealt

    def _note_newer(self, cursor: Cursor, dealt: Sequence[Held]) -> None:
        """Note the points of entries that were sent before older ones."""
        if not cursor.gaps:
            return
        for place, entry in dealt:
            if entry.again and place.seq > cursor.gaps[0].until.seq:
                self._newer[cursor.sink].note(place.seq, entry)

    def _settle(self, sink: str, cursor: Cursor) -> None:
        """Put a cursor in the place of the one before; what no gap needs any more is forgotten."""
        self.cursors[sink] = cursor
        names = {LIVE, *(gap.until.seq for gap in cursor.gaps)}
        known = self._oldest_ns[sink]
        self._oldest_ns[sink] = {name: at for name, at in known.items() if name in names}
        if not cursor.gaps:
            self._newer[sink].clear()

    def _count(self, sink: str, *, refused: int = 0, superseded: int = 0, dropped: int = 0) -> None:
        cursor = self.cursors[sink]
        self.cursors[sink] = replace(
            cursor,
            refused=cursor.refused + refused,
            superseded=cursor.superseded + superseded,
            dropped=cursor.dropped + dropped,
        )

    def _drop(self, cursor: Cursor, span: Span, counts: Mapping[int, int]) -> None:
        """Drop a span, which is the beginning of one that waits."""
        self._settle(cursor.sink, cursor.past(span.until))
        self._count(cursor.sink, dropped=span.points)
        self._note(cursor.sink, {seq: Outcome(dropped=count) for seq, count in counts.items()})
        self.let_go()

    def _note(self, sink: str, outcomes: Mapping[int, Outcome]) -> None:
        known = self._outcomes[sink]
        for seq, outcome in outcomes.items():
            known[seq] = known.get(seq, Outcome()).plus(outcome)
            self._changed.add((sink, seq))

    def _forget(self, gone: Callable[[int], bool]) -> None:
        """Forget what became of some entries."""
        for sink, known in self._outcomes.items():
            self._outcomes[sink] = {seq: outcome for seq, outcome in known.items() if not gone(seq)}
        self._changed = {(sink, seq) for sink, seq in self._changed if not gone(seq)}

    def _cut_back(self, cursor: Cursor, known: Mark, cut: Mark) -> Cursor:
        """Return the cursor as it is once the log ends at `cut` (`known`, but for numbers that are lost)."""
        self._newer[cursor.sink].cut(cut.seq)
        if cursor.seq < known.seq:
            return cursor
        outcome = Outcome()
        for seq, one in self._outcomes[cursor.sink].items():
            outcome = outcome.plus(one) if seq > known.seq else outcome
        beyond = cursor.answered_behind(known)
        return replace(
            cursor.cut(known).at(cut),
            base=min(cursor.base, cut.points),
            refused=cursor.refused - outcome.refused,
            dropped=cursor.dropped - outcome.dropped,
            superseded=cursor.superseded - outcome.superseded,
            replayed=cursor.replayed + beyond - outcome.dropped - outcome.superseded,
        )
