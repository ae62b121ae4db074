from __future__ import annotations

import warnings
from time import process_time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ioos_qc import qartod

from gateway.model import Flag
from gateway.profiles.plan import CounterPlan, FlatLine, GroupPlan, Kind, Limit
from gateway.quality.assess import Assessed, assess
from gateway.quality.neighbours import Neighbours
from tests.quality.columns import NOON, SECOND, Series, fold, gauge_series, group, naive, quantity
from tests.twins import twin_of

MINUTE = 60 * SECOND
EVERYTHING = {"rate": Limit(0.05, 0.1), "spike": 2.5, "flat": FlatLine(0.5, 4 * MINUTE)}
PLAN = group(
    quantity("level", **EVERYTHING),
    quantity("plain"),
    quantity("index", Kind.COUNTER, counter=CounterPlan(modulus=16.0, max_flow=0.1), spike=4.0),
    quantity("rate only", rate=Limit(rise=0.05)),
)


def flags_of(values: list[float], **tests: object) -> list[int]:
    return fold(group(quantity(**tests)), [gauge_series(values)]).flags[0].tolist()


def test_rise_and_fall_have_limits_of_their_own() -> None:
    """The later of two readings that differ too fast is suspect: here one a minute, so ÷ 60."""
    values = [0.0, 6.0, 13.0, 1.0, 0.0]
    assert flags_of(values, rate=Limit(rise=0.1, fall=0.1)) == [1, 1, 3, 3, 1]
    assert flags_of(values, rate=Limit(rise=0.1)) == [1, 1, 3, 1, 1]
    assert flags_of(values, rate=Limit(fall=0.2)) == [1, 1, 1, 1, 1]


def test_exactly_the_limit_is_not_too_fast() -> None:
    """60 %/h is 60/3600 a second, and 15 % in 15 min is no hair faster."""
    plan = group(quantity(rate=Limit(rise=60 / 3600)))
    assert fold(plan, [gauge_series([0.0, 15.0], step=900)]).flags.tolist() == [[1, 1]]


def test_the_middle_reading_is_the_spike() -> None:
    """|x(n−1) − (x(n) + x(n−2)) / 2| > threshold flags n−1, once n is there."""
    assert flags_of([5.0, 5.0, 9.0, 5.0, 5.0], spike=3.0) == [1, 1, 3, 1, 1]
    assert flags_of([5.0, 5.0, 9.0, 5.0, 5.0], spike=4.0) == [1, 1, 1, 1, 1]
    assert flags_of([5.0, 9.0], spike=1.0) == [1, 1]


def test_a_remembered_reading_becomes_a_spike() -> None:
    """The reading that the last call ended with is named with its series, time and new flag."""
    plan = group(quantity("plain"), quantity(spike=3.0))
    series = [Series([0, 60], [[0.0, 0.0], values], [[2, 2], [1, 1]]) for values in ([5.0, 5.0], [5.0, 9.0])]
    before = fold(plan, series)
    assert before.revised_series.tolist() == []
    after = fold(plan, [Series([120], [[0.0], [5.0]], [[2], [1]])] * 2, before.after)
    assert after.revised_series.tolist() == [1]
    assert after.revised_quantity.tolist() == [1]
    assert after.revised_time.tolist() == [NOON + MINUTE]
    assert after.revised_flag.tolist() == [Flag.SUSPECT]
    assert after.flags[1].tolist() == [1, 1]


def test_a_reading_that_was_suspect_already_is_not_revised() -> None:
    """Nothing would change: no raw point is rewritten for it."""
    plan = group(quantity(spike=3.0, rate=Limit(rise=0.01)))
    before = fold(plan, [gauge_series([5.0, 5.0, 9.0])])
    assert before.flags.tolist() == [[1, 1, 3]]
    after = fold(plan, [Series([180], [[5.0]], [[1]])], before.after)
    assert len(after.revised_series) == len(after.revised_flag) == 0


