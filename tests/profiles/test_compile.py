"""A whole profile."""

from __future__ import annotations

import pytest

from gateway.errors import ConfigurationError
from gateway.profiles.compile import compile_profile, compile_text
from gateway.profiles.plan import CoversPlan, HistoryPlan, TimePlan, WindowPlan
from tests.profiles.texts import only_problem, plan_of, problems_of, profile

A = "quantities: {a: {path: a}}\n"
HOUR = 3600 * 10**9


def test_defaults_of_the_shortest_profile() -> None:
    """Windows, lateness and bounds mean something without being said."""
    plan = plan_of(A)
    assert (plan.name, plan.version, plan.family, plan.key) == ("acme", 1, "waste", "acme@1")
    assert plan.text == profile(A)
    assert [window.name for window in plan.windows] == ["15m", "1h", "1d"]
    assert (plan.lateness_ns, plan.max_ahead_ns, plan.max_age_ns) == (72 * HOUR, HOUR // 12, 720 * HOUR)
    assert (plan.every_ns, plan.time, plan.covers, plan.history, plan.sequence) == (0, None, None, None, None)
    assert (plan.format, plan.retained, plan.qos, plan.privacy) == ("json", "ignore", 1, "none")
    assert (plan.max_payload, plan.max_depth, plan.max_readings) == (16_384, 8, 1_000)


def test_everything_that_a_profile_can_say() -> None:
    """Each key reaches the plan."""
    body = (
        A
        + """\
time: {path: t, unit: ms, required: true}
sequence: seq
every: 10min
lateness: 7d
max_ahead: 1min
max_age: 60d
windows: [1h, 1min, 1d, 24h]
tags: [street, district]
retained: state
qos: 2
privacy: personal
keep: {raw: 7d, 60min: {for: 2a, needs: consent}}
limits: {payload: 1000, depth: 3, readings: 10}
"""
    )
    plan = plan_of(body)
    assert plan.time == TimePlan(path="t", unit="ms", required=True)
    assert (plan.sequence, plan.every_ns, plan.lateness_ns, plan.max_age_ns) == (
        "seq",
        HOUR // 6,
        168 * HOUR,
        1440 * HOUR,
    )
    assert plan.windows == (WindowPlan("1m", HOUR // 60), WindowPlan("1h", HOUR), WindowPlan("1d", 24 * HOUR))
    assert (plan.place_tags, plan.retained, plan.qos, plan.privacy) == (
        ("street", "district"),
        "state",
        2,
        "personal",
    )
    assert (plan.max_payload, plan.max_depth, plan.max_readings) == (1000, 3, 10)


@pytest.mark.parametrize(
    ("covers", "expected"),
    [
        ("{length: 15min, label: end}", CoversPlan(label="end", align=False, length_ns=HOUR // 4)),
        (
            "{param: interval, label: end, align: true}",
            CoversPlan(label="end", align=True, parameter="interval", parameter_ns=60 * 10**9),
        ),
        ("{path: p, label: start}", CoversPlan(label="start", align=False, path="p", path_ns=10**9)),
        (
            "{path: p, unit: min, label: start}",
            CoversPlan(label="start", align=False, path="p", path_ns=60 * 10**9),
        ),
    ],
)
def test_intervals(covers: str, expected: CoversPlan) -> None:
    """A length that is said, a parameter's, or the payload's."""
    plan = plan_of(A + f"parameters: {{interval: {{unit: min, default: 15}}}}\ncovers: {covers}\n")
    assert plan.covers == expected
    assert plan.every_ns == expected.length_ns  # a known length is the expected interval too


def test_history() -> None:
    """A step that is said, or a parameter's; the time's unit unless another is given."""
    body = "time: {path: ts, unit: s}\nparameters: {step: {unit: h, default: 1}}\n"
    body += "quantities: {index: {path: i, kind: counter}}\n"
    said = plan_of(body + "history: {of: index, start: log.i, at: log.ts, step: 1h, add: log.d}\n").history
    assert said == HistoryPlan(
        quantity="index", start="log.i", at="log.ts", at_unit="s", add="log.d", step_ns=HOUR
    )
    asked = plan_of(body + "history: {of: index, start: a, at: b, step: step, add: d, unit: iso}\n").history
    assert asked == HistoryPlan(
        quantity="index", start="a", at="b", at_unit="iso", add="d", parameter="step", parameter_ns=HOUR
    )


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ("windows: [7min]", "does not divide a day"),
        ("windows: [500ms]", "does not divide a day into whole seconds"),
        ("windows: [40min, 1h]", "a window of 1h is no multiple of 40m"),
        ("windows: []", "windows: must not be empty"),
        ("max_age: 1d", "«max_age» (1d) is shorter than «lateness»"),
        ("keep: {5min: 1d}", "there is no window «5m» to keep (there are raw, 15m, 1h, 1d)"),
        ("keep: {ever: 1d}", "«ever» is not a duration"),
        ("covers: {label: end}", "one of «length», «param», «path»"),
        ("covers: {label: end, length: 1h, path: p}", "one of «length», «param», «path»"),
        ("covers: {label: end, param: p}", "there is no parameter «p»"),
        ("covers: {label: end, path: p, unit: m}", "not a unit of time"),
        ('covers: {label: end, path: "p[].x"}', "must lead to one value"),
        ('time: {path: "a[].t", unit: s}', "disagree"),
        ('time: {path: "t[]", unit: s}', "must lead to one value"),
        ("time: {path: a.t, unit: s}", "«a» and another path disagree on what stands there"),
        ('sequence: "{n}"', "disagree"),
        ("history: {of: b, start: s, at: t, step: 1h, add: d, unit: s}", "«b» must be a measured number"),
        ("history: {of: a, start: s, at: t, step: 1h, add: d}", "in which unit is «at»?"),
        ("history: {of: a, start: s, at: t, step: x, add: d, unit: s}", "there is no parameter «x»"),
        ("parameters: {a: {default: 1}}", "«a» is a quantity already"),
        ("parameters: {p: {default: 5, range: [0, 1]}}", "the default lies outside «range»"),
        ("parameters: {p: {range: [2, 1]}}", "«range» must be [lowest, highest]"),
        ("parameters: {min: {default: 1}}", "means something else in a formula"),
        ("dimensions: {way: w}", "no quantity is measured by «way»"),
        ("tags: [a]", "«a» is a quantity already"),
        ("tags: [device]", "is a name that Écluse writes itself"),
        ("statistics: {event: [increment]}", "kind event has no increment"),
        (
            "format: xml",
            "format: must be 'json', 'binary', 'decoded', 'cbor', 'value', 'senml'",
        ),
        ("qos: 0", "qos: must be 1 or 2"),
    ],
)
def test_what_a_profile_may_not_say(extra: str, says: str) -> None:
    """With the line of what is wrong."""
    problems = problems_of(A + extra + "\n")
    assert any(says in str(problem) for problem in problems), problems
    assert all(problem.line in (5, 6) for problem in problems)


@pytest.mark.parametrize(
    ("topic", "says"),
    [
        ("a/b", "{device} exactly once"),
        ("a/{device}/{device}", "{device} exactly once"),
        ("a/{device}/{town}", "no other {name}"),
        ("a/{site}/{site}/{device}", "no other {name}"),
        ("a/x{device}", "each level of a topic is a text or one {name}"),
        ("a//{device}", "each level"),
        ("a/+/{device}", "no + and no #"),
        ("a/{device}/#", "no + and no #"),
        ("$SYS/{device}", "belong to the broker"),
    ],
)
def test_topics(topic: str, says: str) -> None:
    """A topic names its device."""
    text = profile(A).replace("a/{site}/{device}", topic)
    _, problems = compile_profile(text, where="p")
    assert says in str(problems[0])


def test_no_field_is_written_twice() -> None:
    """Bits, statistics and the row's own fields share one name space."""
    twice = [
        "quantities: {a: {path: a}, s: {path: s, bits: {1: a}}}",
        "quantities: {a: {path: a}, a_mean: {path: b, kind: counter, statistics: [count]}, x: {path: x}}",
        "quantities: {suspect: {path: a}}",
        "quantities: {s: {path: s, bits: {1: leak}}, t: {path: t, bits: {1: leak}}}",
    ]
    expected = ["«a»", None, "«suspect_count»", "«leak»"]
    for body, field in zip(twice, expected, strict=True):
        if field is None:
            plan_of(body)
        else:
            assert any(f"the field {field} would be written twice" in str(p) for p in problems_of(body))


def test_several_faults_are_told_in_the_order_of_the_text() -> None:
    """Those that need the whole document too."""
    body = "windows: [40min, 1h]\nquantities:\n  b: {path: b, scale: 0}\n  a: {from: x + 1}\nmax_age: 1d\n"
    assert [problem.line for problem in problems_of(body)] == [5, 7, 8, 9]


def test_compile_text_raises_with_every_problem() -> None:
    """For texts that were checked before: a control record's, a checkpoint's."""
    assert compile_text(profile(A), name="acme").name == "acme"
    with pytest.raises(ConfigurationError) as refused:
        compile_text(profile("quantities: {a: {path: a, unit: X}}"), name="acme")
    assert str(refused.value).startswith("acme:5:33: quantities.a.unit: «X» is not a UCUM unit")


def test_plans_of_one_text_are_equal() -> None:
    """A replay compiles the journalled text to the same plan."""
    assert plan_of(A) == plan_of(A)
    assert only_problem("quantities: {a: {path: a, unit: X}}")
