"""What a sink was given of an outbox and has not answered for, and what became of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.sinks.outbox_model import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.sinks.outbox_model import Held


@dataclass(slots=True)
class Hand:
    """What a sink was given and has not answered for, by entry.

    `skipped`: how many of their points it was not given, since a newer writing was sent. `passed`: those of
    them that were dropped meanwhile, with their points.
    """

    given: dict[int, Held] = field(default_factory=dict)
    skipped: dict[int, int] = field(default_factory=dict)
    passed: dict[int, int] = field(default_factory=dict)


def spread(
    counts: Mapping[int, int], *, refused: int, skipped: Mapping[int, int], late: Mapping[int, int]
) -> dict[int, Outcome]:
    """Lay refused points on entries, the first ones first; take the late ones off the dropped.

    Which entry they were in is not known; that no entry gets more than it has is what recovery needs.
    """
    outcomes = {}
    for seq, count in sorted(counts.items()):
        here = min(refused, count - skipped.get(seq, 0))
        refused -= here
        outcomes[seq] = Outcome(here, -late.get(seq, 0), skipped.get(seq, 0))
    return outcomes
