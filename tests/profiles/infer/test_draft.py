"""From samples to a draft that `profile check` takes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.profiles.compile import compile_profile
from gateway.profiles.infer import names
from gateway.profiles.infer.draft import draft
from gateway.profiles.infer.roles import time_unit
from gateway.profiles.infer.samples import Sample, read_samples
from gateway.profiles.plan import Kind, ProfilePlan

AT = 1_795_342_500


def plan_of(*payloads: Any, topics: tuple[str, ...] = ()) -> tuple[ProfilePlan, str]:
    """Draft a profile from payloads; it must compile."""
    heard = [topics[at % len(topics)] if topics else "" for at in range(len(payloads))]
    samples = [Sample(one, json.dumps(one), topic) for one, topic in zip(payloads, heard, strict=True)]
    text = draft(samples, profile="acme").text
    plan, problems = compile_profile(text, where="draft")
    assert plan is not None, (problems, text)
    return plan, text


def quantities(plan: ProfilePlan) -> dict[str, Any]:
    return {one.name: one for group in plan.groups for one in group.quantities}


def test_a_bin() -> None:
    """Names, units, what means «no reading», states, time, interval, topic: each from what was sent."""
    bins = [
        {"id": "b-1", "seq": n, "ts": (AT + 900 * n) * 1000, "dist_mm": d, "battery_v": 3.6, "tilt": n % 2}
        for n, d in enumerate([1050, 1040, 65535, 1000])
    ]
    topics = ("city/lyon/bin/b-1/up",)
    plan, text = plan_of(*bins, {**bins[0], "id": "b-2"}, topics=(*topics * 4, "city/lyon/bin/b-2/up"))
    found = quantities(plan)
    assert plan.topics == ("city/lyon/bin/{device}/up",)
    assert (plan.time.path, plan.time.unit) == ("ts", "ms") if plan.time else None
    assert plan.every_ns == 900 * 10**9
    assert plan.sequence == "seq"
    assert plan.family == "waste"
    assert found.keys() == {"distance", "battery", "tilt"}
    assert (found["distance"].unit, found["distance"].missing) == ("mm", (65535.0,))
    assert found["battery"].unit == "V"
    assert found["tilt"].states == ("tilt_0", "tilt_1")
    assert "id: names the device" in text


def test_a_list_whose_elements_have_a_name() -> None:
    """It becomes a dimension; counts of vehicles are events."""
    lanes = [{"lane": "a", "count": 3, "speed_kmh": 40.5}, {"lane": "b", "count": 0, "speed_kmh": 12}]
    plan, _ = plan_of({"time": "2026-11-22T10:15:00Z", "lanes": lanes})
    assert plan.dimensions == {"lane": "lanes[].lane"}
    assert quantities(plan)["count"].kind is Kind.EVENT
    assert quantities(plan)["speed"].unit == "km/h"


def test_a_counter_is_named_so_and_never_falls() -> None:
    """A name alone is not believed: an index that falls is none."""
    rising = [{"index_l": 100 + 5 * n} for n in range(5)]
    assert quantities(plan_of(*rising)[0])["index"].kind is Kind.COUNTER
    falling = [{"index_l": 100 - 5 * n} for n in range(5)]
    assert quantities(plan_of(*falling)[0])["index"].kind is Kind.GAUGE


@pytest.mark.parametrize(
    ("values", "unit"),
    [
        ([AT], "s"),
        ([AT * 1e3], "ms"),
        ([AT * 10**6], "us"),
        ([AT * 10**9], "ns"),
        (["2026-11-22T10:15:00+01:00"], "iso"),
        (["2026-11-22T10:15:00"], ""),
        ([12.5], ""),
        ([AT, 3], ""),
        ([True], ""),
        ([], ""),
    ],
)
def test_the_unit_of_a_time_follows_from_its_size(values: list[Any], unit: str) -> None:
    """A text without a zone is no time that can be used."""
    assert time_unit(values) == unit


@pytest.mark.parametrize(
    ("key", "name", "unit"),
    [
        ("dist_mm", "distance", "mm"),
        ("tempC", "temperature", "Cel"),
        ("battery", "battery", ""),
        ("rssi", "rssi", "dB[mW]"),
        ("VolumeM3", "volume", "m3"),
        ("min", "min_value", ""),
        ("1st", "value_1st", ""),
        ("été", "t", ""),
    ],
)
def test_a_key_tells_a_name_and_a_unit(key: str, name: str, unit: str) -> None:
    """A name fits into a formula."""
    assert (names.name_of(key), names.unit_of(key)[0]) == (name, unit)


def test_only_texts_that_come_again_are_states() -> None:
    """A firmware's version is none; the line says why it was left out."""
    payloads = [{"d": n, "door": "OPEN" if n % 2 else "SHUT", "fw": "1.2"} for n in range(6)]
    plan, text = plan_of(*payloads)
    assert quantities(plan)["door"].states == ("open", "shut")
    assert "#   fw: a text that is always the same" in text


LEAF = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False)
    | st.text(max_size=9)
)
PAYLOAD = st.dictionaries(
    st.text(max_size=9),
    st.recursive(
        LEAF,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(PAYLOAD, min_size=1, max_size=5), st.sampled_from(["", "city/7/up "]))
def test_whatever_is_sent_gives_a_draft_that_is_well_but_for_having_no_quantity(
    payloads: list[dict[str, Any]], topic: str
) -> None:
    """No key and no text of a payload breaks out of its place in the draft."""
    lines = "\n".join(topic + json.dumps(one) for one in payloads)
    samples, _ = read_samples(lines)
    text = draft(samples, profile="acme").text
    plan, problems = compile_profile(text, where="draft")
    if plan is None:
        assert ["must not be empty" in str(one) or "quantities" in str(one) for one in problems] == [True], (
            problems,
            text,
        )


@pytest.mark.parametrize("payload", [{":": [{"N": 0, "v": 1}]}, {"0": [{"N": 0, "v": 1}]}])
def test_a_list_without_a_name_that_can_be_used(payload: dict[str, Any]) -> None:
    """Its elements are called so."""
    text = draft([Sample(payload, json.dumps(payload))], profile="acme").text
    _, problems = compile_profile(text, where="draft")
    assert all("quantities" in str(one) for one in problems), (problems, text)
    assert "dimensions: {element:" in text
