"""SenML packs and CSV lines: what is read, at which times, what is refused, and that nothing raises."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.decode.decoder import decode
from gateway.model import Reason
from gateway.profiles.compile import compile_profile
from tests.decode.plans import RECEIVED, payloads, profile, routes

S = 10**9
T = RECEIVED // S
Row = tuple[float, dict[str, float]]
SENML = profile(
    "format: senml\n"
    "quantities: {temperature: {unit: Cel}, water: {path: water_sum, unit: L, kind: counter},"
    " open: {path: door, states: {true: opened, false: closed}}, level: {unit: mm}}\n"
)
CSV = profile(
    'time: {path: at, unit: s}\ncsv: {columns: [at, level, "", door], separator: ";"}\n'
    "quantities: {level: {unit: mm}, door: {states: {o: opened, c: closed}}}\n"
)
LABELS = {"bver": -1, "bn": -2, "bt": -3, "bu": -4, "bv": -5, "bs": -6}
LABELS |= {"n": 0, "u": 1, "v": 2, "vs": 3, "vb": 4, "s": 5, "t": 6, "ut": 7, "vd": 8}


def read(
    plan: Any, *bodies: bytes
) -> tuple[list[tuple[float, dict[str, float]]], list[tuple[Reason, str, int]]]:
    """Return rows (seconds before receipt, values) in order of time, and what was refused."""
    decoded = decode(payloads(*bodies), routes(plan))
    rows = [
        (
            round((RECEIVED - int(time)) / S, 6),
            {q.name: v for q, v in zip(one.group.quantities, row, strict=True) if not math.isnan(v)},
        )
        for one in decoded.readings
        for time, row in zip(one.time, one.values.T.tolist(), strict=True)
    ]
    return rows, [(one.reason, one.detail, one.readings) for one in decoded.rejections]


def in_cbor(pack: list[dict[str, Any]]) -> bytes:
    return cbor2.dumps([{LABELS[key]: value for key, value in record.items()} for record in pack])


PACKS: list[tuple[list[dict[str, Any]], list[Row]]] = [
    ([{"n": "temperature", "v": 21.5}], [(0, {"temperature": 21.5})]),
    ([{"bn": "urn:dev:ow:10e2073a01080063:temperature", "u": "Cel", "v": 23}], [(0, {"temperature": 23})]),
    (
        [
            {"bn": "urn:dev:mac:24befffe804ff1/", "bt": T - 100, "bu": "Cel", "n": "temperature", "v": 1},
            {"n": "level", "u": "m", "v": 0.5},
            {"n": "temperature", "v": 2, "t": 10},
            {"n": "door", "vb": True, "t": 20},
        ],
        [(100, {"temperature": 1, "level": 500}), (90, {"temperature": 2}), (80, {"open": 0})],
    ),
    (
        [{"n": "temperature", "v": 1, "t": -30}, {"n": "temperature", "v": 2}],
        [(30, {"temperature": 1}), (0, {"temperature": 2})],
    ),
    ([{"bs": 100, "bu": "m3", "n": "water", "s": 2}], [(0, {"water": 102_000})]),
    (
        [{"bv": 20, "n": "temperature", "v": 1.5}, {"n": "level", "u": "mm"}],
        [(0, {"temperature": 21.5, "level": 20})],
    ),
    ([{"n": "temperature", "v": 1, "t": T + 0.25}], [(-0.25, {"temperature": 1})]),
]


@pytest.mark.parametrize(("pack", "rows"), PACKS)
def test_packs_in_json_and_cbor(pack: list[dict[str, Any]], rows: Any) -> None:
    assert read(SENML, json.dumps(pack).encode()) == (rows, [])
    assert read(SENML, in_cbor(pack)) == (rows, [])


@pytest.mark.parametrize(
    ("pack", "reason", "told"),
    [
        ([{"v": 1}], Reason.MISSING_FIELD, "a record has no name"),
        ([{"n": "@time", "v": 1}], Reason.MISSING_FIELD, "a record has no name"),
        ([{"bn": "urn:", "v": 1}], Reason.MISSING_FIELD, "a record has no name"),
        ([{"n": "temperature", "v": "x"}], Reason.WRONG_TYPE, "«v» is no number"),
        ([{"n": "temperature", "v": 1, "t": 1e15}], Reason.NOT_REPRESENTABLE, "no time from 1684"),
        ([{"bver": 11, "n": "temperature", "v": 1}], Reason.UNREADABLE, "version 11; 10 is understood"),
        ([{"n": "temperature", "v": 1, "x_": 1}], Reason.UNREADABLE, "x_ must be understood"),
        (
            [{"n": "a.b", "v": 1}, {"n": "a", "v": 1}, {"n": "a.b", "v": 1}],
            Reason.WRONG_TYPE,
            "a value and an object",
        ),
        ([1], Reason.UNREADABLE, "a list of records"),
        ({"n": "temperature"}, Reason.UNREADABLE, "no CBOR"),
        ([], Reason.NO_READING, "none of the profile's quantities"),
    ],
)
def test_what_is_no_pack_is_refused(pack: Any, reason: Reason, told: str) -> None:
    _, ((found, detail, readings),) = read(SENML, json.dumps(pack).encode())
    assert (found, readings) == (reason, 0)
    assert told in detail


def test_another_unit_costs_its_reading() -> None:
    pack = [{"n": "temperature", "u": "lx", "v": 1}, {"n": "level", "v": 2}]
    rows, refused = read(SENML, json.dumps(pack).encode())
    assert rows == [(0, {"level": 2})]
    assert refused == [(Reason.WRONG_TYPE, "temperature: its unit is lx, and Cel is wanted", 1)]


@given(st.binary(max_size=60) | st.builds(lambda text: b"[" + text, st.binary(max_size=40)))
def test_nothing_raises(payload: bytes) -> None:
    for plan in (SENML, CSV):
        rows, refused = read(plan, payload)
        assert rows or refused


@given(
    st.lists(
        st.fixed_dictionaries(
            {"n": st.sampled_from(["temperature", "level", "x"]), "v": st.integers(-(10**6), 10**6)},
            optional={
                "t": st.integers(T - 10**6, T),
                "bv": st.integers(-5, 5),
                "u": st.sampled_from(["Cel", "mm"]),
            },
        ),
        max_size=8,
    )
)
def test_both_forms_say_the_same(pack: list[dict[str, Any]]) -> None:
    assert read(SENML, json.dumps(pack).encode()) == read(SENML, in_cbor(pack))


def test_lines_of_cells() -> None:
    """A cell that has no name is passed over, an empty one is no reading; a comma may be the point."""
    body = f"{T - 60};1500,5;x;o\r\n{T};;y;c\n".encode()
    assert read(CSV, body) == ([(60, {"level": 1500.5, "door": 0}), (0, {"door": 1})], [])
    assert read(CSV, b";7;;") == ([(0, {"level": 7})], [])


def test_a_first_line_of_headings() -> None:
    plan = profile("csv: {header: true}\nquantities: {level: {unit: mm}, t: {path: temp, unit: Cel}}\n")
    assert read(plan, b"temp,other,level\n-1.5,a,20\n") == ([(0, {"level": 20, "t": -1.5})], [])
    assert read(plan, b'"temp",level\n"1","2"') == ([(0, {"level": 2, "t": 1})], [])


@pytest.mark.parametrize(
    ("body", "reason", "told"),
    [
        (b"1;2;3", Reason.UNREADABLE, "line 1 has 3 cells, not 4"),
        (b"", Reason.NO_READING, "no line of values"),
        (b"\xff;;;", Reason.NOT_UTF8, "byte 0 is not UTF-8"),
        (b'"1;2', Reason.UNREADABLE, "no CSV"),
        (b"1;high;;", Reason.WRONG_TYPE, "Expected `float"),
        (b"1;1e999;;", Reason.NOT_FINITE, "beyond every number"),
    ],
)
def test_what_are_no_lines_is_refused(body: bytes, reason: Reason, told: str) -> None:
    _, ((found, detail, readings),) = read(CSV, body)
    assert (found, readings) == (reason, 0), detail
    assert told in detail


@given(
    st.lists(
        st.tuples(st.integers(T - 10**6, T), st.integers(0, 5000)),
        min_size=1,
        max_size=5,
        unique_by=lambda r: r[0],
    )
)
def test_what_is_written_is_read(rows: list[tuple[int, int]]) -> None:
    text = io.StringIO()
    csv.writer(text, delimiter=";").writerows([time, level, "", ""] for time, level in rows)
    expected = [(T - time, {"level": float(level)}) for time, level in rows]
    assert read(CSV, text.getvalue().encode()) == (expected, [])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("format: csv\nquantities: {a: {}}\n", "which columns?"),
        ("format: senml\ntime: {path: t, unit: s}\nquantities: {a: {}}\n", "SenML has its own times"),
        ('format: senml\nsamples: {list: "[]", step: 1h}\nquantities: {a: {}}\n', "each has its own time"),
        ("csv: {columns: [a, a]}\nquantities: {a: {}}\n", "two columns are called «a»"),
        ("csv: {columns: [a], header: true}\nquantities: {a: {}}\n", "either in «columns», or in a «header»"),
        ("csv: {}\nquantities: {a: {}}\n", "either in «columns», or in a «header»"),
        ("format: json\ncsv: {columns: [a]}\nquantities: {a: {path: a}}\n", "belongs to the format «csv»"),
        ('csv: {columns: [a], separator: ";;"}\nquantities: {a: {}}\n', "csv.separator"),
    ],
)
def test_mistakes_are_named(text: str, told: str) -> None:
    heading = 'profile: p\nversion: 1\nfamily: waste\ntopics: ["t/{device}"]\n'
    _, problems = compile_profile(heading + text, where="p.yaml")
    assert any(told in str(problem) for problem in problems), problems
