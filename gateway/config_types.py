"""What the values of the settings are: durations, sizes, rates, zones and names, as people write them."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field

from gateway.literals import duration_ns, rate, size_bytes

__all__ = ["Duration", "Rate", "SinkName", "Size", "Zone", "address"]


def address(url: str) -> SplitResult:
    """Split an address. Raises ValueError with a sentence where its host or its port cannot be read."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # read here, so that a bad one is refused here
    except ValueError as error:
        raise ValueError(f"url: {str(error)[:1].lower()}{str(error)[1:]}") from error
    return parts


def _ns(value: object) -> object:
    return duration_ns(value) if isinstance(value, str) else value


def _bytes(value: object) -> object:
    return size_bytes(value) if isinstance(value, str) else value


_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}", re.ASCII)


def _short_name(value: str) -> str:
    if _NAME.fullmatch(value) is None:
        raise ValueError("must be small letters, digits, - and _, at most 32, such as influx-1")
    return value


def _written_rate(value: str) -> str:
    rate(value)
    return value


def _known_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"no IANA time zone is called {value!r}; an example is Europe/Paris") from error
    return value


Duration = Annotated[
    int, BeforeValidator(_ns), Field(ge=0, json_schema_extra={"type": "string", "examples": ["15min"]})
]
Size = Annotated[
    int, BeforeValidator(_bytes), Field(ge=0, json_schema_extra={"type": "string", "examples": ["256MB"]})
]
Rate = Annotated[str, AfterValidator(_written_rate), Field(json_schema_extra={"examples": ["600/min"]})]
Zone = Annotated[str, AfterValidator(_known_zone)]
SinkName = Annotated[str, AfterValidator(_short_name), Field(json_schema_extra={"pattern": _NAME.pattern})]
