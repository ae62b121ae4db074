"""JSON paths."""

from __future__ import annotations

import pytest

from gateway.profiles.paths import Step, Take, bound, disagreement, parse_path, repeated

LANES, EACH, CLASSES = Step(Take.KEY, "lanes"), Step(Take.EACH), Step(Take.KEY, "classes")
CLASS = Step(Take.BIND, "class")


def test_keys_lists_and_bound_keys() -> None:
    """The three things that a step can take."""
    assert parse_path("lanes[].classes.{class}.n") == (LANES, EACH, CLASSES, CLASS, Step(Take.KEY, "n"))
    assert parse_path("a[][].b") == (Step(Take.KEY, "a"), EACH, EACH, Step(Take.KEY, "b"))
    assert parse_path("[].n") == (EACH, Step(Take.KEY, "n"))
    assert parse_path("Temp °C.@value") == (Step(Take.KEY, "Temp °C"), Step(Take.KEY, "@value"))


@pytest.mark.parametrize(
    "text", ["", ".", "a.", ".a", "a..b", "a[0]", "a[", "{A}", "{a", "a{b}", "a.[]", "a" + ".a" * 20]
)
def test_what_is_no_path(text: str) -> None:
    """The author reads what a path looks like."""
    with pytest.raises(ValueError, match=r"path|follow"):
        parse_path(text)


def test_what_a_path_binds_and_where_it_repeats() -> None:
    """The part up to the last list or bound object gives one row each."""
    path = parse_path("lanes[].classes.{class}.n")
    assert bound(path) == ("class",)
    assert repeated(path) == (LANES, EACH, CLASSES, CLASS)
    assert repeated(parse_path("a.b")) == ()


@pytest.mark.parametrize(
    ("paths", "wrong"),
    [
        (["a.b", "a.c", "x"], None),
        (["status", "status"], None),
        (["a", "a.b"], "a.b"),
        (["lanes[].n", "lanes.n"], "lanes.n"),
        (["a.{k}.n", "a.b"], "a.b"),
    ],
)
def test_paths_agree_on_what_stands_at_a_place(paths: list[str], wrong: str | None) -> None:
    """A place holds a value, an object, or a list: not two of them."""
    found = disagreement([parse_path(path) for path in paths])
    assert found == (parse_path(wrong) if wrong else None)
