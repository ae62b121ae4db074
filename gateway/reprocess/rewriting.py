"""What is to be written and removed for the sinks to hold what today's rules give: as records of the journal.

Sinks that overwrite are told first to remove the points whose series or time is gone, and those that lose a
field (a point that is written again keeps the fields that it had); then to write the points that are new or
differ. Sinks that write once get new points, new fields of others, and are asked to delete series that have
vanished whole; what else differs they cannot take, and it is listed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gateway.reprocess.comparing import Side, changes
from gateway.reprocess.derivation import END, OWN
from gateway.sinks import columns, rewrites
from gateway.sinks.removal import REMOVED, VANISHED
from gateway.sinks.rewrites import To

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.model import Bool, Int64
    from gateway.reprocess.comparing import Change
    from gateway.sinks.embedded_store import Measurement, Store

    Series = tuple[str, ...]

POINTS_A_RECORD = 5_000
MOST_BYTES = 4_000_000
"""A record is at most so large, unless a single point is larger."""


@dataclass(frozen=True, slots=True)
class Lot:
    """A record's body, and for how many of the points that differ it stands; whether it removes them."""

    body: bytes
    points: int = 0
    removes: bool = False


@dataclass(frozen=True, slots=True)
class Needs:
    """What the sinks are: some write once; some delete more than they are told (`imprecise`).

    InfluxDB 2 cannot be told that a tag is not there: with a series it deletes those of more tags. So
    what may go with it is written again.
    """

    once: bool
    imprecise: bool


def lots(before: Store, after: Store, needs: Needs) -> Iterator[Lot]:
    """Yield what brings the sinks from one store's points to the other's, to be put in this order."""
    for change in changes(before, after):
        yield from _lots_of(change, needs)
    if needs.once:
        for name, side, first in vanished(before, after):
            content = _table(side, name, np.arange(len(side.keys)), mark=(VANISHED, first))
            yield from _cut(content, To.ONCE)


def _lots_of(change: Change, needs: Needs) -> Iterator[Lot]:
    before, after, name = change.before, change.after, change.measurement
    old, new = change.changed[:, 0], change.changed[:, 1]
    gone = np.concatenate([change.removed, old[loses_field(change)]])
    if len(gone):
        places = _places(change)
        gone = gone[np.argsort(places[gone])]  # so that neighbours can be deleted together
        content = _table(before, name, gone, mark=(REMOVED, places[gone]))
        yield from _cut(content, To.OVERWRITING, counts=len(change.removed), removes=True)
        if needs.imprecise and _tags_vary(change):
            yield from _cut(_table(after, name, change.same[:, 1]), To.OVERWRITING)
    if len(change.added):
        yield from _cut(_table(after, name, change.added), To.EVERY, counts=len(change.added))
    if len(new):
        yield from _cut(_table(after, name, new), To.OVERWRITING, counts=len(new))
        fresh = {field: after.has(field, new) & ~before.has(field, old) for field in after.fields}
        some = np.logical_or.reduce([np.zeros(len(new), np.bool_), *_own_left_out(fresh).values()])
        if needs.once and some.any():
            only = {field: which[some] for field, which in fresh.items()}
            yield from _cut(_table(after, name, new[some], only=only), To.ONCE)


def loses_field(change: Change) -> Bool:
    """Return which of the changed points have no longer a field that they had, bool[n]."""
    old, new = change.changed[:, 0], change.changed[:, 1]
    lost = [
        change.before.has(name, old) & ~change.after.has(name, new)
        for name in change.before.fields
        if name not in OWN
    ]
    found: Bool = np.logical_or.reduce([np.zeros(len(old), np.bool_), *lost])
    return found


def replaces_field(change: Change) -> Bool:
    """Return which of the changed points have another value in a field that they had, or lost it: bool[n]."""
    old = change.changed[:, 0]
    kept = [
        which & change.before.has(name, old) for name, which in change.by_field.items() if name not in OWN
    ]
    found: Bool = np.logical_or.reduce([np.zeros(len(old), np.bool_), *kept])
    return found


def points_of(change: Change, side: Side, rows: Int64) -> bytes:
    """Return some points of a change as a body of `columns`, all their fields."""
    return columns.write(_table(side, change.measurement, rows))


def series_of(side: Side) -> list[Series]:
    """Return the tags' values of each point, in the order of the tags' columns."""
    tags = [side.keys.column(name).to_pylist() for name in side.keys.column_names if name != "time"]
    return list(zip(*tags, strict=True))


