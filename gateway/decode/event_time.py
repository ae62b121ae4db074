"""When a reading happened: the device's time, else the receive time; then the interval it covers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gateway.decode.shape import Want
from gateway.decode.times import MAX_SPAN_NS, floats_to_ns, to_ns
from gateway.model import Reason, TimeSource

if TYPE_CHECKING:
    from gateway.decode.parameters import Parameters
    from gateway.decode.records import Records
    from gateway.decode.shape import Leaf, Shape
    from gateway.model import Bool, Float64, Int32, Int64, UInt8
    from gateway.profiles.plan import ProfilePlan


@dataclass(frozen=True, slots=True)
class WrongTimes:
    """Uplinks whose time is refused: `uplinks` is a mask, bool[n]."""

    uplinks: Bool
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Times:
    """Event times of some uplinks: `time` int64[n] ns UTC, `source` uint8[n] (`TimeSource`)."""

    time: Int64
    source: UInt8
    wrong: list[WrongTimes]


def time_want(unit: str, clock: str = "") -> Want:
    """Return what stands at the path of a time in that unit; `clock`: one that may lack its offset."""
    if unit == "iso" and clock:
        return Want.SCALAR
    return Want.MOMENT if unit == "iso" else Want.TIME


class EventTimes:
    """Reads the times of one profile's uplinks."""

    def __init__(self, plan: ProfilePlan) -> None:
        self._plan = plan
        self._leaf: Leaf | None = None
        self._length: Leaf | None = None

    def want(self, shape: Shape) -> None:
        """Ask for the fields needed."""
        if self._plan.time:
            shape.want(self._plan.time.path, time_want(self._plan.time.unit, self._plan.clock))
        if self._plan.covers and self._plan.covers.path:
            shape.want(self._plan.covers.path, Want.NUMBER)

    def bind(self, shape: Shape) -> None:
        """Learn how to read them, once the shape is sealed."""
        if self._plan.time:
            self._leaf = shape.leaf(self._plan.time.path)
        if self._plan.covers and self._plan.covers.path:
            self._length = shape.leaf(self._plan.covers.path)

    def read(self, records: Records, receipt: Int64, codes: Int32, parameters: Parameters) -> Times:
        """Return the event times of parsed uplinks; `receipt` int64[n] stands in where one has none."""
        times = self._device_times(records, receipt)
        return self._intervals(times, records, codes, parameters) if self._plan.covers else times

    def _device_times(self, records: Records, receipt: Int64) -> Times:
        plan = self._plan.time
        source = np.full(len(records), TimeSource.RECEIPT, dtype=np.uint8)
        if plan is None or self._leaf is None:
            return Times(receipt, source, [])
        time, present, bad = to_ns(records.scalars(self._leaf), plan.unit, self._plan.clock)
        source[present] = TimeSource.DEVICE
        wrong = []
        if bad.any():
            wrong.append(
                WrongTimes(bad, Reason.NOT_REPRESENTABLE, f"{plan.path} is no time from 1684 to 2255")
            )
        if plan.required and not present.all():
            wrong.append(WrongTimes(~present, Reason.TIME_MISSING, f"{plan.path} is missing"))
        return Times(np.where(present, time, receipt), source, wrong)

    def _intervals(self, times: Times, records: Records, codes: Int32, parameters: Parameters) -> Times:
        """Move each time to the start of the interval that its readings cover."""
        covers = self._plan.covers
        assert covers is not None
        wrong = times.wrong
        if covers.parameter:
            value = parameters.column(covers.parameter, codes, times.time)
            wrong = wrong + _absent(value, Reason.MISSING_PARAMETER, f"the parameter {covers.parameter}")
            length, bad = spans(value, covers.parameter_ns)
        elif self._length:
            value = records.scalars(self._length).numbers
            wrong = wrong + _absent(value, Reason.MISSING_FIELD, f"{covers.path}")
            length, bad = spans(value, covers.path_ns)
        else:
            length, bad = (
                np.full(len(records), covers.length_ns, dtype=np.int64),
                np.zeros(len(records), np.bool_),
            )
        if bad.any():
            wrong = [
                *wrong,
                WrongTimes(bad, Reason.NOT_REPRESENTABLE, "the interval is no length up to 3 years"),
            ]
        time = times.time
        if covers.align:
            time = time - time % length
        return Times(time - length if covers.label == "end" else time, times.source, wrong)


def spans(value: Float64, scale: int) -> tuple[Int64, Bool]:
    """Return lengths in ns, int64[n] ≥ 1, and where they are refused, bool[n]; NaN counts as refused."""
    length, beyond = floats_to_ns(value, scale, 1)
    bad = beyond | (length < 1) | (length > MAX_SPAN_NS)
    return np.where(bad, 1, length), bad


def _absent(value: Float64, reason: Reason, what: str) -> list[WrongTimes]:
    absent = np.isnan(value)
    return [WrongTimes(absent, reason, f"{what} is missing")] if absent.any() else []
