"""Quantities that share their dimensions."""

from __future__ import annotations

import pytest

from tests.profiles.texts import only_problem, plan_of

TRAFFIC = 'dimensions: {lane: "lanes[].lane", way: "lanes[].way"}\n'


def names(body: str) -> list[tuple[tuple[str, ...], list[str]]]:
    """Return each group's dimensions and quantities."""
    return [(group.dimensions, [q.name for q in group.quantities]) for group in plan_of(body).groups]


def test_one_group_for_each_set_of_dimensions() -> None:
    """Whatever their order; the first quantity's order stands."""
    body = (
        TRAFFIC
        + """\
quantities:
  n: {path: "lanes[].c.{class}.n", kind: event, by: [lane, way, class]}
  v: {path: "lanes[].c.{class}.v", by: [class, lane, way]}
  o: {path: "lanes[].o", by: [lane, way]}
  b: {path: b}
"""
    )
    assert names(body) == [(("lane", "way", "class"), ["n", "v"]), (("lane", "way"), ["o"]), ((), ["b"])]
    assert [group.index for group in plan_of(body).groups] == [0, 1, 2]


def test_a_derived_quantity_stands_behind_what_it_reads() -> None:
    """One pass over the group computes them all."""
    body = "quantities: {c: {from: b + a}, b: {from: a * 2}, a: {path: a}, z: {path: z}}"
    assert names(body) == [((), ["a", "z", "b", "c"])]


def test_a_derived_quantity_takes_the_dimensions_of_what_it_reads() -> None:
    """Through other derived ones too."""
    body = (
        TRAFFIC
        + """\
quantities:
  o: {path: "lanes[].o", by: [lane]}
  p: {from: o / 2}
  q: {from: p / 2}
  b: {path: "lanes[].b", by: [way]}
"""
    )
    assert names(body) == [(("lane",), ["o", "p", "q"]), (("way",), ["b"])]


def test_a_dimension_outside_the_list_holds_for_all_of_it() -> None:
    """The site's direction beside a list of lanes."""
    body = (
        'dimensions: {lane: "lanes[].lane", way: way}\nquantities: {n: {path: "lanes[].n", by: [way, lane]}}'
    )
    assert names(body) == [(("way", "lane"), ["n"])]


@pytest.mark.parametrize(
    ("quantities", "says"),
    [
        ("n: {path: a, by: [colour]}", "where does the payload hold «colour»?"),
        ('n: {path: "c.{class}.n"}', "the path binds «class» (name it: by: [class])"),
        ('n: {path: "lanes[].n"}', "elements of the list in the path of «n» are not told apart"),
        ('n: {path: "others[].n", by: [lane]}', "«lane» is not held by the same list as «n»"),
        ("n: {path: n, by: [lane]}", "«lane» is not held by the same list as «n»"),
        ('n: {path: "lanes[].cars[].n", by: [lane]}', "are not told apart"),
        ("n: {from: m * 2}", "there is no quantity «m»"),
        ("n: {from: n * 2}", "the formulas of n need each other"),
        ("n: {path: n, states: [x, y]}\n  m: {from: n * 2}", "«n» is no number"),
        (
            'n: {path: "lanes[].n", by: [lane]}\n  m: {path: m, missing: n == 0}',
            "«n» has other dimensions than «m»",
        ),
        ("n: {path: n, weight: m}", "there is no quantity «m»"),
        ("n: {path: n, weight: k}", "there is no quantity «k»"),
        ('n: {path: "lanes[].n", by: [lane]}\n  m: {path: m, weight: n}', "other dimensions"),
    ],
)
def test_what_cannot_be_one_row(quantities: str, says: str) -> None:
    """Dimensions, formulas and weights meet in the same lists."""
    body = (
        TRAFFIC
        + "parameters: {k: {default: 1}}\nquantities:\n"
        + ('  u: {path: "lanes[].u", by: [lane, way]}\n  ' + quantities + "\n")
    )
    assert says in _problems(body)


def _problems(body: str) -> str:
    try:
        return only_problem(body)
    except AssertionError as several:
        return str(several)


def test_formulas_that_need_each_other() -> None:
    """A circle is named."""
    assert "the formulas of a, b need each other" in only_problem("quantities: {a: {from: b}, b: {from: a}}")
