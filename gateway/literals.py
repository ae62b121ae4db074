"""Durations and sizes as people write them: `15min`, `7d`, `256MB`; and whether a host is this machine."""

from __future__ import annotations

import re
from ipaddress import ip_address

_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|min|h|d)\s*")
_SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(B|kB|MB|GB|TB)\s*")
_BYTES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def duration_ns(text: str) -> int:
    """Turn `"15 min"` into nanoseconds. Raises ValueError with a sentence."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError('a duration is a number and ms, s, min, h or d, such as "15min"')
    return int(float(match[1]) * _SECONDS[match[2]] * 1e9)


def size_bytes(text: str) -> int:
    """Turn `"256 MB"` into bytes. Raises ValueError with a sentence."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError('a size is a number and B, kB, MB, GB or TB, such as "256MB"')
    return int(float(match[1]) * _BYTES[match[2]])


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address is this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
