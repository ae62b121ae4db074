"""A text as it stands in the YAML of a draft."""

from __future__ import annotations

import re

_WORD = re.compile(r"[A-Za-z_][\w.]*", re.ASCII)
_CONSTANTS = frozenset({"true", "false", "null"})


def quoted(text: str) -> str:
    """Return a text as YAML; in quotes where it is no plain word."""
    if _WORD.fullmatch(text) and text.lower() not in _CONSTANTS:
        return text
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(sign: str) -> str:
    """Return a sign as it stands in a double-quoted text of YAML."""
    if sign in '"\\':
        return f"\\{sign}"
    return sign if sign.isprintable() else f"\\U{ord(sign):08x}"
