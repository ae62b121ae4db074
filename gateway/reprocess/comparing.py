"""What differs between two stores: measurement by measurement, a slice of time after the other.

`changes` gives it point by point, `differences` in figures and examples.

A point is its measurement, its tags and its time. Values are compared exactly: both stores were derived by
the same code from the same readings, in canonical order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gateway.reprocess.derivation import OWN, UNSURE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.model import Bool, Int64
    from gateway.sinks.embedded_store import Measurement, Store

ROWS_A_SLICE = 20_000
"""About so many points are in memory of either side; those of one time always are together."""
EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Example:
    """One point that differs: its fields before and after, those alone that differ (None: not there)."""

    time_ns: int
    tags: dict[str, str]
    before: dict[str, Any]
    after: dict[str, Any]


@dataclass(slots=True)
class Difference:
    """What differs in one measurement. Counts are of points; `fields` counts the changed ones by field.

    `left`: windows that differ and hold the first reading of their series that the journal gave: what the
    reading before it would say of them is not known, so they stay as they are.
    """

    measurement: str
    added: int = 0
    changed: int = 0
    removed: int = 0
    left: int = 0
    same: int = 0
    fields: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[Example]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed or self.left)

    def add(self, change: Change) -> None:
        """Count a slice's points, and take examples of them."""
        self.added += len(change.added)
        self.removed += len(change.removed)
        self.left += len(change.left)
        self.changed += len(change.changed)
        self.same += len(change.same)
        for name, which in change.by_field.items():
            if count := int(np.count_nonzero(which)):
                self.fields[name] = self.fields.get(name, 0) + count
        for kind, pairs in (
            ("added", [(-1, row) for row in change.added.tolist()]),
            ("changed", change.changed.tolist()),
            ("removed", [(row, -1) for row in change.removed.tolist()]),
            ("left", change.left.tolist()),
        ):
            kept = self.examples.setdefault(kind, [])
            for old, new in pairs[: EXAMPLES - len(kept)]:
                kept.append(_example(change.before, change.after, old, new))


@dataclass(slots=True)
class Side:
    """One store's points of a slice: time and tags, the fields by name, all of the same length.

    A tag that a point has not is an empty text.
    """

    keys: pa.Table
    fields: dict[str, pa.ChunkedArray]

    def has(self, name: str, rows: Int64) -> Bool:
        """Return which rows have a field, bool[n]."""
        column = self.fields.get(name)
        if column is None:
            return np.zeros(len(rows), np.bool_)
        found: Bool = column.is_valid().to_numpy().astype(np.bool_)[rows]
        return found


@dataclass(frozen=True, slots=True)
class Change:
    """What differs in a slice of one measurement, by the rows of either side.

    `added` are rows of `after`, `removed` of `before`; `changed`, `left` and `same` are pairs of both,
    int64[n, 2]; `by_field` tells which of the changed pairs differ in a field, bool[n]. `window`: the
    measurement's points are windows.
    """

    measurement: str
    window: bool
    before: Side
    after: Side
    added: Int64
    removed: Int64
    changed: Int64
    left: Int64
    same: Int64
    by_field: dict[str, Bool]


def differences(before: Store, after: Store) -> Iterator[Difference]:
    """Yield what differs, by measurement, in order of name; measurements that are the same too."""
    for name, found in _by_name(before, after):
        difference = Difference(name)
        for change in _changes(before, after, found):
            difference.add(change)
        yield difference


def changes(before: Store, after: Store) -> Iterator[Change]:
    """Yield what differs, slice by slice: all points of one measurement and time stand in one of them."""
    for _, found in _by_name(before, after):
        yield from _changes(before, after, found)


def _by_name(before: Store, after: Store) -> Iterator[tuple[str, tuple[Measurement | None, ...]]]:
    olds = {found.name: found for found in before.measurements()}
    news = {found.name: found for found in after.measurements()}
    for name in sorted(olds.keys() | news.keys()):
        yield name, (olds.get(name), news.get(name))


def _changes(before: Store, after: Store, found: tuple[Measurement | None, ...]) -> Iterator[Change]:
    old, new = found
    there = [one for one in found if one is not None]
    tags = sorted({tag for one in there for tag in one.tags})
    for start, end in _slices(there):
        yield _compared(there[0], _side(before, old, tags, start, end), _side(after, new, tags, start, end))


