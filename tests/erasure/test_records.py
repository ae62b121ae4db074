"""What stands in the journal in the place of what was erased."""

from __future__ import annotations

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.erasure import records
from gateway.ingest import packets
from gateway.model import ERASED_TOPIC, Column, Control, ControlKind, FieldType, Frames, Points, Readmitted
from gateway.sinks import columns, rewrites
from gateway.sinks.erasing import Which
from tests.ingest.peer import LEVELS, Message, messages, pubrel

GROUP = {"site": "lyon", "ids": ["a", "b"], "profile": "bin-level", "place": {}, "parameters": {}}


@given(
    LEVELS,
    messages(12, qos=(0, 1, 2)),
    st.lists(st.integers(1, 0xFFFF), max_size=5),
    st.lists(st.booleans(), min_size=12, max_size=12),
    st.randoms(use_true_random=False),
)
def test_an_erased_frame_keeps_its_place_and_its_exchange(
    level: int, sent: list[Message], released: list[int], theirs: list[bool], rng: object
) -> None:
    """Header, identifier and PUBRELs stay; topic, properties and payload go; others stay byte for byte."""
    acts: list[Message | int] = [*sent, *released]
    rng.shuffle(acts)  # type: ignore[attr-defined]
    frames = [act.frame(level) if isinstance(act, Message) else pubrel(act) for act in acts]
    record = Frames("broker", 7, "ecluse", level, 123, len(sent), b"".join(frames))
    erased = {
        act.topic.encode()
        for act, gone in zip((a for a in acts if isinstance(a, Message)), theirs, strict=False)
        if gone
    }
    before = packets.batch_of(record, 1)
    found = records.without_uplinks(record, lambda topic: topic in erased)
    if not erased:
        assert found is None
        return
    assert found is not None
    left, gone = found
    after = packets.batch_of(left, 1)
    assert left.count == record.count
    assert after.headers.tolist() == before.headers.tolist()
    assert after.packet_ids.tolist() == before.packet_ids.tolist()
    assert (after.releases is None) is (before.releases is None)
    assert list(after.qos_2_steps()) == list(before.qos_2_steps())
    kept = [topic not in erased for topic in before.topics]
    assert after.topics == [
        topic if stays else ERASED_TOPIC for topic, stays in zip(before.topics, kept, strict=True)
    ]
    assert after.payloads == [
        said if stays else b"" for said, stays in zip(before.payloads, kept, strict=True)
    ]
    assert [uplink.topic for uplink in gone] == [topic for topic in before.topics if topic in erased]
    for frame, act, now in zip(frames, acts, packets.frames_of(left.frames), strict=True):
        if isinstance(act, int) or act.topic.encode() not in erased:
            assert now == frame


def test_a_record_of_pubrels_alone_stays() -> None:
    """It has no uplink at all."""
    record = Frames("broker", 1, "ecluse", 5, 1, 0, pubrel(1) + pubrel(9))
    assert records.without_uplinks(record, lambda _: True) is None


def test_control_records_forget_the_device_and_no_other() -> None:
    """In what they put in force, in what they remove, and in what was before."""
    body = {"upsert": [GROUP], "remove": [["lyon", "a"], ["nice", "a"]], "before": [{**GROUP, "ids": ["a"]}]}
    record = Control(ControlKind.DEVICES, 1, orjson.dumps(body))
    left = records.without_device(record, ("lyon", "a"))
    assert left is not None
    assert orjson.loads(left.body) == {
        "upsert": [{**GROUP, "ids": ["b"]}],
        "remove": [["nice", "a"]],
        "before": [],
    }
    assert records.without_device(left, ("lyon", "a")) is None
    assert records.without_device(Control(ControlKind.SETTINGS, 1, b"{}"), ("lyon", "a")) is None


@pytest.mark.parametrize(("device", "left"), [("a", ["b"]), ("x", None)])
def test_points_of_a_reprocessing_go_with_their_device(device: str, left: list[str] | None) -> None:
    """What stays can be read as before, and is for the same sinks."""
    tags = [(("device", name), ("site", "lyon")) for name in ("a", "b")]
    level = Column(FieldType.INTEGER, np.array([7, 8, 9]))
    points = Points("waste", tags, np.array([0, 1, 0], dtype=np.int32), np.arange(3), {"level": level})
    body = rewrites.encode(columns.to_table(points), rewrites.To.OVERWRITING)
    record = Control(ControlKind.REWRITE, 5, body)
    found = records.without_points(record, Which({"site": "lyon", "device": device}))
    if left is None:
        assert found is None
        return
    assert found is not None
    again = rewrites.decode(found.body)
    assert (again.to, found.at_ns) == (rewrites.To.OVERWRITING, 5)
    assert [dict(again.points.tags[one])["device"] for one in again.points.series] == left
    assert again.points.time.tolist() == [1]
    none = records.without_points(found, Which({"site": "lyon", "device": "b"}))
    assert none is not None
    assert len(rewrites.decode(none.body).points.time) == 0


def test_uplinks_that_were_let_in_again_go_too() -> None:
    """What stays keeps its number in the record where it first stood; what goes keeps its place."""
    said = [(b"city/lyon/bin/a/up", b"1"), (b"city/lyon/bin/b/up", b"2")]
    frames = b"".join(packets.frame_of(topic, payload, retained=False) for topic, payload in said)
    record = Readmitted(9, 4, 5, (3, 7), frames)
    found = records.without_uplinks(record, lambda topic: topic == said[0][0])
    assert found is not None
    left, gone = found
    assert [tuple(uplink) for uplink in gone] == said[:1]
    batch = packets.batch_of(left, 12)
    assert (batch.topics, batch.payloads) == ([ERASED_TOPIC, said[1][0]], [b"", said[1][1]])
    assert (batch.place(0), batch.place(1), batch.at_ns, batch.received_ns) == (3, 7, 9, 5)
