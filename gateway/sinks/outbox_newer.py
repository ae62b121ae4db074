"""Of which points a sink had a newer writing before an older one that still waits for it. Pure.

Writings of one point never overtake each other: what waits in a gap is given to the sink without the
points of which it has had a newer writing. Only entries that may hold a second writing (`Entry.again`) need
be looked into for that: a first writing has none before it.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.sinks.outbox_model import Bodies, Entry

KEY_BYTES = 200
"""What a key costs in memory, about."""
MOST_POINTS = 100_000
"""20 MB a sink. With so many, nothing more is sent before what waits: the backlog goes first."""


def point_key(series: bytes, time_ns: int) -> bytes:
    """Return the key of a point: its time, and a digest of all that names its series."""
    return time_ns.to_bytes(8, "big", signed=True) + blake2b(series, digest_size=16).digest()


class Newer:
    """The keys of such points, each with the last entry that had it, for one sink."""

    def __init__(self, bodies: Bodies, sent: Mapping[bytes, int]) -> None:
        self._bodies = bodies
        self._sent = dict(sent)
        self._times = {_time(key) for key in sent}
        self._unsaved: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._sent)

    @property
    def full(self) -> bool:
        """Whether no more should be sent before what waits."""
        return len(self._sent) >= MOST_POINTS

    def note(self, seq: int, entry: Entry) -> None:
        """Note that an entry was sent before others that are older."""
        keys = {key: seq for _, key in self._bodies.keys(entry.body)}
        self._sent |= keys
        self._unsaved |= keys
        self._times.update(map(_time, keys))

    def restore(self, sent: Mapping[bytes, int]) -> None:
        """Take over what was known in a file that was damaged: it must be written once more."""
        self._sent |= sent
        self._unsaved |= sent
        self._times.update(map(_time, sent))

    def left_of(self, seq: int, entry: Entry) -> Entry:
        """Return an entry without the points of which a newer writing was sent."""
        if not self._sent:
            return entry
        found = self._bodies.keys(entry.body, self._times)
        places = {place for place, key in found if self._sent.get(key, 0) > seq}
        if not places:
            return entry
        body = self._bodies.without(entry.body, places)
        return replace(entry, body=body, count=entry.count - len(places))

    def cut(self, seq: int) -> None:
        """Let what was sent behind an entry be older than what will stand there.

        It was newer than all up to there, and is made again.
        """
        self._sent = {key: min(sent, seq + 1) for key, sent in self._sent.items()}
        self._unsaved = {key: min(sent, seq + 1) for key, sent in self._unsaved.items()}

    def clear(self) -> None:
        """Forget everything: nothing older waits any more."""
        if self._sent:
            self._sent, self._times, self._unsaved = {}, set(), {}

    def take_unsaved(self) -> dict[bytes, int]:
        """Return what came since the last call: whoever asks must write it."""
        unsaved, self._unsaved = self._unsaved, {}
        return unsaved


def _time(key: bytes) -> int:
    return int.from_bytes(key[:8], "big", signed=True)
