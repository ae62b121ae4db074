"""Network servers' envelopes: what is inside is treated as if it had come alone, with what they tell."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.decode.decoder import Decoded, decode
from gateway.decode.envelopes import Envelope
from gateway.decode.frames import NO_PORT, Frames
from gateway.decode.identity import Identities
from gateway.model import Reason, TimeSource
from gateway.profiles.compile import compile_text
from gateway.profiles.durations import instant_ns
from gateway.profiles.envelopes import ENVELOPES, wrapped
from gateway.profiles.together import check_together
from tests.decode.plans import RECEIVED, batch, device, routes

if TYPE_CHECKING:
    from gateway.decode.routes import Routes
    from gateway.profiles.plan import ProfilePlan

DEVICE = "24e124535b316056"
CHIRPSTACK = f"application/b2a2/device/{DEVICE}/event/up"
TTS = "v3/bins@lyon/devices/bin-1/up"
TIME = "2025-11-22T00:06:30.123456+00:00"


def plan_of(source: str, more: str = "layout: [a:u8]\nquantities: {a: {}}\n", name: str = "p") -> ProfilePlan:
    return compile_text(f"profile: {name}\nversion: 1\nfamily: waste\nsource: {source}\n{more}", name=name)


def here(plan: ProfilePlan, *more: ProfilePlan) -> Routes:
    known = [device(DEVICE, profile=plan.name), device("bin-1", profile=plan.name)]
    return routes(plan, *more, devices=known, accept_unknown=False)


def chirpstack(payload: bytes, **more: Any) -> dict[str, Any]:
    """Return an uplink event as ChirpStack v4 sends it, but for what nobody reads."""
    return {
        "deduplicationId": "3ac7e3c4-4401-4b8d-9386-a5c902f9202d",
        "time": TIME,
        "deviceInfo": {"tenantName": "Lyon", "applicationId": "b2a2", "devEui": DEVICE, "tags": {}},
        "devAddr": "00189440",
        "dr": 1,
        "fPort": 85,
        "data": base64.b64encode(payload).decode(),
        "rxInfo": [{"gatewayId": "0016c001f153a14c", "rssi": -48, "snr": 9.0, "context": "EFwMtA=="}],
        "txInfo": {"frequency": 867100000, "modulation": {"lora": {"bandwidth": 125000}}},
    } | more


def tts(payload: bytes, **more: Any) -> dict[str, Any]:
    """Return an uplink as The Things Stack v3 sends it, but for what nobody reads."""
    return {
        "end_device_ids": {"device_id": "bin-1", "dev_eui": "0004A30B001C0530"},
        "received_at": TIME,
        "uplink_message": {
            "session_key_id": "AXA50tHI4oAc",
            "f_port": 1,
            "frm_payload": base64.b64encode(payload).decode(),
            "decoded_payload": {"a": payload[0] if payload else None},
            "rx_metadata": [{"rssi": -35, "snr": 5}],
        },
    } | more


def values(decoded: Decoded) -> list[float]:
    return [float(value) for one in decoded.readings for value in one.values.ravel()]


@pytest.mark.parametrize(
    ("source", "topic", "made"), [("chirpstack", CHIRPSTACK, chirpstack), ("tts", TTS, tts)]
)
def test_a_payload_in_its_envelope(source: str, topic: str, made: Any) -> None:
    """The time is the envelope's, and the points say so."""
    decoded = decode(batch((topic, made(b"\x07"))), here(plan_of(source)))
    assert values(decoded) == [7]
    [readings] = decoded.readings
    assert readings.time.tolist() == [instant_ns(TIME)]
    assert readings.time_source.tolist() == [TimeSource.ENVELOPE]


def test_a_device_that_tells_the_time_is_believed_first() -> None:
    """Then the envelope, then the receipt."""
    at = instant_ns(TIME) // 10**9 - 60
    plan = plan_of("chirpstack", "layout: [time:unix32, a:u8]\nquantities: {a: {}}\n")
    decoded = decode(batch((CHIRPSTACK, chirpstack(at.to_bytes(4, "big") + b"\x01"))), here(plan))
    assert decoded.readings[0].time.tolist() == [at * 10**9]
    assert decoded.readings[0].time_source.tolist() == [TimeSource.DEVICE]
    nowhere = decode(batch((CHIRPSTACK, chirpstack(b"\x01", time=None))), here(plan_of("chirpstack")))
    assert nowhere.readings[0].time.tolist() == [RECEIVED]
    assert nowhere.readings[0].time_source.tolist() == [TimeSource.RECEIPT]


def test_the_servers_own_decoding_may_be_read() -> None:
    """`format: decoded`, for a device whose codec runs there."""
    more = "format: decoded\nquantities: {a: {path: inner.a}}\n"
    plan = plan_of("chirpstack", more)
    decoded = decode(batch((CHIRPSTACK, chirpstack(b"", object={"inner": {"a": 1.5}}))), here(plan))
    assert values(decoded) == [1.5]
    without = decode(batch((CHIRPSTACK, chirpstack(b"\x01"))), here(plan))
    assert [(one.reason, one.detail) for one in without.rejections] == [
        (Reason.NO_READING, "the envelope has no object")
    ]


def test_json_may_stand_inside() -> None:
    """As a radar that sends text over LoRaWAN does."""
    plan = plan_of("tts", "quantities: {a: {path: a}}\n")
    assert values(decode(batch((TTS, tts(b'{"a":3}'))), here(plan))) == [3]


