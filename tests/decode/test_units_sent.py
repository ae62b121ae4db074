"""Units that a device sends otherwise than they are stored: converted on the way in."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.decode.decoder import decode
from gateway.model import Reason
from gateway.profiles.compile import compile_profile
from gateway.profiles.units import affine
from tests.decode.plans import payloads, profile, routes


def read(keys: str, *values: Any) -> tuple[list[float], list[tuple[Reason, str]]]:
    plan = profile(f"quantities: {{a: {{path: a, {keys}}}}}\n")
    decoded = decode(payloads(*(json.dumps({"a": value}).encode() for value in values)), routes(plan))
    found = [value for one in decoded.readings for value in one.values[0].tolist() if not math.isnan(value)]
    return found, [(one.reason, one.detail) for one in decoded.rejections]


@pytest.mark.parametrize(
    ("keys", "sent", "stored"),
    [
        ("unit: mm, sent_in: cm", 12.5, 125),
        ("unit: Cel, sent_in: K", 300.15, 27),
        ('unit: Cel, sent_in: "[degF]"', 212, 100),
        ('unit: "[degF]", sent_in: Cel', 100, 212),
        ("unit: km/h, sent_in: m/s", 10, 36),
        ("unit: Cel, sent_in: K, scale: 0.1, offset: 1", 2991.5, 27),
        ("unit: L, sent_in: m3, kind: counter", 12.345, 12_345),
    ],
)
def test_one_unit_for_all(keys: str, sent: float, stored: float) -> None:
    found, refused = read(keys, sent)
    assert found == [pytest.approx(stored, rel=1e-12)]
    assert refused == []


def test_a_counter_in_a_larger_unit_must_come_out_whole() -> None:
    _, refused = read("unit: L, sent_in: m3, kind: counter", 12.3456)
    assert refused == [(Reason.WRONG_TYPE, "a must be a whole number")]


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("2000 mm", 2000),
        ("2 m", 2000),
        (" -1,5cm ", -15),
        (".5 km", 500_000),
        ("1e3 mm", 1000),
        ("7", 7),
        (7, 7),
        (7.5, 7.5),
    ],
)
def test_a_unit_behind_each_number(sent: Any, stored: float) -> None:
    assert read("unit: mm, sent_in: text", sent) == ([pytest.approx(stored)], [])


def test_units_as_people_write_them() -> None:
    assert read("unit: Cel, sent_in: text", "21,5 °C", "50 °F") == (
        [21.5, pytest.approx(10)],
        [],
    )
    assert read("unit: L/s, sent_in: text", "3.6 m³/h") == ([pytest.approx(1)], [])
    assert read("unit: L, sent_in: text, kind: counter", "1.5 m3") == ([1500], [])


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ("2 lx", "a is in «lx», and mm is wanted"),
        ("full", "a must be a number with its unit, and is 'full'"),
        (True, "a must be a number with its unit, and is True"),
        ("", "a must be a number with its unit, and is ''"),
        ("2 parsecs", "a is in «parsecs», and mm is wanted"),
    ],
)
def test_what_is_no_amount_is_refused(sent: Any, told: str) -> None:
    assert read("unit: mm, sent_in: text", sent) == ([], [(Reason.WRONG_TYPE, told)])


@given(st.text(max_size=20) | st.floats() | st.integers() | st.booleans() | st.none())
def test_nothing_raises(value: Any) -> None:
    found, refused = read("unit: mm, sent_in: text", value)
    assert all(map(math.isfinite, found))
    assert found or refused


@given(st.floats(-1e6, 1e6), st.sampled_from(["K", "Cel", "[degF]"]), st.sampled_from(["K", "Cel", "[degF]"]))
def test_there_and_back(value: float, one: str, other: str) -> None:
    (factor, shift), (back, again) = affine(one, other), affine(other, one)
    assert (value * factor + shift) * back + again == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ("unit: mm, sent_in: s", "measure different things"),
        ("unit: mm, sent_in: furlong", "is not a UCUM unit"),
        ("unit: mm, sent_in: text, scale: 2", "nothing to scale"),
        ("unit: m3, sent_in: L, kind: counter", "stored as whole numbers"),
        ("states: {0: off_, 1: on_}, sent_in: mm", "means nothing for kind state"),
    ],
)
def test_mistakes_are_named(keys: str, told: str) -> None:
    heading = 'profile: p\nversion: 1\nfamily: waste\ntopics: ["t/{device}"]\n'
    _, problems = compile_profile(f"{heading}quantities: {{a: {{path: a, {keys}}}}}\n", where="p.yaml")
    assert any(told in str(problem) for problem in problems), problems