def test_failed_and_absent_readings_are_nobodys_neighbours() -> None:
    """A value outside the sensor's range is no step, no spike, and the counter goes on behind it."""
    plan = group(
        quantity(rate=Limit(0.1, 0.1), spike=3.0), quantity("index", Kind.COUNTER, counter=CounterPlan())
    )
    series = Series(
        [0, 60, 120, 180],
        [[5.0, 900.0, float("nan"), 5.0], [100.0, 0.0, 0.0, 107.0]],
        [[1, 4, 9, 1], [1, 4, 9, 1]],
    )
    found = fold(plan, [series])
    assert found.flags.tolist() == series.flags
    assert found.increments.tolist() == [[0.0] * 4, [0.0, 0.0, 0.0, 7.0]]
    assert found.counted.tolist() == [[False] * 4, [False, False, False, True]]


def test_the_first_reading_of_a_counter_has_no_increment() -> None:
    """What the register showed before we listened is not ours to count; a later 0 is counted."""
    found = fold(group(quantity("index", Kind.COUNTER)), [gauge_series([500.0, 500.0])])
    assert found.counted.tolist() == [[False, True]]
    assert found.increments.tolist() == [[0.0, 0.0]]


def test_doubtful_increments_flag_the_later_reading() -> None:
    """Reverse, reset and swap are suspect; a rollover is not."""
    plan = group(quantity("index", Kind.COUNTER, counter=CounterPlan(modulus=1000.0, max_flow=1.0)))
    found = fold(plan, [gauge_series([990.0, 10.0, 8.0, 500.0, 3.0])])
    assert found.increments.tolist() == [[0.0, 20.0, -2.0, 0.0, 3.0]]
    assert found.flags.tolist() == [[1, 1, 3, 3, 3]]


def test_a_maximum_flow_can_be_a_parameter_of_the_installation() -> None:
    """One value a series, scaled to the quantity's unit per second; without one the modulus decides."""
    counter = CounterPlan(modulus=1e8, max_flow="max_flow", max_flow_scale=1000 / 3600)
    plan = group(quantity("index", Kind.COUNTER, counter=counter))
    series = [gauge_series([0.0, 200.0])] * 3
    found = fold(plan, series, parameters={"max_flow": [3.0, 30.0, float("nan")]})
    assert found.increments[0].tolist() == [0.0, 0.0, 0.0, 200.0, 0.0, 200.0]
    assert fold(plan, series).increments[0].tolist() == [0.0, 200.0] * 3


def test_a_flat_lines_anchor_lives_on_between_calls() -> None:
    """Its time, so that the line grows long; its value, so that a slow drift leaves it."""
    plan = group(quantity(flat=FlatLine(0.5, 3 * MINUTE)))
    found: list[int] = []
    state = None
    for minute, value in enumerate([5.0, 5.5, 5.0, 5.2, 5.5, 5.9, 6.3]):
        piece = fold(plan, [Series([60 * minute], [[value]], [[1]])], state)
        found += piece.flags[0].tolist()
        state = piece.after
    assert found == [1, 1, 1, 3, 3, 1, 1]


def test_nothing_given_is_written_to() -> None:
    """`assess` owns what it returns, and only that."""
    series = [gauge_series([5.0, 9.0, 5.0])]
    plan = group(quantity(**EVERYTHING))
    before = fold(plan, [gauge_series([5.0, 9.0])]).after
    kept = before.copy()
    time = NOON + MINUTE * np.arange(2, 5)
    values, flags = np.array([series[0].values[0]]), np.array([series[0].flags[0]], dtype=np.uint8)
    for array in (time, values, flags):
        array.setflags(write=False)
    before.words.setflags(write=False)
    found = assess(plan, time, values, flags, np.array([0]), before, {})
    assert found.after.equals(kept).tolist() == [False]


def test_quantities_without_order_cost_nothing_and_remember_nothing() -> None:
    """Ranges alone need no neighbours."""
    plain = quantity(fail_range=(0.0, 1.0), suspect_range=(0.0, 1.0))
    assert not plain.looks_back
    assert not quantity("state", Kind.STATE).looks_back
    found = fold(group(plain), [gauge_series([0.5, 0.6])])
    assert not found.after.last_known.any()
    assert not found.counted.any()


