"""Each kind of malformed payload is what its name says, for every family that can send it."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import numpy as np
import orjson
import pytest

from firmware_sim.city import healthy
from firmware_sim.fleet import spec_of
from firmware_sim.malformed import KINDS, Kind, beyond_range, encode, retime, time_of
from firmware_sim.model import DAY, SECOND, Body, Sample, Span
from firmware_sim.rhythm import Weather

START = int(datetime(2026, 11, 16, 6, tzinfo=UTC).timestamp()) * SECOND
CASES = [(kind, family) for kind in KINDS for family in kind.families]


def body_of(family: str) -> Body:
    span = Span(seed=1, origin_ns=START, start_ns=START)
    lived = healthy(spec_of(family, 1, seed=1), span, Weather(1))
    return next(item for item in lived if isinstance(item, Sample)).body


def spoiled(kind: Kind, family: str) -> bytes:
    return kind.spoil(body_of(family), family, np.random.default_rng(1))


def of(name: str) -> list[str]:
    return next(list(kind.families) for kind in KINDS if kind.name == name)


def named(name: str) -> Kind:
    return next(kind for kind in KINDS if kind.name == name)


@pytest.mark.parametrize(("kind", "family"), CASES, ids=lambda case: getattr(case, "name", case))
def test_spoiling_leaves_the_healthy_payload_alone(kind: Kind, family: str) -> None:
    """The body that was given is not changed, and the same draw gives the same bytes."""
    before = encode(body_of(family))
    body = body_of(family)
    kind.spoil(body, family, np.random.default_rng(1))
    assert encode(body) == before
    assert spoiled(kind, family) == spoiled(kind, family)


@pytest.mark.parametrize("name", ["truncated", "not json", "nan"])
def test_unreadable_payloads_cannot_be_parsed(name: str) -> None:
    """They are UTF-8, and no JSON."""
    for family in of(name):
        payload = spoiled(named(name), family)
        payload.decode()
        with pytest.raises(orjson.JSONDecodeError):
            orjson.loads(payload)


def test_nan_is_the_only_thing_wrong_with_it() -> None:
    """A reader that allows NaN finds it in a field that the profile reads."""
    for family in of("nan"):
        body = json.loads(spoiled(named("nan"), family))
        assert body["battery_pct" if family == "traffic" else "temp_c"] != body.get("temp_c", 0)


def test_not_utf8_cannot_be_decoded() -> None:
    """It is no UTF-8 from its first byte."""
    for family in of("not utf-8"):
        with pytest.raises(UnicodeDecodeError):
            spoiled(named("not utf-8"), family).decode()


def test_sizes_and_depths_are_beyond_the_usual_limits() -> None:
    """Too large is more than 16 KiB of good JSON; too deep is more than 8 levels of it."""
    for family in of("too large"):
        assert len(spoiled(named("too large"), family)) > 16_384
        assert orjson.loads(spoiled(named("too large"), family))
    for family in of("too deep"):
        assert spoiled(named("too deep"), family).count(b"[") > 20
        assert orjson.loads(spoiled(named("too deep"), family))


@pytest.mark.parametrize("family", ["waste", "traffic", "water"])
def test_times_are_far_off(family: str) -> None:
    """Future is a year away, so that it is future even where a past span is filled in; past is 2000."""
    body = body_of(family)
    future = orjson.loads(spoiled(named("future time"), family))
    past = orjson.loads(spoiled(named("too old time"), family))
    assert time_of(future, family) - time_of(body, family) >= 366 * DAY
    assert datetime.fromtimestamp(time_of(past, family) / SECOND, tz=UTC).year == 2000


@pytest.mark.parametrize("family", ["waste", "traffic", "water"])
def test_retiming_moves_every_time(family: str) -> None:
    """A shift there and back gives the same payload; the water log moves with its uplink."""
    body = body_of(family)
    moved = retime(body, family, 3 * DAY)
    assert time_of(moved, family) == time_of(body, family) + 3 * DAY
    assert retime(moved, family, -3 * DAY) == body
    if family == "water":
        assert moved["log"]["ts"] == body["log"]["ts"] + 3 * 86_400


@pytest.mark.parametrize("family", ["waste", "traffic", "water"])
def test_beyond_range_changes_one_value(family: str) -> None:
    """One value lies beyond what the sensor can measure, and the payload is good otherwise."""
    body = body_of(family)
    other, quantity = beyond_range(body, family, np.random.default_rng(1))
    assert quantity in {"distance", "occupancy", "temperature"}
    assert other != body
    assert time_of(other, family) == time_of(body, family)


def test_every_expectation_is_worded_as_the_ledger_says() -> None:
    """Kinds are expected to be flagged, or quarantined with a reason; names are unique."""
    assert all(kind.expect == "flagged" or kind.expect.startswith("quarantined:") for kind in KINDS)
    assert len({kind.name for kind in KINDS}) == len(KINDS)
