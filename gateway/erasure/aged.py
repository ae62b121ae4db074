"""Which uplinks are of a profile and too old: the other thing that can be erased."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.decode.topics import compile_template
from gateway.erasure import records
from gateway.erasure.target import topics_by
from gateway.errors import EcluseError
from gateway.model import NS_PER_S, Control
from gateway.sinks.erasing import Which

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.decode.topics import Template
    from gateway.model import Frames, Readmitted, Record
    from gateway.profiles.plan import ProfilePlan
    from gateway.quarantine.reader import QuarantineRow
    from gateway.rules import Rules


class Aged:
    """A profile's uplinks that were received before a time, and its points of before that time.

    `through`: the last position of the journal that the state has: what is not treated yet is not old.
    Control records stay: they name devices, and tell nothing that one said. Points of a reprocessing do not.
    """

    def __init__(self, plan: ProfilePlan, before_ns: int, *, rules: Rules, through: int) -> None:
        self.plan = plan
        self.before_ns = before_ns
        self.which = Which({"profile": plan.name}, before_ns)
        self._through = through
        self._templates: list[Template] = []
        self._routes = topics_by(rules)
        self.learn(plan.name, plan.topics)

    def renew(self, rules: Rules, position: int) -> None:
        """Judge by other rules, and by the place that the state has by now."""
        self._routes, self._through = topics_by(rules), position

    def learn(self, profile: str, topics: Iterable[str]) -> None:
        """Take the topics of a profile that was in force before."""
        if profile == self.plan.name:
            known = {template.text for template in self._templates}
            self._templates += [compile_template(text) for text in topics if text not in known]

    def without(self, position: int, record: Record) -> tuple[Record, int] | None:
        """Return a record without what is too old, and how many uplinks went; None where nothing is.

        Raises `ProtocolError` where it is no sequence of frames.
        """
        if isinstance(record, Control):
            left = records.without_points(record, self.which) if position <= self._through else None
            return None if left is None else (left, 0)
        if not self._is_old(position, record):
            return None
        found = records.without_uplinks(record, self._has)
        return None if found is None else (found[0], len(found[1]))

    def row(self, row: QuarantineRow) -> bool:
        """Tell whether a row of the quarantine is too old."""
        if row.sink and not row.topic:  # a point
            return self.which.has(row.payload)
        if row.received_ns >= self.before_ns or row.position > self._through:
            return False
        return row.profile == self.plan.name or bool(row.topic and self._has(row.topic))

    def _is_old(self, position: int, record: Frames | Readmitted) -> bool:
        return position <= self._through and record.received_ns < self.before_ns

    def _has(self, topic: bytes) -> bool:
        _, _, profile = self._routes.whose(topic)
        if profile:
            return profile == self.plan.name
        text = topic.decode(errors="replace")
        return any(template.match(text) is not None for template in self._templates)


def require_final(plan: ProfilePlan, age_ns: int) -> None:
    """Refuse to erase what windows may still be corrected by. Raises EcluseError, naming the age."""
    longest = plan.windows[-1].length_ns if plan.windows else 0
    needed_ns = plan.lateness_ns + longest
    if age_ns < needed_ns:
        raise EcluseError(
            f"windows of {plan.name} can still be corrected by what is not older than {_hours(needed_ns)}",
            hint="ask for that age, or a greater one: its lateness and its longest window",
        )


def _hours(duration_ns: int) -> str:
    return f"{-(-duration_ns // (3_600 * NS_PER_S))}h"
