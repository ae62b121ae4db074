"""One log of encoded points with a cursor a sink, as it is in memory. Pure: it knows no file and no loop.

What a sink's cursor lies past is stored, refused, dropped or superseded; what lies behind it waits;
nothing can be in both. The books of a sink are differences of sums that the entries carry, so they
balance by construction, whatever is cut off, passed over or damaged.

Entries that wait are in the tail; those before its start are in the file, which `outbox.py` reads.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from gateway.sinks.outbox_model import Cursor, Mark, Outcome, Policy, Recovered
from gateway.sinks.outbox_tail import Tail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from gateway.sinks.outbox_model import Entry, Found, Held, Loaded, Standing


@dataclass(slots=True)
class _Hand:
    """What a sink was given and has not answered for, by entry.

    `passed`: those of them that were dropped meanwhile, with their points.
    """

    given: dict[int, Held] = field(default_factory=dict)
    passed: dict[int, int] = field(default_factory=dict)


class OutboxLog:
    """End, cursors and books of a log, and its tail. `max_bytes` bounds what waits for one sink.

    Methods raise KeyError for a sink that is not registered.
    """

    def __init__(self, loaded: Loaded, max_bytes: int) -> None:
        self.damaged: list[tuple[str, int, int]] = []
        """(sink, first, last): entries that could not be read and were passed over."""
        self.end = loaded.end
        self.cursors = dict(loaded.cursors)
        self.tail = Tail(loaded.end)
        self.marks = {mark.seq: mark for mark in loaded.marks}
        """Places that a checkpoint holds, or may hold soon, in their order."""
        self._max_bytes = max_bytes
        self._oldest_ns = dict(loaded.oldest_ns)
        self._hands = {sink: _Hand() for sink in self.cursors}
        self._outcomes = {sink: dict(loaded.outcomes.get(sink, {})) for sink in self.cursors}
        self._changed: set[tuple[str, int]] = set()

    @property
    def floor(self) -> int:
        """The last entry that every sink has answered for."""
        return min((cursor.seq for cursor in self.cursors.values()), default=self.end.seq)

    @property
    def full(self) -> bool:
        """Whether a sink that must get everything waits for as much as the log may hold, or more."""
        return any(
            cursor.policy == Policy.HOLD and self.end.bytes - cursor.bytes >= self._max_bytes
            for cursor in self.cursors.values()
        )

    def in_file(self, sink: str) -> bool:
        """Whether the next entries of a sink are in the file alone."""
        return self.cursors[sink].seq < self.tail.start.seq

    def oldest_ns(self, sink: str) -> int | None:
        """Return the receive time of the oldest uplink that waits, None where none does.

        For what is in the file alone: of the last entry that was read, until the next one is.
        """
        after = self.cursors[sink].seq
        if after >= self.end.seq:
            return None
        held = self._hands[sink].given.get(after + 1) or self.tail.get(after + 1)
        return held[1].oldest_ns if held else self._oldest_ns.get(sink)

    def register(self, sink: str, policy: Policy) -> None:
        """Give a sink a cursor at the end of the log; one that has a cursor keeps it, with this policy."""
        end = self.end
        new = Cursor(sink, policy, end.seq, end.points, end.bytes, base=end.points)
        self.cursors[sink] = replace(self.cursors.get(sink, new), policy=policy)
        self._hands.setdefault(sink, _Hand())
        self._outcomes.setdefault(sink, {})

    def unregister(self, sink: str) -> None:
        """Forget a sink: what waits for it alone is nobody's."""
        for known in (self.cursors, self._hands, self._outcomes, self._oldest_ns):
            known.pop(sink, None)
        self._changed = {(other, seq) for other, seq in self._changed if other != sink}
        self.tail.let_go(self.floor)

    def append(self, entries: Iterable[Entry]) -> None:
        """Put entries behind the end."""
        for entry in entries:
            self.end = self.end.add(entry)
            self.tail.push(self.end, entry)
        self.tail.let_go(self.floor)

    def take(self, sink: str, max_points: int, max_bytes: int) -> list[tuple[int, Entry]]:
        """Give a sink its next entries, from memory: one at least where any waits, else up to both limits."""
        return self._give(sink, self.tail.take(self.cursors[sink].seq, max_points, max_bytes))

    def take_found(self, sink: str, found: Found, max_points: int, max_bytes: int) -> list[tuple[int, Entry]]:
        """Give a sink what the file has, and what follows in memory; pass over what cannot be read.

        Nothing where its cursor was moved meanwhile past what was found, or is moved past a gap now.
        """
        cursor = self.cursors[sink]
        if found.gap is not None and found.after == cursor.seq:
            self.damaged.append((sink, cursor.seq + 1, found.gap.seq))
            self._drop(cursor, found.gap, {found.gap.seq: found.gap.points - cursor.points})
        taken = [held for held in found.taken if held[0].seq > cursor.seq]
        if taken:
            taken = self.tail.take(cursor.seq, max_points, max_bytes, first=taken)
        return self._give(sink, taken)

    def advance(self, sink: str, through: int, *, refused: int, superseded: int) -> None:
        """Move a sink's cursor past `through`; its points are stored, but for those refused or superseded.

        Entries that were dropped while the sink had them in hand count as what became of them after
        all. Raises ValueError where more was refused than there is, or the sink has no such entry.
        """
        cursor, hand = self.cursors[sink], self._hands[sink]
        late = {seq: count for seq, count in hand.passed.items() if seq <= through}
        dealt = self._dealt_with(sink, through)
        mark, last = dealt[-1] if dealt else (cursor.mark, None)
        if refused + superseded > mark.points - cursor.points + sum(late.values()):
            raise ValueError(f"{sink}: more points refused than there are up to {through}")
        self.cursors[sink] = replace(
            cursor.at(mark),
            refused=cursor.refused + refused,
            superseded=cursor.superseded + superseded,
            dropped=cursor.dropped - sum(late.values()),
        )
        if last is not None:
            self._oldest_ns[sink] = last.oldest_ns
        if refused or superseded or late:
            counts = {**late, **{place.seq: entry.count for place, entry in dealt}}
            self._note(sink, _spread(counts, refused=refused, superseded=superseded, late=late))
        for answered in [seq for seq in hand.given if seq <= through]:
            del hand.given[answered]
            hand.passed.pop(answered, None)
        self.tail.let_go(self.floor)

    def leave_to_file(self, through: int) -> None:
        """Let memory go of entries up to there, which the file has."""
        for sink, cursor in self.cursors.items():
            if cursor.seq < through and (held := self.tail.get(cursor.seq + 1)):
                self._oldest_ns[sink] = held[1].oldest_ns
        self.tail.let_go(through)

    @property
    def over_limit(self) -> list[str]:
        """Sinks whose oldest entries must be dropped."""
        return [
            sink
            for sink, cursor in self.cursors.items()
            if cursor.policy == Policy.DROP_OLDEST and cursor.bytes < self.enough_bytes
        ]

    @property
    def enough_bytes(self) -> int:
        """A place with so many bytes or more has no more behind it than the log may hold for a sink."""
        return self.end.bytes - self._max_bytes

    def drop_oldest(self, sink: str, filed: Sequence[tuple[Mark, int]], next_ns: int | None) -> None:
        """Drop a sink's oldest entries until what waits is within the limit.

        `filed`: the places of those that are in the file, with their points; `next_ns`: of the one behind.
        """
        cursor = self.cursors[sink]
        passed = [(mark, count) for mark, count in filed if mark.seq > cursor.seq]
        mark = passed[-1][0] if passed else cursor.mark
        while mark.bytes < self.enough_bytes:
            held = self.tail.get(mark.seq + 1)
            before = mark
            mark = held[0] if held else self.tail.start  # else: the file has no more, though it should
            passed.append((mark, mark.points - before.points))
        counts = {mark.seq: count for mark, count in passed}
        hand = self._hands[sink]
        hand.passed.update({seq: count for seq, count in counts.items() if seq in hand.given})
        if filed:
            self._oldest_ns[sink] = next_ns
        self._drop(cursor, mark, counts)

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
            self.register(sink, Policy(cursor.policy))

    def recover(self, end: int, cursors: Mapping[str, int]) -> Recovered:
        """Cut the log back to a checkpoint's end, and every cursor with it; the file holds what waits.

        Where that end is older than any that was kept, the log is cut at the first place behind it
        that is known: nothing is lost, and some points are made and sent twice. Where the log ends
        before it, what is missing is lost, and its numbers are not given again.
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
        replayed = {sink: self.cursors[sink].replayed - before[sink].replayed for sink in before}
        self._forget(lambda seq: seq > known.seq)
        self.marks = {seq: mark for seq, mark in self.marks.items() if seq < cut.seq} | {cut.seq: cut}
        self._hands = {sink: _Hand() for sink in before}
        self.end, self.tail = cut, Tail(cut)
        return Recovered(cut.seq, lost, {sink: n for sink, n in replayed.items() if n}, resent)

    def changed_outcomes(self) -> list[tuple[str, int, Outcome]]:
        """Return what changed since the last call, as it is now: whoever asks must write it."""
        changed, self._changed = self._changed, set()
        return [(sink, seq, self._outcomes[sink][seq]) for sink, seq in changed]

    # What follows runs inside the methods above.

    def _give(self, sink: str, taken: Sequence[Held]) -> list[tuple[int, Entry]]:
        self._hands[sink] = _Hand({held[0].seq: held for held in taken})
        return [(mark.seq, entry) for mark, entry in taken]

    def _dealt_with(self, sink: str, through: int) -> list[Held]:
        """Return the entries between a sink's cursor and `through`, which it has in hand or in memory."""
        given = self._hands[sink].given
        dealt = []
        for seq in range(self.cursors[sink].seq + 1, through + 1):
            held = given.get(seq) or self.tail.get(seq)
            if held is None:
                raise ValueError(f"{sink} has no entry {seq} in hand")
            dealt.append(held)
        return dealt

    def _drop(self, cursor: Cursor, mark: Mark, counts: Mapping[int, int]) -> None:
        dropped = cursor.dropped + mark.points - cursor.points
        self.cursors[cursor.sink] = replace(cursor.at(mark), dropped=dropped)
        self._note(cursor.sink, {seq: Outcome(dropped=count) for seq, count in counts.items()})
        self.tail.let_go(self.floor)

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
        if cursor.seq < known.seq:
            return cursor
        beyond = cursor.points - max(cut.points, cursor.base)
        outcome = Outcome()
        for seq, one in self._outcomes[cursor.sink].items():
            outcome = outcome.plus(one) if seq > known.seq else outcome
        return replace(
            cursor.at(cut),
            base=min(cursor.base, cut.points),
            refused=cursor.refused - outcome.refused,
            dropped=cursor.dropped - outcome.dropped,
            superseded=cursor.superseded - outcome.superseded,
            replayed=cursor.replayed + beyond - outcome.dropped - outcome.superseded,
        )


def _spread(
    counts: Mapping[int, int], *, refused: int, superseded: int, late: Mapping[int, int]
) -> dict[int, Outcome]:
    """Lay refused and superseded points on entries, the first ones first; take the late ones off the dropped.

    Which entry they were in is not known; that no entry gets more than it has is what recovery needs.
    """
    outcomes = {}
    for seq, count in sorted(counts.items()):
        here = min(refused, count)
        over = min(superseded, count - here)
        refused, superseded = refused - here, superseded - over
        outcomes[seq] = Outcome(here, -late.get(seq, 0), over)
    return outcomes
