"""Payloads with a million entries: refused within bounds of time and memory, where a profile lets them in."""

from __future__ import annotations

import time
import tracemalloc

import pytest

from gateway.decode.decoder import decode
from gateway.model import Reason
from tests.decode.plans import batch, profile, routes

LARGEST = 1_048_576
"""The greatest `limits: {payload: …}` that a profile can have."""
LIMITS = f"limits: {{payload: {LARGEST}, readings: 1000, depth: 32}}\n"
PLAIN = "quantities: {a: {path: a, unit: mm}}\n"
LIST = "dimensions: {k: 'l[].k'}\nquantities: {a: {path: 'l[].a', unit: mm, by: [k]}}\n"
HISTORY = (
    "time: {path: t, unit: s}\nquantities: {a: {path: a, unit: L, kind: counter}}\n"
    "history: {of: a, start: a, at: t, step: 1h, add: l}\n"
)


def entries(one: bytes, size: int = LARGEST - 60) -> bytes:
    """Return an array of so many of one entry as fit into `size`."""
    return b"[" + b",".join([one] * (size // (len(one) + 1))) + b"]"


def test_a_million_entries_are_more_than_any_profile_allows() -> None:
    """They are refused by their size, before they are parsed."""
    million = b"[" + b",".join([b"1"] * 1_000_000) + b"]"
    for body in (PLAIN, PLAIN + LIMITS):
        (refusal,) = decode(batch(("t/s/d", million)), routes(profile(body))).rejections
        assert refusal.reason is Reason.TOO_LARGE


@pytest.mark.parametrize(
    ("body", "payload", "reason"),
    [
        pytest.param(PLAIN, entries(b"1"), Reason.WRONG_TYPE, id="in place of an object"),
        pytest.param(PLAIN, b'{"a":%b}' % entries(b"1"), Reason.WRONG_TYPE, id="in place of a number"),
        pytest.param(PLAIN, b'{"x":%b}' % entries(b"1"), Reason.NO_READING, id="where nothing is read"),
        pytest.param(PLAIN, b'{"a":%b}' % (b"[" * 1_000_000), Reason.TOO_DEEP, id="one in the other"),
        pytest.param(LIST, b'{"l":%b}' % entries(b"{}"), Reason.NO_READING, id="empty entries"),
        pytest.param(LIST, b'{"l":%b}' % entries(b"null"), Reason.NO_READING, id="null entries"),
        pytest.param(LIST, b'{"l":%b}' % entries(b'{"a":1}'), Reason.MISSING_FIELD, id="each wrong"),
        pytest.param(
            LIST, b'{"l":%b}' % entries(b'{"a":1,"k":"x"}'), Reason.TOO_MANY_READINGS, id="each a reading"
        ),
        pytest.param(
            HISTORY,
            b'{"t":1763769600,"a":5,"l":%b}' % entries(b"1"),
            Reason.TOO_MANY_READINGS,
            id="a history",
        ),
    ],
)
def test_the_largest_array_is_refused_in_time(body: str, payload: bytes, reason: Reason) -> None:
    """Under the most generous limits: half a second of the processor, some tens of megabytes."""
    known = routes(profile(body + LIMITS))
    decode(batch(("t/s/d", b"{}")), known)
    began = time.process_time()
    decode(batch(("t/s/d", payload)), known)
    assert time.process_time() - began < 1.5
    tracemalloc.start()
    try:
        found = decode(batch(("t/s/d", payload)), known)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert not found.readings
    assert found.rejections[0].reason is reason
    assert peak < 64_000_000
