"""Derived quantities and conditions: a profile's formulas, run over the rows of one group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gateway.decode.columns import settle, state_column
from gateway.decode.fault import Fault
from gateway.decode.scalars import of_floats
from gateway.errors import ConfigurationError, Problem
from gateway.model import Reason
from gateway.profiles.plan import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.model import Bool, Float64
    from gateway.profiles.plan import GroupPlan, ProfilePlan, QuantityPlan

    ParameterOf = Callable[[str], Float64]


class Formulas:
    """The formulas of one group, in an order in which each finds what it reads."""

    def __init__(self, plan: ProfilePlan, group: GroupPlan) -> None:
        self._rows = {quantity.name: number for number, quantity in enumerate(group.quantities)}
        needs = {quantity.name: _names(quantity) for quantity in group.quantities}
        unknown = frozenset().union(*needs.values()) - set(self._rows) - set(plan.parameters)
        if unknown:
            what = f"{', '.join(sorted(unknown))}: neither a quantity of the same row nor a parameter"
            raise ConfigurationError([Problem(where=plan.name, what=what)])
        self.parameters = frozenset().union(*needs.values()) - set(self._rows)
        self._ordered = _ordered(plan, group.quantities, needs)

    def apply(self, values: Float64, faults: list[Fault], parameter: ParameterOf) -> None:
        """Fill the derived rows of `values` (float64[q, m]) and blank what a condition calls missing.

        Adds to `faults`. A formula whose quantities are absent gives nothing; one that lacks only a
        parameter is refused; one that gives no finite number is refused.
        """
        for quantity in self._ordered:
            column = values[self._rows[quantity.name]]
            if quantity.expression is not None:
                faults += self._derive(quantity, column, values, parameter)
            if quantity.missing_when is not None:
                self._blank(quantity, column, values, parameter)

    def _inputs(
        self, names: frozenset[str], values: Float64, parameter: ParameterOf
    ) -> tuple[dict[str, Float64], Bool, Bool]:
        """Return the columns, where every quantity is present, and where every parameter is."""
        quantities = {name: values[self._rows[name]] for name in names if name in self._rows}
        parameters = {name: parameter(name) for name in names if name not in self._rows}
        return quantities | parameters, _all_present(quantities, values), _all_present(parameters, values)

    def _derive(
        self, quantity: QuantityPlan, column: Float64, values: Float64, parameter: ParameterOf
    ) -> list[Fault]:
        assert quantity.expression is not None
        inputs, ready, equipped = self._inputs(quantity.expression.names, values, parameter)
        faults = []
        lacking = ready & ~equipped
        if lacking.any():
            faults += _lacking(quantity.name, lacking, inputs, self._rows)
        ready &= equipped
        with np.errstate(all="ignore"):
            result = quantity.expression.evaluate(inputs).astype(np.float64)
        broken = ready & ~np.isfinite(result)
        if broken.any():
            faults.append(
                Fault(broken, Reason.NOT_FINITE, f"{quantity.name}: the formula gives no finite number")
            )
        result[~ready | broken] = np.nan
        if quantity.missing:
            result[np.isin(result, quantity.missing)] = np.nan
        if quantity.kind is Kind.STATE:
            result, more = state_column(quantity, of_floats(result))
        else:
            more = settle(quantity, result)
        column[:] = result
        return faults + more

    def _blank(
        self, quantity: QuantityPlan, column: Float64, values: Float64, parameter: ParameterOf
    ) -> None:
        assert quantity.missing_when is not None
        inputs, ready, equipped = self._inputs(quantity.missing_when.names, values, parameter)
        with np.errstate(all="ignore"):
            holds = quantity.missing_when.evaluate(inputs)
        column[ready & equipped & (holds != 0)] = np.nan


def _names(quantity: QuantityPlan) -> frozenset[str]:
    formulas = (quantity.expression, quantity.missing_when)
    return frozenset().union(*(formula.names for formula in formulas if formula is not None))


def _all_present(columns: dict[str, Float64], values: Float64) -> Bool:
    present = np.ones(values.shape[1], dtype=np.bool_)
    for column in columns.values():
        present &= ~np.isnan(column)
    return present


def _lacking(name: str, rows: Bool, inputs: dict[str, Float64], quantities: dict[str, int]) -> list[Fault]:
    """Return a fault for the rows, naming the first parameter that each one lacks."""
    faults = []
    rest = rows
    for parameter in sorted(set(inputs) - set(quantities)):
        absent = rest & np.isnan(inputs[parameter])
        if absent.any():
            what = f"{name} needs the parameter {parameter}, which the installation lacks"
            faults.append(Fault(absent, Reason.MISSING_PARAMETER, what))
        rest = rest & ~absent
    return faults


def _ordered(
    plan: ProfilePlan, quantities: tuple[QuantityPlan, ...], needs: dict[str, frozenset[str]]
) -> list[QuantityPlan]:
    """Return the quantities with formulas, each behind those that it reads."""
    waiting = [quantity for quantity in quantities if needs[quantity.name]]
    ordered: list[QuantityPlan] = []
    while waiting:
        names = {quantity.name for quantity in waiting}
        free = [quantity for quantity in waiting if not (needs[quantity.name] - {quantity.name}) & names]
        if not free:
            what = f"{', '.join(sorted(names))}: the formulas go round in a circle"
            raise ConfigurationError([Problem(where=plan.name, what=what)])
        ordered += free
        waiting = [quantity for quantity in waiting if quantity not in free]
    return ordered
