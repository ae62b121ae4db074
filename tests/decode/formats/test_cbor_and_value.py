"""CBOR and plain values: what is read, what is refused, and that nothing raises."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.decode.decoder import decode
from gateway.decode.formats.cbor import CborParser
from gateway.decode.frames import Frames
from gateway.decode.profile_decoder import ProfileDecoder
from gateway.model import Reason, SeriesTable
from tests.decode.plans import payloads, profile, routes

CBOR = profile("format: cbor\nquantities: {a: {path: x.a}, s: {path: s, states: {0: off_, 1: on_}}}\n")
NUMBER = profile("format: value\nquantities: {a: {unit: Cel}}\n")
WORD = profile('format: value\nquantities: {s: {states: {"ON": open, "OFF": shut}}}\n')


def read(plan: Any, *bodies: bytes) -> tuple[list[float], list[tuple[Reason, str]]]:
    """Return the values that payloads gave, and what was refused of them."""
    decoded = decode(payloads(*bodies), routes(plan))
    rows = [row for one in decoded.readings for row in one.values.T.tolist()]
    values = [value for row in rows for value in row if not math.isnan(value)]
    return values, [(one.reason, one.detail) for one in decoded.rejections]


def test_cbor_is_read_as_json_is() -> None:
    """Nested, and with the states of a whole number."""
    assert read(CBOR, cbor2.dumps({"x": {"a": 1.5}, "s": 1, "other": [1]})) == ([1.5, 1.0], [])


def test_a_time_under_a_tag() -> None:
    """Tag 0 or 1 is a moment."""
    plan = profile("format: cbor\ntime: {path: t, unit: iso}\nquantities: {a: {path: a}}\n")
    at = datetime(2025, 11, 22, tzinfo=UTC)
    decoded = decode(payloads(cbor2.dumps({"t": at, "a": 1})), routes(plan))
    assert decoded.readings[0].time.tolist() == [int(at.timestamp()) * 10**9]


@pytest.mark.parametrize(
    ("payload", "reason", "detail"),
    [
        (b"", Reason.UNREADABLE, "no CBOR: premature end"),
        (b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff", Reason.UNREADABLE, "no CBOR"),
        (b"\x81" * 100, Reason.TOO_DEEP, "depth"),
        (b"\xd8\x1c\x81\xd8\x1d\x00", Reason.TOO_DEEP, "deeper"),
        (cbor2.dumps({"x": {"a": 1}}) + b"\x01\x02", Reason.UNREADABLE, "more than one CBOR value"),
        (cbor2.dumps({"x": {"a": math.inf}}), Reason.NOT_FINITE, "infinite"),
        (cbor2.dumps({"x": {"a": math.nan}}), Reason.NO_READING, "none of"),
        (cbor2.dumps({"x": {"a": "1"}}), Reason.WRONG_TYPE, "Expected `float"),
        (cbor2.dumps([1]), Reason.WRONG_TYPE, "Expected `object`"),
        (cbor2.dumps({"s": 2**70}), Reason.NOT_REPRESENTABLE, ""),
    ],
)
def test_bad_cbor_is_refused_alone(payload: bytes, reason: Reason, detail: str) -> None:
    """With what is wrong; its neighbour is read."""
    values, refused = read(CBOR, payload, cbor2.dumps({"x": {"a": 2}}))
    assert values == [2.0]
    [(found, told)] = refused
    assert found is reason
    assert detail in told


@pytest.mark.parametrize(
    ("payload", "value"),
    [(b"21.5", 21.5), (b" -3 \r\n", -3.0), (b"12,5", 12.5), (b"1e3", 1000.0), (b".5", 0.5)],
)
def test_a_number_per_topic(payload: bytes, value: float) -> None:
    """As people's scripts and PLCs write them."""
    assert read(NUMBER, payload) == ([value], [])


def test_a_word_per_topic() -> None:
    """As states."""
    assert read(WORD, b"ON", b"OFF") == ([0.0, 1.0], [])


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", Reason.NO_READING),
        (b"\xff", Reason.NOT_UTF8),
        (b"NaN", Reason.WRONG_TYPE),
        (b"1e999", Reason.NOT_FINITE),
        (b"21.5 C", Reason.WRONG_TYPE),
        (b"9" * 400, Reason.WRONG_TYPE),
    ],
)
def test_what_is_no_value(payload: bytes, reason: Reason) -> None:
    """Refused, never guessed."""
    assert [found for found, _ in read(NUMBER, payload)[1]] == [reason]


@settings(max_examples=100, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from([0, 1]))
def test_what_was_encoded_is_decoded(a: float, s: int) -> None:
    """Exactly."""
    assert read(CBOR, cbor2.dumps({"x": {"a": a}, "s": s}))[0] == [a, float(s)]
    assert read(NUMBER, repr(a).encode())[0] == [a]


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=60), st.sampled_from([CBOR, NUMBER, WORD]))
def test_no_bytes_raise(payload: bytes, plan: Any) -> None:
    """Each becomes an object or a failure."""
    parser = ProfileDecoder(plan, tables={}, texts=SeriesTable(), max_series=10)._payload._parser
    parsed = parser.parse(Frames.bare([payload]))
    assert len(parsed.objects) + len(parsed.failures) == 1


def test_it_is_the_parser_of_the_format() -> None:
    """Named in the profile."""
    assert isinstance(
        ProfileDecoder(CBOR, tables={}, texts=SeriesTable(), max_series=10)._payload._parser, CborParser
    )
