"""Clocks of devices that show local time, and do not say so."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.decode.decoder import decode
from gateway.decode.local_clock import to_utc
from gateway.profiles.compile import compile_profile
from gateway.profiles.durations import instant_ns, instant_text
from tests.decode.plans import RECEIVED, batch, profile, routes

NS = 10**9


def read(time: str, clock: str, value: Any) -> list[str]:
    plan = profile(
        f"max_age: 100a\nmax_ahead: 9a\ntime: {time}\nclock: {clock}\nquantities: {{a: {{path: a}}}}\n"
    )
    body = json.dumps({"t": value, "a": 1}).encode()
    decoded = decode(batch(("t/s/d", body)), routes(plan))
    return [instant_text(int(at)) for one in decoded.readings for at in one.time]


@pytest.mark.parametrize(
    ("clock", "shown", "utc"),
    [
        ("Europe/Paris", "2025-01-15 12:00:00", "2025-01-15T11:00:00Z"),
        ("Europe/Paris", "2025-07-15T12:00", "2025-07-15T10:00:00Z"),
        ("'+01:00'", "2025-07-15 12:00:00", "2025-07-15T11:00:00Z"),  # a meter that is kept on winter time
        ("'-09:30'", "2025-07-15 12:00:00.250", "2025-07-15T21:30:00.250000Z"),
        ("Europe/Paris", "2025-10-26 02:30:00", "2025-10-26T00:30:00Z"),  # twice: the first
        ("Europe/Paris", "2025-03-30 02:30:00", "2025-03-30T01:30:00Z"),  # never: the clock was not set yet
        ("Europe/Paris", "2025-07-15T12:00:00Z", "2025-07-15T12:00:00Z"),  # it says so itself
        ("Europe/Paris", "2025-07-15T12:00:00+05:00", "2025-07-15T07:00:00Z"),
    ],
)
def test_a_text_without_an_offset(clock: str, shown: str, utc: str) -> None:
    assert read("{path: t, unit: iso}", clock, shown) == [utc]


def test_a_number_of_a_local_clock() -> None:
    local = int(datetime(2025, 7, 15, 12, tzinfo=UTC).timestamp())
    assert read("{path: t, unit: s}", "Europe/Paris", local) == ["2025-07-15T10:00:00Z"]
    assert read("{path: t, unit: ms}", "'+01:00'", local * 1000 + 5) == ["2025-07-15T11:00:00.005000Z"]


def test_what_is_no_time_is_refused_as_ever() -> None:
    assert read("{path: t, unit: iso, required: true}", "Europe/Paris", "noon") == []
    assert read("{path: t, unit: iso}", "Europe/Paris", None) == [instant_text(RECEIVED)]


@given(
    st.integers(0, 4_000_000_000),
    st.sampled_from(["Europe/Paris", "America/New_York", "Asia/Kolkata", "UTC"]),
)
def test_as_datetime_reckons(second: int, zone: str) -> None:
    """There and back, but for the hour that comes twice."""
    moment = datetime.fromtimestamp(second, tz=ZoneInfo(zone))
    local = moment.replace(tzinfo=UTC, fold=0)
    found = int(to_utc(np.array([int(local.timestamp()) * NS]), zone)[0]) // NS
    assert found == second or (moment.fold == 1 and second - found == 3600)


def test_many_at_once_as_one_by_one() -> None:
    times = np.arange(0, 3 * 365 * 86_400, 1_234_567, dtype=np.int64) * NS
    alone = [int(to_utc(times[at : at + 1], "Europe/Paris")[0]) for at in range(len(times))]
    assert to_utc(times, "Europe/Paris").tolist() == alone
    assert to_utc(times[:0], "Europe/Paris").tolist() == []


def test_times_of_samples_too() -> None:
    plan = profile(
        'clock: Europe/Paris\nsamples: {list: "[]", at: "[].t", unit: iso}\nquantities: {a: {path: "[].a"}}\n'
    )
    at = datetime.fromtimestamp(RECEIVED / NS, tz=ZoneInfo("Europe/Paris")).replace(microsecond=0)
    body = [{"t": f"{at - timedelta(minutes=5):%Y-%m-%d %H:%M:%S}", "a": 1}]
    decoded = decode(batch(("t/s/d", json.dumps(body).encode())), routes(plan))
    (readings,) = decoded.readings
    assert (RECEIVED - int(readings.time[0])) // NS == 300
    assert instant_ns(instant_text(int(readings.time[0]))) == int(readings.time[0])


@pytest.mark.parametrize("clock", ["Paris", "'+1'", "'+15:00'", "../etc"])
def test_what_is_no_zone_is_refused(clock: str) -> None:
    heading = 'profile: p\nversion: 1\nfamily: waste\ntopics: ["t/{device}"]\n'
    _, problems = compile_profile(
        f"{heading}clock: {clock}\nquantities: {{a: {{path: a}}}}\n", where="p.yaml"
    )
    assert "is no zone: write Europe/Paris" in str(problems[0])
