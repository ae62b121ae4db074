"""Rows of groups: dimensions, formulas, required quantities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gateway.decode.decoder import Decoded, decode
from gateway.decode.group import GroupDecoder
from gateway.decode.profile_decoder import ProfileDecoder
from gateway.errors import ConfigurationError
from gateway.model import Reason, SeriesTable
from gateway.profiles.expression import parse
from gateway.profiles.plan import GroupPlan, Kind, ProfilePlan, QuantityPlan
from tests.decode.plans import device, payloads, profile, routes


def rows(decoded: Decoded, group: int = 0) -> list[tuple[Any, ...]]:
    """Return (uplink, dimensions, values with None where absent) of each row of a group."""
    one = decoded.readings[group]
    keys = [one.table.keys[code][2:] for code in one.series]
    columns = np.where(one.present, one.values, np.nan).T.tolist()
    values = [tuple(None if value != value else value for value in row) for row in columns]  # noqa: PLR0124 - NaN
    return list(zip(one.uplink.tolist(), keys, values, strict=True))


def plan(
    *quantities: QuantityPlan, dimensions: dict[str, str] | None = None, by: tuple[str, ...] = ()
) -> ProfilePlan:
    """Make a plan of one group by hand, unchecked by the profile's compiler."""
    return ProfilePlan(
        name="test",
        version=1,
        family="waste",
        text="",
        format="json",
        topics=("t/{site}/{device}",),
        groups=(GroupPlan(0, by, quantities),),
        windows=(),
        parameters={},
        dimensions=dimensions or {},
    )


LANES = """
dimensions: {lane: "lanes[].lane"}
quantities:
  n: {path: "lanes[].classes.{class}.n", unit: "1", kind: event, by: [lane, class]}
  o: {path: "lanes[].o", unit: "%", by: [lane]}
"""


def test_dimensions_come_from_every_level() -> None:
    """A dimension of an outer list holds for the rows inside."""
    lanes = [
        {"lane": 1, "o": 5, "classes": {"car": {"n": 1}, "bus": {"n": 2}}},
        {"lane": "b", "classes": {"car": {"n": 3}}},
    ]
    decoded = decode(payloads({"lanes": lanes}), routes(profile(LANES)))
    assert rows(decoded) == [(0, ("1", "car"), (1,)), (0, ("1", "bus"), (2,)), (0, ("b", "car"), (3,))]
    assert rows(decoded, 1) == [(0, ("1",), (5,))]


def test_a_row_without_its_dimension_is_refused() -> None:
    """Readings that lack a dimension belong to no series; the other rows stay."""
    lanes = [{"lane": None, "o": 5, "classes": {"car": {"n": 1}}}, {"lane": "b", "o": 6}]
    decoded = decode(payloads({"lanes": lanes}), routes(profile(LANES)))
    assert rows(decoded) == [(0, ("b",), (6,))]
    assert [(r.reason, r.readings) for r in decoded.rejections] == [(Reason.MISSING_FIELD, 2)]


def test_long_labels_are_refused() -> None:
    """A dimension's value has at most 64 characters, as a value and as a key."""
    for lane in ({"lane": "x" * 65, "o": 1}, {"lane": "a", "classes": {"x" * 65: {"n": 1}}}):
        decoded = decode(payloads({"lanes": [lane]}), routes(profile(LANES)))
        assert [r.reason for r in decoded.rejections] == [Reason.NOT_REPRESENTABLE]


def test_quantities_of_one_row_from_two_objects() -> None:
    """Where a group's quantities stand in different objects, equal dimensions make one row."""
    body = """
quantities:
  n: {path: "n.{k}", unit: "1", by: [k]}
  v: {path: "v.{k}", unit: "1", by: [k], missing: n == 0}
"""
    sent = payloads(
        {"n": {"a": 1, "b": 0}, "v": {"b": 7, "c": 8}}, {"v": {"a": 9}}, {"n": {"a": 2}, "v": {"a": 3}}
    )
    assert rows(decode(sent, routes(profile(body)))) == [
        (0, ("a",), (1, None)),
        (0, ("b",), (0, None)),
        (0, ("c",), (None, 8)),
        (1, ("a",), (None, 9)),
        (2, ("a",), (2, 3)),
    ]


def test_faults_in_joined_rows() -> None:
    """A refused reading of one part is told of its own uplink."""
    body = """
quantities:
  n: {path: "n.{k}", unit: "1", kind: event, by: [k]}
  s: {path: "s.{k}", unit: "1", by: [k], states: {0: "off"}}
"""
    sent = payloads({"n": {"a": 1}, "s": {"b": 0}}, {"n": {"a": 1, "b": 1.5}, "s": {"a": 5, "b": 0}})
    decoded = decode(sent, routes(profile(body)))
    assert [(r.index, r.reason) for r in decoded.rejections] == [
        (1, Reason.WRONG_TYPE),
        (1, Reason.UNKNOWN_STATE),
    ]
    assert "5" in decoded.rejections[1].detail


