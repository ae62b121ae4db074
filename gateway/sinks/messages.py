"""Points as JSON messages, each with the topic that a template gives it. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import orjson

from gateway.literals import TOPIC_NAME
from gateway.profiles.durations import instant_text
from gateway.sinks import line_protocol
from gateway.sinks.removal import MARKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

MEASUREMENT: Final = "measurement"
_FOREIGN: Final = re.compile(r"[/+#\x00-\x1f]")
_NONE: Final = "-"
"""A level that has nothing to say: a point without that tag."""


def messages(bodies: Iterable[bytes], topic: str) -> Iterator[tuple[bytes, str, bytes]]:
    """Yield (line, topic, payload) of points in line protocol, in their order.

    The payload is `{"measurement", "time", "tags", "fields"}`, its time RFC 3339; a point that is taken back
    has `"removed": true` and no fields.
    """
    for body in bodies:
        for line in line_protocol.split(body):
            point = line_protocol.decode(line)
            tags = dict(point.tags)
            message: dict[str, Any] = {"measurement": point.measurement, "tags": tags}
            if point.time is not None:
                message["time"] = instant_text(point.time)
            if MARKS.isdisjoint(point.fields):
                message["fields"] = point.fields
            else:
                message["removed"] = True
            yield line, topic_of(topic, point.measurement, tags), orjson.dumps(message)


def topic_of(template: str, measurement: str, tags: Mapping[str, str]) -> str:
    """Return the topic of a point: `{measurement}` and the names of tags are replaced, level by level."""

    def put(found: re.Match[str]) -> str:
        value = measurement if found[1] == MEASUREMENT else tags.get(found[1], "")
        return _FOREIGN.sub("_", value) or _NONE

    return TOPIC_NAME.sub(put, template)
