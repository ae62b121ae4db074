"""Sees that connection after connection stops at the same packet, and says what to do. Pure.

A broker keeps an uplink that was not acknowledged and sends it again at every connection. Where that
packet cannot be taken, trying again is of no use, and everything behind it waits: a person must know.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.ingest.answers import Head

_COMPARED: Final = 512
_RETAIN: Final = 0x01


@dataclass(slots=True)
class StuckWatch:
    """Remembers where the last connection stopped."""

    _what: str = ""
    _head: Head | None = None

    def stopped(self, what: str, head: Head | None) -> bool:
        """Note where a connection stopped; return whether the one before stopped at the same place.

        `what` names the kind of end, "" where no packet was the cause. Heads are the same where one begins
        like the other: how much of a packet arrives before it is given up differs.
        """
        same = bool(what) and what == self._what and _alike(head, self._head)
        self._what, self._head = what, head
        return same


def _alike(one: Head | None, other: Head | None) -> bool:
    if one is None or other is None:
        return one is other
    known = min(len(one.payload), len(other.payload), _COMPARED)
    return (one.topic, one.size, one.payload[:known]) == (other.topic, other.size, other.payload[:known])


def topic_text(topic: bytes) -> str:
    """Return a topic for people, cut."""
    return topic.decode("utf-8", "replace")[:200]


def advice(error: str, head: Head | None, client_id: str) -> str:
    """Say that the same packet came again, and what to do about it at the broker."""
    topic = topic_text(head.topic) if head else ""
    said = f"the same packet ends every connection{f' (topic {topic})' if topic else ''}: {error}. "
    if head is not None and head.header & _RETAIN and topic:
        return f"{said}At the broker it is a retained message: clear it with mosquitto_pub -r -n -t '{topic}'"
    return (
        f"{said}It waits at the broker in the session of client id '{client_id}', before everything else: "
        "take it out there. Where the broker has no way to, give up the session and what waits in it: stop "
        "this gateway, connect once with that client id and a clean session "
        f"(mosquitto_sub -i '{client_id}' -t none -W 1), start again"
    )
