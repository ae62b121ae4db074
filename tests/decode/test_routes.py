"""Topics find their profile and device."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.decode import routes as module
from gateway.decode.decoder import decode
from gateway.decode.routes import Routes, table_key
from gateway.errors import ConfigurationError
from gateway.model import Reason, SeriesTable
from tests.decode.plans import batch, device, payloads, profile, routes

if TYPE_CHECKING:
    from gateway.profiles.plan import ProfilePlan

GAUGE = "quantities: {a: {path: a, unit: mm}}\n"
LIMITS = {"accept_unknown": True, "max_unknown": 100, "max_series": 100}


def plan(name: str = "test", *topics: str) -> ProfilePlan:
    """Compile a profile of one gauge with these topics."""
    return replace(profile(GAUGE, name=name), topics=topics or ("t/{site}/{device}",))


def resolved(here: Routes, topic: str) -> tuple[str, str, str] | Reason:
    """Return the profile, site and device of a topic, or why it is refused."""
    code = int(here.codes([topic.encode()])[0])
    if code in here.refusals:
        return here.refusals[code].reason
    decoder = here.decoders[int(here.decoder_of(here.codes([topic.encode()]))[0])]
    return (decoder.plan.name, *here.devices[code])


def test_a_known_device() -> None:
    """A topic that fits, a device of that profile."""
    here = routes(plan(), devices=[device()], accept_unknown=False)
    assert resolved(here, "t/s/d") == ("test", "s", "d")


@pytest.mark.parametrize("topic", ["nowhere", "t/s", "t/s/d/x", "t//d", "/t/s/d", ""])
def test_a_topic_of_no_profile(topic: str) -> None:
    """What fits no template is unknown; a level may not be empty."""
    assert resolved(routes(plan()), topic) is Reason.UNKNOWN_TOPIC


def test_another_profile_in_the_registry() -> None:
    """A device that sends on the topic of another profile than its own is refused."""
    here = routes(plan(), devices=[device(profile="other")])
    assert resolved(here, "t/s/d") is Reason.WRONG_PROFILE


def test_the_registry_decides_between_profiles_of_one_topic() -> None:
    """Where profiles share a topic, the registry tells which; an unknown device has none."""
    here = routes(plan("one"), plan("two"), devices=[device("d", profile="two")])
    assert resolved(here, "t/s/d") == ("two", "s", "d")
    assert resolved(here, "t/s/e") is Reason.NO_PROFILE


def test_texts_before_names() -> None:
    """The most specific template wins."""
    here = routes(plan("wide", "{site}/{device}/up"), plan("narrow", "lyon/{device}/up"))
    assert resolved(here, "lyon/d/up") == ("narrow", "", "d")
    assert resolved(here, "nice/d/up") == ("wide", "nice", "d")


def test_a_template_without_site() -> None:
    """Without a site in the topic, the registry gives it where the identifier is unique."""
    here = routes(
        plan("test", "up/{device}"),
        devices=[device("d"), device("e"), device("e", site="other")],
        accept_unknown=False,
    )
    assert resolved(here, "up/d") == ("test", "s", "d")
    assert resolved(here, "up/e") is Reason.UNKNOWN_DEVICE


def test_signs_in_templates_are_texts() -> None:
    """A template's levels are compared as they are written."""
    here = routes(plan("test", "a.b/{site}/{device}"))
    assert resolved(here, "a.b/s/d") == ("test", "s", "d")
    assert resolved(here, "axb/s/d") is Reason.UNKNOWN_TOPIC


def test_unknown_devices_are_refused_or_counted() -> None:
    """Unknown devices are refused by a setting, else accepted up to a number."""
    assert resolved(routes(plan(), accept_unknown=False), "t/s/d") is Reason.UNKNOWN_DEVICE
    here = routes(plan(), max_unknown=1)
    assert resolved(here, "t/s/d") == ("test", "s", "d")
    assert resolved(here, "t/s/e") is Reason.UNKNOWN_DEVICE
    assert list(here.unknown) == [("s", "d")]
    again = routes(plan(), max_unknown=1, unknown=here.unknown)
    assert resolved(again, "t/s/e") is Reason.UNKNOWN_DEVICE
    assert resolved(again, "t/s/d") == ("test", "s", "d")


@pytest.mark.parametrize("name", ["x" * 65, "a\nb", "a\x7fb"])
def test_strange_names_of_unknown_devices(name: str) -> None:
    """A name that is long or not printable is accepted from the registry alone."""
    assert resolved(routes(plan()), f"t/s/{name}") is Reason.UNKNOWN_DEVICE
    assert resolved(routes(plan(), devices=[device(name)]), f"t/s/{name}") == ("test", "s", name)


