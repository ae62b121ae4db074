"""The harness stays alive: a tiny run of each part against a real broker. Counts are held, never timings."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from gateway.ingest.packets import Scanner
from tests.benchmarks import (
    calibration,
    drain,
    figures,
    headline,
    messages,
    publish,
    reference,
    run,
    second_core,
    stages,
    tap,
    truth,
)
from tests.benchmarks.headline import (
    EVENT_ORIGIN_NS,
    GROWTH,
    HEADLINE,
    HISTORY,
    PROFILE,
    STEADY,
    VERSION,
    Workload,
    id_width,
)
from tests.benchmarks.measure import Plan, Round, round_of
from tests.integration.gateway_process import PROJECT

DEVICES = 50
SLOW = Workload(devices=DEVICES, rate=500)
BRIEF = Plan(warm_s=0.1, span_s=0.5, grace_s=0.3)
FROZEN = {
    "the headline": (1, "c65400757dd17e2a"),
    "the profile": (1, "b2ac923d73025661"),
    "the messages": (1, "238a86fbe5a1a2bd"),
    "the reference": (1, "92793450f04286d2"),
}
"""Version of the workload, digest."""


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
    assert points(found) == found.sent


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
    assert verdict.windows > 0
    turns = [figures.Turn({"ecluse": found, "null": found, "usual": found})]
    few = replace(found, workload=GROWTH[0], cpu_us={**found.cpu_us, "system": 2.0})
    many = replace(found, workload=GROWTH[1], cpu_us={**found.cpu_us, "system": 3.0})
    grown = [[figures.Turn({"ecluse": few})] * 2, [figures.Turn({"ecluse": many})]]
    written = figures.document(turns, turns, [turns, *grown], figures.Findings(verdict=verdict))
    assert written["growth_1k_to_100k"]["median"] == 1.5
    assert written["ratio_to_reference"] == 1
    assert written["share_of_broker_limit_qos0"] == written["share_of_broker_limit_qos1"] == 1
    assert_written(written, tmp_path)


def assert_written(written: dict[str, Any], folder: Path) -> None:
    """What is written can be read again, and published."""
    run.write(written, folder / "build")
    again = json.loads((folder / "build" / "latest.json").read_text(encoding="utf-8"))
    assert again["gateway_cpu_us_per_msg"] > 0
    assert not again["problems"]
    met = {one["what"]: one["met"] for one in again["requirements"]}
    assert met["counts in = counts out"] is True
    assert met["results = the oracle's"] is True
    assert met["CPU of the usual gateway ÷ Écluse's at saturation"] is False
    assert met["CPU when idle, share of a core"] is None
    page = folder / "page.md"
    page.write_text(f"before\n{publish.BEGIN}\nold\n{publish.END}\nafter\n", encoding="utf-8")
    publish.publish(folder / "build", page, folder / "published")
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "| old" not in text
    assert "| CPU of the gateway, µs/msg |" in text
    drawn = ET.parse(folder / "published" / "headline.svg")  # noqa: S314 - our own
    assert "Écluse" in (drawn.findtext("{http://www.w3.org/2000/svg}title") or "")


@pytest.mark.mosquitto
def test_gateway_through_the_tap(tmp_path: Path) -> None:
    """The null sink counts a raw point a message, windows apart; the tap sees each acknowledgement."""
    seen: list[float] = []

    def beside(_sink: object, _scale: object, seconds: float) -> dict[str, Any]:
        seen.append(seconds)
        time.sleep(seconds)
        return {"publish → visible": {}}

    found = round_of("ecluse", SLOW, tmp_path / "r", BRIEF, rate=500, beside=beside)
    assert_whole(found)
    assert points(found) == found.sent
    assert found.account
    assert found.account.windows > 0
    assert seen == [pytest.approx(BRIEF.span_s, abs=0.6)]
    # Acknowledged after it was published, and before the next thing: a minute is for ever.
    durable = found.latency["publish → durable"]
    assert 0 < durable["p50_s"] <= durable["p99_s"] <= durable["max_s"] < 60
    assert 0 < durable["samples"] <= found.sent


def test_acknowledgements_in_any_pieces() -> None:
    """The tap finds every PUBACK between other packets, wherever the stream is cut."""
    stream = b"\x10\x04abcd" + b"".join(b"\x40\x02" + bytes((n, n)) for n in range(1, 5)) + b"\xc0\x00"
    stream += b"\x82\x80\x01" + bytes(128) + b"\x40\x03\x05\x05\x00"
    for cut in range(len(stream) + 1):
        first, rest = tap.acknowledged(stream[:cut])
        second, left = tap.acknowledged(rest + stream[cut:])
        assert first + second == [n * 257 for n in range(1, 6)]
        assert left == b""


@pytest.mark.mosquitto
def test_two_gateways_share_a_broker(tmp_path: Path) -> None:
    """Each journals and writes its own devices' messages once: `two` holds the counts itself."""
    rate, cpu_us = second_core.two(tmp_path / "r", SLOW, BRIEF, 500)
    assert rate > 0
    assert cpu_us > 0


