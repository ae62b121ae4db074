"""What is in force: changed by control records alone, and the same after any restart."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import ConfigurationError
from gateway.model import Control, ControlKind, Device
from gateway.profiles.compile import compile_text
from gateway.roster import Roster
from gateway.rules import Limits, Rules
from tests.river import DEVICES, LIMITS, PLANS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.profiles.plan import ProfilePlan

TEXT = """\
profile: {name}
version: {version}
family: waste
topics: ["{name}/{{site}}/{{device}}"]
quantities:
  level: {{path: level, unit: "%"}}
"""
ROSTER = Roster.of(DEVICES.values())
VERSIONS = {
    (name, version): compile_text(TEXT.format(name=name, version=version), name=name)
    for name in ("a", "b", "c")
    for version in (1, 2)
}

plans = st.dictionaries(st.sampled_from(["a", "b", "c"]), st.integers(1, 2)).map(
    lambda chosen: {name: VERSIONS[name, version] for name, version in chosen.items()}
)
names = st.sampled_from(["", "lyon", "é/+"])
devices = st.lists(
    st.builds(
        Device,
        site=names,
        id=st.sampled_from(["1", "2", "3"]),
        profile=st.sampled_from(["a", "b", "gone"]),
        place=st.dictionaries(st.sampled_from(["street", "latitude"]), st.text(max_size=3)),
        parameters=st.dictionaries(
            st.just("empty"),
            st.lists(
                st.tuples(st.integers(0, 2**62), st.floats(allow_nan=False, allow_infinity=False)), max_size=2
            ).map(tuple),
        ),
    )
).map(lambda found: {(device.site, device.id): device for device in found})
limits = st.builds(
    Limits,
    default_zone=st.sampled_from(["UTC", "Europe/Paris"]),
    zones=st.dictionaries(names, st.just("Asia/Tokyo")),
    accept_unknown=st.booleans(),
    max_unknown=st.integers(0, 5),
    max_rate=st.sampled_from(["off", "10/s"]),
)
wishes = st.tuples(plans, devices, limits)


def apply(
    rules: Rules, wish: tuple[Mapping[str, ProfilePlan], Mapping[tuple[str, str], Device], Limits]
) -> int:
    """Bring a wish into force; return how many records it took."""
    wanted_plans, wanted_devices, wanted_limits = wish
    roster = Roster.of(wanted_devices.values())
    records = rules.changes_to(plans=wanted_plans, devices=roster, limits=wanted_limits, at_ns=7)
    for record in records:
        rules.apply(record)
    return len(records)


@settings(max_examples=60, deadline=None)
@given(st.lists(wishes, min_size=1, max_size=4))
def test_changes_lead_to_what_is_wanted(steps: list[tuple[dict, dict, Limits]]) -> None:
    """Whatever was in force before; and then nothing is left to change."""
    rules = Rules()
    for wish in steps:
        apply(rules, wish)
        assert {name: plan.text for name, plan in rules.plans.items()} == {
            name: plan.text for name, plan in wish[0].items()
        }
        assert rules.devices == wish[1]
        assert rules.limits == wish[2]
        assert apply(rules, wish) == 0
        assert not rules.plans.keys() & rules.retired.keys()


@settings(max_examples=60, deadline=None)
@given(st.lists(wishes, min_size=1, max_size=3), wishes)
def test_a_restart_between_two_changes_changes_nothing(
    steps: list[tuple[dict, dict, Limits]], last: tuple[dict, dict, Limits]
) -> None:
    """What was dumped and restored is the same rules, and takes the same records to the next ones."""
    rules = Rules()
    for wish in steps:
        apply(rules, wish)
    again = Rules.restored(rules.dump(), rules.devices)
    assert again == rules
    assert [plan.key for plan in again.kept_plans()] == [plan.key for plan in rules.kept_plans()]
    assert apply(again, last) == apply(rules, last)
    assert again == rules


@settings(max_examples=60, deadline=None)
@given(st.lists(wishes, min_size=1, max_size=4))
def test_records_can_be_taken_back(steps: list[tuple[dict, dict, Limits]]) -> None:
    """The last one first: each place's rules are had back, whatever put them in force."""
    rules, then = Rules(), []
    for plans_wanted, devices_wanted, limits_wanted in steps:
        roster = Roster.of(devices_wanted.values())
        changes = rules.changes_to(plans=plans_wanted, devices=roster, limits=limits_wanted, at_ns=7)
        for record in changes:
            then.append((record, replace(rules)))
            rules.apply(record)
    for record, before in reversed(then):
        rules.revert(record)
        assert {n: p.text for n, p in rules.plans.items()} == {n: p.text for n, p in before.plans.items()}
        assert rules.devices == before.devices
        assert rules.limits == before.limits


