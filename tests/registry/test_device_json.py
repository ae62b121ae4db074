"""Devices as JSON in control records."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.devices import device_from_json, device_to_json
from gateway.model import Device

NAMES = st.text(min_size=1, max_size=8)
INSTANTS = st.integers(min_value=-(2**62), max_value=2**62)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
DEVICES = st.builds(
    Device,
    site=NAMES,
    id=NAMES,
    profile=NAMES,
    place=st.dictionaries(NAMES, st.text(max_size=8), max_size=3),
    parameters=st.dictionaries(
        NAMES, st.lists(st.tuples(INSTANTS, FINITE), max_size=3).map(tuple), max_size=3
    ),
)


@given(DEVICES)
def test_a_device_survives_json(device: Device) -> None:
    """Exactly, times in nanoseconds included."""
    assert device_from_json(json.loads(json.dumps(device_to_json(device)))) == device


@pytest.mark.parametrize(
    "data", [{}, {"site": "s", "id": "i", "profile": "p", "place": {}, "parameters": {"a": [[1]]}}]
)
def test_anything_else_is_refused(data: dict[str, object]) -> None:
    """A control record is checked before it is appended: this is a bug, not bad data."""
    with pytest.raises((KeyError, ValueError, TypeError)):
        device_from_json(data)
