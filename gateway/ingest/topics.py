"""Topics, filters and the templates that profiles write. Pure.

A template is a filter with names in it: `city/{site}/bin/{device}/up` subscribes to
`city/+/bin/+/up` and reads (site, device) from each topic. Rules of topics and filters: MQTT 5.0,
section 4.7 (the same as 3.1.1's).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_NAME: Final = re.compile(r"\{([a-z][a-z0-9_]*)\}")
_SHARED: Final = "$share/"
_LONGEST: Final = 65_535


@dataclass(frozen=True, slots=True)
class Template:
    """A topic with named levels. `names` are in the order in which they stand in it."""

    text: str
    filter: str
    names: tuple[str, ...]
    pattern: re.Pattern[bytes]

    @classmethod
    def parse(cls, text: str) -> Template:
        """Read a template. Raises ValueError, as a sentence, where it is not one."""
        names: list[str] = []
        levels: list[str] = []
        patterns: list[str] = []
        for level in text.split("/"):
            named = _NAME.fullmatch(level)
            if named:
                names.append(named[1])
                levels.append("+")
                patterns.append("([^/]+)")
            elif set(level) & set("{}+#"):
                raise ValueError(f"{text!r}: a level is a plain text or one {{name}}, not {level!r}")
            else:
                levels.append(level)
                patterns.append(re.escape(level))
        if len(set(names)) < len(names):
            raise ValueError(f"{text!r}: a name stands in it twice")
        wanted = "/".join(levels)
        check_filter(wanted)
        pattern = re.compile("/".join(patterns).encode(), re.DOTALL)
        return cls(text=text, filter=wanted, names=tuple(names), pattern=pattern)

    def match(self, topic: bytes) -> dict[str, str] | None:
        """Return the named levels of a topic, or None: another topic, an empty name or not UTF-8."""
        found = self.pattern.fullmatch(topic)
        if found is None:
            return None
        try:
            values = [value.decode("utf-8") for value in found.groups()]
        except UnicodeDecodeError:
            return None
        return dict(zip(self.names, values, strict=True))


def check_topic(topic: str) -> None:
    """Raise ValueError, as a sentence, where that is no topic to publish to."""
    _check_text(topic, "topic")
    if "+" in topic or "#" in topic:
        raise ValueError(f"topic {topic!r}: + and # stand in filters only")


def check_filter(wanted: str) -> None:
    """Raise ValueError, as a sentence, where that is no filter to subscribe to."""
    _check_text(wanted, "filter")
    levels = _plain(wanted).split("/")
    for place, level in enumerate(levels):
        if "+" in level and level != "+":
            raise ValueError(f"filter {wanted!r}: + is a whole level, not a part of {level!r}")
        if "#" in level and (level != "#" or place < len(levels) - 1):
            raise ValueError(f"filter {wanted!r}: # is the last level, and a whole one")
    if wanted.startswith(_SHARED) and (wanted.count("/") < 2 or not wanted.split("/", 2)[1]):
        raise ValueError(f"filter {wanted!r}: a shared one is $share/group/filter")


def matches(wanted: str, topic: str) -> bool:
    """Tell whether the broker sends that topic to a subscriber of that filter."""
    return includes(wanted, topic)


def includes(wide: str, narrow: str) -> bool:
    """Tell whether every topic that `narrow` matches is matched by `wide`, too."""
    if narrow.startswith("$") and wide[:1] in ("+", "#"):
        return False  # wildcards in the first level leave out the broker's own $ topics
    for one, other in zip_longest(wide.split("/"), narrow.split("/")):
        if one == "#":
            return True
        if one is None or other is None or other == "#" or (one not in ("+", other)):
            return False
    return True


def overlap(left: str, right: str) -> bool:
    """Tell whether there is a topic that both filters match."""
    for wild, other in ((left, right), (right, left)):
        if wild[:1] in ("+", "#") and other.startswith("$"):
            return False
    for one, other in zip_longest(left.split("/"), right.split("/")):
        if "#" in (one, other):
            return True
        if one is None or other is None or not (one == other or "+" in (one, other)):
            return False
    return True


def widest(left: str, right: str) -> str:
    """Return the narrowest filter that includes two that overlap: + where they differ, # past an end."""
    levels: list[str] = []
    for one, other in zip_longest(left.split("/"), right.split("/")):
        if one is None or other is None or "#" in (one, other):
            levels.append("#")
            break
        levels.append(one if one == other else "+")
    return "/".join(levels)


def cover(filters: Iterable[tuple[str, int]]) -> tuple[tuple[str, int], ...]:
    """Return (filter, QoS) pairs without overlap that match at least what the given ones match.

    MQTT 5 brokers deliver a message once for each subscription that matches it, and which QoS it
    then has differs; hence no overlap. A filter included in another is dropped, and the other takes
    the higher QoS. Two that overlap otherwise (`a/+/c` and `a/b/+`) are replaced by the narrowest
    filter that includes both (`a/+/+`). That one can match topics that nobody asked for: they come
    in and are rejected as unknown topics, which `widened` lets the caller say beforehand. Shared
    subscriptions (`$share/…`) stay as they are: each group has deliveries of its own.
    """
    asked = sorted(set(filters))
    shared = [pair for pair in asked if pair[0].startswith(_SHARED)]
    kept: list[tuple[str, int]] = []
    for wanted, qos in asked:
        if wanted.startswith(_SHARED):
            continue
        name, best = wanted, qos
        # A widened filter may overlap one that it did not before: go on until none does.
        while touching := next((pair for pair in kept if overlap(pair[0], name)), None):
            kept.remove(touching)
            best = max(best, touching[1])
            name = _joined(touching[0], name)
        kept.append((name, best))
    return (*sorted(kept), *shared)


def widened(filters: Iterable[str]) -> tuple[str, ...]:
    """Return the filters of the cover that were not asked for: they may bring unwanted topics."""
    asked = set(filters)
    return tuple(name for name, _ in cover((name, 0) for name in asked) if name not in asked)


def _joined(left: str, right: str) -> str:
    if includes(left, right):
        return left
    return right if includes(right, left) else widest(left, right)


def _plain(wanted: str) -> str:
    """Return a shared subscription's own filter."""
    return wanted.split("/", 2)[-1] if wanted.startswith(_SHARED) else wanted


def _check_text(text: str, what: str) -> None:
    if not text:
        raise ValueError(f"a {what} is not empty")
    if "\0" in text:
        raise ValueError(f"{what} {text!r}: no character U+0000")
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise ValueError(f"{what} {text!r}: not representable in UTF-8") from error
    if size > _LONGEST:
        raise ValueError(f"a {what} has at most {_LONGEST} bytes; this one has {size}")
