"""What network servers wrap around a device's payload, as data: one entry an envelope.

Paths lead into the server's JSON. ChirpStack v4: its `event/up`, encoding JSON. The Things Stack v3: the
`up` topic of its MQTT server. Both leave out what is zero or empty. Actility ThingPark: the uplink message of
its connections, whose numbers were texts before 2024; its topics are as its connection has them.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class EnvelopePlan:
    """Where an envelope holds what.

    `payload` is base64; `decoded` what the server's own codec made of it; `port` and `counter` are whole
    numbers; `time` is RFC 3339; `key` identifies an uplink among all; `simulated` is a truth, "" where there
    is none.
    """

    name: str
    title: str
    topics: tuple[str, ...]
    payload: str
    decoded: str
    port: str
    time: str
    key: tuple[str, ...]
    counter: str
    spreading: str
    gateways: str
    """The list of gateways that have heard an uplink; in each: `gateway`, `rssi`, `snr`."""
    gateway: str
    rssi: str = "rssi"
    snr: str = "snr"
    simulated: str = ""
    coding: str = "base64"
    """How the payload is written: base64 or hex."""
    strict: bool = True
    """Whether numbers are numbers; else they may be texts too."""


ENVELOPES: Mapping[str, EnvelopePlan] = {
    "chirpstack": EnvelopePlan(
        name="chirpstack",
        title="ChirpStack v4",
        topics=("application/+/device/{device}/event/up",),
        payload="data",
        decoded="object",
        port="fPort",
        time="time",
        key=("deduplicationId",),
        counter="fCnt",
        spreading="txInfo.modulation.lora.spreadingFactor",
        gateways="rxInfo",
        gateway="gatewayId",
    ),
    "tts": EnvelopePlan(
        name="tts",
        title="The Things Stack v3",
        topics=("v3/+/devices/{device}/up",),
        payload="uplink_message.frm_payload",
        decoded="uplink_message.decoded_payload",
        port="uplink_message.f_port",
        time="received_at",
        key=("end_device_ids.dev_eui", "uplink_message.session_key_id", "uplink_message.f_cnt"),
        counter="uplink_message.f_cnt",
        spreading="uplink_message.settings.data_rate.lora.spreading_factor",
        gateways="uplink_message.rx_metadata",
        gateway="gateway_ids.gateway_id",
        simulated="simulated",
    ),
    "thingpark": EnvelopePlan(
        name="thingpark",
        title="Actility ThingPark",
        topics=(),
        payload="DevEUI_uplink.payload_hex",
        decoded="DevEUI_uplink.payload",
        port="DevEUI_uplink.FPort",
        time="DevEUI_uplink.Time",
        key=("DevEUI_uplink.DevEUI", "DevEUI_uplink.FCntUp", "DevEUI_uplink.Time"),
        counter="DevEUI_uplink.FCntUp",
        spreading="DevEUI_uplink.SpFact",
        gateways="DevEUI_uplink.Lrrs.Lrr",
        gateway="Lrrid",
        rssi="LrrRSSI",
        snr="LrrSNR",
        coding="hex",
        strict=False,
    ),
}
"""A source's name → its envelope."""


BESIDE = "@"
"""What a path begins with that leads to something beside the payload."""
FACTS: Mapping[str, str] = {
    "@port": "the LoRaWAN port",
    "@counter": "the uplink's frame counter",
    "@rssi": "signal strength at the gateway that heard it best, dB[mW]",
    "@snr": "signal to noise there, dB",
    "@gateway": "that gateway's identifier",
    "@gateways": "how many gateways heard it",
    "@spreading": "its spreading factor, 7 to 12",
}
"""What an envelope tells of an uplink beside its payload, by path."""


def wrapped(plan: EnvelopePlan, payload: bytes, port: int | None) -> bytes:
    """Return an envelope around a payload, as the network server sends one, with nothing else in it."""
    found: dict[str, Any] = {}
    written = payload.hex() if plan.coding == "hex" else base64.b64encode(payload).decode()
    for path, value in ((plan.payload, written), (plan.port, port)):
        node = found
        *through, last = path.split(".")
        for key in through:
            node = node.setdefault(key, {})
        if value is not None:
            node[last] = value
    return json.dumps(found).encode()
