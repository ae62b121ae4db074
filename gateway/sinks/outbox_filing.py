"""What an outbox's file has of its log and what it lacks: the changes that bring it up to date. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.sinks.outbox_cursor import rest_of, unneeded
from gateway.sinks.outbox_model import Change

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.sinks.outbox_cursor import Stretch
    from gateway.sinks.outbox_log import OutboxLog
    from gateway.sinks.outbox_model import Loaded, Recovered


class Filing:
    """The keeper of one log's file: each change that it gives must be written, then told by `written`.

    One change at a time. Entries that wait for no sink are in none.
    """

    def __init__(self, log: OutboxLog, loaded: Loaded, memory_bytes: int) -> None:
        """`memory_bytes` bounds what the log's tail may cost in memory."""
        self._log = log
        self.memory_bytes = memory_bytes
        self._books = (loaded.end, tuple(loaded.marks), dict(loaded.cursors))
        self._through = loaded.end.seq  # what waits up to here is in the file
        self._rows_through = loaded.rows_through
        self._purged: list[Stretch] = []
        self._synced = True
        self._cut: int | None = None

    def settle(self) -> Change | None:
        """Make the log's end a place to recover to: all that waits, the books, and the mark. None: it is."""
        end = self._log.end
        self._log.marks[end.seq] = end
        return self._change(end.seq, synced=True)

    def rest(self) -> Change | None:
        """All that waits, and the books."""
        return self._change(self._log.end.seq, synced=True)

    def books(self) -> Change | None:
        """Cursors and what became of points, without a sync."""
        return self._change(self._through, synced=False)

    @property
    def crowded(self) -> bool:
        """Whether memory holds more than it may."""
        return self._log.tail.bytes > self.memory_bytes

    def spill(self) -> Change | None:
        """Return what must be in the file before memory is relieved; None where all of it is."""
        through = self._surplus()
        return self._change(through, synced=False) if through > self._through else None

    def relieve(self) -> None:
        """Let memory go of the oldest entries that are in the file, down to half of what it may hold."""
        self._log.leave_to_file(min(self._surplus(), self._through))

    def written(self, change: Change) -> None:
        """Note that the file has a change."""
        if change.cut is not None:
            self._rows_through = min(self._rows_through, change.cut)
            self._purged = [
                (after, min(until, change.cut)) for after, until in self._purged if after < change.cut
            ]
        if change.held:
            self._rows_through = change.held[-1][0].seq
            self._through = max(self._through, self._rows_through)
        self._books = (change.end, tuple(change.marks), dict(change.cursors))
        self._synced = change.synced

    def recovered(self, recovered: Recovered) -> None:
        """Note that the log was cut back, which the file must be too; it has all that waits."""
        self._cut = self._through = recovered.end

    def purgeable(self) -> list[Stretch]:
        """Return the stretches of the file's entries that nobody needs, by the cursors that it has."""
        return list(rest_of(self._unneeded(), self._purged))

    def purged(self, asked: Sequence[Stretch], left: Sequence[Stretch]) -> None:
        """Note that of the stretches that were asked for no more are left than these."""
        done = sorted([*self._purged, *rest_of(asked, left)])
        self._purged = list(
            rest_of([(0, self._rows_through)], list(rest_of([(0, self._rows_through)], done)))
        )

    def _unneeded(self) -> list[Stretch]:
        end, _, cursors = self._books
        return unneeded(cursors.values(), min(end.seq, self._rows_through))

    def _surplus(self) -> int:
        return self._log.tail.surplus(self.memory_bytes // 2)

    def _change(self, through: int, *, synced: bool) -> Change | None:
        log, cut = self._log, self._cut
        self._cut = None
        held = [one for one in log.tail.between(self._through, through) if log.waits_for(one[0].seq)]
        outcomes, newer = log.changed_outcomes(), log.changed_newer()
        books = (log.end, tuple(log.marks.values()), dict(log.cursors))
        told = held or outcomes or newer or cut is not None or books != self._books
        if not told and (self._synced or not synced):
            return None
        end, marks, cursors = books
        return Change(end, marks, cursors, outcomes, newer, held, cut, synced)
