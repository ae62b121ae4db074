"""What differs between two stores: measurement by measurement, a slice of time after the other.

A point is its measurement, its tags and its time. Values are compared exactly: both stores were derived by
the same code from the same readings, in canonical order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gateway.reprocess.derivation import END, UNSURE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.model import Bool, Int64
    from gateway.sinks.embedded_store import Measurement, Store

ROWS_A_SLICE = 20_000
"""About so many points are in memory of either side; those of one time always are together."""
EXAMPLES = 3
_OWN = (END, UNSURE)


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


@dataclass(slots=True)
class _Side:
    """One store's points of a slice: time and tags, the fields by name, all of the same length."""

    keys: pa.Table
    fields: dict[str, pa.ChunkedArray]


def differences(before: Store, after: Store) -> Iterator[Difference]:
    """Yield what differs, by measurement, in order of name; measurements that are the same too."""
    olds = {found.name: found for found in before.measurements()}
    news = {found.name: found for found in after.measurements()}
    for name in sorted(olds.keys() | news.keys()):
        old, new = olds.get(name), news.get(name)
        difference = Difference(name)
        tags = sorted({*(old.tags if old else ()), *(new.tags if new else ())})
        for start, end in _slices([found for found in (old, new) if found is not None]):
            _compare(_side(before, old, tags, start, end), _side(after, new, tags, start, end), difference)
        yield difference


def _slices(found: Sequence[Measurement]) -> Iterator[tuple[int, int]]:
    """Cut the time that the points cover into slices, [start, end)."""
    known = [(m.first_ns, m.last_ns) for m in found if m.first_ns is not None and m.last_ns is not None]
    if not known:
        return
    first, last = min(start for start, _ in known), max(end for _, end in known)
    step = max((last - first + 1) * ROWS_A_SLICE // max(m.rows for m in found), 1)
    for start in range(first, last + 1, step):
        yield start, start + step


def _side(store: Store, found: Measurement | None, tags: Sequence[str], start: int, end: int) -> _Side:
    """Read a slice of one store; a tag that a point has not is an empty text."""
    if found is None:
        nothing = {
            "time": pa.array([], pa.int64()),
            **{f"tag:{tag}": pa.array([], pa.string()) for tag in tags},
        }
        return _Side(pa.table(nothing), {})
    answer = store.query(found.name, start_ns=start, end_ns=end, limit=None)
    absent = pa.chunked_array([pa.nulls(len(answer), pa.string())])
    keys = {"time": answer.column("time").cast(pa.int64())}
    for tag in tags:
        column = answer.column(tag) if tag in found.tags else absent
        keys[f"tag:{tag}"] = pc.fill_null(column, "")
    own = 1 + len(found.tags)  # the columns behind are the fields, in their order
    return _Side(
        pa.table(keys), {name: answer.column(own + place) for place, name in enumerate(found.fields)}
    )


def _compare(before: _Side, after: _Side, difference: Difference) -> None:
    """Add what differs in a slice."""
    old, new = _matched(before.keys, after.keys)
    added, removed = np.flatnonzero(old < 0), np.flatnonzero(new < 0)
    both = np.flatnonzero((old >= 0) & (new >= 0))
    differs, by_field = _differing(before, after, old[both], new[both])
    unsure = _present(before, UNSURE, old[both]) | _present(after, UNSURE, new[both])
    left, changed = differs & unsure, differs & ~unsure
    difference.added += len(added)
    difference.removed += len(removed)
    difference.left += int(np.count_nonzero(left))
    difference.changed += int(np.count_nonzero(changed))
    difference.same += len(both) - int(np.count_nonzero(differs))
    for name, which in by_field.items():
        if count := int(np.count_nonzero(which & changed)):
            difference.fields[name] = difference.fields.get(name, 0) + count
    for kind, rows in (
        ("added", added),
        ("changed", both[changed]),
        ("removed", removed),
        ("left", both[left]),
    ):
        kept = difference.examples.setdefault(kind, [])
        for row in rows[: EXAMPLES - len(kept)].tolist():
            kept.append(_example(before, after, int(old[row]), int(new[row])))


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


def _differing(before: _Side, after: _Side, old: Int64, new: Int64) -> tuple[Bool, dict[str, Bool]]:
    """Return which pairs of points differ in any field, bool[n], and in which ones."""
    found: dict[str, Bool] = {}
    for name in [*before.fields, *(name for name in after.fields if name not in before.fields)]:
        if name != UNSURE:
            found[name] = _field_differs(before, after, name, old, new)
    any_differs: Bool = np.logical_or.reduce([np.zeros(len(old), np.bool_), *found.values()])
    return any_differs, found


def _field_differs(before: _Side, after: _Side, name: str, old: Int64, new: Int64) -> Bool:
    here, there = _present(before, name, old), _present(after, name, new)
    differs: Bool = here != there
    if name in before.fields and name in after.fields:
        was, is_ = before.fields[name], after.fields[name]
        if was.type != is_.type:
            return here | there
        equal = pc.fill_null(pc.equal(was.take(pa.array(old)), is_.take(pa.array(new))), False)  # noqa: FBT003
        differs |= here & there & ~equal.to_numpy().astype(np.bool_)
    return differs


def _present(side: _Side, name: str, rows: Int64) -> Bool:
    """Return which rows have a field, bool[n]."""
    column = side.fields.get(name)
    if column is None:
        return np.zeros(len(rows), np.bool_)
    found: Bool = column.is_valid().to_numpy().astype(np.bool_)[rows]
    return found


def _example(before: _Side, after: _Side, old: int, new: int) -> Example:
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


def _fields(side: _Side, row: int) -> dict[str, Any]:
    """Return the fields of one point; nothing of none (-1)."""
    if row < 0:
        return {}
    values = {name: column[row].as_py() for name, column in side.fields.items() if name not in _OWN}
    return {name: value for name, value in values.items() if value is not None}
