"""A profile's whole text: its YAML, and behind it what it refers to.

Whoever holds a profile's text (the journal, the state, a backup) must be able to decode by it years later. So
the profile that it extends, and its codec, stand behind the YAML document's end, each with its name:

    profile: acme-meter
    extends: ../acme-base
    codec: {file: acme.js}
    ... # extends: ../acme-base
    quantities: {battery: {path: bat, unit: V}}
    ... # codec: acme.js
    function decodeUplink(input) { … }
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["extends", "codec"]
_MARK = re.compile(r"^\.\.\. # (?P<kind>extends|codec): .*\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Whole:
    """The parts of a profile's text; None where there is none."""

    yaml: str
    base: str | None = None
    script: str | None = None


def attached(text: str, kind: Kind, name: str, body: str) -> str:
    """Return a profile's text with a part behind it; `extends` goes before `codec`."""
    end = "" if text.endswith("\n") else "\n"
    return f"{text}{end}... # {kind}: {name}\n{body}"


def detached(text: str) -> Whole:
    """Return the parts of a profile's text. What stands behind a codec's mark is all the codec's."""
    yaml, kind, rest = _split(text)
    if kind != "extends":
        return Whole(yaml, None, rest if kind else None)
    base, kind, script = _split(rest)
    return Whole(yaml, base, script if kind else None)


def _split(text: str) -> tuple[str, str, str]:
    mark = _MARK.search(text)
    return (text[: mark.start()], mark["kind"], text[mark.end() :]) if mark else (text, "", "")
