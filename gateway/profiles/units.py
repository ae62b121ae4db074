"""Units by their UCUM codes (ucum.org, the case-sensitive ones): validity and linear conversion.

A term is built of prefix, atom and exponent (`km`, `m3`, `s-1`), joined by `.` and `/`; an
annotation in braces counts as 1 (`{vehicles}`). The atoms are those that a city's equipment uses; one
that is missing is a line in `_ATOMS`. Offset and logarithmic units (`Cel`, `dB[W]`) are valid but
convert to themselves alone. `B[mW]` is not in UCUM: it is the decibel-milliwatt that every radio
reports, written as UCUM writes its levels.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from math import pi
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit as a factor to the base units, and their exponents. `special`: no linear factor exists."""

    factor: float
    exponents: tuple[tuple[str, int], ...]
    special: str = ""


_PREFIXES: Mapping[str, float] = {
    "Y": 1e24, "Z": 1e21, "E": 1e18, "P": 1e15, "T": 1e12, "G": 1e9, "M": 1e6, "k": 1e3, "h": 1e2,
    "da": 1e1, "d": 1e-1, "c": 1e-2, "m": 1e-3, "u": 1e-6, "n": 1e-9, "p": 1e-12, "f": 1e-15,
    "a": 1e-18, "z": 1e-21, "y": 1e-24, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40,
}  # fmt: skip

# Atom → (may take a prefix, factor, exponents of the base units m s g K C cd rad and of bit).
_ATOMS: Mapping[str, tuple[bool, float, str]] = {
    "m": (True, 1, "m"), "s": (True, 1, "s"), "g": (True, 1, "g"), "K": (True, 1, "K"),
    "C": (True, 1, "C"), "cd": (True, 1, "cd"), "rad": (True, 1, "rad"), "bit": (True, 1, "bit"),
    "By": (True, 8, "bit"), "Bd": (True, 1, "s-1"),
    "%": (False, 1e-2, ""), "[ppth]": (False, 1e-3, ""), "[ppm]": (False, 1e-6, ""),
    "[ppb]": (False, 1e-9, ""), "10*": (False, 10, ""), "10^": (False, 10, ""), "[pi]": (False, pi, ""),
    "min": (False, 60, "s"), "h": (False, 3600, "s"), "d": (False, 86400, "s"), "wk": (False, 604800, "s"),
    "mo": (False, 2629800, "s"), "a": (False, 31557600, "s"),
    "L": (True, 1e-3, "m3"), "l": (True, 1e-3, "m3"), "ar": (True, 100, "m2"), "har": (False, 1e4, "m2"),
    "t": (True, 1e6, "g"), "u": (True, 1.6605402e-24, "g"), "mol": (True, 6.0221367e23, ""),
    "Hz": (True, 1, "s-1"), "N": (True, 1e3, "g m s-2"), "Pa": (True, 1e3, "g m-1 s-2"),
    "bar": (True, 1e8, "g m-1 s-2"), "atm": (False, 101325e3, "g m-1 s-2"),
    "J": (True, 1e3, "g m2 s-2"), "W": (True, 1e3, "g m2 s-3"), "cal": (True, 4184, "g m2 s-2"),
    "eV": (True, 1.60217733e-16, "g m2 s-2"), "A": (True, 1, "C s-1"), "V": (True, 1e3, "g m2 s-2 C-1"),
    "Ohm": (True, 1e3, "g m2 s-1 C-2"), "S": (True, 1e-3, "g-1 m-2 s C2"), "F": (True, 1e-3, "g-1 m-2 s2 C2"),
    "H": (True, 1e3, "g m2 C-2"), "Wb": (True, 1e3, "g m2 s-1 C-1"), "T": (True, 1e3, "g s-1 C-1"),
    "deg": (False, pi / 180, "rad"), "'": (False, pi / 10800, "rad"), "''": (False, pi / 648000, "rad"),
    "gon": (False, pi / 200, "rad"), "sr": (True, 1, "rad2"), "lm": (True, 1, "cd rad2"),
    "lx": (True, 1, "cd rad2 m-2"), "Bq": (True, 1, "s-1"), "Gy": (True, 1, "m2 s-2"),
    "Sv": (True, 1, "m2 s-2"), "kat": (True, 6.0221367e23, "s-1"), "osm": (True, 6.0221367e23, ""),
    "m[H2O]": (True, 9806650, "g m-1 s-2"), "m[Hg]": (True, 133322000, "g m-1 s-2"),
    "[in_i]": (False, 0.0254, "m"), "[ft_i]": (False, 0.3048, "m"), "[yd_i]": (False, 0.9144, "m"),
    "[mi_i]": (False, 1609.344, "m"), "[nmi_i]": (False, 1852, "m"), "[kn_i]": (False, 1852 / 3600, "m s-1"),
    "[gal_us]": (False, 0.003785411784, "m3"), "[gal_br]": (False, 0.00454609, "m3"),
    "[cft_i]": (False, 0.028316846592, "m3"), "[lb_av]": (False, 453.59237, "g"),
    "[psi]": (False, 6894757.293168361, "g m-1 s-2"), "[g]": (True, 9.80665, "m s-2"),
}  # fmt: skip

