"""What stands at each path, over all samples."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.profiles.envelopes import FACTS
from gateway.profiles.paths import disagreement, parse_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.profiles.infer.samples import Sample
    from gateway.profiles.paths import Step

MAX_DEPTH = 8

_SAYABLE = re.compile(r"[^\[\]{}.]+")


@dataclass(slots=True)
class Found:
    """The values at one path, written as in a profile (`lanes[].count`); `rows` are (sample, value)."""

    path: str
    rows: list[tuple[int, Any]] = field(default_factory=list)

    @property
    def key(self) -> str:
        """The last key of the path."""
        return self.path.rsplit(".", 1)[-1].removesuffix("[]") or "value"

    @property
    def holder(self) -> str:
        """The path up to and including its last list; empty where it has none."""
        return self.path[: self.path.rindex("[]") + 2] if "[]" in self.path else ""

    @property
    def values(self) -> list[Any]:
        """Its values but for nulls."""
        return [value for _, value in self.rows if value is not None]

    @property
    def numbers(self) -> bool:
        """Whether all its values are numbers, and there are any."""
        return bool(self.values) and all(
            isinstance(value, int | float) and not isinstance(value, bool) for value in self.values
        )

    @property
    def wholes(self) -> bool:
        """Whether all its values are whole numbers, and there are any."""
        return self.numbers and all(isinstance(value, int) for value in self.values)


def survey(samples: Sequence[Sample]) -> tuple[list[Found], list[str]]:
    """Return what stands at each path, in the order of first sight, and keys that no path can name."""
    found: dict[str, Found] = {}
    strange: dict[str, None] = {}
    for number, sample in enumerate(samples):
        for path, value in _walk(sample.value, "", 0, strange):
            found.setdefault(path, Found(path)).rows.append((number, value))
    return list(found.values()), list(strange)


def agreeing(found: Sequence[Found]) -> tuple[list[Found], list[Found]]:
    """Part what can be read together from what says otherwise what stands somewhere; most values first.

    A value in one sample and a list in another cannot both be read.
    """
    kept: dict[str, tuple[Step, ...]] = {}
    for one in sorted(found, key=lambda one: -len(one.values)):
        steps = parse_path(one.path)
        if disagreement([*kept.values(), steps]) is None:
            kept[one.path] = steps
    return [one for one in found if one.path in kept], [one for one in found if one.path not in kept]


def _walk(value: Any, path: str, depth: int, strange: dict[str, None]) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - any JSON
    """Yield (path, value) of everything that is no object and no list."""
    if depth > MAX_DEPTH:
        strange[path] = None
    elif isinstance(value, dict):
        for key, inner in value.items():
            whole = f"{path}.{key}" if path else key
            if _SAYABLE.fullmatch(key) is None or whole in FACTS:
                strange[whole] = None
            else:
                yield from _walk(inner, whole, depth + 1, strange)
    elif isinstance(value, list):
        for inner in value:
            yield from _walk(inner, f"{path}[]", depth + 1, strange)
    else:
        yield path, value
