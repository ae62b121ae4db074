"""The flood's own packets: what they hold, so that the figures are about what they say."""

from __future__ import annotations

import numpy as np

from gateway.ingest.packets import Scanner
from tests.benchmarks.flood import _digits, _matrix
from tests.benchmarks.messages import topic


def test_its_packets_are_publishes_of_these_devices() -> None:
    """At QoS 1, with time and identifier where the flood writes them."""
    names = ["x000000", "x000001", "x000002"]
    rows, at_ts, at_id = _matrix(names)
    rows[:, at_ts : at_ts + 13] = _digits(np.array([1_795_341_600_000, 1_795_341_600_007, 9_999_999_999_999]))
    rows[:, at_id : at_id + 2] = [[0, 7], [1, 0], [255, 255]]
    (scan,) = Scanner(4).feed(rows.tobytes())
    assert scan.topics == [topic(name).encode() for name in names]
    assert scan.packet_ids.tolist() == [7, 256, 65_535]
    assert [
        b'"ts":%d,' % ts in body
        for ts, body in zip(
            (1_795_341_600_000, 1_795_341_600_007, 9_999_999_999_999), scan.payloads, strict=True
        )
    ] == [True] * 3
    assert set(scan.headers.tolist()) == {0x32}