_SPECIAL: Mapping[str, bool] = {
    "Cel": True, "[degF]": False, "[pH]": False, "Np": True, "B": True, "B[SPL]": True, "B[V]": True,
    "B[mV]": True, "B[uV]": True, "B[W]": True, "B[kW]": True, "B[mW]": True,
}  # fmt: skip

_TEMPERATURES: Mapping[str, tuple[float, float]] = {
    "K": (1.0, 0.0), "Cel": (1.0, 273.15), "[degF]": (5 / 9, 459.67 * 5 / 9),
}  # fmt: skip
"""Temperature in kelvin = value · factor + shift (UCUM, table 5)."""

# What people write → what UCUM writes; given as the hint of an error.
_OTHERWISE: Mapping[str, str] = {
    "°C": "Cel", "degC": "Cel", "celsius": "Cel", "°F": "[degF]", "°": "deg", "dBm": "dB[mW]",
    "dB(mW)": "dB[mW]", "litre": "L", "liter": "L", "litres": "L", "m³": "m3", "m³/h": "m3/h",
    "kmh": "km/h", "kph": "km/h", "mph": "[mi_i]/h", "sec": "s", "hour": "h", "hours": "h",
    "minute": "min", "day": "d", "days": "d", "year": "a", "month": "mo", "week": "wk", "µs": "us",
    "µg/m3": "ug/m3", "ppm": "[ppm]", "ppb": "[ppb]", "percent": "%", "Ω": "Ohm", "ohm": "Ohm",
    "lux": "lx", "byte": "By", "bytes": "By", "psi": "[psi]", "pH": "[pH]", "inch": "[in_i]",
    "ft": "[ft_i]", "lb": "[lb_av]", "count": "1", "Volt": "V", "volt": "V", "": "1",
}  # fmt: skip

_EXPONENTS = re.compile(r"([A-Za-z]+)(-?\d)?", re.ASCII)
_COMPONENT = re.compile(
    r"(?:(?P<number>[1-9]\d{0,8}|(?P<ten>10[*^])(?P<tens>[+-]?\d{1,2})?)"
    r"|(?P<atom>(?:[^\[\]{}./()\d\s+-]|\[[^\[\]{}\s]*\])+)(?P<exponent>[+-]?\d)?)?(?P<note>\{[^{}]*\})?",
    re.ASCII,
)


def parse_unit(code: str) -> Unit:
    """Return what a UCUM code stands for. Raises ValueError with a sentence where it is none."""
    if len(code) > MAX_CHARACTERS:
        raise ValueError(f"the unit is longer than {MAX_CHARACTERS} characters")
    if special := _special(code):
        return Unit(factor=1.0, exponents=(), special=special)
    factor, exponents, power = 1.0, dict[str, int](), 1
    # Left to right, as UCUM reads: a slash divides by the next component alone. None inside {…}.
    for piece in re.split(r"([./])(?![^{]*\})", "1" + code if code.startswith("/") else code):
        if piece in (".", "/"):
            power = 1 if piece == "." else -1
            continue
        component = _component(piece, code)
        factor *= component.factor**power
        for base, exponent in component.exponents:
            exponents[base] = exponents.get(base, 0) + power * exponent
    return Unit(factor=factor, exponents=tuple(sorted((b, e) for b, e in exponents.items() if e)))


