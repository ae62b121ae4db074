"""Parameters of installations, as columns: what held for a device at an event time."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

import numpy as np

from gateway.decode.growing import GrowingColumn

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.model import Device, Float64, Int32, Int64
    from gateway.profiles.plan import ParameterPlan

_ALWAYS = 0
"""A value valid from 1970 or before holds since ever: no reading that old is taken."""


class Parameters:
    """Values of a profile's parameters by route code and event time; NaN where one is missing.

    A value holds from its valid-from on; before the first one the profile's default holds, if any.
    Nearly every parameter of a device has one value since ever: that case is one array look-up.
    """

    def __init__(self, plans: Mapping[str, ParameterPlan], names: Iterable[str]) -> None:
        self._plans = {name: plans[name] for name in sorted(names)}
        self._constant = {name: GrowingColumn(np.nan, np.float64) for name in self._plans}
        self._varying: dict[str, dict[int, tuple[tuple[int, float], ...]]] = {
            name: {} for name in self._plans
        }

    def admit(self, code: int, device: Device | None) -> None:
        """Learn the values of the device behind a route's code; None = not in the registry."""
        for name, plan in self._plans.items():
            default = np.nan if plan.default is None else plan.default
            values = device.parameters.get(name, ()) if device else ()
            if not values:
                self._constant[name].set(code, default)
            elif len(values) == 1 and values[0][0] <= _ALWAYS:
                self._constant[name].set(code, values[0][1])
            else:
                self._constant[name].set(code, default)
                self._varying[name][code] = values

    def column(self, name: str, codes: Int32, time: Int64) -> Float64:
        """Return a parameter's value for each row, float64[n], by route code and event time."""
        column = self._constant[name].take(codes)
        varying = self._varying[name]
        if varying:
            for row, code in enumerate(codes.tolist()):
                if code in varying:
                    column[row] = _at(varying[code], int(time[row]), float(column[row]))
        return column

    def forget(self) -> None:
        """Forget every code, since codes are about to be given anew."""
        for name in self._plans:
            self._constant[name].clear()
            self._varying[name].clear()


def _at(values: tuple[tuple[int, float], ...], time: int, before: float) -> float:
    place = bisect_right(values, time, key=lambda entry: entry[0])
    return values[place - 1][1] if place else before
