"""Ways in which firmware goes wrong: each takes a healthy payload and says what must become of it.

The reasons are plain words that a gateway's own list must agree with.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from firmware_sim.model import DAY, SECOND, Body
from firmware_sim.traffic import iso, moment

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

ALL = ("waste", "traffic", "water")
TOO_LARGE = 20_000
TOO_DEEP = 40
FUTURE_DAYS = 366
RESET_TIME = 946_684_800 * SECOND
"""2000-01-01: what a clock without battery shows after a reset."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One named way of going wrong: `spoil(body, family, rng)` gives the bytes that are sent."""

    name: str
    expect: str
    families: tuple[str, ...]
    spoil: Callable[[Body, str, np.random.Generator], bytes]
    besides: bool = False
    """Sent after the healthy message instead of in its place."""
    stranger: bool = False
    """Sent under the name of a device that nobody knows."""


def encode(body: Body) -> bytes:
    """Return a payload as the devices write it: JSON without spaces."""
    return orjson.dumps(body)


def retime(body: Body, family: str, shift_ns: int) -> Body:
    """Return a copy of a payload whose every time is shifted."""
    moved = copy.deepcopy(body)
    if family == "waste":
        moved["ts"] += shift_ns // 1_000_000
    elif family == "water":
        moved["ts"] += shift_ns // SECOND
        moved["log"]["ts"] += shift_ns // SECOND
    else:
        moved["time"] = iso(time_of(body, family) + shift_ns)
    return moved


def time_of(body: Body, family: str) -> int:
    """Return the device time of a payload, ns UTC."""
    if family == "waste":
        return int(body["ts"]) * 1_000_000
    if family == "water":
        return int(body["ts"]) * SECOND
    return moment(body["time"])


def _truncated(body: Body, _family: str, rng: np.random.Generator) -> bytes:
    whole = encode(body)
    return whole[: int(rng.integers(len(whole) // 4, len(whole) - 1))]


def _not_json(_body: Body, _family: str, rng: np.random.Generator) -> bytes:
    return b"ERR %d: sensor did not answer" % int(rng.integers(100, 999))


def _wrong_type(body: Body, family: str, _rng: np.random.Generator) -> bytes:
    wrong = copy.deepcopy(body)
    if family == "waste":
        wrong["dist_mm"] = "no reading"
    elif family == "water":
        wrong["index_l"] = "overflow"
    else:
        wrong["lanes"][0]["occupancy"] = "unknown"
    return encode(wrong)


def _missing_field(body: Body, _family: str, _rng: np.random.Generator) -> bytes:
    return encode({key: value for key, value in body.items() if key != "period_s"})


def _no_reading(body: Body, _family: str, _rng: np.random.Generator) -> bytes:
    return encode(
        {key: value for key, value in body.items() if key in ("id", "seq", "ts", "time", "period_s")}
    )


def _not_utf8(body: Body, _family: str, _rng: np.random.Generator) -> bytes:
    return encode(body).decode().encode("utf-16")  # what one firmware library writes by default


def _nan(body: Body, family: str, _rng: np.random.Generator) -> bytes:
    key = {"waste": "temp_c", "traffic": "battery_pct", "water": "temp_c"}[family]
    text = encode({**body, key: "\0"})
    return text.replace(b'"\\u0000"', b"NaN", 1)


def _too_large(body: Body, _family: str, rng: np.random.Generator) -> bytes:
    log = bytes(rng.integers(97, 123, TOO_LARGE, dtype="uint8")).decode()
    return encode({**body, "debug": log})


def _too_deep(body: Body, _family: str, _rng: np.random.Generator) -> bytes:
    return encode(body)[:-1] + b',"debug":' + b"[" * TOO_DEEP + b"]" * TOO_DEEP + b"}"


def _future(body: Body, family: str, rng: np.random.Generator) -> bytes:
    return encode(retime(body, family, (FUTURE_DAYS + int(rng.integers(30))) * DAY))


def _too_old(body: Body, family: str, rng: np.random.Generator) -> bytes:
    uptime = int(rng.integers(60, 86_400)) * SECOND
    return encode(retime(body, family, RESET_TIME + uptime - time_of(body, family)))


def _as_it_is(body: Body, _family: str, _rng: np.random.Generator) -> bytes:
    return encode(body)


def beyond_range(body: Body, family: str, rng: np.random.Generator) -> tuple[Body, str]:
    """Return a payload with one value that no such sensor can measure, and that quantity's name.

    It is a number all the same: it must be stored raw, flagged, and kept out of windows.
    """
    other = copy.deepcopy(body)
    if family == "waste":
        other["dist_mm"] = int(rng.integers(4_600, 9_000))
        return other, "distance"
    if family == "water":
        other["temp_c"] = round(float(rng.uniform(150, 250)), 1)
        return other, "temperature"
    other["lanes"][0]["occupancy"] = round(float(rng.uniform(110, 250)), 1)
    return other, "occupancy"


def _conflict(body: Body, family: str, rng: np.random.Generator) -> bytes:
    other, change = copy.deepcopy(body), int(rng.integers(3, 40))
    if family == "waste":
        other["dist_mm"] += change
    elif family == "water":
        other["index_l"] += change
    elif other["lanes"][0]["classes"]["car"]["n"]:
        other["lanes"][0]["classes"]["car"]["n"] += change
    else:  # cars where there were none would have a speed, which nobody has told before: news, no conflict
        other["battery_pct"] += -1 if other["battery_pct"] else 1
    return encode(other)


KINDS = (
    Kind("truncated", "quarantined:not json", ALL, _truncated),
    Kind("not json", "quarantined:not json", ALL, _not_json),
    Kind("wrong type", "quarantined:wrong type", ALL, _wrong_type),
    Kind("missing field", "quarantined:missing field", ("traffic",), _missing_field),
    Kind("no reading", "quarantined:no reading", ALL, _no_reading),
    Kind("not utf-8", "quarantined:not utf-8", ALL, _not_utf8),
    Kind("nan", "quarantined:not finite", ALL, _nan),
    Kind("too large", "quarantined:too large", ALL, _too_large),
    Kind("too deep", "quarantined:too deep", ALL, _too_deep),
    Kind("future time", "quarantined:in the future", ALL, _future),
    Kind("too old time", "quarantined:too old", ALL, _too_old),
    Kind("unknown device", "quarantined:unknown device", ALL, _as_it_is, stranger=True),
    Kind("conflicting duplicate", "quarantined:conflicting duplicate", ALL, _conflict, besides=True),
    Kind("out of range", "flagged", ALL, _as_it_is),
)
