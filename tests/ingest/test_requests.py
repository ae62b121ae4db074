"""What the gateway sends, byte for byte as paho sends it."""

from __future__ import annotations

import pytest
from paho.mqtt.subscribeoptions import SubscribeOptions

from gateway.ingest import requests
from gateway.ingest.requests import Connect
from gateway.ingest.wire import Reader
from tests.ingest.peer import paho_against_us, read_packet, welcome


def test_connect_3_1_1_is_as_pahos() -> None:
    """Never a clean session; user and password where given."""
    with paho_against_us(4, clean_session=False) as (_client, ours):
        assert read_packet(ours) == Connect(level=4, client_id="oracle", keepalive_s=30).encode()


def test_connect_5_says_what_the_session_needs() -> None:
    """No clean start, session expiry, receive maximum, no topic aliases, maximum packet size."""
    name, word = "u", "p"
    sent = Connect(
        level=5, client_id="écluse", keepalive_s=30, username=name, password=word, max_packet=1_000
    )
    reader = Reader(sent.encode())
    assert reader.number(1) == 0x10
    assert reader.varint() == reader.left()
    assert (reader.text(), reader.number(1), reader.number(1), reader.number(2)) == ("MQTT", 5, 0xC0, 30)
    assert reader.properties() == {0x11: 604_800, 0x21: 65_535, 0x22: 0, 0x27: 1_000}
    assert (reader.text(), reader.text(), reader.binary()) == ("écluse", "u", b"p")
    assert reader.left() == 0


@pytest.mark.parametrize("level", [4, 5])
def test_subscribe_and_unsubscribe_are_as_pahos(level: int) -> None:
    """QoS a filter; under MQTT 5 retain handling 1."""
    with paho_against_us(level) as (client, ours):
        welcome(client, ours, level)
        if level == 5:
            options = [SubscribeOptions(qos=qos, retainHandling=1) for qos in (1, 0)]
            _, first = client.subscribe([("a/+", options[0]), ("b/#", options[1])])
        else:
            _, first = client.subscribe([("a/+", 1), ("b/#", 0)])
        assert read_packet(ours) == requests.subscribe(first, [("a/+", 1), ("b/#", 0)], level)
        _, second = client.unsubscribe(["a/+", "b/#"])
        assert read_packet(ours) == requests.unsubscribe(second, ["a/+", "b/#"], level)


def test_short_packets_are_the_specifications() -> None:
    """PINGREQ, DISCONNECT, and the answers to one delivery."""
    assert requests.PINGREQ == b"\xc0\x00"
    assert requests.DISCONNECT == b"\xe0\x00"
    assert requests.puback(0x1234) == b"\x40\x02\x12\x34"
    assert requests.pubrec(0x1234) == b"\x50\x02\x12\x34"
    assert requests.pubcomp(0x1234) == b"\x70\x02\x12\x34"
