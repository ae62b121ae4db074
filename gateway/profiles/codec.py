"""A profile's codec: a vendor's JavaScript, beside the profile's file and within its text.

Whoever holds a profile's text (the journal, the state, a backup) must be able to decode by it years later:
so the codec's text stands behind the YAML document's end, with its name:

    profile: acme-meter
    codec: {file: acme.js}
    ... # codec: acme.js
    function decodeUplink(input) { … }
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_BYTES = 1_048_576
_MARK = re.compile(r"^\.\.\. # codec: (?P<name>.*)\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class CodecPlan:
    """What runs a profile's codec. `name` is its file's; `variables` are ChirpStack's, (name, value).

    `normalize`: `normalizeUplink` follows `decodeUplink`, and its data count.
    """

    name: str
    script: str
    normalize: bool = False
    variables: tuple[tuple[str, str], ...] = ()


def joined(text: str, name: str, script: str) -> str:
    """Return a profile's text with its codec behind it."""
    end = "" if text.endswith("\n") else "\n"
    return f"{text}{end}... # codec: {name}\n{script}"


def parted(text: str) -> tuple[str, str | None]:
    """Return a profile's YAML and its codec's text; None where there is none."""
    mark = _MARK.search(text)
    return (text[: mark.start()], text[mark.end() :]) if mark else (text, None)
