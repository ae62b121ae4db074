"""Blocks and rows: looking up, selecting and merging, against plain sorting."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gateway.aggregate.blocks import FAN, Block, Pasts
from gateway.aggregate.carry import Carry
from gateway.aggregate.layout import Layout
from gateway.aggregate.rows import Rows, empty, joined, latest_of, merged
from gateway.quality.neighbours import Neighbours
from tests.aggregate.profiles import profile

LAYOUT = Layout.of(profile().groups[0])
# One integer a key, since a loaded machine draws them slowly: series 0 … 6, times 0 … 9.
KEYS = st.binary(max_size=24).map(lambda drawn: {divmod(byte % 70, 10) for byte in drawn})


def rows_of(keys: set[tuple[int, int]]) -> Rows:
    """Return sorted rows of some (series, time); a row's first value says which it is."""
    ordered = sorted(keys)
    rows = joined([empty(LAYOUT)])
    n = len(ordered)
    columns = {
        name: np.zeros((*getattr(rows, name).shape[:-1], n), getattr(rows, name).dtype)
        for name in rows.pack()
    }
    made = Rows(**columns, unsaved=np.ones(n, np.bool_))
    made.series[:] = [series for series, _ in ordered]
    made.time[:] = [time for _, time in ordered]
    made.values[0] = [series * 100 + time for series, time in ordered]
    return made


def new_block() -> Block:
    return Block(0, LAYOUT, Pasts(Carry.empty(LAYOUT, 0, Neighbours)))


def keys_of(rows: Rows) -> list[tuple[int, int]]:
    return list(zip(rows.series.tolist(), rows.time.tolist(), strict=True))


@given(left=KEYS, right=KEYS, asked=KEYS)
def test_rows_are_found_and_merged_in_order(left: set, right: set, asked: set) -> None:
    """Runs merge into sorted rows, and each key is found where it is, or not at all."""
    both = merged([rows_of(left), rows_of(right - left)])
    assert keys_of(both) == sorted(left | right)
    wanted = rows_of(asked)
    place = both.find(wanted.series, wanted.time)
    assert [key for key, at in zip(sorted(asked), place.tolist(), strict=True) if at >= 0] == sorted(
        asked & (left | right)
    )
    assert all(
        both.values[0, at] == s * 100 + t for (s, t), at in zip(sorted(asked), place, strict=True) if at >= 0
    )


@given(parts=st.lists(KEYS, min_size=1, max_size=5), series=st.sets(st.integers(0, 7)))
def test_a_block_is_the_union_of_what_was_appended(parts: list, series: set) -> None:
    """However rows come, `select`, `find` and `gather` see all of them, sorted."""
    block, known = new_block(), set()
    for part in parts:
        block.append(rows_of(part - known))
        known |= part
    chosen = np.array(sorted(series), np.int32)
    rows, place = block.select(chosen)
    assert keys_of(rows) == sorted(key for key in known if key[0] in series)
    assert keys_of(block.gather(place)) == keys_of(rows)
    everything = rows_of(known)
    assert block.find(everything.series, everything.time).found.all()
    assert keys_of(block.rows()) == sorted(known)


def test_runs_stay_few() -> None:
    """A thousand parts, whatever their sizes, lie in a few runs, so that looking up asks few."""
    block, time = new_block(), 0
    for part in range(1_000):
        size = 1 + part * part % 7
        block.append(rows_of({(1, time + n) for n in range(size)}))
        time += size
    assert len(block.runs) <= 4 * FAN
    assert len(block) == time


def test_of_two_stored_rows_the_later_part_stands() -> None:
    """A checkpoint appends changed rows; loading takes the newest of each."""
    old, new = rows_of({(1, 1), (1, 2)}), rows_of({(1, 2)})
    new.values[0] = 7.0
    assert latest_of([old, new]).values[0].tolist() == [101.0, 7.0]


def test_pasts_are_recalled_as_they_were_added() -> None:
    """Each series' past is found by its code, replaced in place, and unknown series are told."""
    pasts = Pasts(Carry.empty(LAYOUT, 0, Neighbours))
    past = Carry.empty(LAYOUT, 2, Neighbours)
    past.since[:] = [[5, 9]]
    pasts.add(np.array([40, 3], np.int32), past)
    assert pasts.has(np.array([3, 4, 40, 400], np.int32)).tolist() == [True, False, True, False]
    assert pasts.recall(np.array([3, 40], np.int32)).since.tolist() == [[9, 5]]
    pasts.saved = 2
    pasts.replace(np.array([3], np.int32), past.take(np.array([0])))
    assert pasts.changed
    assert pasts.held(np.array([3], np.int32))[1].tolist() == [[5]]
