"""Samples with times of their own inside one uplink: each becomes a reading at its time."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.decode.decoder import decode
from gateway.model import Reason, TimeSource
from gateway.profiles.compile import compile_profile
from tests.decode.plans import RECEIVED, device, payloads, profile, routes

if TYPE_CHECKING:
    from gateway.model import Device

S = 10**9
LOG = """samples: {list: "log[]", at: "log[].t", unit: s}
quantities:
  level: {path: "log[].level", unit: mm}
  battery: {path: bat, unit: V}
"""
T = RECEIVED // S


def read(
    plan: Any, *bodies: Any, devices: tuple[Device, ...] = ()
) -> tuple[list[dict[str, Any]], list[tuple[Reason, str, int]]]:
    """Return the rows (seconds before receipt, what was measured) and what was refused."""
    decoded = decode(payloads(*(json.dumps(body).encode() for body in bodies)), routes(plan, devices=devices))
    rows = [
        {
            "ago": round((RECEIVED - int(time)) / S, 6),
            **dict(zip(one.group.dimensions, one.table.keys[int(series)][2:], strict=True)),
            **{
                quantity.name: value
                for quantity, value in zip(one.group.quantities, row, strict=True)
                if not math.isnan(value)
            },
        }
        for one in decoded.readings
        for time, series, row in zip(one.time, one.series, one.values.T.tolist(), strict=True)
    ]
    return rows, [(one.reason, one.detail, one.readings) for one in decoded.rejections]


def test_each_has_the_time_beside_it() -> None:
    """What stands outside the list has the uplink's; they share a series and no row."""
    plan = profile(LOG)
    body = {"bat": 3.6, "log": [{"t": T - 600, "level": 5}, {"t": T - 300, "level": 7}, {"t": T, "level": 9}]}
    rows, refused = read(plan, body, {"bat": 3.5}, {"log": []}, {"log": [{"t": T - 60, "level": 1}]})
    assert rows == [
        {"ago": 600, "level": 5},
        {"ago": 300, "level": 7},
        {"ago": 0, "level": 9},
        {"ago": 0, "battery": 3.6},
        {"ago": 0, "battery": 3.5},
        {"ago": 60, "level": 1},
    ]
    assert refused == [(Reason.NO_READING, "none of the profile's quantities is there", 0)]


def test_the_device_is_said_to_have_told_them() -> None:
    decoded = decode(
        payloads(json.dumps({"bat": 3, "log": [{"t": T, "level": 5}]}).encode()), routes(profile(LOG))
    )
    assert [one.time_source.tolist() for one in decoded.readings] == [[TimeSource.DEVICE, TimeSource.RECEIPT]]


def test_a_sample_without_a_time_costs_only_itself() -> None:
    plan = profile(LOG)
    rows, refused = read(
        plan, {"log": [{"level": 5}, {"t": T - 9, "level": 6}, {"t": 1e30, "level": 7}, {"t": None}]}
    )
    assert rows == [{"ago": 9, "level": 6}]
    assert refused == [
        (Reason.TIME_MISSING, "log[].t is missing", 1),
        (Reason.NOT_REPRESENTABLE, "log[].t is no time from 1684 to 2255", 1),
    ]


def test_a_payload_that_is_a_list() -> None:
    plan = profile(
        'samples: {list: "[]", at: "[].time", unit: iso}\n'
        'quantities: {a: {path: "[].a"}, b: {path: "[].b"}}\n'
    )
    rows, _ = read(
        plan, [{"time": "2025-11-22T00:06:40Z", "a": 1, "b": 2}, {"time": "2025-11-22T00:06:30Z", "b": 3}]
    )
    assert sorted(row["ago"] for row in rows) == [0, 10]
    assert sorted((row.get("a"), row["b"]) for row in rows if "a" in row) == [(1, 2)]


def test_time_as_it_was_before_the_uplink() -> None:
    plan = profile(
        'samples: {list: "log[]", ago: "log[].age", unit: min}\n'
        'time: {path: t, unit: s}\nquantities: {a: {path: "log[].a"}}\n'
    )
    rows, refused = read(
        plan,
        {"t": T - 30, "log": [{"age": 10, "a": 1}, {"age": 0.5, "a": 2}, {"a": 3}, {"age": 1e9, "a": 4}]},
    )
    assert rows == [{"ago": 630, "a": 1}, {"ago": 60, "a": 2}]
    assert [reason for reason, _, _ in refused] == [Reason.TIME_MISSING, Reason.NOT_REPRESENTABLE]


@pytest.mark.parametrize(("first", "agos"), [("oldest", [1200, 600, 0]), ("newest", [0, 600, 1200])])
def test_values_a_step_apart(first: str, agos: list[int]) -> None:
    plan = profile(
        f'samples: {{list: "values[]", step: 10min, first: {first}}}\n'
        'quantities: {a: {path: "values[]"}}\n'
    )
    rows, _ = read(plan, {"values": [1, 2, 3]}, {"values": [4]})
    assert [(row["ago"], row["a"]) for row in rows] == [*zip(agos, [1, 2, 3], strict=True), (0, 4)]


