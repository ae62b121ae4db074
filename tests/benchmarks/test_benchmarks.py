"""The harness stays alive: a tiny run of each part against a real broker. Counts are held, never timings."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from gateway.ingest.packets import Scanner
from tests.benchmarks import drain, figures, measure, messages, report, run, stages, truth
from tests.benchmarks.headline import EVENT_ORIGIN_NS, HEADLINE, Workload, id_width
from tests.benchmarks.measure import Plan, Round, round_of

if TYPE_CHECKING:
    from pathlib import Path

DEVICES = 50
SLOW = Workload(devices=DEVICES, rate=500)
BRIEF = Plan(warm_s=0.1, span_s=0.5, grace_s=0.3)


def test_packets_say_what_values_say() -> None:
    """Every packet is a whole PUBLISH whose payload is the one that the profile's devices write."""
    packets = messages.Packets(DEVICES, qos=1, level=5)
    at_ms = EVENT_ORIGIN_NS // 10**6
    device = np.arange(DEVICES)
    for turn in (0, 7, 123_456):
        block = bytes(packets.block(turn, 0, DEVICES, ts_ms=at_ms + turn, sent=65_500))
        (scan,) = Scanner(level=5).feed(block)
        said = messages.values(device, np.full(DEVICES, turn))
        for index, (topic, payload) in enumerate(zip(scan.topics, scan.payloads, strict=True)):
            name = f"bin-{index:0{id_width(DEVICES)}d}"
            assert topic.decode() == f"city/lyon/bin/{name}/up"
            assert json.loads(payload) == {
                "id": name,
                "seq": messages.SEQ_FIRST + turn % messages.SEQ_TURN,
                "ts": at_ms + turn,
                "dist_mm": said.distance[index],
                "temp_c": pytest.approx(said.temperature[index]),
                "battery_v": pytest.approx(said.battery[index]),
                "tilt": 0,
                "rssi": said.rssi[index],
            }
        assert scan.packet_ids.min() > 0
        assert len(set(scan.packet_ids.tolist())) == DEVICES


def test_generator_alone(tmp_path: Path) -> None:
    """The generator sends what it was asked for, without a broker."""
    assert drain.generator_alone(tmp_path, messages=2_000, devices=DEVICES) > 0


@pytest.mark.mosquitto
@pytest.mark.parametrize("qos", [0, 1])
def test_null_subscriber(tmp_path: Path, qos: int) -> None:
    """What the generator sends is what the null subscriber receives."""
    found = round_of(
        "null", Workload(devices=DEVICES, rate=2_000, qos=qos), tmp_path / "r", BRIEF, rate=2_000
    )
    assert_whole(found)


@pytest.mark.mosquitto
def test_usual_gateway(tmp_path: Path) -> None:
    """The reference writes a point for each message."""
    found = round_of("usual", SLOW, tmp_path / "r", BRIEF, rate=500)
    assert_whole(found)
    assert found.account.points == found.sent


@pytest.mark.mosquitto
def test_gateway(tmp_path: Path) -> None:
    """The gateway journals and writes each message once; windows and raw points are what numpy says."""
    found = round_of(
        "ecluse", Workload(devices=DEVICES, rate=500, sink="embedded"), tmp_path / "r", BRIEF, rate=500
    )
    assert_whole(found)
    verdict = truth.check(tmp_path / "r" / "ledger.npy", tmp_path / "r" / "state" / "sink.duckdb", DEVICES)
    assert verdict.differences == ()
    assert verdict.raw == found.sent
    turns = [figures.Turn({"ecluse": found, "null": found, "usual": found})]
    extras = figures.Extras(verdict=verdict)
    written = figures.document(turns, turns, [turns], extras)
    assert written["ratio_to_reference"] == 1
    assert written["share_of_broker_limit_qos0"] == written["share_of_broker_limit_qos1"] == 1
    run.write(written, tmp_path / "build")
    assert json.loads((tmp_path / "build" / "latest.json").read_text())["gateway_cpu_us_per_msg"] > 0
    assert report.chart(written).startswith("<svg")


@pytest.mark.mosquitto
def test_gateway_into_null_sink(tmp_path: Path) -> None:
    """The null sink counts a raw point a message, and windows apart."""
    found = round_of("ecluse", SLOW, tmp_path / "r", BRIEF, rate=500)
    assert_whole(found)
    assert found.account.points == found.sent


def test_stages(tmp_path: Path) -> None:
    """Every stage has run, and every message has come through."""
    found = stages.measure(tmp_path, messages=4_000, devices=DEVICES, read=100)
    assert found.decoded == 4_400
    assert found.windows > 0
    named = {name for name, _, _ in stages._STAGES} | {"encode, raw", "encode, windows", "the rest"}
    assert set(found.by_stage_us) == named


def test_headline_is_frozen() -> None:
    """A change of the workload is a new version with a note."""
    assert (HEADLINE.devices, HEADLINE.qos, HEADLINE.rate, HEADLINE.sink) == (10_000, 1, 0, "null")
    assert HEADLINE.factor(100_000) == 1_800


def assert_whole(found: Round) -> None:
    """Counts in are counts out."""
    assert found.problems == ()
    assert found.sent > 0
    assert found.account.received == found.sent
    assert measure.in_window(found) in {True, False}
