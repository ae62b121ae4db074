"""Binary payloads: golden vectors, the fast way beside the thorough one, what bad ones get."""

from __future__ import annotations

import base64
import math
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.cli.trial import Trial, example_topic, trial
from gateway.decode.frames import Frames
from gateway.decode.profile_decoder import ProfileDecoder
from gateway.model import Reason, SeriesTable
from gateway.profiles.compile import compile_text
from tests.decode.plans import profile

if TYPE_CHECKING:
    from gateway.profiles.plan import ProfilePlan

AT = 1_795_342_500
HERE = Path(__file__).parent / "profiles"
FIXED = """\
endian: little
layout:
  - skip:1
  - time:unix32
  - distance:u16
  - temperature:i16be/10
  - battery:u8*0.01+2
  - {bits: 8, of: [mode:u2, rising:i3, skip:2, open:u1]}
  - volume:u24
  - flow:f32
quantities:
  distance: {unit: mm, missing: [65535]}
  temperature: {unit: Cel}
  battery: {unit: V}
  mode: {}
  rising: {}
  open: {states: {0: shut, 1: open}}
  volume: {kind: counter, unit: L}
  flow: {unit: L/h}
"""


def made_of(plan: ProfilePlan, payload: bytes, **parameters: float) -> Trial:
    """Treat a payload as the gateway would."""
    received_ns = (AT + 2) * 10**9
    topic = example_topic(plan)
    return trial(plan, topic=topic, payload=payload, received_ns=received_ns, parameters=parameters)


def values(found: Trial) -> dict[str, Any]:
    return {one.quantity: one.value for one in found.readings}


def shipped(name: str) -> ProfilePlan:
    return compile_text((HERE / f"{name}.yaml").read_text(encoding="utf-8"), name=name)


def parsers(plan: ProfilePlan) -> tuple[Any, Any]:
    """Return the thorough parser of a profile, and the fast one."""
    payload = ProfileDecoder(plan, tables={}, texts=SeriesTable(), max_series=10)._payload
    return payload._parser, payload._columns


def test_a_fixed_layout() -> None:
    """Byte orders, scale and offset, bit fields, 24 bits, a float, a time."""
    payload = struct.pack("<BIH", 9, AT, 1050) + struct.pack(">h", -35) + bytes((160, 0b01_101_00_1))
    payload += (70_000).to_bytes(3, "little") + struct.pack("<f", 1.5)
    found = made_of(profile(FIXED), payload)
    assert values(found) == {
        "distance": 1050,
        "temperature": -3.5,
        "battery": 3.6,
        "mode": 1,
        "rising": -3,
        "open": "open",
        "volume": 70_000,
        "flow": 1.5,
    }
    assert {one.time_ns for one in found.readings} == {AT * 10**9}


def test_a_layout_of_tags() -> None:
    """Milesight's way: a channel and a type before each value; facts are texts that can be read."""
    payload = bytes.fromhex("017564 0367f8ff 0482e803 050001 ff160102030405060708")
    found = made_of(shipped("tagged-bin"), payload, empty=1800)
    assert values(found) == {
        "distance": 1000,
        "temperature": -0.8,
        "tilt": "tilted",
        "battery": 100,
        "serial": "0102030405060708",
        "filling_level": pytest.approx(53.333, abs=1e-3),
    }


def test_what_stands_before_an_unknown_tag_is_kept() -> None:
    """And the rest is said: the uplink is in quarantine as well."""
    found = made_of(shipped("tagged-bin"), bytes.fromhex("017564 99990102"), empty=1800)
    assert values(found) == {"battery": 100}
    [refused] = found.rejections
    assert (refused.reason, refused.readings) == (Reason.UNREADABLE, 1)
    assert refused.detail == "the tag 9999 at byte 3 is unknown: 4 bytes not read"


def test_variants_and_dimensions() -> None:
    """A table of classes by lanes, and one class an uplink at its own port."""
    plan = shipped("radar-counter")
    table = b"".join(struct.pack(">HB", count, 30 + count) for count in range(8))
    found = made_of(plan, bytes.fromhex("be0201 55 0102 00fa") + table)
    counts = {one.dimensions: one.value for one in found.readings if one.quantity == "vehicles"}
    assert counts[("class", "2"), ("lane", "right")] == 5
    assert len(counts) == 8
    assert sum(one.quantity == "mean_speed" for one in found.readings) == 7, "none where nobody drove"
    parser, _ = parsers(plan)
    one_class = b"\xa2" + bytes(3) + struct.pack(">HBHB", 3, 50, 4, 60)
    parsed = parser.parse(Frames([one_class], np.array([16]), np.zeros(1, np.int64)))
    assert not parsed.failures
    assert "'2'" in repr(parsed.objects[0]), "class = port - 14"


