"""The whole city: every device's messages in one stream, by the time at which they are due.

Pure: no clock, no file, no socket. The same seed and origin give the same city; a device is the
same in a fleet of any size and order.
"""

from __future__ import annotations

import heapq
from operator import attrgetter
from typing import TYPE_CHECKING

from firmware_sim import traffic, waste, water
from firmware_sim.faults import Outages, Rates, disturb
from firmware_sim.rhythm import Weather

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from firmware_sim.model import Happening, Item, Sample, Span, Spec


def city(specs: Sequence[Spec], span: Span, rates: Rates) -> Iterator[Item]:
    """Yield what the devices send and what happens to them, without end, in order of `due_ns`."""
    weather = Weather(span.seed)
    outages = {
        district: Outages(span.seed, district, rates.outages_per_day)
        for district in {spec.district for spec in specs}
    }
    lives = [
        disturb(
            healthy(spec, span, weather), spec=spec, span=span, rates=rates, outages=outages[spec.district]
        )
        for spec in specs
    ]
    return heapq.merge(*lives, key=attrgetter("due_ns"))


def healthy(spec: Spec, span: Span, weather: Weather) -> Iterator[Sample | Happening]:
    """Yield what one device would send if nothing ever went wrong."""
    if spec.family == "waste":
        return waste.samples(spec, span, weather)
    if spec.family == "traffic":
        return traffic.samples(spec, span)
    return water.samples(spec, span, weather)
