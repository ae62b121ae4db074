"""Gross range (QARTOD test 4): is a value one that the sensor, and the city, can give.

Outside the range of the sensor (`fail_range`) a value is FAIL: written raw, kept out of windows.
Outside that of the place (`suspect_range`) it is SUSPECT: counted, and flagged. Both ranges include
their ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gateway.model import Flag
from gateway.profiles.plan import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.model import Bool, Float64, Readings, UInt8
    from gateway.profiles.plan import QuantityPlan


def is_evaluated(quantity: QuantityPlan) -> bool:
    """Tell whether any test looks at this quantity: else the best that can be said is NOT_EVALUATED.

    A state is tested by its list of names, which is its range: a raw value outside it was refused
    while decoding. A counter is tested against its register before.
    """
    return (
        quantity.fail_range is not None
        or quantity.suspect_range is not None
        or quantity.rate is not None
        or quantity.spike is not None
        or quantity.flat is not None
        or quantity.counter is not None
        or quantity.kind in (Kind.COUNTER, Kind.STATE)
    )


def range_flags(readings: Readings) -> UInt8:
    """Return flags uint8[q, n]: each reading by itself, before its neighbours are looked at.

    Absent → MISSING; outside `fail_range` → FAIL; outside `suspect_range` → SUSPECT; else GOOD
    where the quantity has any test (`is_evaluated`), NOT_EVALUATED where it has none. A NaN that is
    present lies in no range: FAIL. NOT_EVALUATED readings are used in windows like good ones:
    the profile's author asked for no test, which is no doubt about the value. QARTOD's
    NOT_EVALUATED for the ends of a series (no neighbour yet) is not used: a flag says what the
    tests found, and a first reading has its range found good. What is derived from a FAIL is FAIL.
    """
    flags = np.empty(readings.values.shape, dtype=np.uint8)
    for row, quantity in enumerate(readings.group.quantities):
        values = readings.values[row]
        flags[row] = Flag.GOOD if is_evaluated(quantity) else Flag.NOT_EVALUATED
        if quantity.suspect_range is not None:
            flags[row, _outside(values, quantity.suspect_range)] = Flag.SUSPECT
        if quantity.fail_range is not None:
            flags[row, _outside(values, quantity.fail_range)] = Flag.FAIL
    _inherit(readings.group.quantities, flags, readings.present)
    flags[~readings.present] = Flag.MISSING
    return flags


def _inherit(quantities: Sequence[QuantityPlan], flags: UInt8, present: Bool) -> None:
    """Let a derived quantity fail with what it is derived from: 6 m in a 2 m bin is no fill of 0 %."""
    places = {quantity.name: row for row, quantity in enumerate(quantities)}
    for row, quantity in enumerate(quantities):
        if quantity.expression is not None:
            for name in quantity.expression.names & places.keys():
                failed = (flags[places[name]] == Flag.FAIL) & present[places[name]]
                flags[row, failed] = Flag.FAIL


def is_usable(flags: UInt8) -> Bool:
    """Tell which readings count, in windows and as neighbours: present and not FAIL. Any shape."""
    usable: Bool = (flags != Flag.MISSING) & (flags != Flag.FAIL)
    return usable


def _outside(values: Float64, span: tuple[float, float]) -> Bool:
    # Not «below or above»: a NaN is neither, and must not pass.
    outside: Bool = ~((values >= span[0]) & (values <= span[1]))
    return outside
