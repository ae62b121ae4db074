"""Points republished over a real broker."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import config
from gateway.errors import SinkUnavailable
from gateway.literals import SINK_TOPIC, topic_problem
from gateway.sinks.messages import messages, topic_of
from gateway.sinks.mqtt import MqttSink, MqttSinkSettings
from tests.brokers import Broker, client, mosquitto

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LINES = (
    b'waste,device=bin-1,site=lyon distance=1150.5,tilt="upright",count=3i,ok=t 1795342500000000000\n'
    b"waste_15m,device=bin\\,1 distance_mean=7 1795342500000000000"
)
REMOVED = b"waste,device=bin-1,site=lyon distance=1,own:removed=0i 1795342500000000000"


def test_points_as_messages() -> None:
    found = [(topic, json.loads(payload)) for _, topic, payload in messages([LINES, REMOVED], SINK_TOPIC)]
    assert found == [
        (
            "ecluse/waste/lyon/bin-1",
            {
                "measurement": "waste",
                "tags": {"device": "bin-1", "site": "lyon"},
                "time": "2026-11-22T10:15:00Z",
                "fields": {"distance": 1150.5, "tilt": "upright", "count": 3, "ok": True},
            },
        ),
        (
            "ecluse/waste_15m/-/bin,1",
            {
                "measurement": "waste_15m",
                "tags": {"device": "bin,1"},
                "time": "2026-11-22T10:15:00Z",
                "fields": {"distance_mean": 7},
            },
        ),
        (
            "ecluse/waste/lyon/bin-1",
            {
                "measurement": "waste",
                "tags": {"device": "bin-1", "site": "lyon"},
                "time": "2026-11-22T10:15:00Z",
                "removed": True,
            },
        ),
    ]


@given(st.dictionaries(st.sampled_from(["site", "device", "lane"]), st.text(max_size=20)))
def test_no_tag_changes_the_levels_of_a_topic(tags: dict[str, str]) -> None:
    topic = topic_of("a/{measurement}/{site}/{device}-{lane}", "waste", tags)
    assert topic.count("/") == 3
    assert not set("+#\0") & set(topic)
    assert "" not in topic.split("/")


@pytest.mark.parametrize("topic", ["", "a/#", "a/+/b", "a/{b", "$SYS/x", "/a", "a\0"])
def test_what_is_no_topic_is_refused(topic: str) -> None:
    assert topic_problem(topic)
    with pytest.raises(ValueError, match="topic"):
        config.Sink.model_validate({"name": "m", "kind": "mqtt", "url": "mqtt://127.0.0.1", "topic": topic})


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://127.0.0.1", "such as mqtt://127.0.0.1:1883"),
        ("mqtt://broker.example", "use mqtts://, or allow_plaintext"),
        ("", "such as mqtt://127.0.0.1:1883"),
    ],
)
def test_what_is_no_address_is_refused(url: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        config.Sink.model_validate({"name": "m", "kind": "mqtt", "url": url})


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with mosquitto(tmp_path, users={"ecluse": "right"}) as running:
        yield running


class Listener:
    """Who listens: all topics below one, with the messages of each."""

    def __init__(self, broker: Broker, topic: str) -> None:
        self.got: list[tuple[str, Any]] = []
        self.retained: list[str] = []
        self._ready, self._changed = threading.Event(), threading.Condition()
        self._client = client(broker, f"listener-{topic.replace('#', '')}")
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = self._take
        self._client.connect(broker.host, broker.port)
        self._client.loop_start()
        self._client.subscribe(topic, qos=1)
        assert self._ready.wait(10)

    def _take(self, _client: Any, _data: Any, message: Any) -> None:
        with self._changed:
            self.got.append((message.topic, json.loads(message.payload)))
            if message.retain:
                self.retained.append(message.topic)
            self._changed.notify_all()

    def until(self, number: int) -> None:
        """Wait for so many messages."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.got) >= number, timeout=20), len(self.got)

    def close(self) -> None:
        """Listen no more."""
        self._client.disconnect()
        self._client.loop_stop()


def sink_of(broker: Broker, **more: Any) -> MqttSink:
    given: dict[str, Any] = {"username": "ecluse", "password": "right", "timeout_s": 5}
    return MqttSink(MqttSinkSettings("m", broker.url, broker.host, broker.port, "ecluse-m", **(given | more)))


async def test_they_arrive_in_order_and_are_acknowledged(broker: Broker) -> None:
    listener, sink = Listener(broker, "ecluse/#"), sink_of(broker)
    try:
        assert "publishing to ecluse/" in await sink.check()
        points = b"\n".join(b"waste,device=bin-1,site=lyon n=%d %d" % (n, n * 10**9) for n in range(1_000))
        await sink.write([points, LINES])
        listener.until(1_002)
    finally:
        await sink.close()
        listener.close()
    assert [payload["fields"]["n"] for _, payload in listener.got[:1_000]] == list(range(1_000))
    assert listener.got[1_000][1]["fields"]["tilt"] == "upright"


async def test_the_last_ones_are_kept_where_told(broker: Broker) -> None:
    sink = sink_of(broker, retain=True, topic="last/{device}")
    await sink.write([LINES])
    await sink.close()
    listener = Listener(broker, "last/#")
    try:
        listener.until(2)
    finally:
        listener.close()
    assert sorted(listener.retained) == ["last/bin,1", "last/bin-1"]


async def test_a_broker_that_goes_and_comes_back(broker: Broker) -> None:
    sink = sink_of(broker)
    await sink.write([LINES])
    broker.stop()
    with pytest.raises(SinkUnavailable) as away:
        await sink.write([LINES])
    with pytest.raises(SinkUnavailable):
        await sink.write([LINES])
    assert "m: " in str(away.value)
    broker.start()
    listener = Listener(broker, "ecluse/#")
    try:
        await sink.write([LINES])
        listener.until(2)
    finally:
        await sink.close()
        listener.close()


async def test_a_broker_that_does_not_answer(broker: Broker) -> None:
    sink = sink_of(broker, timeout_s=1)
    await sink.write([LINES])
    broker.freeze()
    try:
        with pytest.raises(SinkUnavailable) as slow:
            await sink.write([LINES])
    finally:
        broker.thaw()
    assert slow.value.ambiguous
    await sink.write([LINES])
    await sink.close()


async def test_a_wrong_password_is_said_and_renewed(broker: Broker) -> None:
    sink = sink_of(broker, password="wrong")  # noqa: S106 - of the test's broker
    with pytest.raises(SinkUnavailable, match="m: mqtt://"):
        await sink.check()
    sink.renew(username="ecluse", token="right")  # noqa: S106 - the same
    assert "MQTT broker" in await sink.check()
    await sink.close()