def test_a_step_of_the_installation() -> None:
    plan = profile(
        "parameters: {period: {unit: min}}\n"
        'samples: {list: "v[]", step: period}\nquantities: {a: {path: "v[]"}}\n'
    )
    rows, _ = read(plan, {"v": [1, 2]}, devices=(device(parameters={"period": 15}),))
    assert rows == [{"ago": 900, "a": 1}, {"ago": 0, "a": 2}]
    rows, refused = read(plan, {"v": [1, 2]}, devices=(device(),))
    assert rows == []
    assert refused[0][:2] == (Reason.MISSING_PARAMETER, "the parameter period is missing")
    rows, refused = read(plan, {"v": [1] * 900}, devices=(device(parameters={"period": 1_000_000}),))
    assert len(rows) + sum(count for _, _, count in refused) == 900  # two years apart: nothing overflows


def test_dimensions_within_samples() -> None:
    plan = profile(
        'samples: {list: "log[]", at: "log[].t", unit: s}\n'
        'dimensions: {lane: "log[].lanes[].id"}\n'
        'quantities: {count: {path: "log[].lanes[].n", by: [lane], kind: event},'
        ' noise: {path: "log[].noise"}}\n'
    )
    lanes = [{"id": 1, "n": 4}, {"id": 2, "n": 5}]
    rows, _ = read(plan, {"log": [{"t": T - 60, "lanes": lanes, "noise": 40}, {"t": T, "lanes": lanes[:1]}]})
    assert [row for row in rows if "count" in row] == [
        {"ago": 60, "lane": "1", "count": 4},
        {"ago": 60, "lane": "2", "count": 5},
        {"ago": 0, "lane": "1", "count": 4},
    ]
    assert [row for row in rows if "noise" in row] == [{"ago": 60, "noise": 40}]


def test_derived_within_a_sample() -> None:
    plan = profile(
        'samples: {list: "log[]", at: "log[].t", unit: s}\n'
        'quantities: {a: {path: "log[].a"}, b: {path: "log[].b"}, c: {from: a + b}}\n'
    )
    rows, _ = read(plan, {"log": [{"t": T - 1, "a": 1, "b": 2}, {"t": T, "a": 5}]})
    assert rows == [{"ago": 1, "a": 1, "b": 2, "c": 3}, {"ago": 0, "a": 5}]


def test_an_interval_is_labelled_by_its_start() -> None:
    plan = profile(LOG + "covers: {length: 1h, label: end}\n")
    rows, _ = read(plan, {"log": [{"t": T - 60, "level": 1}]})
    assert rows == [{"ago": 3660, "level": 1}]


def test_a_binary_list_a_step_apart() -> None:
    plan = profile(
        "layout: [time:u32, {each: rest, of: [level:u16]}]\n"
        'samples: {list: "level[]", step: 1h, first: newest}\nquantities: {level: {unit: mm}}\n'
    )
    decoded = decode(payloads(T.to_bytes(4, "big") + bytes([0, 1, 0, 2])), routes(plan))
    (found,) = decoded.readings
    assert [(RECEIVED // S - int(t) // S, v) for t, v in zip(found.time, found.values[0], strict=True)] == [
        (0, 1),
        (3600, 2),
    ]


@given(
    st.lists(
        st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "t": st.none() | st.integers(T - 10**6, T) | st.floats() | st.integers(),
                    "level": st.none() | st.integers(0, 5000),
                },
            ),
            max_size=6,
        ),
        max_size=6,
    )
)
def test_what_stands_beside_it_changes_nothing(logs: list[list[dict[str, Any]]]) -> None:
    """Uplinks decoded together give what each gives alone, and none raises."""
    plan = profile(LOG)

    def rows(*bodies: Any) -> list[tuple[int, float]]:
        texts = [json.dumps(body).encode() for body in bodies]
        decoded = decode(payloads(*texts), routes(plan))
        return [
            (int(t), v)
            for one in decoded.readings
            for t, v in zip(one.time, one.values[0].tolist(), strict=True)
            if not math.isnan(v)
        ]

    bodies = [{"log": log} for log in logs]
    assert rows(*bodies) == [row for body in bodies for row in rows(body)]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (LOG.replace('"log[]"', '"log"'), "«log» is no list"),
        (LOG.replace('at: "log[].t", unit: s', ""), "one of «at», «ago», «step»"),
        (LOG.replace("unit: s}", "step: 1h}"), "one of «at», «ago», «step»"),
        (LOG.replace(", unit: s", ""), "in which unit is «at»?"),
        (LOG.replace("unit: s}", "unit: week}"), "«week» is no unit of times"),
        (LOG.replace('"log[].t"', '"t"'), "does not lead to one value of each element"),
        (LOG.replace('"log[].t"', '"log[].t[]"'), "does not lead to one value of each element"),
        (LOG.replace("unit: s}", "unit: s, first: newest}"), "«first» goes with «step»"),
        (LOG.replace('"log[].level"', "level"), "no quantity is held by the list"),
        (LOG.replace('at: "log[].t", unit: s', "step: period"), "there is no parameter «period»"),
        (LOG.replace('at: "log[].t", unit: s', 'ago: "log[].t", unit: mm'), "not a unit of time"),
        (LOG + "covers: {path: p, unit: s, label: end}\n", "an interval's length is «length»"),
        (LOG.replace('"log[].t"', '"log[].level.t"'), "disagree on what stands there"),
    ],
)
def test_mistakes_are_named(text: str, told: str) -> None:
    heading = 'profile: p\nversion: 1\nfamily: waste\ntopics: ["t/{device}"]\n'
    _, problems = compile_profile(heading + text, where="p.yaml")
    assert any(told in str(problem) for problem in problems), problems
    assert all(problem.line for problem in problems)
