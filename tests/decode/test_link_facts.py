"""What a network server tells of an uplink beside its payload, as quantities."""

from __future__ import annotations

import json
import math
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.decode.decoder import decode
from gateway.profiles.compile import compile_profile
from gateway.profiles.durations import instant_ns
from tests.decode.plans import batch, payloads, profile, routes
from tests.decode.test_envelopes import CHIRPSTACK, TTS, chirpstack, here, plan_of, tts

QUANTITIES = """quantities:
  a: {}
  rssi: {path: "@rssi", unit: "dB[mW]"}
  snr: {path: "@snr", unit: dB}
  counter: {path: "@counter"}
  port: {path: "@port"}
  gateways: {path: "@gateways"}
  spreading: {path: "@spreading"}
"""
TEXTS = '  best: {path: "@gateway", kind: text}\n'


def told(source: str, topic: str, *events: Any) -> list[dict[str, Any]]:
    plan = plan_of(source, "layout: [a:u8]\n" + QUANTITIES + TEXTS)
    decoded = decode(batch(*((topic, event) for event in events)), here(plan))
    rows = []
    for one in decoded.readings:
        for row in one.values.T.tolist():
            named = {q.name: v for q, v in zip(one.group.quantities, row, strict=True) if not math.isnan(v)}
            if "best" in named:
                named["best"] = one.texts.keys[int(named["best"])][0]
            rows.append(named)
    return rows


def test_chirpstack_tells_who_heard_it_best() -> None:
    heard = [
        {"gatewayId": "far", "rssi": -110, "snr": -3.5},
        {"gatewayId": "near", "rssi": -48, "snr": 9.0},
        {"gatewayId": "deaf"},
    ]
    lora = {"modulation": {"lora": {"spreadingFactor": 12}}}
    event = chirpstack(b"\x07", fCnt=41, rxInfo=heard, txInfo=lora)
    (row,) = told("chirpstack", CHIRPSTACK, event)
    assert row == {
        "a": 7,
        "rssi": -48,
        "snr": 9,
        "counter": 41,
        "port": 85,
        "gateways": 3,
        "spreading": 12,
        "best": "near",
    }


def test_the_things_stack_too() -> None:
    event = tts(b"\x07")
    event["uplink_message"] |= {
        "f_cnt": 3,
        "rx_metadata": [{"gateway_ids": {"gateway_id": "roof"}, "rssi": -35, "snr": 5}],
        "settings": {"data_rate": {"lora": {"spreading_factor": 7}}},
    }
    (row,) = told("tts", TTS, event)
    assert (row["rssi"], row["snr"], row["counter"], row["spreading"], row["best"]) == (-35, 5, 3, 7, "roof")


def thingpark(payload: bytes, *, texts: bool) -> bytes:
    """Return an uplink message as ThingPark sends it; `texts`: with numbers as texts, as before 2024."""
    numbers: dict[str, Any] = {"FPort": 2, "FCntUp": 1174, "SpFact": 7}
    heard = [
        {"Lrrid": "004A18E3", "LrrRSSI": -80.5, "LrrSNR": 7.0},
        {"Lrrid": "X", "LrrRSSI": -90.0, "LrrSNR": 1.0},
    ]
    if texts:
        numbers = {key: str(value) for key, value in numbers.items()}
        heard = [{key: str(value) for key, value in one.items()} for one in heard]
    uplink = {
        "Time": "2025-11-22T01:06:30.123+01:00",
        "DevEUI": "0018B20000000B20",
        "payload_hex": payload.hex(),
        "payload": {"a": 5},
        "Lrrs": {"Lrr": heard},
        **numbers,
    }
    return json.dumps({"DevEUI_uplink": uplink}).encode()


@pytest.mark.parametrize("texts", [False, True])
def test_thingpark_too(texts: bool) -> None:  # noqa: FBT001 - a parameter of the test
    more = 'topics: ["things/{device}/uplink"]\nlayout: [a:u8]\n'
    plan = plan_of("thingpark", more + QUANTITIES + TEXTS)
    topic = "things/bin-1/uplink"
    decoded = decode(batch((topic, thingpark(b"\x07", texts=texts))), here(plan))
    (readings,) = decoded.readings
    assert readings.time.tolist() == [instant_ns("2025-11-22T00:06:30.123Z")]
    named = dict(
        zip([q.name for q in readings.group.quantities], readings.values[:, 0].tolist(), strict=True)
    )
    assert (named["a"], named["rssi"], named["counter"], named["port"], named["gateways"]) == (
        7,
        -80.5,
        1174,
        2,
        2,
    )
    decoded = decode(
        batch((topic, thingpark(b"", texts=texts).replace(b'"payload_hex": ""', b'"payload_hex": "0g"'))),
        here(plan),
    )
    assert decoded.rejections[0].detail.startswith("DevEUI_uplink.payload_hex is not hex")


