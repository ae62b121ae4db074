"""One group of quantities: the rows that its uplinks give, and their columns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from gateway.decode.columns import labels, read_column, texts_of, want_of
from gateway.decode.derive import Formulas
from gateway.decode.fault import Fault
from gateway.decode.scalars import of_values
from gateway.decode.shape import Want
from gateway.errors import ConfigurationError, Problem
from gateway.model import Reason
from gateway.profiles.envelopes import FACTS
from gateway.profiles.paths import Take, bound

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.decode.levels import Level, Levels
    from gateway.decode.samples import Moments
    from gateway.decode.shape import Leaf, Shape
    from gateway.model import Bool, Float64, Int64, SeriesTable
    from gateway.profiles.plan import GroupPlan, ProfilePlan


_Key = tuple[int, int, tuple[str, ...], int | None]


@dataclass(slots=True)
class Block:
    """Rows of one group: `uplink` int64[m] (place among the parsed uplinks), never descending.

    `labels` holds a list[m] for each dimension ("" where a row has none), `values` float64[q, m]
    (NaN where absent), `missing` the uplinks that lack a required quantity, with a sentence. `time` int64[m]
    ns UTC is a row's own where `own` bool[m]; else the uplink's holds. Both are None where none has its own.
    """

    uplink: Int64
    labels: list[list[str]]
    values: Float64
    faults: list[Fault] = field(default_factory=list)
    missing: list[tuple[Int64, str]] = field(default_factory=list)
    time: Int64 | None = None
    own: Bool | None = None

    def select(self, rows: Bool) -> Block:
        """Return some of the rows, without faults: those were told before."""
        places = np.flatnonzero(rows).tolist()
        return Block(
            uplink=self.uplink[rows],
            labels=[[column[place] for place in places] for column in self.labels],
            values=self.values[:, rows],
            time=None if self.time is None else self.time[rows],
            own=None if self.own is None else self.own[rows],
        )


@dataclass(frozen=True, slots=True)
class Beside:
    """What a group needs beside its payloads: facts of their envelopes, known texts, times of samples."""

    facts: Mapping[str, list[Any]]
    texts: SeriesTable
    max_texts: int
    moments: Moments | None = None


@dataclass(frozen=True, slots=True)
class _Part:
    """The quantities of a group that are found on one level, and where the dimensions of a row are."""

    level: Level
    quantities: list[tuple[int, Leaf | None]]
    """Each quantity's place in the group, and its leaf (None = beside the payload)."""
    dimensions: list[tuple[Level, Leaf | None]]
    """The level that has the dimension, and its leaf (None = the keys of that level)."""


