"""Values of one path as columns, and records that give them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.decode.records import Columns, Objects
from gateway.decode.scalars import ABSENT, FLOAT, OTHER, TRUTH, WHOLE, of_numbers, of_values
from gateway.decode.shape import Shape, Want

wholes = st.integers(-(2**63) + 1, 2**63 - 1)


@given(st.lists(st.none() | wholes | st.floats(allow_nan=False) | st.booleans() | st.text(max_size=3)))
def test_values_come_back_as_they_were(values: list[Any]) -> None:
    """Whole numbers exactly, with their types."""
    back = of_values(values).values()
    assert [(type(value), value) for value in back] == [(type(value), value) for value in values]


def test_types() -> None:
    """Each row says what it holds; numbers alone are in the column of numbers."""
    found = of_values([None, 1.5, 2**60 + 1, True, "x"])
    assert found.types.tolist() == [ABSENT, FLOAT, WHOLE, TRUTH, OTHER]
    assert found.absent.tolist() == [True, False, False, False, False]
    assert np.isnan(found.numbers).tolist() == [True, False, False, True, True]
    assert found.take(np.array([4, 2])).values() == ["x", 2**60 + 1]


def test_numbers() -> None:
    """Columns of numbers are floats, unless whole ones must stay exact."""
    assert of_numbers([1, None, 2.5], exact=False).values() == [1.0, None, 2.5]
    assert of_numbers([2**60 + 1, 5], exact=True).values() == [2**60 + 1, 5]
    assert of_numbers([2**60 + 1, None, 2.5], exact=True).values() == [2**60 + 1, None, 2.5]
    assert of_numbers([], exact=True).values() == []


def _flat() -> Shape:
    shape = Shape("test")
    shape.want("deep.n", Want.NUMBER)
    shape.want("deep.er.t", Want.TIME)
    shape.want("s", Want.SCALAR, words=["up", "down"])
    shape.seal()
    return shape


def test_a_flat_shape_says_where_its_keys_lead() -> None:
    """To leaves by number, and behind them to objects; the payload is the first."""
    flat = _flat().flat()
    assert flat is not None
    assert flat.objects == [{"deep": 4, "s": 2}, {"n": 0, "er": 5}, {"t": 1}]
    assert [(leaf.number, leaf.want) for leaf in flat.leaves] == [
        (0, Want.NUMBER),
        (1, Want.TIME),
        (2, Want.SCALAR),
    ]
    assert flat.words == [[], [], ["down", "up"]]


@pytest.mark.parametrize("path", ["a[]", "a[].b", "a.{k}", "[].a"])
def test_a_shape_with_levels_is_not_flat(path: str) -> None:
    """Lists and free keys give rows of their own."""
    shape = Shape("test")
    shape.want(path, Want.NUMBER)
    shape.seal()
    assert shape.flat() is None


def test_columns_take_rows_from_objects() -> None:
    """Rows that a parser read into objects stand among those that were read into columns."""
    shape = _flat()
    flat = shape.flat()
    assert flat is not None
    empty = {"types": np.uint8, "numbers": np.float64, "wholes": np.int64}
    arrays: dict[str, Any] = {name: np.zeros((3, 4), dtype) for name, dtype in empty.items()}
    columns = Columns(**arrays, others=[[], [], ["down", "up"]])
    columns.types[2] = OTHER
    payload, deep, deeper = shape.type, flat.leaves[0].through[0][1], flat.leaves[1].through[1][1]
    one = payload(type(deep)(1.5, type(deeper)(2**60 + 1)), "sideways")
    columns.fill(np.array([1, 3]), [one, payload(None, 7)], flat.leaves)
    assert columns.values(flat.leaves[2]) == ["down", "sideways", "down", 7]
    assert columns.values(flat.leaves[1], np.array([1, 3])) == [2**60 + 1, None]
    kept = columns.select(np.array([False, True, False, True]))
    assert (len(kept), kept.values(flat.leaves[0])) == (2, [1.5, None])
    same = Objects([one, payload(None, 7)])
    assert [same.values(leaf) for leaf in flat.leaves] == [kept.values(leaf) for leaf in flat.leaves]
