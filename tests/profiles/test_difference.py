"""What a changed profile changes in what is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.profiles.compile import compile_profile
from gateway.profiles.difference import changes

if TYPE_CHECKING:
    from gateway.profiles.plan import ProfilePlan

BASE = """\
profile: p
version: 1
family: waste
topics: ["t/{site}/{device}"]
time: {path: ts, unit: s}
parameters: {empty: {unit: mm, default: 2000}}
quantities:
  distance: {path: d, unit: mm, range: [20, 4500]}
  level: {unit: "%", from: "100 * (empty - distance) / empty"}
  door: {path: door, states: {0: shut, 1: open}}
  n: {path: n, kind: event}
windows: [15min, 1h]
"""


def plan_of(text: str) -> ProfilePlan:
    plan, problems = compile_profile(text, where="p")
    assert plan is not None, problems
    return plan


def told(*replacements: tuple[str, str]) -> dict[str, tuple[str, str]]:
    """Return what differs, of a version 2 with some texts in the place of others."""
    text = BASE.replace("version: 1", "version: 2")
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new)
    return {one.where: (one.before, one.after) for one in changes(plan_of(BASE), plan_of(text))}


def test_a_new_number_alone_changes_nothing() -> None:
    """Nor does a comment."""
    assert told(("family: waste", "family: waste  # bins")) == {}


@pytest.mark.parametrize(
    ("old", "new", "where", "before", "after"),
    [
        ("[15min, 1h]", "[15min, 1d]", "measurement waste_1h", "written", ""),
        ("[15min, 1h]", "[15min, 1d]", "measurement waste_1d", "", "new"),
        ("n: {path", "m: {path", "field waste.n", "integer", ""),
        ("n: {path", "m: {path", "field waste_15m.m_sum", "", "integer"),
        ("kind: event", "kind: gauge", "field waste.n", "integer", "float"),
        ("kind: event", "kind: gauge", "kind of n", "event", "gauge"),
        ("path: d, unit: mm", "path: d, unit: cm", "unit of distance", "mm", "cm"),
        ("path: d,", "path: e,", "source of distance", "d", "e"),
        ("path: d,", "path: d, scale: 10,", "source of distance", "d", "d × 10"),
        ("100 * (", "99 * (", "source of level", "= 100 * (empty - distance) / empty", None),
        ("1: open", "1: ajar", "states of door", "shut, open", "shut, ajar"),
        ("range: [20, 4500]", "range: [30, 4500]", "range of distance", "20 to 4500", "30 to 4500"),
        ("path: d,", "path: d, missing: [0],", "no reading of distance", "", "0"),
        ("path: d,", "path: d, max_rise: 60/h,", "rise and fall of distance", "", None),
        ("unit: s}", "unit: ms}", "time", "ts (s)", "ts (ms)"),
        ('"t/{site}', '"u/{site}', "topics", "t/{site}/{device}", "u/{site}/{device}"),
        ("default: 2000", "default: 1800", "parameter empty", "mm, default 2000", "mm, default 1800"),
        ("family: waste", "family: waste\ntags: [street]", "tags", "", "street"),
        ("family: waste", "family: waste\nlateness: 48h", "lateness", "3d", "2d"),
    ],
)
def test_each_kind_of_change_is_told(old: str, new: str, where: str, before: str, after: str | None) -> None:
    """Where it is, what it was, what it will be."""
    found = told((old, new))
    assert where in found, found
    assert found[where][0] == before
    assert after is None or found[where][1] == after


def test_a_change_without_a_new_number_is_told_first() -> None:
    """And every change says what follows from it."""
    found = changes(plan_of(BASE), plan_of(BASE.replace("path: d,", "path: e,")))
    assert [one.where for one in found] == ["version", "source of distance"]
    assert all(one.means for one in found)
