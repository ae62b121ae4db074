"""Collects what was refused while a batch is decoded, and settles it into rejections.

An uplink ends in exactly one place: some reading of it is kept, or it is refused whole. Where all
its readings were refused one by one, nothing is left to keep, and it is refused whole as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gateway.model import Reason, Rejection

if TYPE_CHECKING:
    from gateway.decode.fault import Fault
    from gateway.model import Bool, Int64

_DETAIL = 300


class Refusals:
    """Refusals of one batch of `size` uplinks, by the uplink's place in it.

    `whole` is bool[size]: which are refused whole.
    """

    def __init__(self, size: int) -> None:
        self.whole: Bool = np.zeros(size, dtype=np.bool_)
        self._whole: dict[int, tuple[Reason, str]] = {}
        self._readings: dict[int, dict[tuple[Reason, str], int]] = {}

    def refuse(self, index: int, reason: Reason, detail: str) -> None:
        """Refuse a whole uplink; the first reason stands."""
        self._whole.setdefault(index, (reason, detail))
        self.whole[index] = True

    def refuse_all(self, indices: Int64, reason: Reason, detail: str) -> None:
        """Refuse many whole uplinks for one reason."""
        for index in indices.tolist():
            self.refuse(index, reason, detail)

    def refuse_readings(self, index: int, reason: Reason, detail: str, count: int = 1) -> None:
        """Refuse some readings of an uplink."""
        counts = self._readings.setdefault(index, {})
        counts[reason, detail] = counts.get((reason, detail), 0) + count

    def refuse_rows(self, fault: Fault, uplink: Int64) -> None:
        """Refuse one reading for each row of a fault; `uplink` int64[n] is each row's uplink."""
        for row in np.flatnonzero(fault.rows).tolist():
            self.refuse_readings(int(uplink[row]), fault.reason, fault.sentence(row))

    def has_refused(self, index: int) -> bool:
        """Whether anything of that uplink was refused."""
        return index in self._whole or index in self._readings

    def settled(self, kept: Bool) -> list[Rejection]:
        """Return the rejections by index; `kept` bool[n] says of which uplinks a reading is kept."""
        rejections = [
            Rejection(index, reason, detail[:_DETAIL]) for index, (reason, detail) in self._whole.items()
        ]
        for index, counts in self._readings.items():
            if index in self._whole:
                continue
            if kept[index]:
                rejections += [
                    Rejection(index, reason, detail[:_DETAIL], readings=count)
                    for (reason, detail), count in counts.items()
                ]
            else:
                reason = next(iter(counts))[0]
                detail = "; ".join(detail for _, detail in counts)
                rejections.append(Rejection(index, reason, detail[:_DETAIL]))
        return sorted(rejections, key=lambda rejection: rejection.index)