def vanished(before: Store, after: Store) -> Iterator[tuple[str, Side, int]]:
    """Yield, by measurement, the last points of the series that are no longer there, and their first time."""
    news = {found.name: found for found in after.measurements()}
    for found in before.measurements():
        new = news.get(found.name)
        tags = sorted({*found.tags, *(new.tags if new else ())})
        old = _last_points(before, found, tags)
        there = set(series_of(_last_points(after, new, tags))) if new else set()
        gone = [row for row, series in enumerate(series_of(old)) if series not in there]
        if gone and found.first_ns is not None:
            rows = pa.array(gone)
            fields = {name: column.take(rows) for name, column in old.fields.items()}
            yield found.name, Side(old.keys.take(rows), fields), found.first_ns


def _last_points(store: Store, found: Measurement, tags: list[str]) -> Side:
    """Return each series' last point, with every field that it ever had."""
    answer = store.latest(found.name)
    absent = pa.chunked_array([pa.nulls(len(answer), pa.string())])
    keys = {"time": answer.column("time").cast(pa.int64())}
    for tag in tags:
        keys[f"tag:{tag}"] = pc.fill_null(answer.column(tag) if tag in found.tags else absent, "")
    own = 1 + len(found.tags)
    return Side(pa.table(keys), {name: answer.column(own + n) for n, name in enumerate(found.fields)})


def _own_left_out(fields: Mapping[str, Bool]) -> dict[str, Bool]:
    return {name: which for name, which in fields.items() if name not in OWN}


def _places(change: Change) -> Int64:
    """Return the place of each point of `before` among all of the slice, by series and time."""
    keys = pa.concat_tables([change.before.keys, change.after.keys.take(pa.array(change.added))])
    tags = [keys.column(name) for name in keys.column_names if name != "time"]
    series = pc.binary_join_element_wise(*tags, "", "\0").combine_chunks().dictionary_encode()
    codes = series.indices.to_numpy(zero_copy_only=False)
    order = np.lexsort((keys.column("time").to_numpy(), codes))
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    return places[: len(change.before.keys)]


def _tags_vary(change: Change) -> bool:
    """Tell whether some points have a tag that others have not."""
    for name in change.before.keys.column_names:
        if name != "time":
            values = pa.chunked_array(
                [*change.before.keys.column(name).chunks, *change.after.keys.column(name).chunks], pa.string()
            )
            empty = pc.sum(pc.equal(values, "")).as_py() or 0
            if 0 < empty < len(values):
                return True
    return False


def _table(
    side: Side,
    measurement: str,
    rows: Int64,
    *,
    mark: tuple[str, Int64 | int] | None = None,
    only: Mapping[str, Bool] | None = None,
) -> pa.Table:
    """Return some points as `columns` has them; `mark` is one more field, `only` what of the others."""
    index = pa.array(rows)
    keys = side.keys.take(index)
    arrays = [keys.column("time")]
    described = [columns.described("time", pa.int64(), columns.OWN)]
    for name in keys.column_names:
        if name != "time":
            values = keys.column(name)
            arrays.append(pc.if_else(pc.equal(values, ""), None, values))
            described.append(columns.described(name.removeprefix("tag:"), pa.string(), columns.TAG))
    for name, column in side.fields.items():
        values = column.take(index)
        if only is not None:
            values = pc.if_else(pa.array(only[name]), values, None)
        if name not in OWN and values.null_count < len(values):
            arrays.append(values)
            described.append(columns.described(name, values.type, columns.FIELD))
    if mark is not None:
        numbers = np.broadcast_to(np.asarray(mark[1], np.int64), len(rows))
        arrays.append(pa.array(numbers))
        described.append(columns.described(mark[0], pa.int64(), columns.FIELD))
    if END in side.fields:
        arrays.append(side.fields[END].take(index))
        described.append(columns.described("end", pa.int64(), columns.OWN))
    arrays.append(pa.array(np.ones(len(rows), np.int32)))  # it may have been written before
    described.append(columns.described("revision", pa.int32(), columns.OWN))
    return pa.Table.from_arrays(arrays, schema=pa.schema(described, metadata={"measurement": measurement}))


def _cut(content: pa.Table, to: To, *, counts: int = 0, removes: bool = False) -> Iterator[Lot]:
    """Yield a table in records of the size that one may have; `counts` is spread over them."""
    for first in range(0, len(content), POINTS_A_RECORD):
        part = content.slice(first, POINTS_A_RECORD)
        points = min(max(counts - first, 0), len(part))
        for body, share in _small(part, to, points):
            yield Lot(body, share, removes)


def _small(part: pa.Table, to: To, points: int) -> Iterator[tuple[bytes, int]]:
    body = rewrites.encode(part, to)
    if len(body) <= MOST_BYTES or len(part) == 1:
        yield body, points
        return
    half = len(part) // 2
    yield from _small(part.slice(0, half), to, min(points, half))
    yield from _small(part.slice(half), to, max(points - half, 0))
