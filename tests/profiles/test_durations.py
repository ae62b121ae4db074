"""Durations, rates and instants."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.profiles.durations import duration_name, duration_ns, instant_ns, instant_text, rate_per_s


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("15min", 900),
        ("15m", 900),
        (" 1 h", 3600),
        ("7d", 604_800),
        ("2w", 1_209_600),
        ("1a", 31_536_000),
    ],
)
def test_durations(text: str, seconds: int) -> None:
    """A number and a unit."""
    assert duration_ns(text) == seconds * 10**9


@pytest.mark.parametrize("text", ["", "15", "min", "1.5h", "-1h", "1 month", "0s", "101a", "٣h", "1h30min"])
def test_what_is_no_duration(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(ValueError, match="duration"):
        duration_ns(text)


@pytest.mark.parametrize(
    ("text", "per_second"),
    [("60/h", 60 / 3600), ("5/10min", 5 / 600), ("0.5/s", 0.5), ("1 / d", 1 / 86_400)],
)
def test_rates(text: str, per_second: float) -> None:
    """A number over a duration."""
    assert rate_per_s(text) == pytest.approx(per_second, rel=1e-15)


@pytest.mark.parametrize("text", ["", "60", "60/", "/h", "60 per h", "1/0min", "-1/h", "1/a"])
def test_what_is_no_rate(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(ValueError, match="rate"):
        rate_per_s(text)


@pytest.mark.parametrize(
    ("nanoseconds", "name"),
    [
        (900 * 10**9, "15m"),
        (3600 * 10**9, "1h"),
        (86_400 * 10**9, "1d"),
        (30 * 10**9, "30s"),
        (1_500_000, "1500us"),
        (7, "7ns"),
    ],
)
def test_the_shortest_exact_name(nanoseconds: int, name: str) -> None:
    """A window's measurement ends with it."""
    assert duration_name(nanoseconds) == name
    assert duration_ns(name) == nanoseconds


def test_instants_need_an_offset() -> None:
    """No naive time: which hour would it be?"""
    assert instant_ns("1970-01-01T01:00:00.000001+01:00") == 1_000
    for text in ("2026-11-22T10:15:00", "2026-11-22", "yesterday", ""):
        with pytest.raises(ValueError, match=r"instant|offset"):
            instant_ns(text)


@given(st.integers(min_value=-62_135_596_800_000_000, max_value=253_402_300_799_999_999))
def test_instants_survive_being_written(microseconds: int) -> None:
    """What is written is read back, to the microsecond."""
    assert instant_ns(instant_text(microseconds * 1_000)) == microseconds * 1_000
