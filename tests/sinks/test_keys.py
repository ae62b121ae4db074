"""Which points a body holds: the same key for the same point, whatever its fields and its company."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.model import Column, FieldType, Points
from gateway.sinks import column_keys, columns, line_keys, line_protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.sinks.outbox_model import Bodies

TAGS = [
    (("device", "bin 1"), ("site", "lyon")),
    (("device", "bin,=2"), ("lane", 'a"b'), ("site", "lyon")),
    (("device", "b\\in"), ("site", "é")),
]
FORMATS = pytest.mark.parametrize(
    ("encode", "bodies"),
    [(line_protocol.encode, line_keys), (columns.encode, column_keys)],
    ids=["lines", "columns"],
)


def points(rows: list[tuple[int, int]], *, more: bool = False, name: str = "waste") -> Points:
    """Return points of these (series, time); `more`: with another field."""
    size = len(rows)
    fields = {"level": Column(FieldType.FLOAT, np.arange(size) * 1.5)}
    if more:
        texts = np.array(['a "text\n with\\ spaces'] * size, dtype=object)
        fields = {"state": Column(FieldType.STRING, texts), **fields}
    return Points(
        measurement=name,
        tags=TAGS,
        series=np.array([series for series, _ in rows], np.int32),
        time=np.array([time for _, time in rows], np.int64),
        fields=fields,
    )


ROWS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(-5, 5) | st.integers(-(2**63), 2**63 - 1)),
    min_size=1,
    max_size=9,
)


@FORMATS
@settings(deadline=None)
@given(rows=ROWS, data=st.data())
def test_a_key_names_its_point(
    encode: Callable[[Points], bytes], bodies: Bodies, rows: list[tuple[int, int]], data: st.DataObject
) -> None:
    """Two points have one key where series and time are one; others never."""
    found = bodies.keys(encode(points(rows)))
    assert [place for place, _ in found] == list(range(len(rows)))
    assert {len(key) for _, key in found} == {24}
    assert len({key for _, key in found}) == len(set(rows))
    order = data.draw(st.permutations(range(len(rows))))
    again = bodies.keys(encode(points([rows[place] for place in order], more=True)))
    assert [key for _, key in again] == [found[place][1] for place in order]


@FORMATS
@settings(deadline=None)
@given(rows=ROWS, data=st.data())
def test_some_points_are_left_out(
    encode: Callable[[Points], bytes], bodies: Bodies, rows: list[tuple[int, int]], data: st.DataObject
) -> None:
    """Those at the places named, and no others; the rest is as it was."""
    gone = data.draw(st.sets(st.integers(0, len(rows) - 1), min_size=1))
    body = encode(points(rows, more=True))
    left = bodies.without(body, gone)
    if len(gone) == len(rows):
        assert left == b""
        return
    kept = [key for place, key in bodies.keys(body) if place not in gone]
    assert [key for _, key in bodies.keys(left)] == kept


@FORMATS
@settings(deadline=None)
@given(rows=ROWS)
def test_only_some_times_are_asked_for(
    encode: Callable[[Points], bytes], bodies: Bodies, rows: list[tuple[int, int]]
) -> None:
    """What is at another time has no key to compare."""
    body, times = encode(points(rows)), {time for _, time in rows[::2]}
    every = bodies.keys(body)
    assert bodies.keys(body, times) == [every[place] for place, row in enumerate(rows) if row[1] in times]
    assert bodies.keys(body, set()) == []


@FORMATS
def test_measurements_differ(encode: Callable[[Points], bytes], bodies: Bodies) -> None:
    """And a point with one tag more is another one."""
    one = points([(0, 1)])
    other = replace(one, tags=[(*TAGS[0], ("street", "Rue"))])
    keys = {bodies.keys(encode(each))[0][1] for each in (one, points([(0, 1)], name="waste_15m"), other)}
    assert len(keys) == 3
