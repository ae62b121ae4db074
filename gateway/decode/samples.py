"""Times of the elements of a list, where each was measured at a moment of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gateway.decode.event_time import spans, time_want
from gateway.decode.fault import Fault
from gateway.decode.shape import Want
from gateway.decode.times import MAX_SPAN_NS, floats_to_ns, to_ns
from gateway.model import Reason
from gateway.profiles.paths import parse_path

if TYPE_CHECKING:
    from gateway.decode.levels import Level, Levels, Rows
    from gateway.decode.shape import Leaf, Shape
    from gateway.model import Bool, Float64, Int64
    from gateway.profiles.plan import CoversPlan, ProfilePlan, SamplesPlan


_CENTURY_NS = 3 * 10**18


@dataclass(frozen=True, slots=True)
class Moments:
    """When the m elements of all uplinks' lists were measured: `time` int64[m] ns UTC.

    `faults` are of elements without a usable time; theirs is 0.
    """

    level: Level
    time: Int64
    faults: list[Fault]

    def of(self, levels: Levels, level: Level) -> tuple[Int64, list[Fault]] | None:
        """Return the times of the rows of a level, and its faults; None where it lies outside the list."""
        if level[: len(self.level)] != self.level:
            return None
        places = levels.ancestors(level, self.level)
        if places is None:
            return self.time, self.faults
        faults = [Fault(fault.rows[places], fault.reason, fault.detail) for fault in self.faults]
        return self.time[places], faults


class Samples:
    """Reads the times of one profile's samples."""

    def __init__(self, plan: ProfilePlan, samples: SamplesPlan) -> None:
        self._plan = samples
        self._covers = plan.covers
        self._clock = plan.clock
        self.level: Level = parse_path(samples.list)
        self._leaf: Leaf | None = None

    @property
    def told(self) -> bool:
        """Whether the device tells each time; else they are counted from the uplink's."""
        return self._plan.at is not None

    @property
    def parameter(self) -> str | None:
        """The parameter that is the step."""
        return self._plan.parameter

    def want(self, shape: Shape) -> None:
        """Ask for the fields needed."""
        if self._plan.at:
            shape.want(self._plan.at, time_want(self._plan.at_unit, self._clock))
        elif self._plan.ago:
            shape.want(self._plan.ago, Want.NUMBER)

    def bind(self, shape: Shape) -> None:
        """Learn how to read them, once the shape is sealed."""
        path = self._plan.at or self._plan.ago
        self._leaf = shape.leaf(path) if path else None

    def read(self, levels: Levels, uplinks: Int64, step: Float64 | None) -> Moments:
        """Return the elements' times; `uplinks` int64[n] are the uplinks', `step` float64[n] a parameter."""
        rows = levels.rows(self.level)
        if self._plan.at:
            time, faults = self._told(rows, uplinks[rows.uplink])
        elif self._plan.ago:
            time, faults = self._before(rows, uplinks[rows.uplink])
        else:
            time, faults = self._apart(rows, uplinks, step)
        return Moments(self.level, time, faults)

    def _told(self, rows: Rows, uplinks: Int64) -> tuple[Int64, list[Fault]]:
        assert self._leaf is not None
        path = self._plan.at
        time, present, bad = to_ns(rows.records.scalars(self._leaf), self._plan.at_unit, self._clock)
        time = _interval(time, self._covers)
        if not self._plan.required:
            time, present = np.where(present, time, uplinks), np.ones(len(present), dtype=np.bool_)
        return time, [
            *_faults(~present, Reason.TIME_MISSING, f"{path} is missing"),
            *_faults(bad, Reason.NOT_REPRESENTABLE, f"{path} is no time from 1684 to 2255"),
        ]

    def _before(self, rows: Rows, uplinks: Int64) -> tuple[Int64, list[Fault]]:
        assert self._leaf is not None
        path = self._plan.ago
        value = rows.records.scalars(self._leaf).numbers
        absent = np.isnan(value)
        ago, beyond = floats_to_ns(np.where(absent, 0.0, value), self._plan.ago_ns, 1)
        beyond |= np.abs(ago) > MAX_SPAN_NS
        return uplinks - np.where(beyond, 0, ago), [
            *_faults(absent, Reason.TIME_MISSING, f"{path} is missing"),
            *_faults(beyond, Reason.NOT_REPRESENTABLE, f"{path} is no length up to 3 years"),
        ]

    def _apart(self, rows: Rows, uplinks: Int64, step: Float64 | None) -> tuple[Int64, list[Fault]]:
        """Count from the newest, which has the uplink's time: the place in the list gives the rest."""
        counts = np.bincount(rows.uplink, minlength=len(uplinks))
        place = np.arange(len(rows.uplink)) - np.repeat(np.cumsum(counts) - counts, counts)
        older = place if self._plan.newest_first else counts[rows.uplink] - 1 - place
        if step is None:
            return uplinks[rows.uplink] - _before_ns(older, self._plan.step_ns), []
        length, bad = spans(step, self._plan.parameter_ns)
        name, absent = self._plan.parameter, np.isnan(step)
        return uplinks[rows.uplink] - _before_ns(older, length[rows.uplink]), [
            *_faults(absent[rows.uplink], Reason.MISSING_PARAMETER, f"the parameter {name} is missing"),
            *_faults(
                (bad & ~absent)[rows.uplink],
                Reason.NOT_REPRESENTABLE,
                f"the parameter {name} is no length up to 3 years",
            ),
        ]


def _before_ns(steps: Int64, length: Int64 | int) -> Int64:
    """Multiply; what would overflow becomes a century, which every profile refuses as too old."""
    far = steps.astype(np.float64) * length > _CENTURY_NS
    product: Int64 = np.where(far, _CENTURY_NS, steps * length)
    return product


def _interval(time: Int64, covers: CoversPlan | None) -> Int64:
    """Move times to the start of the interval that a sample covers."""
    if covers is None:
        return time
    if covers.align:
        time = time - time % covers.length_ns
    return time - covers.length_ns if covers.label == "end" else time


def _faults(rows: Bool, reason: Reason, detail: str) -> list[Fault]:
    return [Fault(rows, reason, detail)] if rows.any() else []