def conversion(source: str, target: str) -> float:
    """Return the factor that turns a value in `source` into one in `target` (`m3/h` → `L/s`).

    Raises ValueError where a code is unknown, or where the two measure different things.
    """
    if source == target:
        return 1.0
    have, want = parse_unit(source), parse_unit(target)
    if have.special or want.special:
        raise ValueError(f"«{source}» cannot be converted to «{target}» by a factor")
    if have.exponents != want.exponents:
        raise ValueError(f"«{source}» and «{target}» measure different things")
    return have.factor / want.factor


def affine(source: str, target: str) -> tuple[float, float]:
    """Return factor and shift that turn a value in `source` into one in `target`: temperatures have a shift.

    Raises ValueError as `conversion` does.
    """
    if source == target:
        return 1.0, 0.0
    if source in _TEMPERATURES and target in _TEMPERATURES:
        (factor, shift), (other, back) = _TEMPERATURES[source], _TEMPERATURES[target]
        return factor / other, (shift - back) / other
    return conversion(source, target), 0.0


def ucum_of(text: str) -> str:
    """Return the UCUM code of a unit as people write it (`°C`, `m³/h`); the text itself where it is none."""
    return _OTHERWISE.get(text, text)


def _component(piece: str, code: str) -> Unit:
    match = _COMPONENT.fullmatch(piece)
    if match is None or not piece:
        raise ValueError(_unknown(code))
    if match["ten"]:
        return Unit(factor=10.0 ** int(match["tens"] or "1"), exponents=())
    if match["number"]:
        return Unit(factor=float(match["number"]), exponents=())
    if match["atom"] is None:
        return Unit(factor=1.0, exponents=())
    unit = _atom(match["atom"])
    if unit is None:
        raise ValueError(_unknown(code))
    power = int(match["exponent"] or "1")
    return Unit(factor=unit.factor**power, exponents=tuple((b, e * power) for b, e in unit.exponents))


def _atom(text: str) -> Unit | None:
    """Return an atom with or without a prefix; the atom itself wins (`min` is no milli-inch)."""
    if text in _ATOMS:
        _, factor, exponents = _ATOMS[text]
        return Unit(factor=factor, exponents=_exponents(exponents))
    for length in (1, 2):
        prefix, rest = text[:length], text[length:]
        if prefix in _PREFIXES and rest in _ATOMS and _ATOMS[rest][0]:
            _, factor, exponents = _ATOMS[rest]
            return Unit(factor=factor * _PREFIXES[prefix], exponents=_exponents(exponents))
    return None


def _special(code: str) -> str:
    """Return the code where it is an offset or logarithmic unit, with or without a prefix; else ''."""
    bare = re.sub(r"\{[^{}]*\}$", "", code)
    if bare in _SPECIAL:
        return bare
    rest = bare[2:] if bare.startswith("da") else bare[1:]
    prefix = bare[: len(bare) - len(rest)]
    return bare if prefix in _PREFIXES and _SPECIAL.get(rest, False) else ""


def _exponents(text: str) -> tuple[tuple[str, int], ...]:
    return tuple(
        (match[1], int(match[2] or "1"))
        for match in (_EXPONENTS.fullmatch(part) for part in text.split())
        if match
    )


def _unknown(code: str) -> str:
    sentence = f"«{code}» is not a UCUM unit"
    if better := _OTHERWISE.get(code.strip()):
        return f"{sentence}; write «{better}»"
    near = difflib.get_close_matches(code, [*_ATOMS, *_SPECIAL], n=1)
    return f"{sentence}; did you mean «{near[0]}»?" if near else sentence
