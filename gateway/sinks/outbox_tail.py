"""The end of an outbox, in memory: the newest entries, without a gap, up to the log's end. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.sinks.outbox_model import Entry, Held, Mark

HELD_BYTES = 400
"""What an entry costs in memory beside its body: its figures, its place, its slot."""


class Tail:
    """Entries behind `start`. `bytes`: what they cost in memory."""

    def __init__(self, start: Mark) -> None:
        self.start = start
        self.bytes = 0
        self._held: dict[int, Held] = {}

    def push(self, mark: Mark, entry: Entry) -> None:
        """Add the next entry, with the place behind it."""
        self._held[mark.seq] = (mark, entry)
        self.bytes += cost(entry)

    def get(self, seq: int) -> Held | None:
        """Return an entry; None where it is not in memory."""
        return self._held.get(seq)

    def between(self, after: int, through: int) -> list[Held]:
        """Return the entries in (after, through] that are in memory."""
        return [self._held[seq] for seq in range(max(after, self.start.seq) + 1, through + 1)]

    def take(
        self, after: int, max_points: int, max_bytes: int, *, through: int, first: Sequence[Held] = ()
    ) -> list[Held]:
        """Return the entries in (after, through]: one at least where there is any, else up to both limits.

        `first`: those right behind `after` that are known already, and count.
        """
        taken = list(first)
        points = sum(entry.count for _, entry in first)
        size = sum(len(entry.body) for _, entry in first)
        while after + len(taken) < through and (held := self._held.get(after + len(taken) + 1)):
            points, size = points + held[1].count, size + len(held[1].body)
            if taken and (points > max_points or size > max_bytes):
                break
            taken.append(held)
        return taken

    def let_go(self, through: int) -> None:
        """Forget the entries up to there."""
        while self._held and self.start.seq < through:
            self.start, entry = self._held.pop(self.start.seq + 1)
            self.bytes -= cost(entry)

    def surplus(self, most_bytes: int) -> int:
        """Return the entry up to which to let go, so that the rest costs no more than that."""
        seq, left = self.start.seq, self.bytes
        while left > most_bytes:
            seq += 1
            left -= cost(self._held[seq][1])
        return seq


def cost(entry: Entry) -> int:
    """Return the bytes of memory that an entry costs."""
    return len(entry.body) + HELD_BYTES
