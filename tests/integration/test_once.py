"""A store that cannot overwrite gets each window once, when it has settled; what comes later is counted."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import orjson
import pytest

from firmware_sim.clock import Scale
from firmware_sim.model import HOUR, MINUTE, QUARTER
from tests.brokers import mosquitto, publish
from tests.databases import victoria_metrics
from tests.integration import stored
from tests.integration.city import event_ns, fleet
from tests.integration.gateway_process import gateway

if TYPE_CHECKING:
    from pathlib import Path

BIN = "city/lyon/bin/bin-00001/up"
SPEED = 300.0
SETTLE = HOUR
"""12 s of the machine's time: the first reading must be there by then."""


def uplink(at_ns: int, seq: int) -> bytes:
    """Return a bin's payload of a time."""
    return orjson.dumps({"seq": seq, "ts": at_ns // 1_000_000, "dist_mm": 900 + seq, "temp_c": 12.0})


@pytest.mark.mosquitto
@pytest.mark.victoriametrics
def test_a_correction_after_the_delivery_is_counted(tmp_path: Path) -> None:
    """The embedded store is corrected; the other keeps what it was given, and the books say so."""
    fleet(tmp_path / "devices.csv", 3)
    scale = Scale(time.time_ns(), 1_781_500_000 * 10**9, SPEED)
    with mosquitto(tmp_path) as broker, victoria_metrics(tmp_path / "victoria") as victoria:
        sinks = (
            {"name": "victoria", "kind": "victoriametrics", "url": victoria.url},
            {"name": "embedded", "kind": "embedded"},
        )
        more = {"windows": {"settle": "1h"}, "broker": {"silence": "10min"}}
        with gateway(tmp_path, broker, *sinks, scale=scale, more=more) as running:
            first = event_ns(scale) - MINUTE
            publish(broker, [(BIN, uplink(first, 0))])
            start = first - first % QUARTER
            settled = start + QUARTER + SETTLE + MINUTE
            running.wait(lambda now: now["now_ns"] > settled, "the quarter has settled", within_s=60)
            status = running.wait(lambda now: now["sinks"]["victoria"]["stored"] >= 2, "it was delivered")
            assert status["sinks"]["victoria"]["not_delivered"] == 0
            publish(broker, [(BIN, uplink(start + 1_000_000, 7))])
            status = running.wait(
                lambda now: now["sinks"]["victoria"]["not_delivered"] > 0, "the correction is counted"
            )
            assert status["sinks"]["embedded"]["not_delivered"] == 0
            assert running.drained(uplinks=2)["balanced"]
            assert running.stop() == 0
        window = stored.from_victoria(victoria)["waste_15m"]["bin-00001", (), start]
        assert window["distance_count"] == [1]
        corrected = stored.from_embedded(running.state / "embedded.duckdb")
        assert corrected["waste_15m"]["bin-00001", (), start]["distance_count"] == 2
