"""The published JSON Schema of the profile document."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from gateway.profiles.document import compose
from gateway.profiles.load import profile_files
from gateway.profiles.schema import json_schema, json_schema_text
from tests.profiles.texts import profile

ROOT = Path(__file__).parents[2]


def test_the_published_schema_is_up_to_date() -> None:
    """`python -c "…; print(json_schema_text(), end='')"` makes it."""
    published = (ROOT / "docs" / "profile.schema.json").read_text(encoding="utf-8")
    assert json_schema_text() == published


def test_it_is_a_schema() -> None:
    """Of the draft that it names."""
    Draft202012Validator.check_schema(json_schema())


def _data(text: str) -> Any:
    # JSON has no numbers as keys: a validator sees what an editor would send it.
    return json.loads(json.dumps(compose(text, "").data))


@pytest.mark.parametrize("file", profile_files(ROOT / "device_profiles"), ids=lambda file: file.parent.name)
def test_the_shipped_profiles_conform(file: Path) -> None:
    """An editor that knows the schema finds nothing to complain of."""
    Draft202012Validator(json_schema()).validate(_data(file.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "body",
    [
        "quantities: {a: {path: a, rnage: [1, 2]}}",
        "quantities: {a: {path: a, max_rise: 5}}",
        "quantities: {A: {path: a}}",
        "quantities: {a: {path: a}}\nlateness: 7",
        "quantities: {a: {path: a, bits: {x: b}}}",
        "quantities: {}",
    ],
)
def test_what_the_schema_refuses(body: str) -> None:
    """Keys, names and the forms of values."""
    assert not Draft202012Validator(json_schema()).is_valid(_data(profile(body)))
