"""The JSON Schema of payloads agrees with the decoder."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from jsonschema import Draft202012Validator

from gateway.profiles.compile import compile_profile
from gateway.profiles.golden import FILE_NAME, read_golden
from gateway.profiles.load import load
from gateway.profiles.payload_schema import payload_schema
from tests.cli.command import SHIPPED

if TYPE_CHECKING:
    from gateway.profiles.plan import ProfilePlan

LOADED = load(SHIPPED)


def plan_of(quantities: str, more: str = "") -> ProfilePlan:
    head = 'profile: p\nversion: 1\nfamily: f\ntopics: ["t/{device}"]\n'
    plan, problems = compile_profile(f"{head}{more}quantities: {quantities}\n", where="p")
    assert plan is not None, problems
    return plan


@pytest.mark.parametrize("name", LOADED.plans)
def test_what_is_taken_is_valid(name: str) -> None:
    """Every golden payload of which nothing is refused."""
    plan, file = LOADED.plans[name], LOADED.files[name].with_name(FILE_NAME)
    validator = Draft202012Validator(payload_schema(plan))
    examples, _ = read_golden(file.read_text(encoding="utf-8"), plan, where="golden")
    well = [json.loads(one.payload) for one in examples if one.reason is None]
    assert well
    for payload in well:
        validator.validate(payload)


@pytest.mark.parametrize(
    ("payload", "valid"),
    [
        ({"a": {"d": 1.5}}, True),
        ({"a": {"d": None}}, True),
        ({"a": {"d": 1, "other": "x"}, "more": []}, True),
        ({"a": {"d": "1"}}, False),
        ({"a": {}}, False),
        ({"a": 3}, False),
        ([], False),
    ],
)
def test_types_and_what_is_required(payload: object, *, valid: bool) -> None:
    """A null is no reading; other keys are allowed."""
    schema = payload_schema(plan_of("{d: {path: a.d, unit: mm, required: true}}"))
    assert Draft202012Validator(schema).is_valid(payload) is valid


def test_lists_and_keys_that_are_dimensions() -> None:
    """As the paths go into them."""
    plan = plan_of(
        '{n: {path: "lanes[].classes.{class}.n", kind: event, by: [lane, class]}}',
        'dimensions: {lane: "lanes[].lane"}\n',
    )
    validator = Draft202012Validator(payload_schema(plan))
    assert validator.is_valid({"lanes": [{"lane": 1, "classes": {"car": {"n": 3}, "bus": {"n": 0}}}]})
    assert not validator.is_valid({"lanes": [{"classes": {}}]}), "the lane is missing"
    assert not validator.is_valid({"lanes": [{"lane": 1, "classes": {"car": {"n": "3"}}}]})


def test_what_a_person_must_know_is_told() -> None:
    """Unit, range and what means no reading."""
    plan = plan_of("{d: {path: d, unit: mm, range: [20, 4500], missing: [65535]}}")
    told = payload_schema(plan)["properties"]["d"]["description"]
    assert told == "d: gauge, unit mm, usually 20 to 4500, no reading: 65535"
