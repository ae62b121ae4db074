"""Durations, sizes and rates as people write them: `15min`, `256MB`, `600/min`; is a host this machine?"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from ipaddress import ip_address

# At most 12 digits before the point: the result always fits int64.
_DURATION = re.compile(r"\s*(\d{1,12}(?:\.\d{1,9})?)\s*(ms|s|min|h|d)\s*", re.ASCII)
_NS = {"ms": 10**6, "s": 10**9, "min": 60 * 10**9, "h": 3600 * 10**9, "d": 86400 * 10**9}
_SIZE = re.compile(r"\s*(\d{1,12}(?:\.\d{1,9})?)\s*(B|kB|MB|GB|TB)\s*", re.ASCII)
_RATE = re.compile(r"\s*(\d{1,9})\s*/\s*(s|min|h)\s*", re.ASCII)
_BYTES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def duration_ns(text: str) -> int:
    """Turn `"15 min"` into nanoseconds. Raises ValueError with a sentence."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError('a duration is a number and ms, s, min, h or d, such as "15min"')
    return int(Decimal(match[1]) * _NS[match[2]])


def size_bytes(text: str) -> int:
    """Turn `"256 MB"` into bytes. Raises ValueError with a sentence."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError('a size is a number and B, kB, MB, GB or TB, such as "256MB"')
    return int(Decimal(match[1]) * _BYTES[match[2]])


@dataclass(frozen=True, slots=True)
class Rate:
    """So many in each interval."""

    count: int
    interval_ns: int


def rate(text: str) -> Rate | None:
    """Turn `"600/min"` into a rate, `"off"` into None. Raises ValueError with a sentence."""
    if text == "off":
        return None
    match = _RATE.fullmatch(text)
    if match is None or not int(match[1]):
        raise ValueError('a rate is off, or a number from 1 on and /s, /min or /h, such as "600/min"')
    return Rate(int(match[1]), _NS[match[2]])


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address is this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


SINK_TOPIC = "ecluse/{measurement}/{site}/{device}"
"""Where a sink over MQTT publishes a point, unless told otherwise."""
TOPIC_NAME = re.compile(r"\{([^{}]*)\}")


def topic_problem(template: str) -> str:
    """Say what is wrong with a template of topics; "" where nothing is."""
    bare = TOPIC_NAME.sub("x", template)
    if not bare or "\0" in bare or any(sign in bare for sign in "+#{}"):
        return f"«{template:.80}» is no topic: write {SINK_TOPIC}"
    return "a topic must not begin with $ or /" if template[:1] in "$/" else ""
