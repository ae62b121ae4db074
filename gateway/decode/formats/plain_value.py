"""A plain value per topic: `21.5`, `on`, `true`. What it is stands in the profile, never in the payload.

Blanks around it are passed over, and a comma may stand for the point. `NaN` and the like are texts, and so
no numbers.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from gateway.decode.formats.parsing import Parsed, Refused, converting, parse_values
from gateway.model import Reason

if TYPE_CHECKING:
    from gateway.decode.frames import Frames
    from gateway.decode.shape import Shape
    from gateway.profiles.plan import ProfilePlan

PATH = "value"
"""Where the value stands in what is decoded."""

_WHOLE = re.compile(r"[-+]?\d{1,300}", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:\d{1,300}(?:[.,]\d{0,300})?|[.,]\d{1,300})(?:[eE][-+]?\d{1,3})?", re.ASCII)
_TRUTHS = {"true": True, "false": False}


class ValueParser:
    """Parses plain values into one type."""

    def __init__(self, shape: Shape) -> None:
        self._convert = converting(shape.type)

    def parse(self, frames: Frames) -> Parsed:
        """Return the objects and the failures. Never raises on bad data."""
        return parse_values(frames.payloads, _object, self._convert)


def compile_value(shape: Shape, _plan: ProfilePlan) -> ValueParser:
    """Return a parser of plain values."""
    return ValueParser(shape)


def _object(payload: bytes) -> dict[str, Any]:
    """Return the value under `PATH`. Raises Refused."""
    try:
        text = payload.decode().strip()
    except UnicodeDecodeError as error:
        raise Refused(Reason.NOT_UTF8, f"byte {error.start} is not UTF-8: {error.reason}") from error
    if not text:
        raise Refused(Reason.NO_READING, "the payload is empty")
    return {PATH: plain_value(text)}


def plain_value(text: str) -> float | bool | str:
    """Return a number, a truth, or the text itself. Raises Refused for a number beyond every number."""
    if _WHOLE.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        number = float(text.replace(",", "."))
        if number in (float("inf"), float("-inf")):
            raise Refused(Reason.NOT_FINITE, f"{text:.40} is beyond every number")
        return number
    return _TRUTHS.get(text.lower(), text)
