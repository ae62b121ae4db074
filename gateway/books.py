"""The three books: what came in is what was dealt with, and nothing is counted twice.

Uplinks:   journalled = decoded + quarantined + duplicate + ignored + rate limited + set aside + pending
Readings:  decoded    = aggregated + raw only + rejected + duplicate + conflicting
Per sink:  made       = stored + waiting + refused + dropped + superseded   (kept by its outbox)

The left sides and `pending` are counted where they arise, never as the difference of the others:
a book that balances by construction proves nothing.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from typing import Any


@dataclass(slots=True)
class UplinkBook:
    """Uplinks since the gateway first ran."""

    journalled: int = 0
    decoded: int = 0
    quarantined: int = 0
    duplicate: int = 0
    ignored: int = 0
    rate_limited: int = 0
    set_aside: int = 0
    pending: int = 0

    def difference(self) -> int:
        """Return left side minus right side: 0 where the book balances."""
        return (
            self.journalled
            - self.decoded
            - self.quarantined
            - self.duplicate
            - self.ignored
            - self.rate_limited
            - self.set_aside
            - self.pending
        )


@dataclass(slots=True)
class ReadingBook:
    """Readings since the gateway first ran."""

    decoded: int = 0
    aggregated: int = 0
    raw_only: int = 0
    rejected: int = 0
    duplicate: int = 0
    conflicting: int = 0

    def difference(self) -> int:
        """Return left side minus right side: 0 where the book balances."""
        return (
            self.decoded - self.aggregated - self.raw_only - self.rejected - self.duplicate - self.conflicting
        )


@dataclass(slots=True)
class Books:
    """Everything that the checkpoint keeps of the counting."""

    uplinks: UplinkBook = field(default_factory=UplinkBook)
    readings: ReadingBook = field(default_factory=ReadingBook)
    reasons: Counter[str] = field(default_factory=Counter)
    """Rejections by reason, uplinks and readings together."""
    late: int = 0
    """Readings behind their window's lateness: a part of raw only."""
    windows: int = 0
    """Windows written, corrections included."""
    corrections: int = 0
    not_delivered: int = 0
    """Corrections that sinks which cannot overwrite did not get, each counted once."""
    not_kept: int = 0
    """Quarantined uplinks of strangers that gave way at once: one record held too many."""
    sessions_lost: int = 0
    """Sessions that the broker had lost: each is a possible gap in what came."""
    session_lost_ns: int = 0
    """When that was found the last time, ns UTC; 0: never."""

    def treated(self) -> Books:
        """Return the books of what was treated: a replay journals and counts the rest again.

        Only the book of uplinks is a copy.
        """
        book = self.uplinks
        return replace(self, uplinks=replace(book, journalled=book.journalled - book.pending, pending=0))

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "uplinks": asdict(self.uplinks),
            "readings": asdict(self.readings),
            "reasons": dict(self.reasons),
            "late": self.late,
            "windows": self.windows,
            "corrections": self.corrections,
            "not_delivered": self.not_delivered,
            "not_kept": self.not_kept,
            "sessions_lost": self.sessions_lost,
            "session_lost_ns": self.session_lost_ns,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Books:
        """Rebuild what `as_dict` gave."""
        return cls(
            uplinks=UplinkBook(**values["uplinks"]),
            readings=ReadingBook(**values["readings"]),
            reasons=Counter(values["reasons"]),
            late=values["late"],
            windows=values["windows"],
            corrections=values["corrections"],
            not_delivered=values["not_delivered"],
            not_kept=values.get("not_kept", 0),
            sessions_lost=values.get("sessions_lost", 0),
            session_lost_ns=values.get("session_lost_ns", 0),
        )
