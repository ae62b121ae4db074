"""Arrays as bytes: the same back, and nothing but arrays out of damaged bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from gateway.packing import pack, pack_texts, unpack, unpack_texts

ARRAYS = arrays.arrays(
    st.sampled_from([np.bool_, np.uint8, np.int32, np.int64, np.float64]),
    arrays.array_shapes(min_dims=1, min_side=0),
)


@given(st.dictionaries(st.text(max_size=5), ARRAYS, max_size=4))
def test_what_was_packed_comes_back(given_arrays: dict[str, np.ndarray]) -> None:
    """Names, types, shapes and every bit; in arrays that may be written into."""
    back = unpack(pack(given_arrays))
    assert list(back) == list(given_arrays)
    for name, array in given_arrays.items():
        assert back[name].dtype == array.dtype
        assert back[name].shape == array.shape
        assert back[name].tobytes() == array.tobytes()
        assert back[name].flags.writeable


@given(st.data())
def test_cut_short_is_refused(data: st.DataObject) -> None:
    """Any beginning of a cell is a ValueError, never another array."""
    body = pack({"a": np.arange(5), "b": np.zeros((2, 3))})
    with pytest.raises(ValueError, match=r"."):
        unpack(body[: data.draw(st.integers(0, len(body) - 1))])


def test_only_numbers_are_packed_and_unpacked() -> None:
    """Objects and texts, which would need pickle or guessing, are refused both ways."""
    with pytest.raises(ValueError, match="cannot be packed"):
        pack({"a": np.array(["x"], dtype=object)})
    body = pack({"a": np.zeros(1)}).replace(b'"<f8"', b'"|O8"')
    with pytest.raises(ValueError, match="holds no"):
        unpack(body)


def test_bytes_left_over_are_refused() -> None:
    """A cell says exactly what it holds."""
    with pytest.raises(ValueError, match="left over"):
        unpack(pack({"a": np.zeros(1)}) + b"x")


@given(st.lists(st.lists(st.text(), max_size=3).map(tuple)))
def test_texts_come_back(rows: list[tuple[str, ...]]) -> None:
    """Keys of series survive, whatever characters they have."""
    assert unpack_texts(pack_texts(rows)) == rows
