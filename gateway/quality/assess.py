"""The tests that need a reading's neighbours: rate of change, spike, flat line, and counters.

`assess` folds a series' readings in the order of their event times: (state, readings) → (flags,
increments, new state). Cutting the readings into calls anywhere, and handing the state along, gives
the same flags (once `revised` is applied) and increments; other series in the call change nothing.
A late reading is the caller's to handle: fold again from a state before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gateway.kernel import compiled
from gateway.model import Flag
from gateway.profiles.plan import CounterPlan, Kind, Limit
from gateway.quality.counters import increments, is_doubtful
from gateway.quality.flat_line import Anchors, anchor, is_flat
from gateway.quality.links import link
from gateway.quality.neighbours import Neighbours
from gateway.quality.ranges import is_usable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.model import Bool, Float64, Int32, Int64, UInt8
    from gateway.profiles.plan import GroupPlan, QuantityPlan
    from gateway.quality.links import Links

_LOOKING_BACK = compiled("looking_back")


@dataclass(frozen=True, slots=True)
class Assessed:
    """What `assess` found in n rows of q quantities; it owns its arrays.

    `flags` uint8[q, n]: those given, raised to SUSPECT where a test says so. `increments`
    float64[q, n]: a counter's increment since the usable reading before, in the quantity's unit,
    which belongs to the later of the two; `counted` bool[q, n]: where there is one (elsewhere 0).
    `revised_*` [m]: readings remembered as a series' last whose flag these rows change: series (its
    place in the call) int32, quantity int32, event time int64 ns, new flag uint8. `after`: the state
    behind the rows.
    """

    flags: UInt8
    increments: Float64
    counted: Bool
    revised_series: Int32
    revised_quantity: Int32
    revised_time: Int64
    revised_flag: UInt8
    after: Neighbours


@dataclass(frozen=True, slots=True)
class _Revision:
    """Remembered readings of one quantity that turn out to be spikes: series and event times [m]."""

    quantity: int
    series: Int64
    time: Int64


def assess(  # noqa: PLR0917 - the aggregator is handed this function; its columns have one order
    group: GroupPlan,
    time: Int64,
    values: Float64,
    flags: UInt8,
    starts: Int64,
    neighbours: Neighbours,
    parameters: Mapping[str, Float64],
) -> Assessed:
    """Test n rows of k series against their neighbours. Pure: nothing given is written to.

    Rows are sorted by series, then by `time` int64[n] ns, strictly ascending within a series;
    `starts` int64[k] is each series' first row. `values` float64[q, n]; `flags` uint8[q, n] from
    `range_flags`: absent and FAIL readings are left as they are and are nobody's neighbours.
    `neighbours` holds the k series' state before these rows, of the quantities that `group.remembered`
    names, in that order. `parameters` maps a name to the k
    series' values, NaN where one has none; a counter whose `max_flow` is not among them falls back on
    its modulus. Quantities without order-dependent tests cost nothing.
    """
    after = neighbours.copy()
    found = Assessed(
        flags=flags.copy(),
        increments=np.zeros(values.shape, dtype=np.float64),
        counted=np.zeros(values.shape, dtype=np.bool_),
        revised_series=np.zeros(0, dtype=np.int32),
        revised_quantity=np.zeros(0, dtype=np.int32),
        revised_time=np.zeros(0, dtype=np.int64),
        revised_flag=np.zeros(0, dtype=np.uint8),
        after=after,
    )
    revisions = []
    series: Int64 | None = None
    # Finite values can overflow in a difference: infinite, and beyond any limit, is the right answer.
    with np.errstate(over="ignore"):
        for place, row in enumerate(group.remembered):
            quantity = group.quantities[row]
            if _LOOKING_BACK is not None and _counter(quantity) is None:
                revisions.append(_looked_back(row, place, quantity, time, values, starts, flags, found))
                continue
            if series is None:
                series = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(time)))
            usable = is_usable(flags[row])
            links = link(place, neighbours, time=time, value=values[row], usable=usable, series=series)
            if len(links):
                revisions.append(
                    _assess_quantity(
                        row,
                        quantity,
                        links,
                        place=place,
                        neighbours=neighbours,
                        parameters=parameters,
                        found=found,
                    )
                )
    return _with_revisions(found, revisions)


def _looked_back(  # noqa: PLR0917 - one private caller
    row: int,
    place: int,
    quantity: QuantityPlan,
    time: Int64,
    values: Float64,
    starts: Int64,
    flags: UInt8,
    found: Assessed,
) -> _Revision:
    """Do what `_assess_quantity` does for a gauge, in one compiled pass."""
    limit, flat = quantity.rate or Limit(), quantity.flat
    series, at = _LOOKING_BACK.look_back(  # type: ignore[union-attr]
        np.ascontiguousarray(flags[row]),
        found.flags[row],
        np.ascontiguousarray(values[row]),
        np.ascontiguousarray(time),
        np.ascontiguousarray(starts),
        found.after.words,
        place,
        np.inf if limit.rise is None else limit.rise,
        np.inf if limit.fall is None else limit.fall,
        np.inf if quantity.spike is None else quantity.spike,
        np.nan if flat is None else flat.tolerance,
        0 if flat is None else flat.duration_ns,
    )
    return _Revision(row, np.array(series, dtype=np.int64), np.array(at, dtype=np.int64))


def _assess_quantity(
    row: int,
    quantity: QuantityPlan,
    links: Links,
    *,
    place: int,
    neighbours: Neighbours,
    parameters: Mapping[str, Float64],
    found: Assessed,
) -> _Revision:
    """Run one quantity's tests: writes its rows of `found` and its state in `found.after` at `place`."""
    flags = found.flags[row]
    if quantity.rate is not None:
        flags[links.rows[_is_too_fast(links, quantity.rate)]] = Flag.SUSPECT
    counter = _counter(quantity)
    if counter is not None:
        _count(row, links, counter, parameters, found)
    anchors = Anchors(links.time, links.value)
    if quantity.flat is not None:
        anchors = anchor(links, _remembered(links), quantity.flat.tolerance)
        flags[links.rows[is_flat(links, anchors, quantity.flat)]] = Flag.SUSPECT
    revised = np.zeros(0, dtype=np.int64)
    if quantity.spike is not None:
        spikes = np.flatnonzero(_is_before_a_spike(links, quantity.spike))
        above = spikes[~links.first[spikes]] - 1
        flags[links.rows[above]] = Flag.SUSPECT
        revised = spikes[links.first[spikes]]
        flagged = neighbours.last_flag[place, links.series[revised]] == Flag.SUSPECT
        revised = revised[~flagged]
    _remember(place, links, flags, anchors, found.after)
    return _Revision(row, links.series[revised], links.previous.time[revised])


