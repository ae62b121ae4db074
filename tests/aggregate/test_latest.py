"""How last readings and numbers of writings get into the state file: by what has changed."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.aggregate.latest import CHUNK, LATEST, NEWEST, LatestLog
from gateway.aggregate.written import WRITTEN, Written
from gateway.model import Changes
from gateway.testing import MemoryStateStore

SIZES = st.integers(1, 5 * CHUNK)


class Kept:
    """A column of last readings with its log, saved and restored as a shelf does."""

    def __init__(self, store: MemoryStateStore, size: int) -> None:
        self.store = store
        self.time = np.zeros(size, np.int64)
        self.log = LatestLog("a", store)
        self.log.grow(size)
        self.log.restore(self._take)

    def _take(self, codes: np.ndarray, rows: np.ndarray, columns: dict[str, np.ndarray]) -> None:
        self.time[codes] = columns["time"][rows]

    def change(self, series: np.ndarray, time: int) -> None:
        """Give some series another time."""
        self.time[series] = time
        self.log.note(series.astype(np.int32))

    def save(self) -> int:
        """Commit what has changed; return the bytes written."""
        changes = Changes()
        self.log.save(changes, len(self.time), lambda codes: {"time": self.time[codes]})
        self.store.commit(changes, {})
        return sum(len(body) for body in changes.cells.values() if body)


@settings(max_examples=40, deadline=None)
@given(
    SIZES,
    st.lists(
        st.tuples(st.integers(0, 5 * CHUNK), st.integers(1, 700), st.booleans()), min_size=1, max_size=40
    ),
)
def test_last_readings_come_back(size: int, steps: list[tuple[int, int, bool]]) -> None:
    """Whatever changed when, and wherever the gateway was started again in between; the fleet grows."""
    store = MemoryStateStore()
    kept = Kept(store, size)
    for time, (first, count, restarts) in enumerate(steps, start=1):
        if first >= size:
            size = first + 1
            kept.time = np.append(kept.time, np.zeros(size - len(kept.time), np.int64))
            kept.log.grow(size)
        kept.change(np.arange(first, min(first + count, size)), time)
        kept.save()
        again = Kept(store, size)
        assert again.time.tolist() == kept.time.tolist()
        if restarts:
            kept = again


def test_a_checkpoint_writes_what_has_changed() -> None:
    """Not more for a larger fleet; and what it has written before does not pile up."""
    store, rng = MemoryStateStore(), np.random.default_rng(1)
    kept = Kept(store, 40 * CHUNK)
    kept.change(np.arange(len(kept.time)), 1)
    whole = kept.save()
    written = []
    for time in range(2, 802):
        kept.change(rng.integers(0, len(kept.time), 200), time)
        written.append(kept.save())
    assert np.mean(written) < 3 * whole / len(kept.time) * 200
    assert max(written) < whole / 20
    cells = store.starts(NEWEST, "a")
    assert len(cells) * 200 < 1.2 * len(kept.time)
    assert len(store.starts(LATEST, "a")) == 40
    assert not kept.save()


def test_numbers_of_writings_are_saved_by_what_has_changed() -> None:
    """A correction of a few series adds a small part; after many parts all are written as one again."""
    store, size, sizes = MemoryStateStore(), 10_000, []
    written, expected = Written("a", store), np.zeros(size + 50, np.int32)
    rng = np.random.default_rng(2)
    for step in range(60):
        series = np.arange(size) if not step else np.unique(rng.integers(0, size + 50, 30))
        revisions = written.count(900, 0, series.astype(np.int32))
        assert revisions.tolist() == expected[series].tolist()
        expected[series] += 1
        changes = Changes()
        written.save(changes, [])
        store.commit(changes, {})
        written.committed()
        sizes.append(sum(len(body) for body in changes.cells.values() if body))
        if step % 7 == 0:
            written = Written("a", store)
    assert written.counts(900, 0, size + 50).tolist() == expected.tolist()
    assert sorted(sizes)[-4] < 1_000 < sizes[0]
    assert len(store.load(WRITTEN, "a/900", 0)) <= 24


def test_a_writing_of_no_series_is_read_again() -> None:
    """A window whose only readings were refused is written for nobody; the next start must not stumble."""
    store = MemoryStateStore()
    written = Written("a", store)
    for series in (np.arange(5), np.zeros(0, np.int64)):
        written.count(900, 0, series.astype(np.int32))
        changes = Changes()
        written.save(changes, [])
        store.commit(changes, {})
        written.committed()
    assert Written("a", store).counts(900, 0, 5).tolist() == [1] * 5