class GroupDecoder:
    """Reads one group out of the parsed uplinks of a profile."""

    def __init__(self, plan: ProfilePlan, group: GroupPlan) -> None:
        self.group = group
        self._plan = plan
        self._parts: list[_Part] = []
        self._formulas = Formulas(plan, group)

    @property
    def parameters(self) -> frozenset[str]:
        """The parameters that the group's formulas read."""
        return self._formulas.parameters

    @property
    def facts(self) -> frozenset[str]:
        """The paths that lead beside the payload."""
        if self._plan.envelope is None:
            return frozenset()
        return frozenset(one.path for one in self.group.quantities if one.path in FACTS and one.path)

    @property
    def levels(self) -> list[Level]:
        """The levels that the group needs opened."""
        return [part.level for part in self._parts]

    def want(self, shape: Shape) -> None:
        """Ask for the fields needed."""
        for quantity in self.group.quantities:
            if quantity.path is not None and quantity.path not in self.facts:
                shape.want(quantity.path, want_of(quantity), words=texts_of(quantity))
        for dimension in self.group.dimensions:
            if dimension in self._plan.dimensions:
                shape.want(self._plan.dimensions[dimension], Want.LABEL)

    def bind(self, shape: Shape) -> None:
        """Learn how to read them. Raises ConfigurationError where a dimension cannot be found."""
        parts: dict[Level, list[tuple[int, Leaf | None]]] = {}
        for number, quantity in enumerate(self.group.quantities):
            if quantity.path is not None:
                leaf = None if quantity.path in self.facts else shape.leaf(quantity.path)
                parts.setdefault(leaf.level if leaf else (), []).append((number, leaf))
        self._parts = [
            _Part(level, quantities, [self._dimension(shape, level, name) for name in self.group.dimensions])
            for level, quantities in parts.items()
        ]

    def _dimension(self, shape: Shape, level: Level, name: str) -> tuple[Level, Leaf | None]:
        path = self._plan.dimensions.get(name)
        if path is not None:
            leaf = shape.leaf(path)
            if level[: len(leaf.level)] == leaf.level:
                return leaf.level, leaf
        elif name in bound(level):
            ends = [end for end, step in enumerate(level, 1) if step.take is Take.BIND and step.name == name]
            return level[: ends[0]], None
        what = f"the dimension {name} cannot be found where its quantities are"
        raise ConfigurationError([Problem(where=self._plan.name, what=what)])

    def read(self, levels: Levels, parameter: Callable[[str], Float64], beside: Beside) -> Block:
        """Return the group's rows; `parameter` gives a parameter's value for each uplink, float64[n]."""
        blocks = [self._read_part(part, levels, beside) for part in self._parts]
        if beside.moments is not None:
            for part, one in zip(self._parts, blocks, strict=True):
                _put_times(one, beside.moments.of(levels, part.level))
        block = blocks[0] if len(blocks) == 1 else self._joined(blocks)
        self._formulas.apply(block.values, block.faults, lambda name: parameter(name)[block.uplink])
        self._refuse_unlabelled(block)
        return block

    def _read_part(self, part: _Part, levels: Levels, beside: Beside) -> Block:
        rows = levels.rows(part.level)
        block = Block(
            uplink=rows.uplink,
            labels=[self._labels(levels, part.level, *where) for where in part.dimensions],
            values=np.full((len(self.group.quantities), len(rows.records)), np.nan),
        )
        for number, leaf in part.quantities:
            quantity = self.group.quantities[number]
            found = (
                of_values(beside.facts[str(quantity.path)]) if leaf is None else rows.records.scalars(leaf)
            )
            column, faults = read_column(quantity, found, texts=beside.texts, max_texts=beside.max_texts)
            block.values[number] = column
            block.faults += faults
            if quantity.required:
                block.missing += _missing(
                    quantity.name, found.absent, rows.uplink, len(levels.rows(()).records)
                )
        return block

    def _labels(self, levels: Levels, level: Level, above: Level, leaf: Leaf | None) -> list[str]:
        rows = levels.rows(above)
        values = labels(rows.keys if leaf is None else rows.records.values(leaf))
        places = levels.ancestors(level, above)
        return values if places is None else [values[place] for place in places.tolist()]

    def _joined(self, blocks: list[Block]) -> Block:
        """Put the parts of a group together: rows of the same uplink and dimensions become one row.

        What a part says twice of the same dimensions stays two rows: they are judged downstream.
        """
        keys: list[_Key] = []
        place: dict[_Key, int] = {}
        for block in blocks:
            keys += _numbered(block)
        ordered = sorted(dict.fromkeys(keys), key=lambda key: key[0])
        place = {key: row for row, key in enumerate(ordered)}
        joined = Block(
            uplink=np.array([key[0] for key in ordered], dtype=np.int64),
            labels=[[key[2][d] for key in ordered] for d in range(len(self.group.dimensions))],
            values=np.full((len(self.group.quantities), len(ordered)), np.nan),
        )
        if blocks[0].time is not None:
            joined.time = np.array([key[3] or 0 for key in ordered], dtype=np.int64)
            joined.own = np.array([key[3] is not None for key in ordered], dtype=np.bool_)
        for block, part in zip(blocks, self._parts, strict=True):
            rows = np.array([place[key] for key in _numbered(block)], dtype=np.int64)
            for number, _ in part.quantities:
                joined.values[number, rows] = block.values[number]
            joined.faults += [_moved(fault, rows, len(ordered)) for fault in block.faults]
            joined.missing += block.missing
        return joined

    def _refuse_unlabelled(self, block: Block) -> None:
        """Refuse the readings of rows that lack a dimension: they would fall into another's series."""
        for name, column in zip(self.group.dimensions, block.labels, strict=True):
            if "" not in column:
                continue
            bare = np.array([label == "" for label in column], dtype=np.bool_)
            for number in range(len(self.group.quantities)):
                rows = bare & ~np.isnan(block.values[number])
                if rows.any():
                    block.faults.append(Fault(rows, Reason.MISSING_FIELD, f"the dimension {name} is missing"))
            block.values[:, bare] = np.nan


def _missing(name: str, absent: Bool, uplink: Int64, uplinks: int) -> list[tuple[Int64, str]]:
    """Return the uplinks where a required quantity is absent from a row, or has no row at all."""
    given = np.zeros(uplinks, dtype=np.bool_)
    given[uplink] = True
    given[uplink[absent]] = False
    return [(np.flatnonzero(~given), f"{name} is missing")] if not given.all() else []


def _numbered(block: Block) -> list[_Key]:
    """Return a key for each row: its uplink, how often that uplink said it before, dimensions, own time."""
    said: dict[tuple[int, tuple[str, ...], int | None], int] = {}
    keys = []
    dimensions = zip(*block.labels, strict=True) if block.labels else iter([()] * len(block.uplink))
    for uplink, label, time in zip(block.uplink.tolist(), dimensions, _own_times(block), strict=True):
        times = said.get((uplink, label, time), 0)
        said[uplink, label, time] = times + 1
        keys.append((uplink, times, label, time))
    return keys


def _own_times(block: Block) -> list[int | None]:
    if block.time is None or block.own is None:
        return [None] * len(block.uplink)
    return [time if own else None for time, own in zip(block.time.tolist(), block.own.tolist(), strict=True)]


def _put_times(block: Block, found: tuple[Int64, list[Fault]] | None) -> None:
    """Give the rows of samples their times; those that have none lose their values."""
    rows = len(block.uplink)
    if found is None:
        block.time, block.own = np.zeros(rows, dtype=np.int64), np.zeros(rows, dtype=np.bool_)
        return
    block.time, faults = found
    block.own = np.ones(rows, dtype=np.bool_)
    for fault in faults:
        given = fault.rows & ~np.isnan(block.values).all(axis=0)
        if given.any():
            block.faults.append(Fault(given, fault.reason, fault.detail))
        block.values[:, fault.rows] = np.nan


def _moved(fault: Fault, rows: Int64, size: int) -> Fault:
    """Return a part's fault, told of the joined rows."""
    mask = np.zeros(size, dtype=np.bool_)
    mask[rows[fault.rows]] = True
    values = None
    if fault.values is not None:
        values = [None] * size
        for row, value in zip(rows.tolist(), fault.values, strict=True):
            values[row] = value
    return Fault(mask, fault.reason, fault.detail, values)
