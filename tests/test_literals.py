"""Durations, sizes and hosts as people write them."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.literals import Rate, duration_ns, is_loopback, rate, size_bytes


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1ms", 10**6),
        ("0.3ms", 300_000),
        ("4.35s", 4_350_000_000),
        (" 15 min ", 900 * 10**9),
        ("2h", 7_200 * 10**9),
        ("7d", 604_800 * 10**9),
        ("0s", 0),
    ],
)
def test_a_duration(text: str, ns: int) -> None:
    """A number and a unit; to the nanosecond, whatever floats make of it."""
    assert duration_ns(text) == ns


@pytest.mark.parametrize(
    "text", ["", "15", "min", "-1s", "1 m", "1e3s", "1,5s", "١s", "9" * 400 + "s", "1s 2"]
)
def test_what_is_no_duration(text: str) -> None:
    """Is refused in a sentence."""
    with pytest.raises(ValueError, match="a duration is a number"):
        duration_ns(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("1B", 1), ("256kB", 256_000), ("0.5MB", 500_000), ("20 GB", 2 * 10**10), ("1TB", 10**12)],
)
def test_a_size(text: str, size: int) -> None:
    """Decimal, as disks are sold."""
    assert size_bytes(text) == size


@pytest.mark.parametrize("text", ["", "256", "1 KB", "1GiB", "-1B", "9" * 400 + "B"])
def test_what_is_no_size(text: str) -> None:
    """Is refused in a sentence."""
    with pytest.raises(ValueError, match="a size is a number"):
        size_bytes(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("off", None),
        ("10/s", Rate(10, 10**9)),
        (" 600 / min", Rate(600, 60 * 10**9)),
        ("1/h", Rate(1, 3_600 * 10**9)),
    ],
)
def test_a_rate(text: str, found: Rate | None) -> None:
    """A whole number in each second, minute or hour; or none."""
    assert rate(text) == found


@pytest.mark.parametrize("text", ["", "0/s", "10", "1.5/s", "10/d", "-1/s", "10/ms", "Off", "9" * 40 + "/s"])
def test_what_is_no_rate(text: str) -> None:
    """Is refused in a sentence."""
    with pytest.raises(ValueError, match="a rate is off, or a number"):
        rate(text)


@given(st.text(max_size=20))
def test_any_text_is_read_or_refused(text: str) -> None:
    """With a ValueError, and nothing else."""
    for read in (duration_ns, size_bytes):
        with contextlib.suppress(ValueError):
            assert read(text) >= 0
    is_loopback(text)


@pytest.mark.parametrize(
    ("host", "answer"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("localhost", True),
        ("localhost.example.org", False),
        ("10.0.0.1", False),
        ("0.0.0.0", False),  # noqa: S104 - the address that must not pass
        ("::", False),
        ("broker", False),
    ],
)
def test_this_machine(host: str, answer: object) -> None:
    """Loopback addresses and their name, nothing that merely looks like them."""
    assert is_loopback(host) is answer
