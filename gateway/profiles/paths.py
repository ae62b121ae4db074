"""JSON paths as profiles write them: `log.index_l`, `lanes[].lane`, `lanes[].classes.{class}.n`.

`a.b` goes into nested objects, `a[]` takes each element of the list `a`, `{class}` takes each key of
an object and binds the dimension `class` to it. A payload that is itself a list begins with `[]`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_STEPS = 16

_SEGMENT = re.compile(r"(?:(?P<key>[^\[\]{}.]+)|\{(?P<bind>[a-z][a-z0-9_]*)\})?(?P<lists>(?:\[\])*)")


class Take(Enum):
    """What one step of a path takes."""

    KEY = "key"
    """The value under the key `name`."""
    EACH = "each"
    """Each element of a list."""
    BIND = "bind"
    """Each value of an object; its key becomes the dimension `name`."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a path. `name` is empty for EACH."""

    take: Take
    name: str = ""


def parse_path(text: str) -> tuple[Step, ...]:
    """Return a path's steps. Raises ValueError with a sentence where it is none."""
    steps: list[Step] = []
    for segment in text.split("."):
        match = _SEGMENT.fullmatch(segment)
        if not segment or match is None:
            raise ValueError(f"«{text:.80}» is not a path: write a.b, list[].a or a.{{dimension}}.b")
        if match["key"]:
            steps.append(Step(Take.KEY, match["key"]))
        elif match["bind"]:
            steps.append(Step(Take.BIND, match["bind"]))
        elif steps:
            raise ValueError(f"«[]» in «{text:.80}» must follow a key")
        steps.extend(Step(Take.EACH) for _ in range(match["lists"].count("[")))
    if len(steps) > MAX_STEPS:
        raise ValueError(f"the path has more than {MAX_STEPS} steps")
    return tuple(steps)


def bound(steps: tuple[Step, ...]) -> tuple[str, ...]:
    """Return the dimensions that a path binds, in order."""
    return tuple(step.name for step in steps if step.take is Take.BIND)


def repeated(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Return a path up to its last list or bound object: the part that gives one row each; or ()."""
    for end in range(len(steps), 0, -1):
        if steps[end - 1].take is not Take.KEY:
            return steps[:end]
    return ()


def disagreement(paths: Iterable[tuple[Step, ...]]) -> tuple[Step, ...] | None:
    """Return the first path at whose places another one found something else; None where all agree.

    What stands at a place is a value, an object of named keys, an object of free keys, or a list.
    """
    found: dict[tuple[Step, ...], Take | None] = {}
    for path in paths:
        for end in range(len(path) + 1):
            what = path[end].take if end < len(path) else None
            if found.setdefault(path[:end], what) is not what:
                return path
    return None
