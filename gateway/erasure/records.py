"""What stands in the journal in the place of what was erased. Pure: a record in, a record out.

Each uplink's place in its record is part of what it is, where it has no time of its own; and its packet
identifier is what its exchange with the broker is known by. So an erased PUBLISH keeps its place, its first
byte and its identifier, and loses topic, properties and payload. PUBRELs stay where they are.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from gateway.ingest import packets
from gateway.ingest.wire import MQTT_5, ProtocolError
from gateway.model import ERASED_TOPIC, Control, ControlKind, Frames, Readmitted
from gateway.sinks import erasing

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.sinks.erasing import Which


class Uplink(NamedTuple):
    """What an erased frame had said."""

    topic: bytes
    payload: bytes


def without_uplinks(
    record: Frames | Readmitted, is_theirs: Callable[[bytes], bool]
) -> tuple[Frames | Readmitted, list[Uplink]] | None:
    """Return a record without the uplinks of some topics, and what they were; None where it has none.

    Raises `ProtocolError` where it is no sequence of frames, as at a replay.
    """
    batch = packets.batch_of(record, 0)
    theirs = [place for place, topic in enumerate(batch.topics) if is_theirs(topic)]
    if not theirs:
        return None
    frames = packets.frames_of(record.frames)
    # Among them stand PUBRELs, which are no uplinks.
    published = [place for place, frame in enumerate(frames) if frame[0] >> 4 == packets.PUBLISH]
    if len(published) != len(batch):
        raise ProtocolError(f"{len(published)} frames where there are {len(batch)} uplinks")
    for place in theirs:
        frames[published[place]] = packets.publish(
            int(batch.headers[place]),
            ERASED_TOPIC,
            packet_id=int(batch.packet_ids[place]),
            level=record.protocol if isinstance(record, Frames) else MQTT_5,
        )
    gone = [Uplink(batch.topics[place], batch.payloads[place]) for place in theirs]
    return replace(record, frames=b"".join(frames)), gone


def profile_in(record: Control) -> tuple[str, str]:
    """Return the name and the text of a profile that a control record puts in force."""
    body = orjson.loads(record.body)
    return str(body["name"]), str(body["text"])


def without_device(record: Control, key: tuple[str, str]) -> Control | None:
    """Return a control record that does not name a device; None where it does not anyway."""
    if record.kind is not ControlKind.DEVICES:
        return None
    body: dict[str, Any] = orjson.loads(record.body)
    changed = {
        # `before`: what the record replaced, which records of an older Écluse do not say.
        name: _without(groups, key) if name != "remove" else [k for k in groups if tuple(k) != key]
        for name, groups in body.items()
    }
    return None if changed == body else replace(record, body=orjson.dumps(changed))


def without_points(record: Control, which: Which) -> Control | None:
    """Return a control record without some points of a reprocessing; None where it has none of them."""
    if record.kind is not ControlKind.REWRITE:
        return None
    body, gone = erasing.without_points(record.body, which)
    return replace(record, body=body) if gone else None


def _without(groups: list[dict[str, Any]], key: tuple[str, str]) -> list[dict[str, Any]]:
    left = [
        {**group, "ids": [each for each in group["ids"] if (group["site"], each) != key]} for group in groups
    ]
    return [group for group in left if group["ids"]]
