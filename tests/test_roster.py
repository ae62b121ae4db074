"""The roster: a mapping that changes by being replaced, and is saved in parts."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import saving
from gateway.model import Changes, Device
from gateway.roster import PART, Details, Roster, grouped, ungrouped
from gateway.testing import MemoryStateStore

NAMES = st.text(min_size=1, max_size=8)
INSTANTS = st.integers(min_value=-(2**62), max_value=2**62)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
DETAILS = st.builds(
    Details,
    profile=NAMES,
    place=st.dictionaries(NAMES, st.text(max_size=8), max_size=3),
    parameters=st.dictionaries(
        NAMES, st.lists(st.tuples(INSTANTS, FINITE), max_size=3).map(tuple), max_size=3
    ),
)
KEYS = st.tuples(st.sampled_from(["", "lyon", "paris"]), st.sampled_from(["1", "2", "3", "4"]))
STEPS = st.lists(
    st.tuples(st.dictionaries(KEYS, DETAILS, max_size=5), st.lists(KEYS, max_size=4)), min_size=1, max_size=6
)


def fleet(count: int) -> Roster:
    """Return bins of ten different depths."""
    return Roster.of(
        Device("lyon", f"bin-{number}", "bin", parameters={"empty": ((0, float(number % 10)),)})
        for number in range(count)
    )


def restored(store: MemoryStateStore) -> Roster:
    """Return what a state file holds, as a start reads it."""
    starts = store.starts(saving.DEVICES, "")
    return Roster.restored([body for start in starts for body in store.load(saving.DEVICES, "", start)])


@given(STEPS)
@settings(deadline=None)
def test_it_is_a_mapping_that_changes_and_is_saved(
    steps: list[tuple[dict[tuple[str, str], Details], list[tuple[str, str]]]],
) -> None:
    """As a dict would be; each version stays as it was; what is saved comes back, part by part."""
    roster, known, store, versions = Roster(), dict[tuple[str, str], Device](), MemoryStateStore(), []
    for upsert, remove in steps:
        entries = [(*key, details) for key, details in upsert.items()]
        assert sorted(ungrouped(grouped(entries)), key=str) == sorted(entries, key=str)
        before, roster = roster, roster.changed(entries, remove)
        known = {key: device for key, device in known.items() if key not in remove}
        known |= {key: Device(*key, d.profile, d.place, d.parameters) for key, d in upsert.items()}
        assert roster == known
        assert len(roster) == len(known)
        assert all((key in roster) == (key in known) for key in (*upsert, *remove))
        assert sum(roster.profiles().values()) == len(known)
        versions.append((roster, known))
        store.commit(Changes(saving.device_cells(roster, before)), {})
        again = restored(store)
        assert again == known
        assert again.changes_to(roster) == ([], [])
    assert all(version == held for version, held in versions)


@given(STEPS)
@settings(deadline=None)
def test_the_difference_leads_from_one_to_the_other(
    steps: list[tuple[dict[tuple[str, str], Details], list[tuple[str, str]]]],
) -> None:
    """Through plain data, as in a control record; and it is no larger than it must be."""
    rosters = [Roster().changed([(*key, d) for key, d in upsert.items()]) for upsert, _ in steps]
    for old, new in pairwise(rosters):
        upsert, gone = old.changes_to(new)
        assert old.changed(ungrouped(grouped(upsert)), gone) == new
        assert {entry[:2] for entry in upsert} == {key for key in new if old.get(key) != new[key]}
        assert set(gone) == old.keys() - new.keys()


def test_a_change_of_one_device_copies_and_writes_one_part() -> None:
    """However many are known."""
    roster = fleet(20 * PART)
    device = replace(roster["lyon", "bin-5000"], place={"street": "quai"})
    changed = roster.changed([("lyon", "bin-5000", Details("bin", device.place, device.parameters))])
    assert changed["lyon", "bin-5000"] == device
    assert sum(old is not new for old, new in zip(roster.parts, changed.parts, strict=True)) == 1
    (body,) = saving.device_cells(changed, roster).values()
    assert body is not None
    assert len(body) < 30 * PART
    assert not saving.device_cells(roster, roster)


def test_what_many_share_is_one_object() -> None:
    """So that a known device costs little: its name, its number, and where its details are."""
    roster = fleet(3 * PART)
    assert len({id(details) for _, _, details in roster.entries()}) == 10
    cells = saving.device_cells(roster, Roster()).values()
    again = Roster.restored([body for body in cells if body])
    assert len({id(details) for _, _, details in again.entries()}) == 10


def test_numbers_of_those_that_are_gone_do_not_pile_up() -> None:
    """Once most are gone, the rest is numbered anew, and the state file follows."""
    store, old = MemoryStateStore(), fleet(5 * PART)
    store.commit(Changes(saving.device_cells(old, Roster())), {})
    gone = [("lyon", f"bin-{number}") for number in range(5 * PART) if number % 5]
    new = old.changed([], gone)
    assert len(new) == PART
    assert len(new.parts) == 1
    store.commit(Changes(saving.device_cells(new, old)), {})
    assert store.starts(saving.DEVICES, "") == [0]
    assert restored(store) == new
    assert len(old) == 5 * PART


@pytest.mark.parametrize(
    "data", [{}, {"site": "s", "ids": ["i"], "profile": "p", "place": {}, "parameters": {"a": [[1]]}}]
)
def test_anything_else_is_refused(data: dict[str, object]) -> None:
    """A control record is checked before it is appended: this is a bug, not bad data."""
    with pytest.raises((KeyError, ValueError, TypeError)):
        list(ungrouped([data]))
