"""Between the columns that flow and the rows that are kept: sorted, each identity once, and back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from gateway.aggregate.rows import Rows, order_of
from gateway.model import Flag, Readings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.aggregate.shelf import Shelf
    from gateway.model import Float64, Int64, SeriesTable


@dataclass(slots=True)
class Heads:
    """The first row of each identity in the batch, sorted by (series, time), m of them.

    `at` int64[m]: its place in the readings; `start` int64[m] of its block; `repeats` int64[r]: places
    of the rows that follow a first one, in order of arrival, and `of` int64[r], which one.
    """

    at: Int64
    start: Int64
    repeats: Int64
    of: Int64


def heads_of(readings: Readings, start: Int64, kept: Int64) -> Heads:
    """Sort the kept rows by (series, time), equal ones as they arrived, and tell first from others."""
    series, time = readings.series[kept], readings.time[kept]
    order = order_of(series, time)
    series, time = series[order], time[order]
    first = np.ones(len(order), np.bool_)
    first[1:] = (series[1:] != series[:-1]) | (time[1:] != time[:-1])
    at = kept[order]
    if first.all():
        return Heads(at=at, start=start[at], repeats=at[:0], of=at[:0])
    number = np.cumsum(first) - 1
    return Heads(at=at[first], start=start[at[first]], repeats=at[~first], of=number[~first])


def rows_of(readings: Readings, at: Int64, parameters: Mapping[str, Float64], shelf: Shelf) -> Rows:
    """Return some rows of a batch as they are kept."""
    layout, m = shelf.layout, len(at)
    flags = readings.flags.take(at, axis=1)
    needed = [
        parameters[name][at] if name in parameters else np.full(m, np.nan) for name in layout.parameters
    ]
    return Rows(
        series=readings.series[at],
        time=readings.time[at],
        values=readings.values.take(at, axis=1),
        flags=flags,
        ranged=flags.copy() if layout.ordered else np.empty((0, m), np.uint8),
        revised=np.zeros((len(layout.spikes), m), np.bool_),
        increments=np.zeros((len(layout.counters), m)),
        counted=np.zeros((len(layout.counters), m), np.bool_),
        parameters=np.array(needed).reshape(len(needed), m),
        time_source=readings.time_source[at],
        unsaved=np.ones(m, np.bool_),
    )


def as_readings(shelf: Shelf, rows: Rows, texts: SeriesTable) -> Readings:
    """Return kept rows as readings of no uplink (-1), received now."""
    flags = rows.final_flags(shelf.layout)
    return Readings(
        profile=shelf.profile,
        group=shelf.group,
        table=shelf.table,
        series=rows.series,
        time=rows.time,
        values=rows.values,
        present=flags != Flag.MISSING,
        flags=flags,
        uplink=np.full(len(rows), -1, np.int32),
        time_source=rows.time_source,
        received_ns=np.full(len(rows), shelf.river_ns, np.int64),
        texts=texts,
    )


def both_of(first: Readings, second: Readings) -> Readings:
    """Return the rows of both."""
    return replace(
        first,
        series=np.concatenate([first.series, second.series]),
        time=np.concatenate([first.time, second.time]),
        values=np.concatenate([first.values, second.values], axis=1),
        present=np.concatenate([first.present, second.present], axis=1),
        flags=np.concatenate([first.flags, second.flags], axis=1),
        uplink=np.concatenate([first.uplink, second.uplink]),
        time_source=np.concatenate([first.time_source, second.time_source]),
        received_ns=np.concatenate([first.received_ns, second.received_ns]),
    )
