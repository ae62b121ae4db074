"""What stands in the journal in the place of what was erased. Pure: a record in, a record out.

Each uplink's place in its record is part of what it is, where it has no time of its own; and its packet
identifier is what repetitions are found by. So an erased frame keeps its place, its first byte and its
identifier, and loses topic, properties and payload.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

from gateway.ingest import packets
from gateway.ingest.wire import ProtocolError
from gateway.model import ERASED_TOPIC, Control, ControlKind, Frames

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.erasure.target import Target


def without_uplinks(record: Frames, is_theirs: Callable[[bytes], bool]) -> tuple[Frames, int] | None:
    """Return a record without the uplinks of some topics, and how many they were; None where it has none.

    Raises `ProtocolError` where it is no sequence of frames, as at a replay.
    """
    batch = packets.batch_of(record, 0)
    theirs = [place for place, topic in enumerate(batch.topics) if is_theirs(topic)]
    if not theirs:
        return None
    frames = packets.frames_of(record.frames)
    if len(frames) != len(batch):
        raise ProtocolError(f"{len(frames)} frames where there are {len(batch)} uplinks")
    for place in theirs:
        frames[place] = packets.publish(
            int(batch.headers[place]),
            ERASED_TOPIC,
            packet_id=int(batch.packet_ids[place]),
            level=record.protocol,
        )
    return replace(record, frames=b"".join(frames)), len(theirs)


def profile_text(record: Control) -> str:
    """Return the text of a profile that a control record puts in force."""
    return str(orjson.loads(record.body)["text"])


def without_device(record: Control, target: Target) -> Control | None:
    """Return a control record that does not name a device; None where it does not anyway."""
    if record.kind is not ControlKind.DEVICES:
        return None
    body = orjson.loads(record.body)
    upsert: list[dict[str, Any]] = [
        {**group, "ids": [each for each in group["ids"] if (group["site"], each) != target.key]}
        for group in body["upsert"]
    ]
    changed = {
        "upsert": [group for group in upsert if group["ids"]],
        "remove": [list(key) for key in body["remove"] if tuple(key) != target.key],
    }
    return None if changed == body else replace(record, body=orjson.dumps(changed))
