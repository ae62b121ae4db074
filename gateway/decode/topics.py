"""Topic templates of profiles: `city/{site}/bin/{device}/up` against the topics of uplinks."""

from __future__ import annotations

import re
from dataclasses import dataclass

ANY = "+"
"""A level of an envelope's topics that tells nothing."""


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled template. `wild` tells for each level whether it is a name (1) or a text (0)."""

    text: str
    pattern: re.Pattern[str]
    wild: tuple[int, ...]

    def match(self, topic: str) -> tuple[str, str] | None:
        """Return the (site, device) of a topic, the site "" where the template has none; or None."""
        found = self.pattern.fullmatch(topic)
        if found is None:
            return None
        names = found.groupdict()
        return names.get("site", ""), names["device"]


def compile_template(text: str) -> Template:
    """Compile a template: each level is a text, one of {site} and {device}, or + for any."""
    levels = text.split("/")
    return Template(
        text=text,
        pattern=re.compile("/".join(map(_level, levels))),
        wild=tuple(int(level.startswith("{") or level == ANY) for level in levels),
    )


def _level(level: str) -> str:
    if level == ANY:
        return "[^/]+"
    return f"(?P<{level[1:-1]}>[^/]+)" if level.startswith("{") and level.endswith("}") else re.escape(level)
