"""UCUM codes."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.profiles.units import conversion, parse_unit

VALID = [
    "1",
    "%",
    "mm",
    "Cel",
    "dB[mW]",
    "km/h",
    "m3/h",
    "L",
    "L/h",
    "L/s",
    "V",
    "mV",
    "W/m2",
    "ug/m3",
    "{vehicles}",
    "{vehicles}/h",
    "[ppm]",
    "[pH]",
    "kW.h",
    "kBy",
    "10*3/uL",
    "/h",
    "m/s2",
    "mm[Hg]",
    "m[H2O]",
    "[psi]",
    "hPa",
    "deg",
    "lx",
    "mol/L",
    "g.m-3",
    "min",
    "d",
    "wk",
    "mo",
    "a",
    "15.min",
    "{a/b}.m",
    "dB[SPL]",
    "10*-3",
]


@pytest.mark.parametrize("code", VALID)
def test_codes_of_city_equipment(code: str) -> None:
    """Each is valid and converts to itself."""
    parse_unit(code)
    assert conversion(code, code) == 1.0


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        ("°C", "«Cel»"),
        ("dBm", "«dB[mW]»"),
        ("", "«1»"),
        ("litre", "«L»"),
        ("m³/h", "«m3/h»"),
        ("ppm", "«[ppm]»"),
        ("Celsius", "«Cel»"),
        ("m//s", "not a UCUM unit"),
        ("m/", "not a UCUM unit"),
        ("km h", "not a UCUM unit"),
        ("k", "not a UCUM unit"),
        ("kmin", "not a UCUM unit"),
        ("(m)", "not a UCUM unit"),
        ("m٢", "not a UCUM unit"),
        ("{open", "not a UCUM unit"),
        ("m" * 65, "longer than"),
    ],
)
def test_what_is_no_unit(code: str, hint: str) -> None:
    """The author reads what UCUM writes instead, where that is known."""
    with pytest.raises(ValueError, match=r".") as refused:
        parse_unit(code)
    assert hint in str(refused.value)


@pytest.mark.parametrize(
    ("source", "target", "factor"),
    [
        ("m3/h", "L/s", 1000 / 3600),
        ("km/h", "m/s", 1 / 3.6),
        ("kW.h", "J", 3.6e6),
        ("h", "s", 3600),
        ("min", "s", 60),
        ("%", "1", 0.01),
        ("[psi]", "kPa", 6.894757293168361),
        ("bar", "Pa", 1e5),
        ("A.h", "C", 3600),
        ("V.A", "W", 1),
        ("V/A", "Ohm", 1),
        ("lm/m2", "lx", 1),
        ("{a}/{b}", "1", 1),
        ("[mi_i]/h", "km/h", 1.609344),
        ("kBy", "bit", 8000),
    ],
)
def test_conversion_factors(source: str, target: str, factor: float) -> None:
    """A factor turns a value of one unit into one of the other, and back."""
    assert conversion(source, target) == pytest.approx(factor, rel=1e-12)
    assert conversion(target, source) == pytest.approx(1 / factor, rel=1e-12)


@pytest.mark.parametrize(
    ("source", "target", "says"),
    [
        ("m3/h", "L", "different things"),
        ("Cel", "K", "by a factor"),
        ("dB[W]", "W", "by a factor"),
        ("m", "foo", "UCUM"),
    ],
)
def test_what_cannot_be_converted(source: str, target: str, says: str) -> None:
    """Different things, offsets and logarithms have no factor."""
    with pytest.raises(ValueError, match=says):
        conversion(source, target)


@given(st.text(max_size=20))
def test_no_text_but_value_error(code: str) -> None:
    """Whatever a profile holds, its author gets a sentence."""
    with contextlib.suppress(ValueError):
        parse_unit(code)


@given(st.lists(st.sampled_from(VALID), min_size=2, max_size=2))
def test_a_quotient_is_undone_by_its_inverse(codes: list[str]) -> None:
    """a/b times b/a is 1 where both are linear and plain."""
    a, b = codes
    if any(set(code) & set("/.[1{*") for code in codes) or "Cel" in codes:
        return
    assert parse_unit(f"{a}/{b}").factor * parse_unit(f"{b}/{a}").factor == pytest.approx(1)
