from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model import Flag
from gateway.quality.neighbours import Neighbours


def filled(q: int, k: int, seed: int = 1) -> Neighbours:
    """A state in which everything is known and every number differs."""
    random = np.random.default_rng(seed)
    state = Neighbours.empty(q, k)
    state.last_known[:] = True
    state.before_known[:] = True
    state.last_flag[:] = Flag.GOOD
    for times in (state.last_time, state.before_time, state.anchor_time):
        times[:] = random.integers(-(2**62), 2**62, size=(q, k))
    for values in (state.last_value, state.before_value, state.anchor_value):
        values[:] = random.normal(size=(q, k))
    return state


def test_nothing_is_known_of_a_new_series() -> None:
    """An empty state has its shape, and no neighbour."""
    state = Neighbours.empty(3, 5)
    assert state.rows() == 5
    assert state.last_time.shape == state.before_value.shape == state.last_flag.shape == (3, 5)
    assert not state.last_known.any()
    assert not state.before_known.any()


def test_the_columns_do_not_overlap() -> None:
    """Writing one column leaves all others as they were."""
    names = [
        "last_time", "last_value", "last_known", "last_flag", "before_time",
        "before_value", "before_known", "anchor_time", "anchor_value",
    ]  # fmt: skip
    for name in names:
        state, same = filled(2, 3), filled(2, 3)
        column = getattr(state, name)
        column[1, 2] = 0 if column[1, 2] else 1
        for other in names:
            changed = not np.array_equal(getattr(state, other), getattr(same, other))
            assert changed == (other == name), (name, other)


def test_take_copies_and_put_writes_back() -> None:
    """`put(index, take(index))` changes nothing, and a taken state is its own."""
    state, same = filled(2, 6), filled(2, 6)
    index = np.array([4, 0, 3], dtype=np.int32)
    taken = state.take(index)
    assert np.array_equal(taken.last_time, state.last_time[:, index])
    taken.last_value[:] = 0.0
    assert state.equals(same).all()
    state.put(index, taken)
    assert state.equals(same).tolist() == [False, True, True, False, False, True]


def test_one_quantity_can_be_taken_and_put() -> None:
    """A test touches its own quantity of its own series."""
    state = filled(3, 4)
    index = np.array([2, 1])
    one = state.take_quantity(1, index)
    assert one.last_value.tolist() == [state.last_value[1, index].tolist()]
    one.last_value[:] = 7.0
    state.put_quantity(1, index, one)
    assert (state.last_value == 7.0).tolist() == [[False] * 4, [False, True, True, False], [False] * 4]


def test_grow_keeps_what_is_known_and_never_shrinks() -> None:
    """New series are unknown; old ones stay; asking for fewer changes nothing."""
    state = filled(2, 3)
    for k in (4, 5, 100, 7):
        state.grow(k)
    assert state.rows() == 100
    assert state.take(np.arange(3)).equals(filled(2, 3)).all()
    assert not state.take(np.arange(3, 100)).last_known.any()


def test_growing_by_one_is_amortised() -> None:
    """A thousand new series, one at a time, move the memory about ten times."""
    state = Neighbours.empty(1, 1)
    moves = 0
    for k in range(2, 1_002):
        before = state._words
        state.grow(k)
        moves += before is not state._words
    assert moves <= 11


@given(st.integers(0, 4), st.integers(0, 6), st.lists(st.integers(0, 3), max_size=4))
def test_unpack_gives_what_was_packed(q: int, k: int, unknown: list[int]) -> None:
    """What is known survives a round trip; a quantity of which nothing is known takes no bytes."""
    state = filled(q, k)
    for quantity in unknown:
        if quantity < q:
            state.words[:, quantity] = 0
    packed = state.pack()
    copies = {name: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape) for name, a in packed.items()}
    again = Neighbours.unpack(copies)
    assert again.rows() == k
    assert again.equals(state).all()
    assert packed["words"].shape[1] == (q - len({j for j in unknown if j < q}) if k else 0)
    again.last_time[:] = 0  # of its own: what was stored may be read-only


def test_undefined_values_are_not_compared() -> None:
    """A time under an unset mark says nothing."""
    state, other = Neighbours.empty(1, 2), Neighbours.empty(1, 2)
    other.last_time[0, 0] = other.before_time[0, 1] = 5
    assert state.equals(other).all()
    for either in (state, other):
        either.last_known[:] = True
    assert state.equals(other).tolist() == [False, True]


def test_states_of_different_shapes_are_not_compared() -> None:
    """It is a bug of the caller, and said as one."""
    with pytest.raises(ValueError, match="cannot be compared"):
        Neighbours.empty(1, 2).equals(Neighbours.empty(1, 3))
