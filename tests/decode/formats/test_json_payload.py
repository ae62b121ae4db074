"""JSON payloads: what msgspec does, pinned, and what is made of it."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.decode.formats.json_payload import JsonParser
from gateway.decode.frames import Frames
from gateway.model import Reason

Whole = Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]
Label = Annotated[str, msgspec.Meta(max_length=4)]
Shape = msgspec.defstruct(
    "Shape",
    [
        ("f", float | None, None),
        ("i", Whole | float | None, None),
        ("s", Label | None, None),
        ("d", dict[Label, float] | None, None),
    ],
)


def parse(*payloads: bytes, max_depth: int = 8) -> Any:
    """Parse payloads of the shape above."""
    return JsonParser(Shape, max_depth).parse(Frames.bare(payloads))


def reason(payload: bytes) -> Reason:
    """Return why one payload is refused."""
    (failure,) = parse(payload).failures
    return failure.reason


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b'{"f":NaN}', Reason.NOT_FINITE),
        (b'{"f":Infinity}', Reason.NOT_FINITE),
        (b'{"f":-Infinity}', Reason.NOT_FINITE),
        (b'{"x":NaN}', Reason.NOT_FINITE),
        (b'{"f":1e999}', Reason.NOT_FINITE),
        (b'{"f":' + b"9" * 400 + b"}", Reason.NOT_FINITE),
        (b'{"f":"50"}', Reason.WRONG_TYPE),
        (b'{"f":true}', Reason.WRONG_TYPE),
        (b'{"f":[1]}', Reason.WRONG_TYPE),
        (b"[]", Reason.WRONG_TYPE),
        (b"null", Reason.WRONG_TYPE),
        (b'{"i":%d}' % 2**63, Reason.NOT_REPRESENTABLE),
        (b'{"i":%d}' % 2**70, Reason.NOT_REPRESENTABLE),
        (b'{"i":%d}' % -(2**70), Reason.NOT_REPRESENTABLE),
        (b'{"s":"abcde"}', Reason.NOT_REPRESENTABLE),
        (b'{"d":{"abcde":1}}', Reason.NOT_REPRESENTABLE),
        (b'{"s":"\xff"}', Reason.NOT_UTF8),
        (b"\xff", Reason.NOT_UTF8),
        (b'{"s":"\\ud800"}', Reason.NOT_JSON),
        (b"", Reason.NOT_JSON),
        (b'{"f":1', Reason.NOT_JSON),
        (b'{"f":1}x', Reason.NOT_JSON),
        (b'{"f":nul', Reason.NOT_JSON),
        (b"\xef\xbb\xbf{}", Reason.NOT_JSON),
        (b'{"x":' + b"[" * 9, Reason.TOO_DEEP),
        (b"[" * 100_000, Reason.TOO_DEEP),
    ],
)
def test_reasons(payload: bytes, expected: Reason) -> None:
    """Each of msgspec's refusals is told apart."""
    assert reason(payload) is expected


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b'{"f":50}', Shape(f=50.0)),
        (b'{"f":null}', Shape()),
        (b'{"i":4.0}', Shape(i=4.0)),
        (b'{"f":1,"f":2}', Shape(f=2.0)),
        (b'{"x":"\xff"}', Shape()),
        (b'{"x":1e999}', Shape()),
        (b' {"f" : 1e-400} ', Shape(f=0.0)),
    ],
)
def test_what_passes(payload: bytes, expected: object) -> None:
    """A key's last value counts; what the profile does not read is not judged."""
    parsed = parse(payload)
    assert parsed.objects == [expected]
    assert parsed.failures == []


def test_a_bad_payload_costs_only_itself() -> None:
    """Objects keep the order of the good ones, failures name their places."""
    parsed = parse(
        b"x", b'{"f":1}', b"", b'{"f":"1"}', b'{"f":2}', b'{"x":[[[[[[[[[]]]]]]]]]}', b'{"f":3}', b"{"
    )
    assert parsed.objects == [Shape(f=1.0), Shape(f=2.0), Shape(f=3.0)]
    assert [(failure.index, failure.reason) for failure in parsed.failures] == [
        (0, Reason.NOT_JSON),
        (2, Reason.NOT_JSON),
        (3, Reason.WRONG_TYPE),
        (5, Reason.TOO_DEEP),
        (7, Reason.NOT_JSON),
    ]


def test_depth_is_counted_in_each_payload() -> None:
    """At the limit a payload passes; brackets in texts count; neighbours' brackets do not."""
    deepest = b'{"x":' + b"[" * 7 + b"]" * 7 + b"}"
    text = b'{"x":"' + b"[" * 8 + b'"}'
    parsed = parse(deepest, b"{}", text, deepest, b'{"x":{}}')
    assert [failure.index for failure in parsed.failures] == [2]
    assert "nested 9 deep; the profile's limit is 8" in parsed.failures[0].detail
    assert parse(b"{}", b"{}", max_depth=1).failures == []


def test_details_name_the_path() -> None:
    """A person reads where and what."""
    (failure,) = parse(b'{"f":"50"}').failures
    assert failure.detail == "Expected `float | null`, got `str` - at `$.f`"


def _depth(payload: bytes) -> int:
    depth = deepest = 0
    for byte in payload:
        depth += (byte in b"[{") - (byte in b"]}")
        deepest = max(deepest, depth)
    return deepest


boxes = st.recursive(
    st.just("1"), lambda inner: inner.map("[{}]".format) | inner.map('{{"a":{}}}'.format), max_leaves=12
)


@given(st.lists(boxes.map('{{"x":{}}}'.format).map(str.encode), min_size=1, max_size=6), st.integers(1, 6))
def test_depth_equals_a_naive_count(payloads: list[bytes], limit: int) -> None:
    """Bracket by bracket, the same verdict."""
    refused = {failure.index for failure in parse(*payloads, max_depth=limit).failures}
    assert refused == {place for place, payload in enumerate(payloads) if _depth(payload) > limit}
