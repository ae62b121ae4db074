"""Which lines of a refused request are guilty: found with few requests, without losing the others.

Pure: `settle` is a generator that yields lines to send and is told how the server answered. It reads what
the server says (the lines that it quotes, the field whose type conflicts, how many points it dropped) and
halves where that does not tell. A server may store the good lines of a refused request (InfluxDB 1) or
none (InfluxDB 2): so every line is either sent again and stored, or named. Parts are settled in their
order, so that of two writings of a point the later one stays.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from gateway.sinks import line_protocol

if TYPE_CHECKING:
    from collections.abc import Generator

    Named = list[tuple[bytes, str]]

MOST_REQUESTS = 500
"""Requests spent on one refused body; then what is still refused together is named together."""

LONGEST_REASON = 300

_QUOTED = re.compile(r"unable to parse '(.*?)': ([^\n]*)", re.DOTALL)
_CONFLICT = re.compile(
    r'input field "(.+?)" on measurement "(.+?)" is type (\w+), already exists as type (\w+)'
)
_DROPPED = re.compile(r" ?dropped=(\d+)")
_TYPES = {float: "float", int: "integer", str: "string", bool: "boolean"}


class Refusal(NamedTuple):
    """How a server refused a request: its sentence, and whether only the size was wrong."""

    reason: str
    too_large: bool = False


def settle(lines: list[bytes], refusal: Refusal) -> Generator[list[bytes], Refusal | None, Named]:
    """Find the guilty lines of a refused request.

    Yields lines to send; expects None (stored) or a Refusal. Returns the refused lines with reasons.
    """
    refused: Named = []
    requests = 0
    waiting: list[tuple[list[bytes], Refusal | None]] = [(lines, refusal)]
    while waiting:
        part, answer = waiting.pop()
        if answer is None:
            requests += 1
            answer = yield part
            if answer is None:
                continue
        named = _named(part, answer)
        if not named and requests >= MOST_REQUESTS:
            named = [(line, f"among lines refused together: {_short(answer.reason)}") for line in part]
        refused += named
        if named:
            guilty = {line for line, _ in named}
            halves = [[line for line in part if line not in guilty]]
        else:
            halves = [part[: len(part) // 2], part[len(part) // 2 :]]
        # The stack gives the earlier half first, and all of it before the later one.
        waiting += [(half, None) for half in reversed(halves) if half]
    return refused


def _named(lines: list[bytes], refusal: Refusal) -> Named:
    """Return the lines that the server's sentence convicts; none where it does not tell."""
    reason = _short(_DROPPED.sub("", refusal.reason))
    if len(lines) == 1:
        return [(lines[0], reason)]
    if refusal.too_large:
        return []
    dropped = _DROPPED.search(refusal.reason)
    if dropped and int(dropped[1]) == len(lines):
        return [(line, reason) for line in lines]
    return _quoted(lines, refusal.reason) or _conflicting(lines, refusal.reason, reason)


def _quoted(lines: list[bytes], sentence: str) -> Named:
    reasons: dict[str, str] = dict(_QUOTED.findall(sentence))
    if not reasons:
        return []
    found = ((line, reasons.get(line.decode("utf-8", "replace"))) for line in lines)
    return [(line, _short(_DROPPED.sub("", why))) for line, why in found if why is not None]


def _conflicting(lines: list[bytes], sentence: str, reason: str) -> Named:
    conflict = _CONFLICT.search(sentence)
    if conflict is None:
        return []
    name, measurement, is_type, _ = conflict.groups()
    guilty: Named = []
    for line in lines:
        try:
            parsed = line_protocol.decode(line)
        except ValueError:
            continue
        if parsed.measurement == measurement and _TYPES.get(type(parsed.fields.get(name))) == is_type:
            guilty.append((line, reason))
    return guilty


def _short(reason: str) -> str:
    return reason if len(reason) <= LONGEST_REASON else reason[: LONGEST_REASON - 1] + "…"
