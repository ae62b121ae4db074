"""What would become of uplinks by the rules in force, with nothing kept of it: a dry run.

Decoding and the bounds of time are the gateway's own, on tables of its own. What depends on other readings
is not rehearsed: whether one was stored before, or contradicts one that was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.aggregate.shelf import shortest_of
from gateway.books import Outcome
from gateway.decode.decoder import decode_together
from gateway.decode.routes import Routes
from gateway.model import SeriesTable
from gateway.quality.bounds import bound

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.model import Device, RawBatch, Readings, Rejection
    from gateway.ports import Codecs
    from gateway.profiles.plan import ProfilePlan
    from gateway.rules import Limits
    from gateway.treatment import Treatment


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """The rules of one moment; none of them is written to. `watermarks` is by profile, ns UTC."""

    plans: Mapping[str, ProfilePlan]
    devices: Mapping[tuple[str, str], Device]
    limits: Limits
    accepted: Sequence[tuple[str, str]]
    watermarks: Mapping[str, int]
    codecs: Codecs

    @classmethod
    def of(cls, treatment: Treatment) -> Rehearsal:
        """Take the rules that are in force now."""
        rules = treatment.rules
        return cls(
            plans=rules.plans,
            devices=rules.devices,
            limits=rules.limits,
            accepted=tuple(treatment.routes.unknown),
            watermarks=treatment.aggregator.figures().watermarks,
            codecs=treatment.codecs,
        )

    def outcome(self, batches: Sequence[RawBatch]) -> Outcome:
        """Decode, and tell what would be refused and what would come too late for its window, about."""
        outcome = Outcome()
        decoded = decode_together(batches, self._routes())
        rejections: list[Rejection] = list(decoded.rejections)
        for readings in decoded.readings:
            kept, refused = bound(readings)
            rejections += refused
            self._late(kept, outcome)
        outcome.take_uplinks(sum(map(len, batches)), rejections)
        outcome.ignored += len(decoded.ignored)
        return outcome

    def _routes(self) -> Routes:
        return Routes(
            self.plans,
            self.devices,
            accept_unknown=self.limits.accept_unknown,
            max_unknown=self.limits.max_unknown,
            max_series=self.limits.max_series,
            tables={},
            texts=SeriesTable(),
            unknown=self.accepted,
            codecs=self.codecs,
        )

    def _late(self, readings: Readings, outcome: Outcome) -> None:
        """Count readings whose shortest window had ended before the watermark, wherever in it they lie."""
        plan = readings.profile
        late = readings.time + shortest_of(plan) < self.watermarks.get(plan.name, 0)
        count = int(readings.present[:, late].sum())
        outcome.aggregated += readings.count() - count
        outcome.take_late(count, readings.time[late].tolist())