def test_a_history_in_one_uplink() -> None:
    """A start and fifteen steps: sixteen values at hours of their own, beside the present one."""
    head = struct.pack("<IBIII", AT, 0x24, 1005, AT - 15 * 3600, 900)
    found = made_of(shipped("logging-meter"), head + struct.pack("<15H", *range(15)))
    index = [(one.time_ns // 10**9 - AT, one.value) for one in found.readings if one.quantity == "index"]
    assert index[0] == (-15 * 3600, 900)
    assert index[-1] == (0, 1005)
    assert len(index) == 17
    assert {one.quantity for one in found.readings if one.value == "on"} == {"battery_low", "leak"}


@pytest.mark.parametrize(
    ("name", "payload", "reason", "detail"),
    [
        ("tagged-bin", "0367f8", Reason.UNREADABLE, "ends at byte 3, within temperature"),
        ("tagged-bin", "", Reason.NO_READING, "none of the profile's quantities is there"),
        ("radar-counter", "a200", Reason.NO_VARIANT, "2 bytes that begin with a200: fits no variant of 1"),
        ("radar-counter", "be0201", Reason.UNREADABLE, "ends at byte 3, within charge"),
        ("radar-counter", "be0202" + "00" * 31, Reason.UNREADABLE, "34 bytes, and 33 are laid out"),
        ("logging-meter", "00" * 46, Reason.NO_VARIANT, "fits no variant of 1 (length 47); 2 (length 5)"),
    ],
)
def test_a_bad_payload_is_refused_with_its_place(
    name: str, payload: str, reason: Reason, detail: str
) -> None:
    """Whole, and alone."""
    found = made_of(shipped(name), bytes.fromhex(payload), empty=1800)
    [refused] = found.rejections
    assert refused.reason is reason
    assert detail in refused.detail


def test_two_variants_that_fit_are_refused_with_both() -> None:
    """Rather none than the wrong one."""
    plan = profile(
        'variants: [{length: 1..2, layout: [a:u8]}, {prefix: "01", layout: [a:u8]}]\nquantities: {a: {}}\n'
    )
    [refused] = made_of(plan, b"\x01").rejections
    assert refused.reason is Reason.NO_VARIANT
    assert "fits variants 1 (length 1..2) and 2 (prefix 01)" in refused.detail


@pytest.mark.parametrize(
    ("encoding", "payload", "wrong"),
    [("hex", b"0A 0b", b"0g"), ("base64", base64.b64encode(b"\x0a\x0b") + b"\n", b"###")],
)
def test_bytes_may_be_sent_as_text(encoding: str, payload: bytes, wrong: bytes) -> None:
    """Hexadecimal with blanks, base64 with an end of line."""
    plan = profile(f"encoding: {encoding}\nlayout: [a:u8, b:u8]\nquantities: {{a: {{}}, b: {{}}}}\n")
    assert values(made_of(plan, payload)) == {"a": 10, "b": 11}
    [refused] = made_of(plan, wrong).rejections
    assert refused.reason is Reason.UNREADABLE
    assert "is not" in refused.detail


def test_texts_and_decimal_digits() -> None:
    """ASCII ends at its zeros; digits that are none are refused."""
    plan = profile(
        "layout: [name:ascii4, index:bcd3, rest:hex1]\n"
        "quantities: {name: {kind: text}, index: {}, rest: {kind: text}}\n"
    )
    assert values(made_of(plan, b"ab\0\0\x12\x34\x56\xff")) == {"name": "ab", "index": 123456, "rest": "ff"}
    assert "are no decimal digits" in made_of(plan, b"ab\0\0\x1a\x34\x56\xff").rejections[0].detail
    assert "is no ASCII text" in made_of(plan, b"\xff\xff\0\0\x12\x34\x56\xff").rejections[0].detail


def test_tags_with_their_length_are_passed_over() -> None:
    """The unknown ones are named; what is behind them is read."""
    plan = profile('tlv: {"01": a:u8, "02": b:u16}\ntag_length: true\nquantities: {a: {}, b: {}}\n')
    found = made_of(plan, bytes.fromhex("010105 7702aabb 02020100"))
    assert values(found) == {"a": 5, "b": 256}
    assert found.rejections[0].detail == "unknown tags, not read: 77 at byte 3"
    assert "announces" in made_of(plan, bytes.fromhex("0105")).rejections[0].detail


FIELDS = {
    "time": st.integers(0, 2**32 - 1),
    "distance": st.integers(0, 65535),
    "temperature": st.integers(-32768, 32767),
    "battery": st.integers(0, 255),
    "bits": st.integers(0, 255),
    "volume": st.integers(0, 2**24 - 1),
    "flow": st.floats(width=32, allow_nan=False, allow_infinity=False),
}


def encoded(row: dict[str, Any]) -> bytes:
    """Return the bytes that FIXED reads as that row: the inverse of decoding."""
    return (
        struct.pack("<BIH", 0, row["time"], row["distance"])
        + struct.pack(">h", row["temperature"])
        + bytes((row["battery"], row["bits"]))
        + row["volume"].to_bytes(3, "little")
        + struct.pack("<f", row["flow"])
    )


@settings(max_examples=100, deadline=None)
@given(st.lists(st.fixed_dictionaries(FIELDS), min_size=1, max_size=20))
def test_what_was_encoded_is_decoded_and_both_ways_agree(rows: list[dict[str, Any]]) -> None:
    """Decoding undoes encoding, column by column and payload by payload, to the last bit."""
    parser, fast = parsers(profile(FIXED))
    frames = Frames.bare([encoded(row) for row in rows])
    columns, left = fast.parse(frames)
    parsed = parser.parse(frames)
    assert (left, parsed.failures) == ([], [])
    objects = parsed.objects
    for leaf in fast.leaves:
        slow, quick = leaf.scalars(objects), columns.scalars(leaf)
        assert [float(value) for value in quick.values()] == [float(value) for value in slow.values()]
    named = ProfileDecoder(
        profile(FIXED), tables={}, texts=SeriesTable(), max_series=10
    )._payload._shape.flat()
    assert named is not None
    read = {name: columns.scalars(fast.leaves[at]).values() for name, at in named.objects[0].items()}
    assert read == {
        "time": [row["time"] for row in rows],
        "distance": [row["distance"] for row in rows],
        "temperature": [row["temperature"] / 10 for row in rows],
        "battery": [row["battery"] * 0.01 + 2 for row in rows],
        "mode": [row["bits"] >> 6 for row in rows],
        "rising": [((row["bits"] >> 3 & 7) ^ 4) - 4 for row in rows],
        "open": [row["bits"] & 1 for row in rows],
        "volume": [row["volume"] for row in rows],
        "flow": [row["flow"] for row in rows],
    }


PLANS = {name: shipped(name) for name in ("tagged-bin", "radar-counter", "logging-meter")} | {
    "fixed": profile(FIXED)
}


@settings(max_examples=500, deadline=None)
@given(
    st.sampled_from(sorted(PLANS)),
    st.lists(st.binary(max_size=60) | st.binary(min_size=17, max_size=17), max_size=8),
    st.integers(-1, 255),
)
def test_no_bytes_raise_and_none_touch_their_neighbours(name: str, payloads: list[bytes], port: int) -> None:
    """Each payload becomes an object or a failure, the same alone as among others, fast as thorough."""
    parser, fast = parsers(PLANS[name])
    ports = np.full(len(payloads), port)
    frames = Frames(payloads, ports, np.zeros(len(payloads), np.int64))
    parsed = parser.parse(frames)
    assert len(parsed.objects) + len(parsed.failures) == len(payloads)
    failed = {failure.index: failure for failure in parsed.failures}
    for index, payload in enumerate(payloads):
        alone = parser.parse(Frames([payload], ports[:1], np.zeros(1, np.int64)))
        assert bool(alone.failures) == (index in failed)
    if fast is not None and payloads:
        columns, left = fast.parse(frames)
        assert set(failed) <= set(left), "what the fast way takes, the thorough one takes"
        assert len(columns) == len(payloads)


def test_a_float_that_is_no_number_is_no_reading() -> None:
    """An infinite one is refused; both ways agree."""
    plan = profile("layout: [a:f32, b:u8]\nquantities: {a: {}, b: {}}\n")
    assert values(made_of(plan, struct.pack(">fB", math.nan, 1))) == {"b": 1}
    assert made_of(plan, struct.pack(">fB", math.inf, 1)).rejections[0].reason is Reason.NOT_FINITE


def test_a_number_beyond_a_column_is_refused() -> None:
    """64 bits hold more than a float tells apart."""
    plan = profile("layout: [a:u64]\nquantities: {a: {kind: counter}}\n")
    assert values(made_of(plan, struct.pack(">Q", 2**53))) == {"a": 2**53}
    assert made_of(plan, struct.pack(">Q", 2**64 - 1)).rejections[0].reason is Reason.NOT_REPRESENTABLE


def test_only_fixed_layouts_take_the_fast_way() -> None:
    """Tags, dimensions and texts need an object a payload."""
    assert [parsers(PLANS[name])[1] is not None for name in sorted(PLANS)] == [True, False, False, False]