def test_a_record_that_does_not_say_what_was_before() -> None:
    """Of another version: it is in force, and cannot be taken back."""
    rules = Rules(plans=PLANS)
    record = Control(ControlKind.PROFILE_REMOVED, 0, b'{"name": "bin-level"}')
    rules.apply(record)
    assert "bin-level" not in rules.plans
    with pytest.raises(KeyError):
        rules.revert(record)


def test_nothing_was_saved_yet() -> None:
    """No rules: everything is refused as of an unknown topic."""
    assert Rules.restored(None, Roster()) == Rules()


def test_mappings_are_replaced_and_never_written_to() -> None:
    """What someone else holds of them stays as it was."""
    rules = Rules(plans=PLANS, devices=ROSTER, limits=LIMITS)
    held = rules.plans, rules.devices, rules.limits
    apply(rules, ({}, {}, Limits()))
    assert held == (PLANS, ROSTER, LIMITS)
    assert not rules.plans


def test_a_profile_may_take_over_topics() -> None:
    """What goes, goes before what comes."""
    renamed = replace(PLANS["bin-level"], name="bin-level-2")
    rules = Rules(plans=PLANS, devices=Roster(), limits=LIMITS)
    wanted = {name: plan for name, plan in PLANS.items() if name != "bin-level"} | {"bin-level-2": renamed}
    records = rules.changes_to(plans=wanted, devices=Roster(), limits=LIMITS, at_ns=0)
    assert [record.kind for record in records] == [ControlKind.PROFILE_REMOVED, ControlKind.PROFILE]


def test_many_devices_are_several_records() -> None:
    """Of bounded size; together they are everyone."""
    many = {("lyon", str(number)): Device("lyon", str(number), "bin-level") for number in range(12_000)}
    rules = Rules()
    records = rules.changes_to(plans={}, devices=Roster.of(many.values()), limits=Limits(), at_ns=0)
    assert len(records) == 3
    for record in records:
        rules.apply(record)
    assert rules.devices == many
    assert len(rules.changes_to(plans={}, devices=Roster(), limits=Limits(), at_ns=0)) == 3


def test_a_profile_that_compiles_no_more_is_named() -> None:
    """After an upgrade that asks for more, say: the error says which, and where."""
    record = Control(ControlKind.PROFILE, 0, b'{"name": "acme", "version": 1, "text": "profile: acme"}')
    with pytest.raises(ConfigurationError, match="acme"):
        Rules().apply(record)


def test_removing_what_is_not_there_is_nothing() -> None:
    """A record may come twice, after a crash between two of them."""
    rules = Rules(plans=PLANS, devices=ROSTER, limits=LIMITS)
    rules.apply(Control(ControlKind.PROFILE_REMOVED, 0, b'{"name": "never there"}'))
    rules.apply(Control(ControlKind.DEVICES, 0, b'{"upsert": [], "remove": [["x", "y"]]}'))
    assert rules == Rules(plans=PLANS, devices=ROSTER, limits=LIMITS)
