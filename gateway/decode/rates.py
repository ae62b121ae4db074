"""How many uplinks a device may send in a time: those beyond are refused before they are decoded.

A function of the journal: intervals are of the receive times in its records (from the epoch on), and a
device's earlier uplinks in the interval count, whatever its topics. However records are put together
into batches, the same uplinks pass. Memory is bounded by the devices heard within one interval.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from gateway.literals import Rate
from gateway.model import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.model import Bool, Int32, Int64

SAMPLE_NS = 60 * NS_PER_S
"""One refused uplink a device is kept in each such interval, as a sample."""
_NO_INTERVAL = -1


@dataclass(slots=True)
class Tally:
    """Counts each device's uplinks in the present interval; another interval begins at zero.

    A clock that is set back begins another interval, too: nobody is shut out until it has caught up.
    """

    interval_ns: int
    _interval: int = _NO_INTERVAL
    _numbers: dict[tuple[str, str], int] = field(default_factory=dict)
    _counts: Int64 = field(default_factory=lambda: np.zeros(64, dtype=np.int64))

    def places(self, received_ns: Int64, codes: Int32, devices: Sequence[tuple[str, str]]) -> Int64:
        """Return which uplink of its device in its interval each one is, int64[n], from 0; count them.

        `received_ns` int64[n] and `codes` int32[n] are in the order of the journal; `devices` holds the
        (site, device) of each code.
        """
        places = np.empty(len(codes), dtype=np.int64)
        intervals = received_ns // self.interval_ns
        begins = np.flatnonzero(np.diff(intervals, prepend=intervals[:1] - 1)).tolist()
        for begin, end in zip(begins, [*begins[1:], len(codes)], strict=True):
            if intervals[begin] != self._interval:
                self._interval = int(intervals[begin])
                self._numbers.clear()
                self._counts[:] = 0
            places[begin:end] = self._count(codes[begin:end], devices)
        return places

    def _count(self, codes: Int32, devices: Sequence[tuple[str, str]]) -> Int64:
        """Count uplinks of one interval, and return each one's place."""
        distinct, which = np.unique(codes, return_inverse=True)
        numbers = self._numbers
        # Two topics of one device have two codes and one number.
        known = [numbers.setdefault(devices[code], len(numbers)) for code in distinct.tolist()]
        if len(numbers) > len(self._counts):
            more = np.zeros(2 * len(numbers) - len(self._counts), dtype=np.int64)
            self._counts = np.concatenate((self._counts, more))
        of_uplink = np.array(known, dtype=np.int64)[which]
        order = np.argsort(of_uplink, kind="stable")
        ordered = of_uplink[order]
        first = np.flatnonzero(np.diff(ordered, prepend=-1))
        lengths = np.diff(first, append=len(ordered))
        places = np.empty(len(codes), dtype=np.int64)
        places[order] = np.arange(len(ordered)) - np.repeat(first, lengths) + self._counts[ordered]
        self._counts[ordered[first]] += lengths
        return places

    def saved(self) -> tuple[int, list[tuple[str, str, int]]]:
        """Return what a checkpoint keeps, as values for JSON."""
        counts = self._counts.tolist()
        numbers = self._numbers.items()
        return self._interval, [(site, device, counts[number]) for (site, device), number in numbers]

    def forget(self, site: str, device: str) -> None:
        """Forget a device."""
        interval, counts = self.saved()
        self.restore(interval, [count for count in counts if count[:2] != (site, device)])

    def restore(self, interval: int, counts: list[tuple[str, str, int]]) -> None:
        """Take back what `saved` gave."""
        self._interval = interval
        self._numbers = {(site, device): number for number, (site, device, _) in enumerate(counts)}
        self._counts = np.array([count for *_, count in counts] + [0] * 64, dtype=np.int64)


class Rates:
    """The limit in force, and how much of it each device has used. Its state is part of the checkpoint."""

    def __init__(self) -> None:
        self.limit: Rate | None = None
        self._used = Tally(SAMPLE_NS)
        self._sampled = Tally(SAMPLE_NS)

    def use(self, limit: Rate | None) -> None:
        """Put a limit in force (None: there is none); another one begins to count anew."""
        if limit != self.limit:
            self.limit = limit
            self._used = Tally(limit.interval_ns if limit else SAMPLE_NS)
            self._sampled = Tally(SAMPLE_NS)

    def judge(
        self, received_ns: Int64, codes: Int32, devices: Sequence[tuple[str, str]]
    ) -> tuple[Bool, Bool]:
        """Return which uplinks are beyond the limit, and which of those are kept as samples, bool[n] each.

        See `Tally.places` for what is given. Where there is no limit nothing is counted.
        """
        over = np.zeros(len(codes), dtype=np.bool_)
        sampled = over.copy()
        if self.limit is not None and len(codes):
            over = self._used.places(received_ns, codes, devices) >= self.limit.count
            if over.any():
                sampled[over] = self._sampled.places(received_ns[over], codes[over], devices) == 0
        return over, sampled

    def state(self) -> bytes:
        """Return everything, as bytes; nothing where there is no limit."""
        if self.limit is None:
            return b""
        tallies = (self._used.saved(), self._sampled.saved())
        return json.dumps((self.limit.count, self.limit.interval_ns, *tallies)).encode()

    def forget(self, site: str, device: str) -> None:
        """Forget how much a device has used."""
        self._used.forget(site, device)
        self._sampled.forget(site, device)

    def restore(self, state: bytes) -> None:
        """Take back what `state` gave."""
        if not state:
            self.use(None)
            return
        saved: list[Any] = json.loads(state)
        count, interval_ns, used, sampled = saved
        self.use(Rate(count, interval_ns))
        self._used.restore(*used)
        self._sampled.restore(*sampled)
