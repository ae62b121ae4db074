"""Profiles side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.profiles.compile import compile_text
from gateway.profiles.together import check_together, topics_overlap

if TYPE_CHECKING:
    from gateway.profiles.plan import ProfilePlan


def plan(name: str, topic: str, quantities: str, family: str = "waste") -> ProfilePlan:
    """Compile a short profile."""
    text = (
        f"profile: {name}\nversion: 1\nfamily: {family}\ntopics: ['{topic}']\nquantities: {{{quantities}}}\n"
    )
    return compile_text(text, name=name)


def whats(*plans: ProfilePlan) -> list[str]:
    """Return the conflicts of some profiles, each with the profile that is refused."""
    return [f"{refused.name}: {what}" for refused, what, _ in check_together(plans)]


def test_profiles_that_get_along() -> None:
    """One family, other topics, the same field of the same type."""
    assert (
        whats(plan("a", "a/{device}", "x: {path: x}"), plan("b", "b/{device}", "x: {path: y, unit: V}")) == []
    )


def test_the_same_name_twice() -> None:
    """Only that is told of the two."""
    assert whats(
        plan("a", "a/{device}", "x: {path: x}"), plan("a", "a/{device}", "x: {path: x, kind: event}")
    ) == ["a: there is a profile «a» already"]


def test_one_field_with_two_types() -> None:
    """In the raw measurement and in the windows; another family is another measurement."""
    gauge, event = "x: {path: x}", "x: {path: x, kind: event, statistics: [max]}"
    assert whats(plan("a", "a/{device}", gauge), plan("b", "b/{device}", event)) == [
        "b: waste.x would be integer, and is float in profile «a»",
        "b: waste_15m.x_max would be integer, and is float in profile «a»",
        "b: waste_1h.x_max would be integer, and is float in profile «a»",
        "b: waste_1d.x_max would be integer, and is float in profile «a»",
    ]
    assert whats(plan("a", "a/{device}", gauge), plan("b", "b/{device}", event, family="water")) == []


def test_a_family_named_as_another_ones_window() -> None:
    """They share a measurement all the same."""
    found = whats(
        plan("a", "a/{device}", "x: {path: x}"),
        plan("b", "b/{device}", "x_mean: {path: x, kind: event}", family="waste_1h"),
    )
    assert found == ["b: waste_1h.x_mean would be integer, and is float in profile «a»"]


@pytest.mark.parametrize(
    ("first", "second", "overlap"),
    [
        ("a/{device}", "a/{device}", True),
        ("a/{device}", "b/{device}", False),
        ("a/{site}/{device}", "a/x/{device}", True),
        ("a/{device}", "a/{device}/up", False),
        ("{device}/up", "x/{device}", True),
        ("{site}/bin/{device}", "{site}/meter/{device}", False),
    ],
)
def test_topics_that_overlap(first: str, second: str, overlap: bool) -> None:  # noqa: FBT001 - a table's column
    """One message would be decoded twice."""
    assert topics_overlap(first, second) is overlap
    assert topics_overlap(second, first) is overlap
    conflicts = whats(plan("a", first, "x: {path: x}"), plan("b", second, "y: {path: x}"))
    assert (conflicts == [f"b: the topic {second} overlaps {first} of profile «a»"]) is overlap
