"""From a profile's text to its document, with places."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.profiles.document import MAX_BYTES, compose
from gateway.profiles.extending import read
from tests.profiles.texts import profile

GOOD = "quantities: {battery: {path: bat, unit: V}}\n"


def faults(text: str) -> list[str]:
    """Return the problems of a text that must not be valid."""
    source, document = read(text, "p.yaml")
    assert document is None
    return [str(problem) for problem in source.faults]


def test_a_good_profile_is_read() -> None:
    """The document holds what was written, and defaults."""
    source, document = read(profile(GOOD), "p.yaml")
    assert not source.faults
    assert document is not None
    assert document.profile == "acme"
    assert document.quantities["battery"].unit == "V"


def test_scalars_follow_yaml_1_2() -> None:
    """`off`, `no`, 12:30 and 0175 are not what YAML 1.1 makes of them."""
    data = compose(
        '{a: off, b: no, c: 12:30, e: true, f: null, g: 1e3, h: -7, i: ".5", j: .5, k: 2026-01-01, l: ~}',
        "",
    )
    assert data.data == {
        "a": "off", "b": "no", "c": "12:30", "e": True, "f": None, "g": 1000.0,
        "h": -7, "i": ".5", "j": 0.5, "k": "2026-01-01", "l": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "p.yaml:1:1: a profile is a mapping"),
        ("- a", "p.yaml:1:1: a profile is a mapping"),
        ("a: [", "p.yaml:1:5: not YAML"),
        ("a: b: c", "p.yaml:1:5: not YAML"),
        ("a: 1\n---\nb: 2", "not YAML"),
        ("a: 1\nb: 2\na: 3", "p.yaml:3:1: «a» stands twice"),
        ("a: {1: x, 01: y}", "p.yaml:1:11: «01» stands twice"),
        ("a: &x 1\nb: *x", "p.yaml:2:4: not YAML: an alias"),
        ("a: &x [*x]", "p.yaml:1:8: not YAML: an alias"),
        ("a: !!python/object/apply:os.system [ls]", "p.yaml:1:4: the tag"),
        ("a: !secret x", "p.yaml:1:4: the tag !secret"),
        ("? [1, 2]\n: 3", "p.yaml:1:3: a key must be a text or a number"),
        ("[" * 30 + "]" * 30, "p.yaml:1:21: not YAML: nested deeper than 20"),
        ("a: \x07", "not YAML"),
        ("#" * (MAX_BYTES + 1), "longer than"),
    ],
)
def test_what_is_no_plain_yaml(text: str, says: str) -> None:
    """Each is refused with its place; none is executed, expanded or recursed into."""
    (first, *_) = faults(text)
    assert says in first


def test_every_error_is_told_at_once_with_line_and_column() -> None:
    """In the order of the text, with what to do."""
    text = """\
profile: Acme
version: 0
topics: [a/b]
lateness: forever
quantities:
  distance: {path: d, unit: °C, rnge: [1, 2]}
  Fill: {path: f}
"""
    names = "use small letters, digits and _, beginning with a letter"
    expected = """\
1:1: «family» is missing (name the measurement, such as «family: waste»)
1:10: profile: 'Acme' is not a name that is understood here (NAMES)
2:10: version: must be greater than or equal to 1
3:10: topics.0: a topic holds {device} exactly once, such as city/{site}/bin/{device}/up
4:11: lateness: «forever» is not a duration: write 30s, 15min, 72h or 7d
6:29: quantities.distance.unit: «°C» is not a UCUM unit; write «Cel»
6:33: «quantities.distance.rnge» is not a key that is understood (did you mean «range»?)
7:3: quantities.Fill: 'Fill' is not a name that is understood here (NAMES)"""
    assert faults(text) == [f"p.yaml:{line}" for line in expected.replace("NAMES", names).split("\n")]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("quantities: {a: {path: a, range: [1]}}", "quantities.a.range.1: must be [lowest, highest]"),
        ("quantities: {a: {path: a, range: 1}}", "quantities.a.range: must be a list"),
        ("quantities: {a: {path: a, range: [1, true]}}", "quantities.a.range.1: must be a number"),
        ("quantities: {a: {path: 7}}", "quantities.a.path: must be a text"),
        ("quantities: {a: 7}", "quantities.a: must be a mapping"),
        ("quantities: {}", "quantities: must not be empty"),
        ("quantities: 7", "quantities: must be a mapping"),
        ("quantities: {a: {path: a, required: 7}}", "quantities.a.required: must be true or false"),
        ("quantities: {a: {path: a, kind: metre}}", "quantities.a.kind: must be 'gauge', 'counter', 'event'"),
    ],
)
def test_errors_are_sentences(body: str, says: str) -> None:
    """Not one speaks of Python or of pydantic."""
    (only,) = faults(profile(body))
    assert says in only


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("quantity: {}\n" + GOOD, "«quantity» is not a key that is understood (did you mean «quantities»?)"),
        (
            GOOD + "time: {path: ts, units: ms}\n",
            "«time.units» is not a key that is understood (did you mean «unit»?)",
        ),
        (GOOD + "parameters: {a: {defualt: 1}}\n", "(did you mean «default»?)"),
        ("quantities: {a: {path: a, flat: {fro: 1h, for: 2h}}}", "(did you mean «for»?)"),
        (GOOD + "keep: {raw: {for: 7d, need: consent}}\n", "(did you mean «needs»?)"),
        (GOOD + "limits: {zzz: 1}\n", "(there are payload, depth, readings)"),
    ],
)
def test_an_unknown_key_gets_the_nearest_known_one(body: str, says: str) -> None:
    """Of the section in which it stands."""
    assert any(says in fault for fault in faults(profile(body)))


def test_a_missing_key_points_to_its_section() -> None:
    """There is no place of what is not there."""
    assert faults(profile(GOOD + "time: {path: ts}\n")) == ["p.yaml:6:1: «time.unit» is missing"]


@given(st.text(max_size=200))
def test_reading_never_raises(text: str) -> None:
    """Whatever a file holds, its problems are values."""
    source, document = read(text, "p.yaml")
    assert (document is None) == bool(source.faults)


@given(
    st.recursive(
        st.sampled_from(["a", "1", "~", "'x'", "*a", "&a b", "!t c"]),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3).map(lambda items: "[" + ", ".join(items) + "]"),
            st.dictionaries(
                st.sampled_from(["profile", "quantities", "time", "by", "a"]), inner, max_size=3
            ).map(lambda d: "{" + ", ".join(f"{k}: {v}" for k, v in d.items()) + "}"),
        ),
        max_leaves=8,
    )
)
def test_reading_never_raises_on_any_shape(text: str) -> None:
    """The same, for texts that are YAML."""
    source, document = read(profile(f"quantities: {text}\ntime: {text}\nstatistics: {text}\n"), "p.yaml")
    assert (document is None) == bool(source.faults)
