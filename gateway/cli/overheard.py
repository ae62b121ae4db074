"""What was heard on a broker, by kind of topic: how much, in which shape, and which profile reads it.

Pure but for the codecs that a profile may have.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.cli.trial import trial
from gateway.decode.topics import compile_template
from gateway.model import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.decode.topics import Template
    from gateway.profiles.plan import ProfilePlan

MAX_KINDS = 500
MAX_TOPICS = 10_000
_KEYS = 8
_TEXT = 24


@dataclass(slots=True)
class Kind:
    """One kind of topic: those that fit a template, or look alike."""

    pattern: str
    plans: Sequence[ProfilePlan]
    topics: set[str] = field(default_factory=set)
    messages: int = 0
    shapes: dict[str, int] = field(default_factory=dict)
    topic: str = ""
    payload: bytes = b""
    received_ns: int = 0


class Overheard:
    """Collects what is heard; bounded in kinds, topics and shapes."""

    def __init__(self, plans: Mapping[str, ProfilePlan]) -> None:
        self._templates = [(compile_template(text), plan) for plan in plans.values() for text in plan.topics]
        self.kinds: dict[str, Kind] = {}
        self.messages = 0
        self.left_out = 0

    def add(self, topic: str, payload: bytes, received_ns: int) -> None:
        """Take one message."""
        self.messages += 1
        kind = self._kind(topic)
        if kind is None:
            self.left_out += 1
            return
        if len(kind.topics) < MAX_TOPICS:
            kind.topics.add(topic)
        kind.messages += 1
        shape = shape_of(payload)
        if shape in kind.shapes or len(kind.shapes) < _KEYS:
            kind.shapes[shape] = kind.shapes.get(shape, 0) + 1
        kind.topic, kind.payload, kind.received_ns = topic, payload, received_ns

    def _kind(self, topic: str) -> Kind | None:
        fitting = [(template, plan) for template, plan in self._templates if template.match(topic)]
        pattern = fitting[0][0].text if fitting else _alike(topic)
        if pattern not in self.kinds:
            if len(self.kinds) >= MAX_KINDS:
                return None
            self.kinds[pattern] = Kind(pattern, [plan for _, plan in fitting])
        return self.kinds[pattern]

    def verdict(self, kind: Kind) -> str:
        """Say which profile reads the last message of a kind, or why none does."""
        if not kind.plans:
            return _nearest(kind.topic, self._templates)
        told = [_read(plan, kind) for plan in kind.plans]
        good = [sentence for sentence, well in told if well]
        return "; ".join(good or [sentence for sentence, _ in told])


def shape_of(payload: bytes) -> str:
    """Say what a payload looks like: keys of JSON, a plain value, or so many bytes."""
    if not payload:
        return "empty"
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        return f"{len(payload)} bytes"
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return f"text «{text[:_TEXT]}»" if text.isprintable() else f"{len(payload)} bytes"
    return _json_shape(value)


def _json_shape(value: Any) -> str:  # noqa: ANN401 - any JSON
    if isinstance(value, dict):
        keys = sorted(value)
        return "{" + ", ".join(keys[:_KEYS]) + (", …}" if len(keys) > _KEYS else "}")
    if isinstance(value, list):
        return f"[{_json_shape(value[0])}, …]" if value else "[]"
    return "text" if isinstance(value, str) else "number" if isinstance(value, int | float) else "null"


def _alike(topic: str) -> str:
    """Return a topic with + for the levels that look like names of devices: those with a digit in them."""
    levels = topic.split("/")
    return "/".join("+" if any(map(str.isdigit, level)) else level for level in levels)


def _read(plan: ProfilePlan, kind: Kind) -> tuple[str, bool]:
    defaults = {name: one.default for name, one in plan.parameters.items() if one.default is not None}
    found = trial(
        plan,
        topic=kind.topic,
        payload=kind.payload,
        received_ns=kind.received_ns,
        parameters={name: defaults.get(name, one.minimum or 1.0) for name, one in plan.parameters.items()},
    )
    wrong = [one for one in found.rejections if one.reason is not Reason.MISSING_PARAMETER]
    if wrong:
        return f"{plan.key}: {wrong[0].reason}: {wrong[0].detail}", False
    return f"{plan.key}: {len(found.readings)} readings", True


def _nearest(topic: str, templates: Iterable[tuple[Template, ProfilePlan]]) -> str:
    """Say which template comes nearest to a topic, and where it differs."""
    levels = topic.split("/")
    best, told = -1, "no profile has topics"
    for template, plan in templates:
        wanted = template.text.split("/")
        same = sum(
            bool(wild) or one == other
            for wild, one, other in zip(template.wild, wanted, levels, strict=False)
        )
        score = 2 * same - abs(len(wanted) - len(levels))
        if score > best:
            best, told = (
                score,
                f"no profile; nearest is {template.text} of {plan.name}: {_why(wanted, levels)}",
            )
    return told


def _why(wanted: Sequence[str], levels: Sequence[str]) -> str:
    if len(wanted) != len(levels):
        return f"it has {len(wanted)} levels, this has {len(levels)}"
    for place, (one, other) in enumerate(zip(wanted, levels, strict=True), start=1):
        if not one.startswith("{") and one not in ("+", other):
            return f"level {place} is «{other}», not «{one}»"
    return "a level is empty"
