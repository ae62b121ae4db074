"""Which columns a group's rows need, from its plan: the one place that knows their order."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from gateway.profiles.plan import Kind

if TYPE_CHECKING:
    from gateway.model import UInt8
    from gateway.profiles.plan import GroupPlan, QuantityPlan


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of one group's rows.

    `quantities` are signatures: two versions of a profile mean the same column where the name, the
    kind and the states are the same. `counters` and `states` index the quantities of those kinds,
    `spikes` those whose flag the next reading can still change, `remembered` those whose last readings a
    series' past holds; `parameters` names the installation's
    values that the counters need.
    """

    quantities: tuple[str, ...]
    counters: tuple[int, ...]
    states: tuple[int, ...]
    spikes: tuple[int, ...]
    remembered: tuple[int, ...]
    parameters: tuple[str, ...]
    ordered: bool

    @classmethod
    def of(cls, group: GroupPlan) -> Layout:
        """Return the layout of a group."""
        flows = {q.counter.max_flow for q in group.quantities if q.counter}
        return cls(
            quantities=tuple(_signature(quantity) for quantity in group.quantities),
            counters=tuple(i for i, q in enumerate(group.quantities) if q.kind is Kind.COUNTER),
            states=tuple(i for i, q in enumerate(group.quantities) if q.kind is Kind.STATE),
            spikes=tuple(i for i, q in enumerate(group.quantities) if q.spike is not None),
            remembered=group.remembered,
            parameters=tuple(sorted(name for name in flows if isinstance(name, str))),
            ordered=group.ordered,
        )

    def names_of(self, places: tuple[int, ...]) -> tuple[str, ...]:
        """Return the signatures of some quantities."""
        return tuple(self.quantities[place] for place in places)

    def to_array(self) -> UInt8:
        """Return it as a column (JSON), to be stored beside what was laid out by it."""
        return np.frombuffer(json.dumps(asdict(self)).encode(), np.uint8)

    @classmethod
    def from_array(cls, column: UInt8) -> Layout:
        """Return what `to_array` gave. Raises ValueError, KeyError, TypeError on damage."""
        stored = json.loads(column.tobytes())
        ordered = bool(stored.pop("ordered"))
        return cls(**{name: tuple(places) for name, places in stored.items()}, ordered=ordered)


def _signature(quantity: QuantityPlan) -> str:
    return "|".join((quantity.name, quantity.kind.value, *quantity.states))
