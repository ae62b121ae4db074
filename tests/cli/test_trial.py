from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cli.trial import Trial, example_topic, golden_differences, trial
from gateway.model import Flag, Reason
from gateway.profiles.golden import FILE_NAME, GoldenExample, GoldenReading, read_golden
from gateway.profiles.load import load
from tests.cli.command import SHIPPED

PLANS = load(SHIPPED).plans
BIN = PLANS["bin-level"]
RECEIVED_NS = 1_795_342_502_000_000_000
SENT_NS = 1_795_342_500_000_000_000


def tried(payload: bytes, *, received_ns: int = RECEIVED_NS, **parameters: float) -> Trial:
    return trial(
        BIN,
        topic="city/lyon/bin/b1/up",
        payload=payload,
        received_ns=received_ns,
        parameters=parameters,
    )


@pytest.mark.parametrize("name", sorted(PLANS))
def test_the_shipped_profiles_do_as_their_golden_examples_say(name: str) -> None:
    """Each example of each profile, through the real decoding and the real bounds."""
    file = load(SHIPPED).files[name].with_name(FILE_NAME)
    examples, problems = read_golden(file.read_text(encoding="utf-8"), PLANS[name], where=str(file))
    assert not problems
    assert examples
    assert {example.name: golden_differences(PLANS[name], example) for example in examples} == {
        example.name: [] for example in examples
    }


def test_a_payload_becomes_flagged_readings_and_points() -> None:
    """With the flags of the ranges, and the lines as they would be written."""
    found = tried(b'{"ts":1795342500000,"dist_mm":1150,"battery_v":9}', empty=2000)
    values = {one.quantity: (one.value, one.flag) for one in found.readings}
    assert values == {
        "distance": (1150.0, Flag.GOOD),
        "battery": (9.0, Flag.FAIL),
        "filling_level": (50.0, Flag.GOOD),
    }
    assert [line.split(" ") for line in found.points] == [
        [
            "waste,device=b1,profile=bin-level,site=lyon",
            "distance=1150.0,battery=9.0,filling_level=50.0,quality=4i",
            str(SENT_NS),
        ]
    ]
    assert found.rejections == ()


def test_a_state_is_told_by_its_name() -> None:
    """Not by its code."""
    assert [one.value for one in tried(b'{"tilt":1}').readings] == ["tilted"]


def test_bounds_of_time_refuse() -> None:
    """An hour ahead of its receipt: no reading, no point, and the reason."""
    found = tried(b'{"ts":1795342500000,"dist_mm":1150}', received_ns=SENT_NS - 3_600 * 10**9, empty=2000)
    assert (found.readings, found.points) == ((), ())
    assert [one.reason for one in found.rejections] == [Reason.IN_THE_FUTURE]


def test_another_topic_is_refused() -> None:
    """As the gateway would."""
    found = trial(BIN, topic="a/b", payload=b"{}", received_ns=RECEIVED_NS, parameters={})
    assert [one.reason for one in found.rejections] == [Reason.UNKNOWN_TOPIC]


def test_the_example_topic_is_one_of_the_profile() -> None:
    """So that `try` needs no topic."""
    assert example_topic(BIN) == "city/site/bin/device/up"


def test_differences_are_named() -> None:
    """What was expected and did not come, what came and was not expected, and other reasons."""
    example = GoldenExample(
        name="x",
        topic="city/lyon/bin/b1/up",
        payload=b'{"ts":1795342500000,"dist_mm":1150,"tilt":9}',
        received_ns=RECEIVED_NS,
        parameters={"empty": 2000},
        readings=(GoldenReading("distance", (), SENT_NS, 1151.0), GoldenReading("rssi", (), SENT_NS, -90.0)),
        reason=Reason.NOT_JSON,
    )
    lines = golden_differences(BIN, example)
    assert lines[0] == "expected the rejection «not json», got unknown state"
    assert lines[1].startswith("rejected: unknown state: tilt")
    assert "expected distance at 2026-11-22T10:15:00Z = 1151.0, got 1150.0" in lines
    assert "expected rssi at 2026-11-22T10:15:00Z = -90.0, got nothing" in lines
    assert any(line.startswith("not expected: filling_level") for line in lines)


@given(st.binary(max_size=200), st.sampled_from(sorted(PLANS)))
def test_it_never_raises_on_bad_data(payload: bytes, name: str) -> None:
    """Whatever the bytes: readings or rejections."""
    plan = PLANS[name]
    found = trial(
        plan, topic=example_topic(plan), payload=payload, received_ns=RECEIVED_NS, parameters={"empty": 1e3}
    )
    assert found.readings or found.rejections