def test_adopting_a_device_takes_effect_at_once() -> None:
    """After an update a device that was refused is known, and its series keep their codes."""
    own = plan()
    tables: dict[tuple[str, str], SeriesTable] = {}
    here = routes(own, devices=[device("a")], accept_unknown=False, tables=tables)
    decode(batch(("t/s/a", {"a": 1}), ("t/s/b", {"a": 1})), here)
    kept = here.decoders[0]
    devices = {("s", name): device(name) for name in ("b", "a")}
    here.update({"test": own}, devices, accept_unknown=False, max_unknown=0, max_series=100)
    assert here.decoders == [kept]
    (readings,) = decode(batch(("t/s/b", {"a": 1}), ("t/s/a", {"a": 1})), here).readings
    assert readings.series.tolist() == [1, 0]
    assert tables == {("test", ""): readings.table}
    assert readings.table.keys == [("s", "a"), ("s", "b")]


def test_adoption_frees_a_place() -> None:
    """An adopted device no longer counts as unknown."""
    own = plan()
    here = routes(own, max_unknown=1)
    resolved(here, "t/s/d")
    here.update({"test": own}, {("s", "d"): device()}, accept_unknown=True, max_unknown=1, max_series=100)
    assert resolved(here, "t/s/e") == ("test", "s", "e")


def test_a_new_version_keeps_the_codes() -> None:
    """Series are kept by profile and dimensions, however a version numbers its groups."""
    first = profile('quantities: {a: {path: a, unit: mm}, b: {path: "l.{k}", unit: mm, by: [k]}}')
    second = profile('quantities: {b: {path: "l.{k}", unit: mm, by: [k]}, a: {path: a, unit: mm}}')
    here = routes(first)
    before = decode(payloads({"a": 1, "l": {"x": 1, "y": 2}}), here).readings
    here.update({"test": second}, {}, **LIMITS)
    after = decode(payloads({"a": 1, "l": {"y": 2}}), here).readings
    assert {one.group.dimensions: one.table for one in after} == {
        one.group.dimensions: one.table for one in before
    }
    assert after[0].series.tolist() == [1]
    assert table_key(first, first.groups[1]) == table_key(second, second.groups[0]) == ("test", "k")


def test_a_plan_that_cannot_be_compiled_changes_nothing() -> None:
    """An update with a bad plan is refused, and the old rules stay in force."""
    own = plan()
    here = routes(own)
    bad = replace(plan("bad"), format="smoke signals")
    with pytest.raises(ConfigurationError, match="smoke signals"):
        here.update({"test": own, "bad": bad}, {}, **LIMITS)
    assert resolved(here, "t/s/d") == ("test", "s", "d")


def test_memory_of_topics_is_bounded() -> None:
    """Where too many topics were seen, all are forgotten, and nothing else changes."""
    here = routes(plan(), max_topics=3)
    series = []
    for name in "abcabcdea":
        (readings,) = decode(batch((f"t/s/{name}", {"a": 1})), here).readings
        series += readings.series.tolist()
        assert len(here._codes) <= 3
    assert series == [0, 1, 2, 0, 1, 2, 3, 4, 0]


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from("abcdefghxyz"), min_size=1, max_size=5), max_size=12))
def test_memory_of_refused_topics_is_bounded(floods: list[list[str]]) -> None:
    """Invented names push out each other, never a device of the registry; nothing else changes."""
    known = [device(name) for name in "xyz"]
    bounded = routes(plan(), devices=known, accept_unknown=False, max_refused=3)
    free = routes(plan(), devices=known, accept_unknown=False)
    for names in floods:
        sent = batch(*((f"t/s/{name}", {"a": 1}) for name in names))
        ours, theirs = decode(sent, bounded), decode(sent, free)
        assert ours.rejections == theirs.rejections
        assert ours.unknown == theirs.unknown
        assert [r.series.tolist() for r in ours.readings] == [r.series.tolist() for r in theirs.readings]
        assert [bounded.whose(topic) for topic in sent.topics] == [free.whose(topic) for topic in sent.topics]
        heard = {f"t/s/{name}".encode() for names in floods for name in names if name in "xyz"}
        assert len(bounded._codes) <= len(heard) + 3 + 5  # those of one batch besides
    assert len(bounded.devices) <= 1 + 3 + 3 + 5


def test_long_topics_are_not_remembered() -> None:
    """A topic beyond any template is refused and takes no memory, beside others that are good."""
    here = routes(plan())
    long = "t/s/" + "x" * module.MAX_TOPIC
    decoded = decode(batch((long, {"a": 1}), ("t/s/d", {"a": 1})), here)
    assert [(r.index, r.reason) for r in decoded.rejections] == [(0, Reason.UNKNOWN_TOPIC)]
    assert decoded.readings[0].uplink.tolist() == [1]
    assert len(here._codes) == 1


def test_columns_by_code_grow() -> None:
    """Thousands of topics in one batch each find their own device."""
    names = [f"{number}" for number in range(3_000)]
    uplinks = batch(*((f"t/s/{name}", {"a": int(name)}) for name in names))
    (readings,) = decode(uplinks, routes(plan())).readings
    assert [readings.table.keys[code][1] for code in readings.series] == names
    assert readings.values[0].tolist() == list(range(3_000))