@pytest.mark.parametrize("plan", [PLAN, group()])
def test_no_rows_change_nothing(plan: GroupPlan) -> None:
    """An empty call is a call."""
    found = fold(plan, [])
    assert found.flags.shape == (len(plan.quantities), 0)
    assert found.after.rows() == 0


def test_huge_values_do_not_overflow_into_a_warning() -> None:
    """A difference beyond float64 is beyond any limit too."""
    assert flags_of([-1.7e308, 1.7e308, -1.7e308], rate=Limit(1.0, 1.0), spike=1.0) == [1, 3, 3]


@pytest.fixture(params=["compiled", "in Python"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test of this file both ways."""
    twin = twin_of("looking_back") if request.param == "compiled" else None
    monkeypatch.setattr("gateway.quality.assess._LOOKING_BACK", twin)


values_of = st.floats(-8, 8) | st.integers(-4, 4).map(float)
levels_of = st.sampled_from([0.0, 0.0, 0.2, 0.4, 0.7, 6.0])
"""Few enough for flat lines to begin, to hold and to be left."""
registers_of = st.integers(0, 15).map(float)
flags_drawn = st.sampled_from([1, 1, 1, 1, 2, 3, 4, 9])


@st.composite
def any_series(draw: st.DrawFn) -> Series:
    """Readings of PLAN at irregular times, with holes, failures and suspects."""
    gaps = draw(st.lists(st.integers(1, 300), min_size=1, max_size=14))
    n = len(gaps)
    columns = [levels_of | values_of, values_of, registers_of, values_of]
    return Series(
        np.cumsum(gaps).tolist(),
        [draw(st.lists(column, min_size=n, max_size=n)) for column in columns],
        [draw(st.lists(flags_drawn, min_size=n, max_size=n)) for _ in columns],
    )


@given(st.lists(any_series(), min_size=1, max_size=5))
def test_equals_a_plain_loop(series: list[Series]) -> None:
    """Flags and increments are those of a reading-by-reading fold of each series alone."""
    found = fold(PLAN, series)
    for j, plan in enumerate(PLAN.quantities):
        loops = [naive(plan, one.seconds, one.values[j], one.flags[j]) for one in series]
        assert found.flags[j].tolist() == [f for loop in loops for f in loop.flags]
        assert found.increments[j].tolist() == [x for loop in loops for x in loop.increments]
        assert found.counted[j].tolist() == [c for loop in loops for c in loop.counted]


@given(st.lists(any_series(), min_size=1, max_size=4), st.data())
def test_any_cut_into_calls_gives_the_same(series: list[Series], data: st.DataObject) -> None:
    """Handing `after` along: same final flags once `revised` is applied, same increments, same state."""
    whole = fold(PLAN, series)
    flags, increments, state = _in_pieces(series, data)
    assert flags == [whole.flags[:, rows].tolist() for rows in _rows_of(series)]
    assert increments == [whole.increments[:, rows].tolist() for rows in _rows_of(series)]
    assert state.equals(whole.after).all()


def _rows_of(series: list[Series]) -> list[slice]:
    ends = np.cumsum([len(one.seconds) for one in series]).tolist()
    return [slice(end - len(one.seconds), end) for end, one in zip(ends, series, strict=True)]


def _in_pieces(
    series: list[Series], data: st.DataObject
) -> tuple[list[list[list[int]]], list[list[list[float]]], Neighbours]:
    """Fold random numbers of rows of random series at a time, as batches come."""
    q = len(PLAN.quantities)
    state = Neighbours.empty(len(PLAN.remembered), len(series))
    done = [0] * len(series)
    flags: list[list[list[int]]] = [[[] for _ in range(q)] for _ in series]
    increments: list[list[list[float]]] = [[[] for _ in range(q)] for _ in series]
    while any(at < len(one.seconds) for at, one in zip(done, series, strict=True)):
        left = [i for i, one in enumerate(series) if done[i] < len(one.seconds)]
        chosen = sorted(data.draw(st.sets(st.sampled_from(left), min_size=1)))
        upto = {i: data.draw(st.integers(done[i] + 1, len(series[i].seconds))) for i in chosen}
        index = np.array(chosen)
        pieces = [series[i].part(done[i], upto[i]) for i in chosen]
        found = fold(PLAN, pieces, state.take(index))
        _apply_revisions(found, chosen, series, flags)
        for i, rows in zip(chosen, _rows_of(pieces), strict=True):
            for j in range(q):
                flags[i][j] += found.flags[j, rows].tolist()
                increments[i][j] += found.increments[j, rows].tolist()
            done[i] = upto[i]
        state.put(index, found.after)
    return flags, increments, state


def _apply_revisions(
    found: Assessed, chosen: list[int], series: list[Series], flags: list[list[list[int]]]
) -> None:
    columns = (found.revised_series, found.revised_quantity, found.revised_time, found.revised_flag)
    for place, j, time, flag in zip(*(column.tolist() for column in columns), strict=True):
        i = chosen[place]
        row = series[i].seconds.index((time - NOON) // SECOND)
        assert flags[i][j][row] != flag
        flags[i][j][row] = flag


@given(st.lists(any_series(), min_size=2, max_size=5))
def test_other_series_in_the_call_change_nothing(series: list[Series]) -> None:
    """Each series alone gives what it gives among others."""
    together = fold(PLAN, series)
    for i, rows in enumerate(_rows_of(series)):
        alone = fold(PLAN, [series[i]])
        assert alone.flags.tolist() == together.flags[:, rows].tolist()
        assert alone.increments.tolist() == together.increments[:, rows].tolist()
        assert alone.after.equals(together.after.take(np.array([i]))).all()


oracle_values = st.lists(
    st.floats(-100, 100).map(lambda v: round(v, 3)) | st.sampled_from([0.0, 50.0]), min_size=3, max_size=60
)


@given(oracle_values, st.sampled_from([0.5, 10.0, 60.0]))
def test_spikes_agree_with_ioos_qc(values: list[float], threshold: float) -> None:
    """But that ioos_qc calls the two ends of a series not evaluated, and we good."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = np.asarray(qartod.spike_test(values, suspect_threshold=threshold)).tolist()
    ours = flags_of(values, spike=threshold)
    assert ours[1:-1] == expected[1:-1]
    assert ours[0] == ours[-1] == Flag.GOOD


@given(oracle_values, st.sampled_from([60, 900]), st.sampled_from([0.01, 0.1, 1.0]))
def test_rates_agree_with_ioos_qc(values: list[float], step: int, limit: float) -> None:
    """Equal limits up and down are QARTOD's absolute rate of change."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = qartod.rate_of_change_test(values, np.arange(len(values)) * step, limit)
    found = fold(group(quantity(rate=Limit(limit, limit))), [gauge_series(values, step)])
    assert found.flags[0].tolist() == np.asarray(expected).tolist()


def test_a_batch_costs_well_under_a_microsecond_a_row() -> None:
    """5,000 devices, six quantities, every test: 0.34 µs a row measured; the bound is for a busy machine."""
    random = np.random.default_rng(1)
    gauges = [
        quantity(f"q{i}", rate=Limit(1.0, 1.0), spike=3.0, flat=FlatLine(0.1, MINUTE)) for i in range(5)
    ]
    counter = quantity("index", Kind.COUNTER, counter=CounterPlan(1e8, 3.0), rate=Limit(1.0), spike=3.0)
    plan, n = group(*gauges, counter), 5_000
    values, flags = random.normal(size=(6, n)), np.ones((6, n), dtype=np.uint8)
    starts, time = np.arange(n), np.full(n, NOON)
    state = assess(plan, time - MINUTE, values, flags, starts, Neighbours.empty(6, n), {}).after
    best = np.inf
    for _ in range(7):
        began = process_time()
        assess(plan, time, values, flags, starts, state, {})
        best = min(best, process_time() - began)
    assert best / n < 3e-6
