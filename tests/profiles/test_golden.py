"""Golden payloads."""

from __future__ import annotations

import pytest

from gateway.model import Reason
from gateway.profiles.golden import GoldenExample, GoldenReading, differences, read_golden
from tests.profiles.texts import plan_of

PLAN = plan_of("""\
parameters: {empty: {unit: mm}}
dimensions: {lane: "lanes[].lane"}
quantities:
  a: {path: a}
  s: {path: s, states: [up, down]}
  n: {path: "lanes[].n", by: [lane]}
""")
AT = 1_795_342_500 * 10**9


def examples(text: str) -> tuple[GoldenExample, ...]:
    """Read a golden file that must be good."""
    found, problems = read_golden(text, PLAN, where="golden.yaml")
    assert not problems, "\n".join(map(str, problems))
    return found


def test_an_example_with_everything() -> None:
    """Rows become readings, one for each quantity; dimensions are texts."""
    text = """\
received: 2026-11-22T10:15:02Z
parameters: {empty: 1800}
examples:
  - name: first
    topic: a/lyon/x
    parameters: {empty: 2000}
    payload: '{"a": 1}'
    readings:
      - {at: 2026-11-22T10:15:00Z, a: 1, s: down}
      - {at: 2026-11-22T10:15:00Z, lane: 2, n: 7}
    rejected: wrong type
"""
    assert examples(text) == (
        GoldenExample(
            name="first",
            topic="a/lyon/x",
            payload=b'{"a": 1}',
            received_ns=AT + 2 * 10**9,
            parameters={"empty": 2000.0},
            readings=(
                GoldenReading("a", (), AT, 1.0),
                GoldenReading("s", (), AT, "down"),
                GoldenReading("n", (("lane", "2"),), AT, 7.0),
            ),
            reason=Reason.WRONG_TYPE,
        ),
    )


@pytest.mark.parametrize(
    ("payload", "sent"),
    [
        ("payload: {a: 1, lanes: [{n: 2}]}", b'{"a":1,"lanes":[{"n":2}]}'),
        ("payload: [1, é]", '[1,"é"]'.encode()),
        ("payload: ''", b""),
        ("payload_hex: 00 ff", b"\x00\xff"),
    ],
)
def test_ways_to_write_a_payload(payload: str, sent: bytes) -> None:
    """A text as sent, a mapping sent as JSON, bytes."""
    text = (
        f"examples: [{{name: x, topic: a/b, received: 2026-11-22T10:15:00Z, rejected: not json, {payload}}}]"
    )
    assert examples(text)[0].payload == sent


@pytest.mark.parametrize(
    ("example", "says"),
    [
        ("{topic: a, payload: x, rejected: not json}", "«examples.0.name» is missing"),
        ("{name: x, topic: a, rejected: not json}", "either «payload» or «payload_hex»"),
        ("{name: x, topic: a, payload: x}", "what must become of it?"),
        ("{name: x, topic: a, payload: x, rejected: dull}", "must be 'not utf-8'"),
        ("{name: x, topic: a, payload_hex: abc, rejected: not json}", "hexadecimal"),
        ("{name: x, topic: a, payload: x, parameters: {full: 1}, rejected: not json}", "no parameter «full»"),
        ("{name: x, topic: a, payload: x, readings: [{a: 1}]}", "«at» is missing"),
        ("{name: x, topic: a, payload: x, readings: [{at: now, a: 1}]}", "«now» is not an instant"),
        ("{name: x, topic: a, payload: x, readings: [{at: 2026-01-01T00:00:00Z, b: 1}]}", "no quantity «b»"),
        (
            "{name: x, topic: a, payload: x, readings: [{at: 2026-01-01T00:00:00Z, n: 1}]}",
            "«n» is by lane too",
        ),
        (
            "{name: x, topic: a, payload: x, readings: [{at: 2026-01-01T00:00:00Z, s: 1}]}",
            "«s» is up or down",
        ),
        ("{name: x, topic: a, payload: x, rejcted: not json}", "(did you mean «rejected»?)"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(example: str, says: str) -> None:
    """Names are checked against the plan."""
    text = f"received: 2026-11-22T10:15:00Z\nexamples:\n  - {example}\n"
    found, problems = read_golden(text, PLAN, where="golden.yaml")
    assert not found
    assert any(says in str(problem) for problem in problems), problems
    assert all(problem.line == 3 for problem in problems)


def test_an_example_needs_a_receive_time_and_a_name_of_its_own() -> None:
    """Else nobody knows which one failed."""
    one = "{name: x, topic: a, payload: x, rejected: not json}"
    _, problems = read_golden(f"examples: [{one}, {one}]", PLAN, where="g")
    assert [problem.what for problem in problems] == [
        "when was it received?",
        "two examples are called «x»",
    ] * 2


def test_no_difference_within_the_tolerance() -> None:
    """In any order, relative to the value."""
    expected = [GoldenReading("a", (), AT, 1e9), GoldenReading("s", (), AT, "up")]
    assert differences(expected, [expected[1], GoldenReading("a", (), AT, 1e9 + 1)]) == []


def test_differences_are_one_line_each() -> None:
    """What is missing, what is otherwise, what came besides."""
    expected = [
        GoldenReading("a", (), AT, 1.0),
        GoldenReading("s", (), AT, "up"),
        GoldenReading("b", (), AT, 3.0),
    ]
    found = [
        GoldenReading("a", (), AT, 1.1),
        GoldenReading("s", (), AT, "up"),
        GoldenReading("n", (("lane", "2"),), AT, 7.0),
    ]
    assert differences(expected, found) == [
        "expected a at 2026-11-22T10:15:00Z = 1.0, got 1.1",
        "expected b at 2026-11-22T10:15:00Z = 3.0, got nothing",
        "not expected: n lane=2 at 2026-11-22T10:15:00Z = 7.0",
    ]