def _slices(found: Sequence[Measurement]) -> Iterator[tuple[int, int]]:
    """Cut the time that the points cover into slices, [start, end)."""
    known = [(m.first_ns, m.last_ns) for m in found if m.first_ns is not None and m.last_ns is not None]
    if not known:
        return
    first, last = min(start for start, _ in known), max(end for _, end in known)
    step = max((last - first + 1) * ROWS_A_SLICE // max(m.rows for m in found), 1)
    for start in range(first, last + 1, step):
        yield start, start + step


def _side(store: Store, found: Measurement | None, tags: Sequence[str], start: int, end: int) -> Side:
    """Read a slice of one store."""
    if found is None:
        nothing = {
            "time": pa.array([], pa.int64()),
            **{f"tag:{tag}": pa.array([], pa.string()) for tag in tags},
        }
        return Side(pa.table(nothing), {})
    answer = store.query(found.name, start_ns=start, end_ns=end, limit=None)
    absent = pa.chunked_array([pa.nulls(len(answer), pa.string())])
    keys = {"time": answer.column("time").cast(pa.int64())}
    for tag in tags:
        column = answer.column(tag) if tag in found.tags else absent
        keys[f"tag:{tag}"] = pc.fill_null(column, "")
    own = 1 + len(found.tags)  # the columns behind are the fields, in their order
    return Side(pa.table(keys), {name: answer.column(own + place) for place, name in enumerate(found.fields)})


def _compared(found: Measurement, before: Side, after: Side) -> Change:
    """Return what differs in a slice."""
    old, new = _matched(before.keys, after.keys)
    both = (old >= 0) & (new >= 0)
    pairs = np.column_stack([old[both], new[both]])
    differs, by_field = _differing(before, after, pairs[:, 0], pairs[:, 1])
    unsure = before.has(UNSURE, pairs[:, 0]) | after.has(UNSURE, pairs[:, 1])
    changed = differs & ~unsure
    return Change(
        measurement=found.name,
        window=found.window,
        before=before,
        after=after,
        added=new[old < 0],
        removed=old[new < 0],
        changed=pairs[changed],
        left=pairs[differs & unsure],
        same=pairs[~differs],
        by_field={name: which[changed] for name, which in by_field.items()},
    )


def _matched(before: pa.Table, after: pa.Table) -> tuple[Int64, Int64]:
    """Return the rows of either side that are the same point, int64[n] each; -1 where the side has none."""
    names = before.column_names
    joined = before.append_column("old", pa.array(np.arange(len(before)))).join(
        after.append_column("new", pa.array(np.arange(len(after)))),
        keys=names,
        join_type="full outer",
    )
    joined = joined.sort_by([(name, "ascending") for name in names])
    return _numbers(joined.column("old")), _numbers(joined.column("new"))


def _numbers(column: pa.ChunkedArray) -> Int64:
    found: Int64 = pc.fill_null(column, -1).to_numpy().astype(np.int64)
    return found


def _differing(before: Side, after: Side, old: Int64, new: Int64) -> tuple[Bool, dict[str, Bool]]:
    """Return which pairs of points differ in any field, bool[n], and in which ones."""
    found: dict[str, Bool] = {}
    for name in [*before.fields, *(name for name in after.fields if name not in before.fields)]:
        if name != UNSURE:
            found[name] = _field_differs(before, after, name, old, new)
    any_differs: Bool = np.logical_or.reduce([np.zeros(len(old), np.bool_), *found.values()])
    return any_differs, found


def _field_differs(before: Side, after: Side, name: str, old: Int64, new: Int64) -> Bool:
    here, there = before.has(name, old), after.has(name, new)
    differs: Bool = here != there
    if name in before.fields and name in after.fields:
        was, is_ = before.fields[name], after.fields[name]
        if was.type != is_.type:
            return here | there
        equal = pc.fill_null(pc.equal(was.take(pa.array(old)), is_.take(pa.array(new))), False)  # noqa: FBT003
        differs |= here & there & ~equal.to_numpy().astype(np.bool_)
    return differs


def _example(before: Side, after: Side, old: int, new: int) -> Example:
    side, row = (after, new) if new >= 0 else (before, old)
    keys = {name: side.keys.column(name)[row].as_py() for name in side.keys.column_names}
    was, is_ = _fields(before, old), _fields(after, new)
    names = [name for name in {**was, **is_} if was.get(name) != is_.get(name)]
    return Example(
        time_ns=int(keys.pop("time")),
        tags={name.removeprefix("tag:"): str(value) for name, value in keys.items() if value},
        before={name: was[name] for name in names if name in was},
        after={name: is_[name] for name in names if name in is_},
    )


def _fields(side: Side, row: int) -> dict[str, Any]:
    """Return the fields of one point; nothing of none (-1)."""
    if row < 0:
        return {}
    values = {name: column[row].as_py() for name, column in side.fields.items() if name not in OWN}
    return {name: value for name, value in values.items() if value is not None}