def _is_too_fast(links: Links, limit: Limit) -> Bool:
    """Rate of change (QARTOD test 7): Δx / Δt beyond the limit of its direction, bool[m]."""
    rate = (links.value - links.previous.value) / links.seconds()
    fast = np.zeros(len(links), dtype=np.bool_)
    if limit.rise is not None:
        fast |= rate > limit.rise
    if limit.fall is not None:
        fast |= rate < -limit.fall
    return fast & links.previous.known


def _is_before_a_spike(links: Links, threshold: float) -> Bool:
    """Spike (QARTOD test 6): |x(n−1) − (x(n) + x(n−2)) / 2| > threshold, bool[m] at n; n−1 is the spike."""
    middle = (links.value + links.before.value) / 2
    spike: Bool = np.abs(links.previous.value - middle) > threshold
    return spike & links.previous.known & links.before.known


def _count(
    row: int, links: Links, plan: CounterPlan, parameters: Mapping[str, Float64], found: Assessed
) -> None:
    """Write a counter's increments and flags into its rows of `found`."""
    max_flow: Float64 | float | None
    if isinstance(plan.max_flow, str):
        scaled = parameters.get(plan.max_flow)
        max_flow = None if scaled is None else scaled[links.series] * plan.max_flow_scale
    else:
        max_flow = plan.max_flow
    known = links.previous.known
    increment, case = increments(links.previous.value, links.value, links.seconds(), plan, max_flow)
    found.increments[row, links.rows] = np.where(known, increment, 0.0)
    found.counted[row, links.rows] = known
    found.flags[row, links.rows[is_doubtful(case) & known]] = Flag.SUSPECT


def _counter(quantity: QuantityPlan) -> CounterPlan | None:
    if quantity.counter is None and quantity.kind is Kind.COUNTER:
        return CounterPlan()
    return quantity.counter


def _remembered(links: Links) -> Anchors:
    """The anchors of the series that begin here."""
    past = links.remembered
    return Anchors(past.anchor_time[0], np.where(past.last_known[0], past.anchor_value[0], np.nan))


def _remember(place: int, links: Links, flags: UInt8, anchors: Anchors, after: Neighbours) -> None:
    """Write what the next call must know. A quantity without a flat test is anchored at its last reading.

    So all of it is known for every series, should the next version of the profile ask for that test.
    """
    final = np.flatnonzero(links.final)
    known = Neighbours.empty(1, len(final))
    known.last_time[0] = links.time[final]
    known.last_value[0] = links.value[final]
    known.last_known[0] = True
    known.last_flag[0] = flags[links.rows[final]]
    known.before_time[0] = links.previous.time[final]
    known.before_value[0] = links.previous.value[final]
    known.before_known[0] = links.previous.known[final]
    known.anchor_time[0] = anchors.time[final]
    known.anchor_value[0] = anchors.value[final]
    after.put_quantity(place, links.series[final], known)


def _with_revisions(found: Assessed, revisions: list[_Revision]) -> Assessed:
    """Gather the quantities' revisions; the common answer is that there are none."""
    count = sum(len(revision.series) for revision in revisions)
    if not count:
        return found
    return Assessed(
        flags=found.flags,
        increments=found.increments,
        counted=found.counted,
        revised_series=np.concatenate([r.series for r in revisions]).astype(np.int32),
        revised_quantity=np.concatenate(
            [np.full(len(r.series), r.quantity, dtype=np.int32) for r in revisions]
        ),
        revised_time=np.concatenate([r.time for r in revisions]),
        revised_flag=np.full(count, Flag.SUSPECT, dtype=np.uint8),
        after=found.after,
    )
