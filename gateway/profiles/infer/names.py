"""What a key's name tells: the quantity's name, its unit, and what such values usually are."""

from __future__ import annotations

import keyword
import re
from typing import TYPE_CHECKING

from gateway.profiles.expression import FUNCTIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

_BOUNDARY = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+")

SUFFIXES: Mapping[str, str] = {
    "mm": "mm", "cm": "cm", "km": "km", "meters": "m", "metres": "m", "v": "V", "mv": "mV", "volt": "V",
    "volts": "V", "ma": "mA", "amp": "A", "w": "W", "kw": "kW", "wh": "W.h", "kwh": "kW.h", "c": "Cel",
    "celsius": "Cel", "degc": "Cel", "pct": "%", "percent": "%", "perc": "%", "l": "L", "litre": "L",
    "litres": "L", "liter": "L", "liters": "L", "m3": "m3", "m3h": "m3/h", "lph": "L/h", "bar": "bar",
    "mbar": "mbar", "hpa": "hPa", "pa": "Pa", "kmh": "km/h", "kph": "km/h", "ms": "ms", "s": "s", "sec": "s",
    "seconds": "s", "min": "min", "minutes": "min", "h": "h", "hours": "h", "lux": "lx", "lx": "lx",
    "ppm": "[ppm]", "ppb": "[ppb]", "ugm3": "ug/m3", "db": "dB", "dba": "dB", "dbm": "dB[mW]", "hz": "Hz",
    "deg": "deg", "kg": "kg", "g": "g", "j": "J", "kj": "kJ",
}  # fmt: skip
"""The last part of a key that is a unit → its UCUM code."""

USUAL: Mapping[str, str] = {
    "temperature": "Cel", "humidity": "%", "rssi": "dB[mW]", "snr": "dB", "filling_level": "%",
    "fill_level": "%", "occupancy": "%", "co2": "[ppm]", "pm25": "ug/m3", "pm10": "ug/m3", "pm1": "ug/m3",
    "no2": "ug/m3", "o3": "ug/m3", "noise": "dB", "laeq": "dB", "lamax": "dB", "illuminance": "lx",
    "speed": "km/h", "mean_speed": "km/h", "voltage": "V", "pressure": "bar", "volume": "m3",
    "latitude": "deg", "longitude": "deg",
}  # fmt: skip
"""A name → the unit that it most often comes in: a guess."""

WORDS: Mapping[str, str] = {
    "dist": "distance", "temp": "temperature", "tmp": "temperature", "hum": "humidity", "bat": "battery",
    "batt": "battery", "volt": "voltage", "lat": "latitude", "lon": "longitude", "lng": "longitude",
    "alt": "altitude", "spd": "speed", "avg": "mean", "lum": "illuminance", "cnt": "count", "nb": "count",
    "vbat": "battery", "press": "pressure", "fill": "filling", "lvl": "level", "veh": "vehicles",
}  # fmt: skip


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


FAMILIES: Mapping[str, frozenset[str]] = {
    "waste": _words("bin bins waste filling garbage container trash dechets tri benne"),
    "traffic": _words("traffic vehicles vehicle lane lanes cars trucks bikes speed velo comptage"),
    "water": _words("water eau meter meters leak index flow hydro pipe"),
    "parking": _words("parking park spot bay stationnement"),
    "noise": _words("noise sound laeq bruit"),
    "air": _words("air pm25 pm10 no2 co2 o3 quality"),
    "light": _words("light lamp street lampe eclairage dim"),
    "pumping": _words("pump pumping pompe sewer"),
}

TIMES = _words("t ts time timestamp datetime date at when instant horodatage epoch utc")
SEQUENCES = _words("seq sequence fcnt fcntup msgid messageid packet counter uplink msg nr no")
COUNTERS = _words("index total totals cumul cumulative odometer register volume reading energy")
EVENTS = _words("count counts vehicles cars trucks bikes bicycles pedestrians passages lifts n")
STATES = _words(
    "status state tilt alarm door open opened lid position mode flag leak tamper occupied fire on"
)
DIMENSIONS = (
    "lane",
    "class",
    "direction",
    "dir",
    "channel",
    "sensor",
    "name",
    "id",
    "type",
    "port",
    "no",
    "n",
)


_CONSTANTS = frozenset({"true", "false", "null"})
"""What YAML reads as something else than a text."""
ANONYMOUS = frozenset({"id", "name", "no", "n", "type"})
"""Words that tell elements apart without saying of what: the list's own name does."""
RESERVED = frozenset({"quality", "coverage", "site", "device", "profile", "time", "time_source"})


def parts(key: str) -> list[str]:
    """Return the words of a key, in small letters: `distMm`, `dist_mm` → dist, mm."""
    return [word.lower() for word in _BOUNDARY.split(key) if word]


def unit_of(key: str) -> tuple[str, str]:
    """Return the unit that a key's name tells, and how sure that is (`sure`, `guess`); ("", "") if none."""
    words = parts(key)
    if len(words) > 1 and words[-1] in SUFFIXES:
        return SUFFIXES[words[-1]], "sure"
    usual = USUAL.get(name_of(key), "") or USUAL.get(name_of(key).rsplit("_", 1)[-1], "")
    return usual, "guess" if usual else ""


def name_of(key: str) -> str:
    """Return a quantity's name for a key: words written out, without the unit, fit for a formula."""
    words = parts(key)
    if len(words) > 1 and words[-1] in SUFFIXES:
        words.pop()
    name = "_".join(WORDS.get(word, word) for word in words) or "value"
    if not name[0].isalpha() or not name.isascii():
        name = "value_" + re.sub(r"[^a-z0-9_]", "", name)
    reserved = name in FUNCTIONS.keys() | RESERVED or keyword.iskeyword(name) or name in _CONSTANTS
    return f"{name[:50]}_value" if reserved else name[:60]


def family_of(texts: list[str]) -> str:
    """Return the family that most of the words belong to; `other` where none does."""
    words = [word for text in texts for word in (*parts(text), *parts(name_of(text)))]
    scores = {family: sum(word in known for word in words) for family, known in FAMILIES.items()}
    best = max(scores, key=lambda family: scores[family])
    return best if scores[best] else "other"
