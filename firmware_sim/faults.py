"""What happens between a healthy device and the broker: everything that a city's radio and firmware do.

A message can be spoiled (`malformed`), sent twice, overtaken by later ones, or held back with its
original time while its district's radio is away, then sent in a burst with all the others. Devices
reboot and count from 0 again. Every one of these is decided by the seed and is said in the ledger
with what a correct gateway must make of it.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING

from firmware_sim import traffic, waste, water
from firmware_sim.malformed import KINDS, Kind, beyond_range, encode
from firmware_sim.model import DAY, MINUTE, SECOND, Happening, Message, Sample, Span, Spec
from firmware_sim.seeds import generator

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from firmware_sim.model import Item

READINGS = {"waste": waste.readings, "traffic": traffic.readings, "water": water.readings}
STRANGERS = 40
"""How many unknown devices there are at most: a neighbour's, or a technician's test."""


_DERIVED = {"distance": "filling_level"}
"""What is computed from a quantity fails with it."""


@dataclass(frozen=True, slots=True)
class Rates:
    """How often things go wrong: shares of all uplinks, except `outages_per_day` (a district's)."""

    malformed: float = 0.0
    duplicate: float = 0.0
    out_of_order: float = 0.0
    no_echo: float = 0.0
    reboot: float = 0.0
    outages_per_day: float = 0.0

    @classmethod
    def of(cls, faults: float) -> Rates:
        """Return the rates of a city in which that share of uplinks is malformed, others in proportion."""
        return cls(
            malformed=faults,
            duplicate=faults,
            out_of_order=faults,
            no_echo=faults / 2,
            reboot=faults / 5,
            outages_per_day=min(50 * faults, 2.0),
        )


@dataclass(frozen=True, slots=True)
class Outage:
    """A district's radio is away: what is due in [start, end) is sent from `end` on."""

    start_ns: int
    end_ns: int


class Outages:
    """The outages of one district, the same for all its devices."""

    def __init__(self, seed: int, district: str, per_day: float) -> None:
        self._seed, self._district, self._per_day = seed, district, per_day
        self._days: dict[int, tuple[Outage, ...]] = {}

    def during(self, at_ns: int) -> Outage | None:
        """Return the outage that holds back what is due then, if any. Outages end on their day."""
        number = at_ns // DAY
        if number not in self._days:
            self._days[number] = self._of(number)
        return next((out for out in self._days[number] if out.start_ns <= at_ns < out.end_ns), None)

    def _of(self, number: int) -> tuple[Outage, ...]:
        rng = generator(self._seed, "outages", self._district, number)
        starts = sorted(int(start) for start in rng.uniform(0, 0.96, rng.poisson(self._per_day)) * DAY)
        lengths = rng.uniform(15, 45, len(starts)) * MINUTE
        return tuple(
            Outage(number * DAY + start, number * DAY + start + int(length))
            for start, length in zip(starts, lengths, strict=True)
        )


def disturb(
    samples: Iterable[Sample | Happening], *, spec: Spec, span: Span, rates: Rates, outages: Outages
) -> Iterator[Item]:
    """Yield one device's messages and happenings, by time due, for as long as there are samples.

    The first message after the start (boot) is always healthy, so that even a short run hears every
    device.
    """
    fate = Fate(spec, span, rates, outages)
    waiting: list[tuple[int, int, Item]] = []
    order = count()
    for sample in samples:
        due = sample.due_ns if isinstance(sample, Happening) else sample.sent_ns
        while waiting and waiting[0][0] < due:
            yield heapq.heappop(waiting)[2]
        for item in (sample,) if isinstance(sample, Happening) else fate.of(sample):
            heapq.heappush(waiting, (item.due_ns, next(order), item))


class Fate:
    """Decides what becomes of one device's uplinks, one after the other."""

    def __init__(self, spec: Spec, span: Span, rates: Rates, outages: Outages) -> None:
        self._spec, self._rates, self._outages = spec, rates, outages
        self._rng = generator(span.seed, "faults", spec.family, spec.index)
        self._kinds = [kind for kind in KINDS if spec.family in kind.families]
        self._seq = 0
        self._burst = 0

    def of(self, sample: Sample) -> Iterator[Item]:
        """Yield what is sent of a sample: nothing less than what it was, or what it was spoiled to."""
        reboots, chance = self._rng.random(2)
        if reboots < self._rates.reboot and not sample.boot:
            self._seq = 0
            at_ns = sample.sent_ns
            yield Happening(at_ns, "reboot", self._spec.site, self._spec.id, at_ns, at_ns)
        sample.body["seq"] = self._seq
        self._seq += 1
        outage = None if sample.boot else self._outages.during(sample.sent_ns)
        if outage is not None:
            yield self._held_back(sample, outage)
            return
        self._burst = 0
        yield from self._on_its_own(sample, math.inf if sample.boot else float(chance))

    def _held_back(self, sample: Sample, outage: Outage) -> Message:
        """Send it when the radio is back: each device a little later, its messages in their order."""
        self._burst += 1
        phase = int(generator(self._spec.index, "burst").uniform(0, 30) * SECOND)
        due = outage.end_ns + phase + self._burst * SECOND // 2
        return self._message(sample, due_ns=due, fault="outage")

    def _on_its_own(self, sample: Sample, chance: float) -> Iterator[Message]:
        rates = self._rates
        if (chance := chance - rates.malformed) < 0:
            yield from self._spoiled(sample, self._kinds[int(self._rng.integers(len(self._kinds)))])
        elif (chance := chance - rates.duplicate) < 0:
            yield self._message(sample)
            again = sample.sent_ns + int(self._rng.uniform(2, 40) * SECOND)
            yield self._message(sample, due_ns=again, fault="duplicate", expect="duplicate", stored=False)
        elif (chance := chance - rates.out_of_order) < 0:
            later = sample.sent_ns + int(self._rng.uniform(16, 100) * MINUTE)
            yield self._message(sample, due_ns=later, fault="out of order")
        elif self._spec.family == "waste" and chance - rates.no_echo < 0:
            echo = {**sample.body, "dist_mm": waste.NO_ECHO[int(self._rng.integers(2))]}
            heard = replace(sample, body=echo, readings=waste.readings(self._spec, echo))
            yield self._message(heard, fault="no echo")
        else:
            yield self._message(sample)

    def _spoiled(self, sample: Sample, kind: Kind) -> Iterator[Message]:
        spec, rng = self._spec, self._rng
        if kind.expect == "flagged":
            yield self._out_of_range(sample)
            return
        due = sample.sent_ns
        if kind.besides:
            yield self._message(sample)
            due += int(rng.uniform(2, 40) * SECOND)
        body, topic, device = sample.body, sample.topic, spec.id
        if kind.stranger:
            device = f"ghost-{int(rng.integers(1, STRANGERS + 1)):04d}"
            topic = topic.replace(spec.id, device)
            body = {key: device if key == "id" else value for key, value in body.items()}
        payload = kind.spoil(body, spec.family, rng)
        yield Message(due, device, topic, payload, kind.name, kind.expect, ())

    def _out_of_range(self, sample: Sample) -> Message:
        body, quantity = beyond_range(sample.body, self._spec.family, self._rng)
        rows = [
            replace(row, failed=_failing(quantity, row.fields)) if before.fields != row.fields else row
            for before, row in zip(
                sample.readings, READINGS[self._spec.family](self._spec, body), strict=True
            )
        ]
        spoiled = replace(sample, body=body, readings=tuple(rows))
        return self._message(spoiled, fault="out of range", expect="flagged")

    def _message(
        self,
        sample: Sample,
        *,
        due_ns: int | None = None,
        fault: str | None = None,
        expect: str = "stored",
        stored: bool = True,
    ) -> Message:
        return Message(
            due_ns=sample.sent_ns if due_ns is None else due_ns,
            device=self._spec.id,
            topic=sample.topic,
            payload=encode(sample.body),
            fault=fault,
            expect=expect,
            readings=sample.readings if stored else (),
        )


def _failing(quantity: str, fields: Mapping[str, float | int | str]) -> tuple[str, ...]:
    derived = _DERIVED.get(quantity, "")
    return (quantity, derived) if derived in fields else (quantity,)
