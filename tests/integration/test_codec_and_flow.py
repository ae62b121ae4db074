"""A vendor's codec in a running gateway, changed on the fly; and its readings republished over MQTT."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.brokers import mosquitto, publish
from tests.integration.gateway_process import gateway
from tests.sinks.test_mqtt import Listener

if TYPE_CHECKING:
    from tests.brokers import Broker

CODEC = Path(__file__).parents[1] / "codec" / "vendors" / "acme" / "acme-bin.js"
EUI = "24e124535b316056"
PROFILE = """profile: acme-bin
version: 1
family: waste
source: chirpstack
codec: {file: acme-bin.js}
quantities:
  distance: {path: distance, unit: mm}
  signal: {path: "@rssi", unit: "dB[mW]"}
"""


def uplink(broker: Broker, number: int, payload: bytes) -> None:
    event: dict[str, Any] = {
        "deduplicationId": f"{number}",
        "deviceInfo": {"devEui": EUI},
        "fPort": 85,
        "fCnt": number,
        "data": base64.b64encode(payload).decode(),
        "rxInfo": [{"gatewayId": "g", "rssi": -48, "snr": 9.0}],
    }
    publish(broker, [(f"application/a/device/{EUI}/event/up", json.dumps(event).encode())])


def test_from_a_vendors_codec_to_who_listens(tmp_path: Path) -> None:
    profiles = tmp_path / "profiles" / "acme-bin"
    profiles.mkdir(parents=True)
    (profiles / "profile.yaml").write_text(PROFILE, encoding="utf-8")
    codec = Path(shutil.copy(CODEC, profiles))
    (tmp_path / "devices.csv").write_text(f"site,id,profile\nlyon,{EUI},acme-bin\n", encoding="utf-8")
    with mosquitto(tmp_path) as broker:
        sinks = [
            {"name": "embedded", "kind": "embedded"},
            {"name": "flows", "kind": "mqtt", "url": broker.url, "timeout": "5s"},
        ]
        listener = Listener(broker, "ecluse/waste/#")
        with gateway(tmp_path, broker, *sinks, profiles=profiles.parent) as running:
            uplink(broker, 1, bytes.fromhex("0203e8"))
            listener.until(1)
            uplink(broker, 2, b"\x09")  # the codec refuses it, in its own words
            running.wait(lambda now: now["uplinks"]["quarantined"] == 1, "refused")
            text = codec.read_text(encoding="utf-8").replace("data.distance = (", "data.distance = 2 * (")
            codec.write_text(text, encoding="utf-8")
            running.wait(
                lambda _: running.log.count("changes are in force") == 2, "the changed codec is in force"
            )
            uplink(broker, 3, bytes.fromhex("0203e8"))
            listener.until(2)
            status = running.status()
            assert running.stop() == 0
        listener.close()
    assert status is not None
    assert status["connection"]["connects"] == 1
    assert {topic for topic, _ in listener.got} == {f"ecluse/waste/lyon/{EUI}"}
    fields = [payload["fields"] for _, payload in listener.got]
    assert [(one["distance"], one["signal"]) for one in fields] == [
        (1000, -48),
        (1768, -48),
    ]  # 2 * (3 << 8) | 0xe8
    assert listener.got[0][1]["tags"]["profile"] == "acme-bin"
