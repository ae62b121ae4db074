"""Earlier readings inside one uplink: a first value, a time, and a list of what each step added."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from gateway.decode.columns import settle
from gateway.decode.event_time import spans, time_want
from gateway.decode.fault import Fault
from gateway.decode.shape import Want
from gateway.decode.times import MAX_TIME_NS, to_ns
from gateway.model import Reason
from gateway.profiles.plan import Kind

if TYPE_CHECKING:
    from gateway.decode.parameters import Parameters
    from gateway.decode.records import Records
    from gateway.decode.refusals import Refusals
    from gateway.decode.shape import Leaf, Shape
    from gateway.model import Bool, Float64, Int32, Int64
    from gateway.profiles.plan import HistoryPlan, QuantityPlan


@dataclass(frozen=True, slots=True)
class Past:
    """Earlier readings of one quantity: m rows, oldest first within each uplink.

    `uplink` int64[m] is the place among the parsed uplinks, `time` int64[m] ns UTC, `values`
    float64[m], NaN where a reading was refused.
    """

    uplink: Int64
    time: Int64
    values: Float64


class History:
    """Reads the history of one profile's uplinks."""

    def __init__(self, plan: HistoryPlan, quantity: QuantityPlan, max_readings: int, clock: str = "") -> None:
        self._plan = plan
        self._clock = clock
        self._quantity = quantity
        self._max_readings = max_readings
        self._leaves: dict[str, Leaf] = {}

    def want(self, shape: Shape) -> None:
        """Ask for the fields needed."""
        whole = self._quantity.kind in (Kind.COUNTER, Kind.EVENT)
        shape.want(self._plan.start, Want.WHOLE if whole else Want.NUMBER)
        shape.want(self._plan.at, time_want(self._plan.at_unit, self._clock))
        shape.want(self._plan.add.removesuffix("[]"), Want.DELTAS)

    def bind(self, shape: Shape) -> None:
        """Learn how to read them, once the shape is sealed."""
        plan = self._plan
        self._leaves = {
            "start": shape.leaf(plan.start),
            "at": shape.leaf(plan.at),
            "add": shape.leaf(plan.add.removesuffix("[]")),
        }

    def read(
        self, records: Records, *, index: Int64, codes: Int32, parameters: Parameters, refusals: Refusals
    ) -> Past:
        """Return the earlier readings of parsed uplinks.

        `index` int64[n] is the place of each in its batch, `codes` int32[n] its route.
        """
        starts = self._starts(records.values(self._leaves["start"]))
        lists = records.values(self._leaves["add"])
        at, present, bad = to_ns(records.scalars(self._leaves["at"]), self._plan.at_unit, self._clock)
        step, wrong = self._steps(at, codes, parameters)
        counts = np.array([len(added) + 1 if added else 1 for added in lists], dtype=np.int64)
        late = at + step.astype(np.float64) * counts > MAX_TIME_NS
        some = np.array([start is not None for start in starts], dtype=np.bool_)
        long = some & (counts > self._max_readings)
        detail = f"{self._plan.add} is longer than {self._max_readings}"
        refusals.refuse_all(index[long], Reason.TOO_MANY_READINGS, detail)
        some &= ~long
        for mask, reason, detail in (
            (~present, Reason.MISSING_FIELD, f"{self._plan.at} is missing"),
            (bad, Reason.NOT_REPRESENTABLE, f"{self._plan.at} is no time from 1684 to 2255"),
            *wrong,
            (late, Reason.NOT_REPRESENTABLE, "it ends beyond the year 2255"),
        ):
            for refused in index[some & mask].tolist():
                refusals.refuse_readings(refused, reason, f"history of {self._quantity.name}: {detail}")
            some &= ~mask
        chosen = np.flatnonzero(some)
        series = [list(accumulate(lists[place] or (), initial=starts[place])) for place in chosen.tolist()]
        past, faults = self._past(chosen, at[chosen], step[chosen], series)
        for fault in faults:
            refusals.refuse_rows(fault, index[past.uplink])
        return past

    def _starts(self, values: list[Any]) -> list[Any]:
        missing = self._quantity.missing
        return [value if type(value) in (int, float) and value not in missing else None for value in values]

    def _steps(
        self, at: Int64, codes: Int32, parameters: Parameters
    ) -> tuple[Int64, list[tuple[Bool, Reason, str]]]:
        """Return each uplink's step, ns, and where it is refused."""
        plan = self._plan
        if plan.parameter is None:
            return np.full(len(at), plan.step_ns, dtype=np.int64), []
        value = parameters.column(plan.parameter, codes, at)
        step, bad = spans(value, plan.parameter_ns)
        return step, [
            (np.isnan(value), Reason.MISSING_PARAMETER, f"the parameter {plan.parameter} is missing"),
            (bad, Reason.NOT_REPRESENTABLE, f"the parameter {plan.parameter} is no length up to 3 years"),
        ]

    def _past(
        self, chosen: Int64, at: Int64, step: Int64, series: list[list[Any]]
    ) -> tuple[Past, list[Fault]]:
        counts = np.fromiter(map(len, series), dtype=np.int64, count=len(series))
        number = np.arange(int(counts.sum()), dtype=np.int64) - np.repeat(np.cumsum(counts) - counts, counts)
        quantity = self._quantity
        values = np.array([value for values in series for value in values], dtype=np.float64)
        with np.errstate(over="ignore"):
            values = values * quantity.scale + quantity.offset
        faults = [
            Fault(fault.rows, fault.reason, f"history: {fault.detail}") for fault in settle(quantity, values)
        ]
        if quantity.counter is not None and quantity.counter.modulus:
            # What the register showed when a step took it past its end.
            values = np.where(number > 0, np.mod(values, quantity.counter.modulus), values)
        time = np.repeat(at, counts) + number * np.repeat(step, counts)
        return Past(np.repeat(chosen, counts), time, values), faults
