"""The compiled framing and the Python beside it find the same in any stream of bytes."""

from __future__ import annotations

import subprocess
import sys
from itertools import zip_longest
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway.ingest import packets
from tests.ingest.peer import LEVELS, messages, pubrel

if TYPE_CHECKING:
    from types import ModuleType

    from tests.ingest.peer import Message

TWIN = "framing"
SAME = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def found(data: bytes, level: int, max_packet: int, max_count: int, twin: ModuleType | None) -> object:
    """Return all that a pass says, as values that compare."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packets, "_FRAMING", twin)
        scan, used, needed, error = packets._scan(data, level, max_packet, max_count)
    columns = (scan.topics, scan.payloads, scan.headers.tolist(), scan.packet_ids.tolist())
    released = scan.releases and (scan.releases.packet_ids.tolist(), scan.releases.places.tolist())
    return columns, scan.frames, scan.answers, released, used, needed, str(error)


@SAME
@given(
    sent=messages(max_size=8, qos=(0, 1, 2)),
    released=st.lists(st.sampled_from((0, 1, 9, 0xFFFF)), max_size=8),
    level=LEVELS,
    cut=st.floats(0, 1),
    flips=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=3),
    limits=st.tuples(st.sampled_from([64, 200, 1 << 20]), st.sampled_from([1, 3, 20_000])),
)
def test_same_in_streams_that_were_damaged(
    twin: ModuleType,
    sent: list[Message],
    released: list[int],
    level: int,
    cut: float,
    flips: list[tuple[float, int]],
    limits: tuple[int, int],
) -> None:
    """Whole packets, packets cut off anywhere, and packets with bytes changed; PUBRELs among them."""
    pairs = zip_longest((message.frame(level) for message in sent), map(pubrel, released), fillvalue=b"")
    stream = bytearray(b"".join(frame + release for frame, release in pairs))
    for place, byte in flips:
        if stream:
            stream[min(int(place * len(stream)), len(stream) - 1)] = byte
    data = bytes(stream[: int(cut * len(stream)) + 1])
    assert found(data, level, *limits, twin) == found(data, level, *limits, None)


@SAME
@given(data=st.binary(max_size=200).map(lambda tail: b"\x32" + tail), level=LEVELS)
@example(data=b"\x32\xff\xff\xff\xff\x01" + bytes(20), level=5)
@example(data=b"\x30\x02\x00\x00", level=4)
@example(data=b"\x32\x05\x00\x01t\x00\x01", level=5)
@example(data=b"\x30\x05\x00\x01t\xff\x00", level=5)
@example(data=b"\x62\x02\x00", level=5)
@example(data=b"\x62\x03\x00\x01\x92\x62\x02\x00\x01\x60\x02\x00\x01", level=5)
def test_same_in_noise(twin: ModuleType, data: bytes, level: int) -> None:
    """What begins like a PUBLISH and is none."""
    assert found(data, level, 1 << 20, 100, twin) == found(data, level, 1 << 20, 100, None)


def test_it_takes_what_is_usual(twin: ModuleType) -> None:
    """Else the twin would be a twin in name alone."""
    frame = b"\x32\x0a\x00\x03a/b\x00\x07\x00{}"
    topics: list[bytes] = []
    payloads: list[bytes] = []
    headers, ids = bytearray(), list[int]()
    released, places = list[int](), list[int]()
    data = frame * 2 + pubrel(8) + frame + frame[:4]
    at = twin.deliveries(data, 5, 1 << 20, 100, topics, payloads, headers, ids, released, places)
    assert (at, topics, payloads) == (3 * len(frame) + 4, [b"a/b"] * 3, [b"{}"] * 3)
    assert (bytes(headers), ids) == (b"\x32" * 3, [7] * 3)
    assert (released, places) == ([8], [2])


def test_it_can_be_left_out() -> None:
    """`-X ecluse-kernel=off` runs the Python alone."""
    code = "from gateway.kernel import compiled; print(compiled('framing'))"
    done = subprocess.run(
        [sys.executable, "-X", "ecluse-kernel=off", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "None\n"
