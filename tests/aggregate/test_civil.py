"""Window bounds in civil time, against a walk through the day and against known days."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.aggregate.civil import Calendar, Zone
from tests.aggregate import oracle
from tests.aggregate.oracle import DAY, HOUR, MINUTE

NAMES = (
    "Europe/Paris",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "America/New_York",
    "America/Sao_Paulo",
    "UTC",
)
ZONES = {name: Zone(name) for name in NAMES}


def day_number(day: str) -> int:
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) // 86_400


def lengths(zone: str, day: str, length: int) -> list[float]:
    """Return how many hours each window of a civil day lasts."""
    number = day_number(day)
    edges = ZONES[zone].boundaries(length, number, number)
    (end,) = ZONES[zone].boundaries(DAY, number + 1, number + 1)
    return (np.diff(np.append(edges, end)) / HOUR).tolist()


def utc(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


def test_the_day_that_skips_an_hour_has_23_hours() -> None:
    """Paris, the last Sunday of March: 23 windows of 1 h, one day of 23 h."""
    assert lengths("Europe/Paris", "2026-03-29", HOUR) == [1.0] * 23
    assert lengths("Europe/Paris", "2026-03-29", DAY) == [23.0]


def test_the_day_that_repeats_an_hour_has_25_hours() -> None:
    """Paris, the last Sunday of October: 25 windows of 1 h; longer ones take the repeated hour in."""
    assert lengths("Europe/Paris", "2026-10-25", HOUR) == [1.0] * 25
    assert lengths("Europe/Paris", "2026-10-25", 6 * HOUR) == [7.0, 6.0, 6.0, 6.0]
    assert lengths("Europe/Paris", "2026-10-25", 2 * HOUR) == [2.0, 3.0, *[2.0] * 10]
    assert lengths("Europe/Paris", "2026-10-25", DAY) == [25.0]


def test_lord_howe_turns_by_half_an_hour() -> None:
    """Its hours there last 30 and 90 minutes, and the days 23½ and 24½ hours."""
    assert lengths("Australia/Lord_Howe", "2026-10-04", HOUR) == [1.0, 1.0, 0.5, *[1.0] * 21]
    assert lengths("Australia/Lord_Howe", "2026-04-05", HOUR) == [1.0, 1.5, *[1.0] * 22]
    assert lengths("Australia/Lord_Howe", "2026-10-04", DAY) == [23.5]
    assert lengths("Australia/Lord_Howe", "2026-04-05", DAY) == [24.5]


def test_a_day_whose_midnight_is_skipped_begins_at_the_jump() -> None:
    """São Paulo turned its clocks at midnight: 2018-11-04 began at 01:00."""
    assert lengths("America/Sao_Paulo", "2018-11-04", DAY) == [23.0]
    assert lengths("America/Sao_Paulo", "2018-11-04", 6 * HOUR) == [5.0, 6.0, 6.0, 6.0]


def test_hours_in_kathmandu_begin_at_a_quarter_past() -> None:
    """The zone is 5 h 45 min ahead, so an hour's window begins at :15 UTC, and a day at 18:15."""
    calendar = Calendar({}, "Asia/Kathmandu")
    zone = calendar.zone_of("anywhere")
    time = np.array([utc("2026-05-01T10:20:00")])
    assert calendar.bounds(HOUR, zone, time)[0].tolist() == [utc("2026-05-01T10:15:00")]
    assert calendar.bounds(DAY, zone, time)[0].tolist() == [utc("2026-04-30T18:15:00")]


def test_windows_below_an_hour_are_multiples_in_utc() -> None:
    """A quarter of an hour is the same in every zone."""
    calendar = Calendar({}, "Asia/Kathmandu")
    start, end = calendar.bounds(15 * MINUTE, 0, np.array([utc("2026-05-01T10:20:00")]))
    assert (start[0], end[0]) == (utc("2026-05-01T10:15:00"), utc("2026-05-01T10:30:00"))


def test_sites_have_their_zones_and_others_the_default() -> None:
    """Zones are numbered in order of first use, one number a zone."""
    calendar = Calendar({"a": "Europe/Paris", "b": "Asia/Kathmandu", "c": "Europe/Paris"}, "UTC")
    assert [calendar.zone_of(site) for site in ("b", "a", "c", "d")] == [0, 1, 1, 2]
    assert [zone.name for zone in calendar.zones] == ["Asia/Kathmandu", "Europe/Paris", "UTC"]


def test_a_wrong_zone_is_said() -> None:
    """A name that the database does not have raises, naming it."""
    with pytest.raises(KeyError, match="Nowhere"):
        Calendar({}, "Europe/Nowhere").zone_of("x")


@settings(max_examples=60, deadline=None)
@given(
    zone=st.sampled_from(NAMES),
    length=st.sampled_from([15 * MINUTE, HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY]),
    day=st.sampled_from(
        ["2026-03-29", "2026-10-25", "2026-04-05", "2026-10-04", "2026-03-08", "2026-11-01", "2026-06-01"]
    ),
    minutes=st.lists(st.integers(-600, 2000), min_size=1, max_size=4),
)
def test_bounds_agree_with_a_walk_through_the_day(
    zone: str, length: int, day: str, minutes: list[int]
) -> None:
    """Every instant lies in the window that walking minute by minute finds."""
    calendar = Calendar({}, zone)
    calendar.zones.append(ZONES[zone])
    times = np.array([utc(day) + minute * MINUTE + 1 for minute in minutes])
    start, end = calendar.bounds(length, 0, times)
    assert list(zip(start.tolist(), end.tolist(), strict=True)) == [
        oracle.bounds(zone, length, t) for t in times.tolist()
    ]
