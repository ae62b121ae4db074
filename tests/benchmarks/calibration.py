"""At which rate a system will run: the clock's factor must be known before a round. Pure.

A round's factor is that of the rate that is expected; readings a window are 5 where the rate is the expected
one. Fewer of them are more windows a message and so a lower rate: each guess therefore goes a part of the way
from the last one to what was found, or it would swing about the answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from tests.benchmarks.headline import HEADLINE, READINGS_TOLERANCE

if TYPE_CHECKING:
    from tests.benchmarks.headline import Workload

DAMPING: Final = 0.65
"""Of the way, in proportions: where a rate that is twice too low costs a third of the speed."""
FIRST: Final = {1: 80_000.0, 0: 100_000.0}
"""Messages/s at QoS 1 and 0, before anything is known."""
DATABASES: Final = {"influxdb": 25_000.0, "victoriametrics": 25_000.0}
"""Of those the broker is not what is waited for."""


@dataclass(slots=True)
class Rates:
    """What Écluse is expected to reach, by workload, learned from round to round."""

    _expected: dict[Workload, float] = field(default_factory=dict)
    _settled: set[Workload] = field(default_factory=set)

    def expected(self, workload: Workload) -> float:
        """Return messages/s: those that are asked for, or those of the rounds before, or of one like it."""
        if workload.rate:
            return float(workload.rate)
        if workload.sink in DATABASES:
            return self._expected.get(workload, DATABASES[workload.sink])
        near = workload, replace(HEADLINE, qos=workload.qos)
        known = (self._expected[one] for one in near if one in self._expected)
        return next(known, FIRST[workload.qos])

    def learn(self, workload: Workload, found: float) -> None:
        """Take a round into account."""
        if workload.rate:
            return
        before = self.expected(workload)
        self._expected[workload] = before * (found / before) ** DAMPING
        if abs(found / before - 1) <= READINGS_TOLERANCE:
            self._settled.add(workload)

    def settled(self, workload: Workload) -> bool:
        """Tell whether a round was as expected already."""
        return bool(workload.rate) or workload in self._settled
