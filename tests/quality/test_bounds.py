from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gateway.model import Reason
from gateway.quality.bounds import bound
from tests.quality.columns import NOON, SECOND, profile, quantity, readings

MINUTE = 60 * SECOND
DAY = 24 * 60 * MINUTE
PLAN = profile(quantity("a"), quantity("b"), max_ahead_ns=5 * MINUTE, max_age_ns=30 * DAY)


def test_nothing_refused_gives_the_same_object() -> None:
    """A batch within its bounds costs three comparisons and no copy."""
    given_readings = readings(PLAN, [[1.0, 2.0], [1.0, 2.0]], time=[NOON - DAY, NOON])
    kept, rejections = bound(given_readings)
    assert kept is given_readings
    assert rejections == []


def test_both_bounds_are_inclusive() -> None:
    """Exactly max_ahead ahead and exactly max_age old are believed; a nanosecond more is not."""
    edges = [NOON + 5 * MINUTE, NOON - 30 * DAY]
    assert bound(readings(PLAN, [[1.0, 2.0], [1.0, 2.0]], time=edges))[1] == []
    beyond = readings(PLAN, [[1.0, 2.0], [1.0, 2.0]], time=[edges[0] + 1, edges[1] - 1])
    kept, rejections = bound(beyond)
    assert len(kept) == 0
    assert [r.reason for r in rejections] == [Reason.IN_THE_FUTURE, Reason.TOO_OLD]


def test_one_rejection_an_uplink_and_reason_with_the_number_of_values() -> None:
    """History in one uplink is refused once for each reason, counting the values that were present."""
    future, old = NOON + DAY, NOON - 31 * DAY
    batch = readings(
        PLAN,
        [[1.0, 2.0, 3.0, 4.0, 5.0], [1.0, None, 3.0, 4.0, None]],
        time=[future, future, old, NOON, future],
        uplink=[7, 7, 7, 7, 3],
    )
    kept, rejections = bound(batch)
    assert [(r.index, r.reason, r.readings) for r in rejections] == [
        (3, Reason.IN_THE_FUTURE, 1),
        (7, Reason.IN_THE_FUTURE, 3),
        (7, Reason.TOO_OLD, 2),
    ]
    assert kept.values.tolist() == [[4.0], [4.0]]
    assert kept.uplink.tolist() == [7]


def test_the_sentence_tells_both_times() -> None:
    """The reader sees when the device thought it was, when the gateway heard it, and the bound."""
    _, rejections = bound(readings(PLAN, [[1.0], [1.0]], time=[NOON + 2 * DAY + 90 * SECOND]))
    assert rejections[0].detail == (
        "event time 2025-11-24T12:01:30.000Z lies 2 days, 0:01:30 after "
        "the receive time 2025-11-22T12:00:00.000Z; max_ahead is 0:05:00"
    )
    _, rejections = bound(readings(PLAN, [[1.0], [1.0]], time=[0]))
    assert rejections[0].detail == (
        "event time 1970-01-01T00:00:00.000Z lies 20414 days, 12:00:00 before "
        "the receive time 2025-11-22T12:00:00.000Z; max_age is 30 days, 0:00:00"
    )


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20))
def test_any_time_is_judged_without_error(times: list[int]) -> None:
    """Every int64 is either believed or refused with a sentence, and every reading is in the sum."""
    batch = readings(PLAN, [[1.0] * len(times), [None] * len(times)], time=times, uplink=[0] * len(times))
    kept, rejections = bound(batch)
    assert kept.count() + sum(r.readings for r in rejections) == len(times)
    expected = [t for t in times if NOON - 30 * DAY <= t <= NOON + 5 * MINUTE]
    assert np.array_equal(kept.time, np.array(expected, dtype=np.int64))