def test_equal_rows_stay_two() -> None:
    """What an uplink says twice stays twice: a later stage judges it."""
    body = 'dimensions: {k: "l[].k"}\nquantities: {n: {path: "l[].n", unit: "1", by: [k]}}'
    decoded = decode(payloads({"l": [{"k": 1, "n": 1}, {"k": 1, "n": 2}]}), routes(profile(body)))
    assert rows(decoded) == [(0, ("1",), (1,)), (0, ("1",), (2,))]


def test_required() -> None:
    """A required quantity that is absent, in one row or in all, costs the whole uplink."""
    body = 'quantities: {n: {path: "l.{k}.n", unit: "1", by: [k], required: true}, a: {path: a, unit: mm}}'
    sent = payloads({"a": 1}, {"a": 1, "l": {"x": {"n": 1}}}, {"a": 1, "l": {"x": {"n": 1}, "y": {}}})
    decoded = decode(sent, routes(profile(body)))
    assert [(r.index, r.reason, r.readings) for r in decoded.rejections] == [
        (0, Reason.MISSING_FIELD, 0),
        (2, Reason.MISSING_FIELD, 0),
    ]
    assert {int(index) for one in decoded.readings for index in one.uplink} == {1}


def test_required_is_about_the_field() -> None:
    """A value that means «no reading» is there all the same."""
    body = "quantities: {a: {path: a, unit: mm, required: true, missing: [0]}, b: {path: b, unit: mm}}"
    decoded = decode(payloads({"a": 0, "b": 1}), routes(profile(body)))
    assert rows(decoded) == [(0, (), (None, 1))]


def test_formulas() -> None:
    """A derived quantity needs all that it reads; absent gives absent, infinite is refused."""
    body = """
parameters: {p: {unit: mm}}
quantities:
  c: {unit: mm, from: b * 2}
  b: {unit: mm, from: p / a}
  a: {path: a, unit: mm}
  x: {path: x, unit: mm}
"""
    devices = [device("d", parameters={"p": 6.0}), device("e")]
    here = routes(profile(body), devices=devices)
    decoded = decode(payloads({"a": 3}, {"x": 1}, {"a": 0}), here)
    names = [quantity.name for quantity in decoded.readings[0].group.quantities]
    found = [dict(zip(names, values, strict=True)) for _, _, values in rows(decoded)]
    assert found[0] == {"a": 3, "b": 2, "c": 4, "x": None}
    assert found[1] == {"a": None, "b": None, "c": None, "x": 1}
    assert found[2] == {"a": 0, "b": None, "c": None, "x": None}
    assert [(r.index, r.reason, r.readings) for r in decoded.rejections] == [(2, Reason.NOT_FINITE, 1)]
    unequipped = decode(payloads({"a": 3}, topic="t/s/e"), here)
    (rejection,) = unequipped.rejections
    assert (rejection.reason, rejection.readings) == (Reason.MISSING_PARAMETER, 1)
    assert "parameter p" in rejection.detail


def test_parameters_by_event_time() -> None:
    """The value that held at the event time counts, not today's."""
    body = """
time: {path: ts, unit: s}
parameters: {p: {unit: mm, default: 1}}
quantities: {a: {path: a, unit: mm}, b: {unit: mm, from: a * p}}
"""
    changed = device(parameters={"p": ((100 * 10**9, 10.0), (200 * 10**9, 20.0))})
    sent = payloads(*({"a": 1, "ts": ts} for ts in (99, 100, 199, 200)))
    decoded = decode(sent, routes(profile(body), devices=[changed]))
    assert [values[1] for _, _, values in rows(decoded)] == [1, 10, 10, 20]


def test_derived_states() -> None:
    """A formula may give a state's raw value."""
    raw = QuantityPlan(name="a", unit="1", kind=Kind.GAUGE, path="a")
    state = QuantityPlan(
        name="s",
        unit="1",
        kind=Kind.STATE,
        expression=parse("where(a > 5, 1, a)"),
        states=("off", "on"),
        state_values={0: 0, 1: 1},
    )
    decoded = decode(payloads({"a": 9}, {"a": 0}, {"a": 3}), routes(plan(state, raw)))
    assert rows(decoded) == [(0, (), (1, 9)), (1, (), (0, 0)), (2, (), (None, 3))]
    assert [r.reason for r in decoded.rejections] == [Reason.UNKNOWN_STATE]


def test_plans_that_contradict_themselves() -> None:
    """What the profile's compiler would refuse is refused here too, never met by a bug."""
    one = QuantityPlan(name="a", unit="1", kind=Kind.GAUGE, expression=parse("b + 1"))
    two = QuantityPlan(name="b", unit="1", kind=Kind.GAUGE, expression=parse("a + 1"))
    raw = QuantityPlan(name="a", unit="1", kind=Kind.GAUGE, path="l[].a")
    with pytest.raises(ConfigurationError, match="neither a quantity"):
        GroupDecoder(plan(one), plan(one).groups[0])
    with pytest.raises(ConfigurationError, match="circle"):
        GroupDecoder(plan(one, two), plan(one, two).groups[0])
    for dimensions in ({}, {"k": "other[].k"}):
        bad = plan(raw, by=("k",), dimensions=dimensions)
        with pytest.raises(ConfigurationError, match="dimension k"):
            ProfileDecoder(bad, tables={}, texts=SeriesTable(), max_series=9)