def test_stages(tmp_path: Path) -> None:
    """Every stage has run, and every message has come through."""
    found = stages.measure(tmp_path, messages=4_000, devices=DEVICES, read=100)
    assert found.decoded == 4_400
    assert found.windows > 0
    named = {name for name, _, _ in stages._STAGES} | {"encode, raw", "encode, windows", "the rest"}
    assert set(found.by_stage_us) == named


@pytest.mark.parametrize("steep", [0.0, 0.45, 1.0])
def test_calibration_finds_the_rate(steep: float) -> None:
    """Where more windows a message cost speed, a few rounds lead to five readings a window all the same."""
    rates, workload, rounds = calibration.Rates(), HEADLINE, 0
    while not rates.settled(workload):
        expected = rates.expected(workload)
        rates.learn(workload, 200_000 * (200_000 / expected) ** steep)
        rounds += 1
        assert rounds <= 6
    assert rates.expected(workload) == pytest.approx(200_000, rel=0.1)


def test_a_rate_that_is_asked_for_needs_no_calibration() -> None:
    """It is the rate, whatever was found."""
    rates = calibration.Rates()
    rates.learn(STEADY, 9_000)
    assert rates.settled(STEADY)
    assert rates.expected(STEADY) == 10_000


def test_a_round_lasts_for_whole_windows() -> None:
    """Where windows are long on the machine's clock, one has ended before, and whole ones are measured."""
    short, long = (BRIEF.with_windows(factor) for factor in (9_000, 90))
    assert (short.warm_s, short.span_s) == (pytest.approx(0.1 + BRIEF.grace_s + 2), BRIEF.span_s)
    assert (long.warm_s, long.span_s) == (pytest.approx(10 + BRIEF.grace_s + 2), 10)


@pytest.mark.parametrize("what", FROZEN)
def test_the_workload_is_frozen(what: str) -> None:
    """Figures of two workloads, or of two references, are never compared: a change is a new version.

    Where this fails: give `headline.VERSION` a new number with a note in HISTORY and in
    docs/performance.md, and the digest here.
    """
    assert VERSION in HISTORY
    assert (VERSION, hashlib.sha256(frozen()[what]).hexdigest()[:16]) == FROZEN[what]


def frozen() -> dict[str, bytes]:
    """Return, as bytes, what the headline's figures depend on beside the gateway itself."""
    fixed = {name: value for name, value in vars(headline).items() if isinstance(value, int | float | str)}
    constants = {name: value for name, value in fixed.items() if name.isupper() and name != "VERSION"}
    packets = messages.Packets(HEADLINE.devices, qos=HEADLINE.qos)
    first = bytes(packets.block(1, 0, HEADLINE.devices, ts_ms=EVENT_ORIGIN_NS // 10**6, sent=0))
    return {
        "the headline": repr((HEADLINE, STEADY, sorted(constants.items()))).encode(),
        "the profile": (PROJECT / "device_profiles" / PROFILE / "profile.yaml").read_bytes(),
        "the messages": first,
        "the reference": Path(reference.__file__).read_bytes(),
    }


def test_the_page_shows_the_committed_figures() -> None:
    """docs/performance.md has what `python -m tests.benchmarks.publish` makes of docs/performance/."""
    page = publish.PAGE.read_text(encoding="utf-8")
    assert publish.BEGIN in page
    committed = publish.FOLDER / "figures.json"
    if not committed.exists():
        assert not (publish.FOLDER / "headline.svg").exists()
        return
    found = json.loads(committed.read_text(encoding="utf-8"))
    assert publish.with_figures(page, found) == page
    assert found["workload_version"] == VERSION


def assert_whole(found: Round) -> None:
    """Counts in are counts out."""
    assert found.problems == ()
    assert found.sent > 0
    assert found.account
    assert found.account.received == found.sent


def points(found: Round) -> int:
    """Return how many raw points the sink has."""
    assert found.account
    return found.account.points