def test_the_port_chooses_the_variant() -> None:
    """It is zero where the envelope leaves it out: no port."""
    plan = plan_of("chirpstack", "variants: [{port: 85, layout: [a:u8]}]\nquantities: {a: {}}\n")
    assert values(decode(batch((CHIRPSTACK, chirpstack(b"\x05"))), here(plan))) == [5]
    [refused] = decode(batch((CHIRPSTACK, chirpstack(b"\x05", fPort=None))), here(plan)).rejections
    assert refused.reason is Reason.NO_VARIANT


def test_an_uplink_without_a_time_is_known_by_its_envelope() -> None:
    """Sent again under another packet identifier, it is a duplicate; another one is not."""
    routes_, identities = here(plan_of("chirpstack")), Identities()
    first = chirpstack(b"\x05", time=None)
    other = chirpstack(b"\x05", time=None, deduplicationId="another")
    decoded = decode(
        batch((CHIRPSTACK, first), (CHIRPSTACK, first), (CHIRPSTACK, other)), routes_, identities
    )
    assert decoded.duplicates.tolist() == [1]
    assert decode(batch((CHIRPSTACK, first)), routes_, identities).duplicates.tolist() == [0]


def test_the_registry_says_which_profile_a_device_of_a_shared_topic_has() -> None:
    """One that is not in it has none, and is on the list of unknown devices."""
    one, two = plan_of("chirpstack", name="one"), plan_of("chirpstack", name="two")
    assert check_together([one, two]) == []
    both = routes(one, two, devices=[device(DEVICE, profile="two")])
    decoded = decode(batch((CHIRPSTACK, chirpstack(b"\x01"))), both)
    assert [readings.profile.name for readings in decoded.readings] == ["two"]
    stranger = decode(batch((CHIRPSTACK.replace(DEVICE, "ff"), chirpstack(b"\x01"))), both)
    assert stranger.rejections[0].reason is Reason.NO_PROFILE
    assert [one.device for one in stranger.unknown] == ["ff"]


def test_other_topics_may_not_overlap_those_of_an_envelope() -> None:
    """Refused with both names."""
    other = compile_text(
        'profile: q\nversion: 1\nfamily: waste\ntopics: ["application/x/device/{device}/event/up"]\n'
        "quantities: {a: {path: a}}\n",
        name="q",
    )
    [(_, what, _)] = check_together([plan_of("chirpstack"), other])
    assert "overlaps application/+/device/{device}/event/up of profile «p»" in what


@pytest.mark.parametrize(
    ("source", "payload", "reason", "detail"),
    [
        ("chirpstack", chirpstack(b"") | {"data": "###"}, Reason.UNREADABLE, "data is not base64"),
        ("chirpstack", chirpstack(b"") | {"data": "é"}, Reason.UNREADABLE, "data is not base64"),
        ("chirpstack", {"time": TIME}, Reason.NO_READING, "the envelope has no data"),
        ("chirpstack", b"{", Reason.NOT_JSON, "no envelope of ChirpStack v4"),
        ("chirpstack", b"\xff{}", Reason.NOT_UTF8, "byte 0 is not UTF-8"),
        ("chirpstack", chirpstack(b"\x01", time="yesterday"), Reason.WRONG_TYPE, "Invalid RFC3339"),
        ("chirpstack", chirpstack(b"\x01", fPort=300), Reason.NOT_REPRESENTABLE, "<= 255"),
        ("chirpstack", b'{"a":' * 5_000 + b"1" + b"}" * 5_000, Reason.TOO_DEEP, "nested too deep"),
        (
            "tts",
            tts(b"\x01", simulated=True),
            Reason.SIMULATED,
            "The Things Stack v3 says that it is simulated",
        ),
        ("tts", tts(b"\x01", uplink_message=3), Reason.WRONG_TYPE, "uplink_message"),
    ],
)
def test_a_bad_envelope_is_refused_alone(source: str, payload: Any, reason: Reason, detail: str) -> None:
    """With the envelope's name; the next uplink is read."""
    topic, good = (CHIRPSTACK, chirpstack(b"\x09")) if source == "chirpstack" else (TTS, tts(b"\x09"))
    decoded = decode(batch((topic, payload), (topic, good)), here(plan_of(source)))
    [refused] = decoded.rejections
    assert (refused.index, refused.reason) == (0, reason)
    assert detail in refused.detail
    assert values(decoded) == [9]


@pytest.mark.parametrize("name", ENVELOPES)
@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.binary(max_size=60), st.none() | st.integers(1, 255)), max_size=6))
def test_what_was_wrapped_is_unwrapped(name: str, uplinks: list[tuple[bytes, int | None]]) -> None:
    """Payload and port, in order."""
    payloads = [wrapped(ENVELOPES[name], payload, port) for payload, port in uplinks]
    found = Envelope(ENVELOPES[name], "binary").unwrap(Frames.bare(payloads))
    assert found.failures == []
    assert found.frames.payloads == [payload for payload, _ in uplinks]
    assert found.frames.ports.tolist() == [NO_PORT if port is None else port for _, port in uplinks]


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(sorted(ENVELOPES)),
    st.lists(
        st.binary(max_size=40)
        | st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(
                        ["data", "fPort", "time", "uplink_message", "frm_payload", "f_cnt", "object"]
                    ),
                    inner,
                    max_size=4,
                )
            ),
            max_leaves=8,
        ).map(lambda value: json.dumps(value).encode()),
        max_size=5,
    ),
)
def test_nothing_raises_and_everything_is_accounted_for(name: str, payloads: list[bytes]) -> None:
    """A payload or a failure for each."""
    found = Envelope(ENVELOPES[name], "binary").unwrap(Frames.bare(payloads))
    failed = [failure.index for failure in found.failures]
    assert sorted([*failed, *found.places.tolist()]) == list(range(len(payloads)))
    assert len(found.frames) == len(found.keys) == len(found.times) == np.count_nonzero(found.places >= 0)
