"""From partial results to a window's fields: finalize.

Every writing of a window carries the same fields, except where a statistic is not defined: a mean without
readings or of zero weight, an increment without a reading before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gateway.aggregate.sketch import merge, quantiles
from gateway.model import NS_PER_S, Column, FieldType
from gateway.profiles.plan import Kind, Statistic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.aggregate.reductions import Partial, Tally
    from gateway.model import Bool, Float64, Int64, SeriesTable
    from gateway.profiles.plan import GroupPlan, QuantityPlan

_LARGEST_INTEGER = 2.0**63
_PLAIN = {
    Statistic.SUM: "sum",
    Statistic.MIN: "low",
    Statistic.MAX: "high",
}
"""The column that such a statistic is, as it stands."""


def fields_of(
    found: Partial, group: GroupPlan, *, start: int, end: int, every_ns: int, texts: SeriesTable
) -> dict[str, Column]:
    """Return the fields of one window [start, end) of k series, by name; columns of length k.

    Per quantity `<name>_<statistic>`, `<name>_p99_9` for a quantile and `<name>_<state>_seconds`; per
    row `coverage` (where `every_ns` is known), `quality` (the worst flag among the readings used),
    `suspect_count` and `failed_count` (over all quantities; failed readings are not used).
    """
    fields: dict[str, Column] = {}
    for quantity, tally in zip(group.quantities, found.tallies, strict=True):
        for name, column in _quantity(quantity, tally, start, end, texts):
            fields[f"{quantity.name}_{name}"] = column
    if every_ns:
        expected = max((end - start) / every_ns, 1.0)
        fields["coverage"] = Column(FieldType.FLOAT, np.minimum(found.slots / expected, 1.0))
    fields["quality"] = Column(FieldType.INTEGER, found.quality.astype(np.int64))
    fields["suspect_count"] = Column(FieldType.INTEGER, found.suspect)
    fields["failed_count"] = Column(FieldType.INTEGER, found.failed)
    return fields


def _quantity(
    quantity: QuantityPlan, tally: Tally, start: int, end: int, texts: SeriesTable
) -> Iterator[tuple[str, Column]]:
    """Yield the fields of one quantity, without its name before them."""
    some: Bool = tally.columns["count"] > 0
    for statistic in quantity.statistics:
        match statistic:
            case Statistic.QUANTILES:
                yield from _quantiles(quantity, tally, some)
            case Statistic.TIME_IN_STATE:
                yield from _seconds(quantity, tally, start, end, some)
            case Statistic.INCREMENT if "increment" not in tally.columns:
                pass  # only a counter has increments
            case _:
                yield statistic.value, _single(quantity, statistic, tally, some, texts)


def _single(
    quantity: QuantityPlan, statistic: Statistic, tally: Tally, some: Bool, texts: SeriesTable
) -> Column:
    """Return the field of a statistic that is one."""
    columns = tally.columns
    match statistic:
        case Statistic.COUNT:
            return Column(FieldType.INTEGER, columns["count"])
        case Statistic.MEAN:
            return _mean(quantity, tally, some)
        case Statistic.STANDARD_DEVIATION:
            return _float(_deviation(tally), some)
        case Statistic.INCREMENT:
            return _integer(columns["increment"], columns["counted"] > 0)
        case Statistic.FIRST | Statistic.LAST:
            return _value(quantity, columns[statistic.value], some, texts)
        case _:
            return _number(quantity, columns[_PLAIN[statistic]], some)


def _mean(quantity: QuantityPlan, tally: Tally, some: Bool) -> Column:
    """Return Σv/n, or Σwv/Σw where the quantity has a weight."""
    columns = tally.columns
    if quantity.weight:
        heavy = columns["weight"] != 0
        return _float(columns["weighted"] / np.where(heavy, columns["weight"], 1), heavy)
    return _float(columns["sum"] / np.maximum(columns["count"], 1), some)


def _deviation(tally: Tally) -> Float64:
    """Return the standard deviation of the window's readings as a population (divided by n); 0 for one."""
    columns = tally.columns
    n = np.maximum(columns["count"], 1)
    variance = np.maximum(columns["dev2"] - columns["dev1"] ** 2 / n, 0) / n
    deviation: Float64 = np.where(columns["low"] == columns["high"], 0.0, np.sqrt(variance))
    return deviation


def _quantiles(quantity: QuantityPlan, tally: Tally, some: Bool) -> Iterator[tuple[str, Column]]:
    k = len(some)
    answers = (
        quantiles(merge(tally.sketches), k, quantity.quantiles)
        if tally.sketches
        else [np.zeros(k)] * len(quantity.quantiles)
    )
    for share, answer in zip(quantity.quantiles, answers, strict=True):
        yield f"p{round(100 * share, 9):g}".replace(".", "_"), _float(answer, some)


def _seconds(
    quantity: QuantityPlan, tally: Tally, start: int, end: int, some: Bool
) -> Iterator[tuple[str, Column]]:
    """Yield the seconds in each state; absent where no state is known anywhere in the window."""
    if tally.durations is None:
        return
    total = tally.durations.within(start, end, some)
    known = some | (total.sum(axis=0) > 0)
    for place, state in enumerate(quantity.states):
        yield f"{state}_seconds", Column(FieldType.FLOAT, total[place] / NS_PER_S, _mask(known))


def _value(quantity: QuantityPlan, column: Float64, some: Bool, texts: SeriesTable) -> Column:
    """Return a reading's value as it is written raw: a state and a text by name."""
    if quantity.kind not in (Kind.STATE, Kind.TEXT):
        return _number(quantity, column, some)
    codes = np.where(some, column, 0).astype(np.int64)
    names = np.array(
        [
            (quantity.states[code] if quantity.kind is Kind.STATE else texts.keys[code][0]) if known else ""
            for code, known in zip(codes.tolist(), some.tolist(), strict=True)
        ],
        dtype=object,
    )
    return Column(FieldType.STRING, names, _mask(some))


def _number(quantity: QuantityPlan, column: Float64, some: Bool) -> Column:
    """Return a number in the type of the quantity's kind: events are counted, in integers."""
    return _integer(column, some) if quantity.kind is Kind.EVENT else _float(column, some)


def _float(column: Float64, known: Bool) -> Column:
    """Return floats; absent where they are not finite, as a sum of huge values."""
    finite = np.isfinite(column)
    return Column(FieldType.FLOAT, np.where(finite, column, 0.0), _mask(known & finite))


def _integer(column: Float64, known: Bool) -> Column:
    """Return the nearest integers; absent where int64 cannot hold them."""
    fits = np.abs(column) < _LARGEST_INTEGER
    values: Int64 = np.rint(np.where(fits, column, 0.0)).astype(np.int64)
    return Column(FieldType.INTEGER, values, _mask(known & fits))


def _mask(known: Bool) -> Bool | None:
    """None where all are present, as `Column` wants it."""
    return None if known.all() else known