def test_what_is_left_out_is_zero_or_nothing() -> None:
    event = chirpstack(b"\x07", rxInfo=None, fPort=None, txInfo={})
    assert told("chirpstack", CHIRPSTACK, event) == [{"a": 7, "counter": 0}]
    bare = chirpstack(b"\x07", rxInfo=[{}])
    assert told("chirpstack", CHIRPSTACK, bare) == [{"a": 7, "counter": 0, "port": 85, "gateways": 1}]


def test_they_stay_with_their_uplink() -> None:
    """Where others of the batch are refused, before or behind it."""
    events = [
        chirpstack(b"", fCnt=1, deduplicationId="1"),
        chirpstack(b"\x02", fCnt=2, deduplicationId="2"),
        chirpstack(b"\x03", data="###", fCnt=3, deduplicationId="3"),
        chirpstack(b"\x04", fCnt=4, deduplicationId="4"),
    ]
    rows = told("chirpstack", CHIRPSTACK, *events)
    assert [(row.get("a"), row["counter"]) for row in rows] == [(2, 2), (4, 4)]


@pytest.mark.parametrize("more", ["format: decoded\n", "format: cbor\n"])
def test_other_formats_within(more: str) -> None:
    """Beside what the server has decoded, and beside CBOR."""
    quantities = 'quantities: {a: {path: a}, rssi: {path: "@rssi", unit: "dB[mW]"}}\n'
    plan = plan_of("chirpstack", more + quantities)
    event = chirpstack(cbor2.dumps({"a": 5}), object={"a": 5})
    decoded = decode(batch((CHIRPSTACK, event)), here(plan))
    assert [one.values.ravel().tolist() for one in decoded.readings] == [[5, -48]]


JSON = st.recursive(
    st.none() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["rssi", "snr"]), inner),
)


@given(JSON)
def test_nothing_raises(value: Any) -> None:
    plan = plan_of("chirpstack", "layout: [a:u8]\n" + QUANTITIES)
    for key in ("rxInfo", "txInfo", "fCnt", "fPort"):
        event = json.dumps(chirpstack(b"\x01") | {key: value}).encode()
        decoded = decode(batch((CHIRPSTACK, event)), here(plan))
        assert decoded.readings or decoded.rejections


@pytest.mark.parametrize(
    ("source", "path", "what"),
    [
        ("chirpstack", "@rsssi", "did you mean «@rssi»?"),
        ("mqtt", "@rssi", "is told by a network server"),
    ],
)
def test_mistakes_are_named(source: str, path: str, what: str) -> None:
    text = (
        f"profile: p\nversion: 1\nfamily: waste\nsource: {source}\ntopics: ['t/{{device}}']\n"
        f'layout: [a:u8]\nquantities: {{a: {{}}, b: {{path: "{path}"}}}}\n'
    )
    _, problems = compile_profile(text, where="p.yaml")
    assert any(what in str(problem) for problem in problems), problems


def test_a_key_of_a_payload_may_begin_so_too() -> None:
    """As those of JSON-LD and of Logstash do; also in an envelope."""
    plan = profile('quantities: {a: {path: "@value"}}\n')
    decoded = decode(payloads(b'{"@value": 5}'), routes(plan))
    assert [one.values.ravel().tolist() for one in decoded.readings] == [[5]]
    plan = profile('csv: {header: true}\nquantities: {a: {path: "@value"}}\n')
    decoded = decode(payloads(b"@value\n5"), routes(plan))
    assert [one.values.ravel().tolist() for one in decoded.readings] == [[5]]
    wrapped = plan_of("chirpstack", 'format: decoded\nquantities: {a: {path: "@value"}}\n')
    decoded = decode(batch((CHIRPSTACK, chirpstack(b"", object={"@value": 5}))), here(wrapped))
    assert [one.values.ravel().tolist() for one in decoded.readings] == [[5]]
