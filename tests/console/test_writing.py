from __future__ import annotations

import pytest

from gateway.console.writing import NARROW_SPACE, NO_BREAK, Writing
from tests.pages import NOW_NS

EN = Writing(lang="en", now_ns=NOW_NS, never="never")
FR = Writing(lang="fr", now_ns=NOW_NS, never="jamais")


@pytest.mark.parametrize(
    ("value", "english", "french"),
    [
        (0, "0", "0"),
        (1234567, "1,234,567", f"1{NARROW_SPACE}234{NARROW_SPACE}567"),
        (0.5, "0.50", "0,50"),
        (812.4, "812", "812"),
        (-3, "-3", "-3"),
    ],
)
def test_numbers(value: float, english: str, french: str) -> None:
    """Grouped and with the language's decimal sign."""
    assert (EN.number(value), FR.number(value)) == (english, french)


@pytest.mark.parametrize(
    ("value", "english", "french"),
    [
        (None, "–", "–"),
        ("upright", "upright", "upright"),
        (1850.0, "1,850", f"1{NARROW_SPACE}850"),
        (3.609999, "3.61", "3,61"),
        (0.0, "0", "0"),
        (0.00012345, "0.000123", "0,000123"),
        (-12.5, "-12.5", "-12,5"),
        (12, "12", "12"),
    ],
)
def test_cells(value: object, english: str, french: str) -> None:
    """Four digits of a float, everything of an integer, texts as they are."""
    assert (EN.cell(value), FR.cell(value)) == (english, french)


def test_moments() -> None:
    """The time of the page's own day, else with its day; never for 0."""
    assert EN.moment(NOW_NS - 60 * 10**9) == "10:14:00"
    assert EN.moment(NOW_NS - 86_400 * 10**9) == "2026-11-21 10:15:00"
    assert (EN.moment(0), FR.moment(0)) == ("never", "jamais")


def test_shares() -> None:
    """Per cent, with the French space."""
    assert (EN.share(0.925), FR.share(1.0), EN.share(None)) == ("92%", f"100{NARROW_SPACE}%", "–")


@pytest.mark.parametrize(
    ("seconds", "english", "french"),
    [
        (0.0, "0 s", "0 s"),
        (1.4, "1.40 s", "1,40 s"),
        (119.0, "119 s", "119 s"),
        (150.0, "2.5 min", "2,5 min"),
        (9_000.0, "2.5 h", "2,5 h"),
        (216_000.0, "2.5 d", "2,5 j"),
    ],
)
def test_spans(seconds: float, english: str, french: str) -> None:
    """In the unit that suits them, which does not part from its number."""
    assert (EN.span(seconds), FR.span(seconds)) == (
        english.replace(" ", NO_BREAK),
        french.replace(" ", NO_BREAK),
    )
