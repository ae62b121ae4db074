"""The limit on a device's uplinks: a function of the journal, however its records are read."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.decode.decoder import decode_together
from gateway.decode.rates import Rates
from gateway.literals import Rate
from gateway.model import Reason
from tests.decode.plans import batch, device, profile, routes

if TYPE_CHECKING:
    from collections.abc import Sequence

SECOND = 10**9
DEVICES = [("s", "a"), ("s", "b"), ("s", "a")]
"""By code: device a has two topics."""

records = st.lists(
    st.tuples(st.integers(0, 200), st.lists(st.integers(0, 2), max_size=12)), min_size=1, max_size=12
)
"""(second of receipt, codes): clocks may be set back."""


def judge(rates: Rates, record: Sequence[tuple[int, list[int]]]) -> list[tuple[bool, bool]]:
    """Judge records together."""
    received = [second * SECOND for second, codes in record for _ in codes]
    codes = [code for _, codes in record for code in codes]
    over, sampled = rates.judge(np.array(received, np.int64), np.array(codes, np.int32), DEVICES)
    return list(zip(over.tolist(), sampled.tolist(), strict=True))


def plainly(record: Sequence[tuple[int, list[int]]], limit: int, interval_s: int) -> list[tuple[bool, bool]]:
    """Say the same, one uplink at a time."""
    used: Counter[tuple[str, str]] = Counter()
    refused: Counter[tuple[str, str]] = Counter()
    interval = minute = None
    said = []
    for second, codes in record:
        for code in codes:
            if second // interval_s != interval:
                interval = second // interval_s
                used.clear()
            who = DEVICES[code]
            used[who] += 1
            over = used[who] > limit
            if over and second // 60 != minute:
                minute = second // 60
                refused.clear()
            refused[who] += over
            said.append((over, over and refused[who] == 1))
    return said


@settings(deadline=None, max_examples=300)
@given(
    records, st.integers(1, 4), st.sampled_from((1, 60)), st.lists(st.booleans(), min_size=12, max_size=12)
)
def test_any_cut_gives_what_the_plain_loop_gives(
    journal: list[tuple[int, list[int]]], limit: int, interval_s: int, cuts: list[bool]
) -> None:
    """Records are judged in any number of batches, with a crash and a restart between any two."""
    rates, said, waiting = Rates(), [], []
    rates.use(Rate(limit, interval_s * SECOND))
    for record, cut in zip(journal, cuts, strict=False):
        waiting.append(record)
        if cut:
            said += judge(rates, waiting)
            waiting = []
            state, rates = rates.state(), Rates()
            rates.restore(state)
    said += judge(rates, waiting)
    assert said == plainly(journal, limit, interval_s)


def test_memory_is_that_of_one_interval() -> None:
    """Devices of an earlier interval are forgotten."""
    rates = Rates()
    rates.use(Rate(1, SECOND))
    devices = [("s", str(number)) for number in range(10_000)]
    codes = np.arange(10_000, dtype=np.int32)
    rates.judge(np.zeros(10_000, np.int64), codes, devices)
    assert len(rates.state()) > 50_000
    rates.judge(np.full(1, SECOND), codes[:1], devices)
    assert len(rates.state()) < 100


def test_without_a_limit_nothing_is_kept() -> None:
    """Nothing is counted, and the checkpoint holds nothing."""
    rates = Rates()
    assert judge(rates, [(0, [0] * 100)]) == [(False, False)] * 100
    assert rates.state() == b""
    rates.restore(b"")
    assert rates.limit is None


def test_a_new_limit_counts_anew_and_the_same_one_does_not() -> None:
    """What the limit was is part of what is remembered."""
    rates = Rates()
    rates.use(Rate(2, SECOND))
    judge(rates, [(0, [0, 0])])
    rates.use(Rate(2, SECOND))
    assert judge(rates, [(0, [0])]) == [(True, True)]
    rates.use(Rate(1, SECOND))
    assert judge(rates, [(0, [0])]) == [(False, False)]


def test_what_is_beyond_the_limit_is_not_decoded() -> None:
    """It is in no other column, its neighbours are whole, and what no profile takes is not counted."""
    rates = Rates()
    rates.use(Rate(2, 60 * SECOND))
    plan = profile("quantities: {a: {path: a, unit: mm}}\n")
    known = routes(plan, devices=[device("d", site="s", profile=plan.name)])
    mine = "t/s/d"
    uplinks = [(mine, {"a": 1}), ("?", b""), (mine, b"{"), (mine, b"{"), ("?", b""), ("?", b""), (mine, {})]
    found = decode_together([batch(*uplinks)], known, rates=rates)
    assert found.limited.tolist() == [3, 6]
    assert [(one.index, one.reason) for one in found.samples] == [(3, Reason.RATE_LIMITED)]
    assert [one.uplink.tolist() for one in found.readings] == [[0]]
    assert [(one.index, one.reason) for one in found.rejections] == [
        (1, Reason.UNKNOWN_TOPIC),
        (2, Reason.NOT_JSON),
        (4, Reason.UNKNOWN_TOPIC),
        (5, Reason.UNKNOWN_TOPIC),
    ]
