from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gateway.quality.links import Links, Past, link
from gateway.quality.neighbours import Neighbours
from tests.quality.columns import NOON, SECOND


def shown(past: Past) -> list[float | None]:
    return [v if known else None for v, known in zip(past.value.tolist(), past.known, strict=True)]


def linked(usable: list[bool], series: list[int], neighbours: Neighbours) -> Links:
    """Rows whose value is their place, one a second."""
    n = len(usable)
    return link(
        0,
        neighbours,
        time=NOON + np.arange(n) * SECOND,
        value=np.arange(n, dtype=np.float64),
        usable=np.array(usable, dtype=bool),
        series=np.array(series, dtype=np.int64),
    )


def test_unusable_rows_are_nobodys_neighbours() -> None:
    """The neighbour is the usable reading before, however many rows back, in the same series only."""
    links = linked(
        [True, False, False, True, True, True, False, True], [0] * 5 + [1] * 3, Neighbours.empty(1, 2)
    )
    assert links.rows.tolist() == [0, 3, 4, 5, 7]
    assert links.first.tolist() == [True, False, False, True, False]
    assert links.final.tolist() == [False, False, True, False, True]
    assert shown(links.previous) == [None, 0.0, 3.0, None, 5.0]
    assert shown(links.before) == [None, None, 0.0, None, None]
    assert links.seconds().tolist() == [1.0, 3.0, 1.0, 1.0, 2.0]


def test_a_series_goes_on_from_what_is_remembered() -> None:
    """First readings have the remembered last and before; second ones the remembered last as before."""
    state = Neighbours.empty(1, 2)
    state.last_known[0] = True
    state.last_value[0] = [10.0, 20.0]
    state.last_time[0] = NOON - SECOND
    state.before_known[0, 1] = True
    state.before_value[0, 1] = 19.0
    links = linked([True, True, True, True], [0, 0, 1, 1], state)
    assert shown(links.previous) == [10.0, 0.0, 20.0, 2.0]
    assert shown(links.before) == [None, 10.0, 19.0, 20.0]


def test_no_usable_row_gives_empty_links() -> None:
    """A batch may hold nothing of a quantity."""
    assert len(linked([False, False], [0, 0], Neighbours.empty(1, 1))) == 0


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=6), min_size=1, max_size=6))
def test_links_are_those_of_a_plain_loop(usable: list[list[bool]]) -> None:
    """For any mixture of series and holes."""
    series = [i for i, one in enumerate(usable) for _ in one]
    flat = [u for one in usable for u in one]
    links = linked(flat, series, Neighbours.empty(1, len(usable)))
    past: dict[int, list[float]] = {}
    previous: list[float | None] = []
    before: list[float | None] = []
    for row, (mine, good) in enumerate(zip(series, flat, strict=True)):
        if good:
            seen = past.setdefault(mine, [])
            previous.append(seen[-1] if seen else None)
            before.append(seen[-2] if len(seen) > 1 else None)
            seen.append(float(row))
    assert shown(links.previous) == previous
    assert shown(links.before) == before
