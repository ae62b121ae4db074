"""Filters, templates and the cover without overlap."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paho.mqtt.client import topic_matches_sub

from gateway.ingest.topics import (
    Template,
    check_filter,
    check_topic,
    cover,
    includes,
    matches,
    overlap,
    widened,
)

LEVEL = st.sampled_from(("a", "b", "", "$SYS"))
TOPICS = st.lists(LEVEL, min_size=1, max_size=4).map("/".join).filter(bool)
FILTERS = (
    st.builds(
        lambda levels, tail: "/".join([*levels, *tail]),
        st.lists(LEVEL | st.just("+"), max_size=4),
        st.sampled_from(((), ("#",))),
    )
    .filter(bool)
    .filter(lambda wanted: "/$SYS" not in wanted)
)


def test_a_template_becomes_a_filter_and_reads_topics() -> None:
    """Names become + and values."""
    template = Template.parse("city/{site}/bin/{device}/up")
    assert template.filter == "city/+/bin/+/up"
    assert template.names == ("site", "device")
    assert template.match("city/orléans/bin/b 7/up".encode()) == {"site": "orléans", "device": "b 7"}


@pytest.mark.parametrize(
    "topic",
    [
        b"city/paris/bin/7",
        b"city/paris/bin/7/up/x",
        b"city//bin/7/up",
        b"town/p/bin/7/up",
        b"city/\xff/bin/7/up",
    ],
)
def test_another_topic_gives_nothing(topic: bytes) -> None:
    """Fewer levels, more, an empty name, another text, not UTF-8."""
    assert Template.parse("city/{site}/bin/{device}/up").match(topic) is None


def test_plain_levels_are_no_patterns() -> None:
    """Signs of regular expressions stand for themselves."""
    template = Template.parse("a.b/{device}/(x)")
    assert template.match(b"a.b/1/(x)") == {"device": "1"}
    assert template.match(b"aXb/1/(x)") is None


@pytest.mark.parametrize("text", ["", "a/{x}y", "a/+/{x}", "a/#", "{x}/{x}", "a/{X}", "a/{x", "a\0/{x}"])
def test_what_is_no_template_is_refused(text: str) -> None:
    """With a sentence that names it."""
    with pytest.raises(ValueError, match=r"\w"):
        Template.parse(text)


@pytest.mark.parametrize("wanted", ["#", "+", "a/#", "+/a/+", "/", "$share/g/a/+", "$SYS/#", "é"])
def test_valid_filters(wanted: str) -> None:
    """Wildcards are whole levels, # the last."""
    check_filter(wanted)


@pytest.mark.parametrize(
    "wanted", ["", "a+", "a/#/b", "a#", "\0", "x" * 65_536, "$share/g", "$share//a", "\ud800", "$share/g/a#"]
)
def test_invalid_filters(wanted: str) -> None:
    """Each is refused with a sentence."""
    with pytest.raises(ValueError, match="filter"):
        check_filter(wanted)


def test_a_topic_has_no_wildcards() -> None:
    """Neither + nor #."""
    check_topic("city/paris")
    for topic in ("", "a/+", "a/#", "a\0"):
        with pytest.raises(ValueError, match="topic"):
            check_topic(topic)


@settings(deadline=None)
@given(FILTERS, TOPICS)
def test_matching_agrees_with_paho(wanted: str, topic: str) -> None:
    """What a broker would send."""
    assert matches(wanted, topic) == topic_matches_sub(wanted, topic)


@settings(deadline=None)
@given(FILTERS, FILTERS, TOPICS)
def test_including_means_every_topic(wide: str, narrow: str, topic: str) -> None:
    """A topic of the narrow one is one of the wide one; a topic of both is an overlap."""
    if includes(wide, narrow) and matches(narrow, topic):
        assert matches(wide, topic)
    if matches(wide, topic) and matches(narrow, topic):
        assert overlap(wide, narrow)


@settings(deadline=None)
@given(st.lists(st.tuples(FILTERS, st.sampled_from((0, 1))), max_size=6), TOPICS)
def test_a_cover_has_no_overlap_and_misses_nothing(asked: list[tuple[str, int]], topic: str) -> None:
    """What was asked for comes, once, at least at the QoS asked for."""
    found = cover(asked)
    best = max((qos for wanted, qos in asked if matches(wanted, topic)), default=None)
    hits = [qos for wanted, qos in found if matches(wanted, topic)]
    assert len(hits) <= 1
    if best is not None:
        assert hits
        assert hits[0] >= best


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ([], ()),
        ([("a/b", 0), ("a/+", 1), ("c", 0)], (("a/+", 1), ("c", 0))),
        ([("a/b", 1), ("a/+", 0)], (("a/+", 1),)),
        ([("a/+/c", 1), ("a/b/+", 1)], (("a/+/+", 1),)),
        ([("+/b", 0), ("a/#", 1)], (("+/#", 1),)),
        ([("$share/g/a/+", 1), ("a/+", 1)], (("a/+", 1), ("$share/g/a/+", 1))),
        ([("#", 0), ("$SYS/a", 0)], (("#", 0), ("$SYS/a", 0))),
    ],
)
def test_cover(asked: list[tuple[str, int]], wanted: tuple[tuple[str, int], ...]) -> None:
    """Included ones are dropped, overlapping ones widened, shared ones left alone."""
    assert cover(asked) == wanted


def test_widening_is_said() -> None:
    """A filter that nobody asked for can bring unwanted topics."""
    assert widened(["a/+/c", "a/b/+"]) == ("a/+/+",)
    assert widened(["a/+", "a/b"]) == ()
