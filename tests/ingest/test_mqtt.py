"""The MQTT source against real brokers: Mosquitto with the shipped settings, and nats-server."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from gateway.clock import SystemClock
from gateway.errors import SessionTakenOver
from gateway.ingest.mqtt import MqttSource, weight
from gateway.ingest.packets import DUP
from gateway.ingest.settings import MqttSettings, SessionState
from tests.brokers import certificates, mosquitto, nats, publish
from tests.ingest.peer import Reader, eventually, running, settings
from tests.processes import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.brokers import Broker


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with mosquitto(tmp_path) as running_broker:
        yield running_broker


def numbered(count: int, start: int = 0, size: int = 0) -> list[tuple[str, bytes]]:
    """Return uplinks of count devices, each payload once."""
    return [
        (f"city/paris/bin/{i % 100}/up", str(i).encode().ljust(size, b" "))
        for i in range(start, start + count)
    ]


async def send(broker: Broker, messages: list[tuple[str, bytes]], **options: Any) -> None:
    await asyncio.to_thread(publish, broker, messages, **options)


async def begin_session(broker: Broker, **changes: object) -> MqttSource:
    """Open a session with its subscription, and leave it at the broker."""
    async with running(settings(broker, **changes)) as (source, reader):
        await reader.connected()
        await send(broker, [("city/paris/bin/first/up", b"first")])
        await reader.until(lambda: b"first" in reader.payloads, "subscribed")
        for batch in reader.got:
            await source.acknowledge(batch)
        return source


@pytest.mark.parametrize("protocol", ["auto", "5", "3.1.1"])
async def test_a_session_outlives_its_connection(broker: Broker, protocol: str) -> None:
    """What is published while the gateway is away comes when it is back, and no gap is reported."""
    first = await begin_session(broker, protocol=protocol)
    assert first.status.state is SessionState.CLOSED
    assert first.status.protocol == (4 if protocol == "3.1.1" else 5)
    await send(broker, numbered(500))
    async with running(settings(broker, protocol=protocol), last_connection=1) as (source, reader):
        await reader.until(lambda: len(reader.payloads) >= 500, "what came meanwhile")
        assert reader.payloads == [payload for _, payload in numbered(500)]
        assert source.status.session_present
        assert source.status.gap_possible_ns == 0
        assert {batch.connection for batch in reader.got} == {2}


async def test_nats_server_is_spoken_to_in_3_1_1(tmp_path: Path) -> None:
    """It refuses MQTT 5; the source falls back at once, and its session is kept, too."""
    with nats(tmp_path) as broker:
        first = await begin_session(broker)
        assert first.status.protocol == 4
        await send(broker, numbered(500))
        async with running(settings(broker), last_connection=1) as (source, reader):
            await reader.until(lambda: len(set(reader.payloads)) >= 500, "what came meanwhile")
            assert source.status.session_present


async def test_nats_server_with_too_much_in_flight_refuses_the_filter(tmp_path: Path) -> None:
    """A subscription that is not granted is a status with its filter, not silence."""
    with nats(tmp_path, max_ack_pending=65_535) as broker:
        async with running(settings(broker, filters=[("city/#", 1)])) as (source, reader):
            await reader.until(lambda: bool(source.status.refused_filters), "the refusal")
            assert source.status.refused_filters == ("city/#",)
            assert "city/#" in source.status.last_error


async def test_what_was_not_acknowledged_comes_again(broker: Broker) -> None:
    """With DUP, at the next connection; what was acknowledged does not."""
    await begin_session(broker)
    async with running(settings(broker), last_connection=1) as (source, reader):
        await reader.connected()
        await send(broker, numbered(10))
        await reader.until(lambda: len(reader.payloads) == 10, "the first ten")
        for batch in reader.got:
            await source.acknowledge(batch)
        await send(broker, numbered(10, start=10))
        await reader.until(lambda: len(reader.payloads) == 20, "the next ten")
        left = source.status.unacknowledged
    assert left == 10
    async with running(settings(broker), last_connection=2) as (source, reader):
        await reader.until(lambda: len(reader.payloads) >= 10, "the next ten again")
        assert reader.payloads == [payload for _, payload in numbered(10, start=10)]
        assert all((batch.headers & DUP).all() for batch in reader.got)
        assert source.status.duplicates == 10


async def test_an_acknowledgement_belongs_to_its_connection(broker: Broker) -> None:
    """After a reconnect it does nothing but free the memory: the broker sends the uplinks again."""
    await begin_session(broker)
    async with running(settings(broker), last_connection=1) as (source, reader):
        await reader.connected()
        await send(broker, numbered(10))
        await reader.until(lambda: len(reader.payloads) == 10, "the first time")
        await asyncio.to_thread(broker.stop)
        await asyncio.to_thread(broker.start)
        await reader.until(lambda: len(reader.payloads) == 20, "the second time")
        for batch in reader.got[:]:
            if batch.connection == 2:
                await source.acknowledge(batch)
        assert source.status.unacknowledged == 10
        assert source.status.reconnects == 1
    async with running(settings(broker), last_connection=3) as (_source, reader):
        await reader.until(lambda: len(reader.payloads) >= 10, "a third time")


async def test_a_broker_that_is_killed_is_found_again(broker: Broker) -> None:
    """While it is away that is a status; a session that it has lost is a possible gap."""
    async with running(settings(broker)) as (source, reader):
        await reader.connected()
        await asyncio.to_thread(broker.kill)
        await reader.until(lambda: source.status.state is SessionState.AWAY, "away")
        assert "no connection" in source.status.last_error or "closed" in source.status.last_error
        await asyncio.to_thread(broker.start)
        await reader.until(lambda: source.status.connects == 2, "back")
        assert source.status.session_lost == 1  # killed before it had saved anything
        assert source.status.gap_possible_ns > 0
        await send(broker, numbered(10))
        await reader.until(lambda: len(reader.payloads) == 10, "subscribed again")


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_a_burst_while_away_arrives_whole(broker: Broker, protocol: str) -> None:
    """20,000 uplinks at QoS 1 with the shipped settings, over a restart of the broker, none lost."""
    await begin_session(broker, protocol=protocol)
    await send(broker, numbered(20_000))
    await asyncio.to_thread(broker.stop)
    await asyncio.to_thread(broker.start)
    async with running(settings(broker, protocol=protocol), last_connection=1) as (source, reader):
        reader.acknowledge = True
        await reader.until(lambda: len(reader.payloads) >= 20_000, "the burst", within_s=60)
        assert set(reader.payloads) == {payload for _, payload in numbered(20_000)}
        assert source.status.unacknowledged == 0


async def test_reading_pauses_at_the_byte_budget(broker: Broker) -> None:
    """And goes on once something was acknowledged; nothing is lost, the watchdog rests."""
    budget = 200_000
    wanted = settings(broker, memory=budget, watchdog_s=5.0)
    async with running(wanted) as (source, reader):
        await reader.connected()
        await send(broker, numbered(3_000, size=2_000))
        await reader.until(lambda: source.status.paused, "paused")
        last_read = max(weight(batch) for batch in reader.got)
        assert source.status.unacknowledged_bytes <= budget + last_read
        assert len(reader.payloads) < 3_000
        done = 0
        while len(set(reader.payloads)) < 3_000:
            await reader.until(lambda seen=done: len(reader.got) > seen, "more")
            for batch in reader.got[done:]:
                await source.acknowledge(batch)
                done += 1
        assert not source.status.paused
        assert source.status.pauses >= 1
        assert source.status.connects == 1


async def test_while_held_what_nobody_sends_again_is_refused(broker: Broker) -> None:
    """QoS 0: what was read and not given out, what comes meanwhile; counted. QoS 1 waits in memory."""
    async with running(settings(broker)) as (source, reader):
        await reader.connected()
        await send(broker, numbered(1))
        await reader.until(lambda: len(reader.payloads) == 1, "subscribed")
        await reader.stop()
        await send(broker, numbered(50, start=100), qos=0)
        await send(broker, numbered(50, start=200))
        await eventually(lambda: source.status.messages == 101, "read")
        source.hold(held=True)
        source.hold(held=True)
        assert source.status.refused_qos0 == 50
        await send(broker, numbered(30, start=300), qos=0)
        await send(broker, numbered(30, start=400))
        await eventually(lambda: source.status.messages == 161, "read meanwhile")
        assert source.status.refused_qos0 == 80
        source.hold(held=False)
        await send(broker, numbered(20, start=500), qos=0)
        await eventually(lambda: source.status.messages == 181, "read afterwards")
        later = Reader(source, acknowledge=True)
        wanted = [
            payload
            for start, count in ((200, 50), (400, 30), (500, 20))
            for _, payload in numbered(count, start)
        ]
        await later.until(lambda: len(later.payloads) >= len(wanted), "given out")
        await later.stop()
        assert sorted(later.payloads) == sorted(wanted)
        for batch in reader.got:
            await source.acknowledge(batch)
        assert (source.status.unacknowledged, source.status.unacknowledged_bytes) == (0, 0)


async def test_a_batch_in_hand_is_refused_too(broker: Broker) -> None:
    """Its uplinks at QoS 0: the rest of it, perhaps nothing, goes on."""
    async with running(settings(broker)) as (source, reader):
        await reader.connected()
        await send(broker, numbered(5), qos=0)
        await reader.until(lambda: len(reader.payloads) == 5, "in hand")
        left = [source.promised(batch) for batch in reader.got]
        assert not any(map(len, left))
        assert (source.status.refused_qos0, source.status.unacknowledged) == (5, 0)
        assert source.status.unacknowledged_bytes == 0


async def test_a_wrong_password_is_said_once(tmp_path: Path) -> None:
    """And tried again slowly: a person must change something."""
    with mosquitto(tmp_path, users={"ecluse": "right"}) as broker, capture_logs() as logs:
        broker.password = str(broker.username)
        async with running(settings(broker)) as (source, reader):
            await reader.until(lambda: broker.log.read_text().count("not authorised") >= 3, "three attempts")
            assert source.status.state is SessionState.REFUSED
            assert "user, password" in source.status.last_error
    assert [line["log_level"] for line in logs].count("warning") == 1


async def test_a_right_password_is_accepted(tmp_path: Path) -> None:
    """User and password reach the broker."""
    with mosquitto(tmp_path, users={"ecluse": "right"}) as broker:
        await begin_session(broker)


async def test_a_new_password_is_used_at_once(tmp_path: Path) -> None:
    """The session stays; what was read is acknowledged first, so that nothing comes twice."""
    with mosquitto(tmp_path, users={"ecluse": "one", "city": "two"}) as broker:
        await begin_session(broker)
        async with running(settings(broker), last_connection=1) as (source, reader):
            reader.acknowledge = True
            await reader.connected()
            await send(broker, numbered(500))
            source.renew(settings(broker, password="two", username="city", filters=[]))  # noqa: S106
            await reader.until(lambda: source.status.connects == 2, "connected anew")
            await send(broker, numbered(500, start=500))
            await reader.until(lambda: len(reader.payloads) >= 1_000, "all of it")
            assert reader.payloads == [payload for _, payload in numbered(1_000)]
            assert source.status.session_present
            assert "u'city'" in broker.log.read_text()


async def test_a_refused_one_waits_no_longer_once_it_is_renewed(tmp_path: Path) -> None:
    """The wait for a person is over when the person has done something."""
    with mosquitto(tmp_path, users={"ecluse": "right"}) as broker:
        wrong = settings(broker, password="wrong", refused_retry_s=3_600)  # noqa: S106
        async with running(wrong) as (source, reader):
            await reader.until(lambda: source.status.state is SessionState.REFUSED, "refused")
            source.renew(settings(broker))
            await reader.until(lambda: source.status.state is SessionState.CONNECTED, "connected", within_s=5)


async def test_tls(tmp_path: Path) -> None:
    """With the broker's authority the session works; without it nothing is sent."""
    with mosquitto(tmp_path, tls=True, users={"ecluse": "right"}) as broker:
        context = ssl.create_default_context(cafile=str(broker.ca_file))
        await begin_session(broker, tls=context)
        await send(broker, numbered(2_000, size=1_000))
        async with running(settings(broker, tls=context), last_connection=1) as (_source, reader):
            await reader.until(lambda: len(reader.payloads) == 2_000, "over TLS")

        (tmp_path / "other").mkdir()
        other = ssl.create_default_context(cafile=str(certificates(tmp_path / "other")[0]))
        async with running(settings(broker, tls=other)) as (source, reader):
            await reader.until(lambda: source.status.state is SessionState.REFUSED, "not trusted")
            assert "certificate" in source.status.last_error


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_of_two_gateways_with_one_name_one_stops(broker: Broker, protocol: str) -> None:
    """Where the broker does not say so (3.1.1, Mosquitto before 2.0.15), three closings in a minute do."""
    wanted = settings(broker, protocol=protocol)
    async with running(wanted) as (first, left):
        await left.connected()
        async with running(wanted) as (second, right):
            done, _ = await asyncio.wait(
                {left.task, right.task}, timeout=20, return_when=asyncio.FIRST_COMPLETED
            )
            (stopped,) = done
            with pytest.raises(SessionTakenOver, match="another client uses the identifier"):
                stopped.result()
            loser, winner = (first, right) if stopped is left.task else (second, left)
            assert loser.status.state is SessionState.TAKEN_OVER
            await winner.connected()
            await send(broker, numbered(5))
            await winner.until(lambda: len(winner.payloads) >= 5, "the other goes on")


async def test_filters_change_within_the_session(broker: Broker) -> None:
    """New ones are subscribed, old ones given up, over a restart of the gateway, too."""
    await begin_session(broker, filters=[("city/+/bin/+/up", 1), ("old/#", 1)])
    wanted = settings(broker, filters=[("city/+/bin/+/up", 1)])
    async with running(wanted, last_connection=1, known_filters=["city/+/bin/+/up", "old/#"]) as (
        source,
        reader,
    ):
        await reader.connected()
        await source.subscribe([("city/paris/#", 1), ("new/+", 1)])
        assert source.status.filters == ("city/paris/#", "new/+")
        await send(broker, [("new/1", b"probe")])
        await reader.until(lambda: b"probe" in reader.payloads, "subscribed")
        await send(broker, [("old/1", b"old"), ("city/lyon/bin/1/up", b"lyon"), ("new/1", b"end")])
        await reader.until(lambda: b"end" in reader.payloads, "the last one")
        assert reader.payloads == [b"probe", b"end"]


async def test_invalid_filters_are_refused(broker: Broker) -> None:
    """At once, with a sentence."""
    with pytest.raises(ValueError, match="whole level"):
        MqttSource(settings=settings(broker, filters=[("a+", 1)]), clock=SystemClock())
    with pytest.raises(ValueError, match="QoS"):
        MqttSource(settings=settings(broker, filters=[("a", 3)]), clock=SystemClock())


async def test_silence_is_a_status_and_a_reconnect(broker: Broker) -> None:
    """Connected, but no uplink for longer than the fleet's interval."""
    async with running(settings(broker, watchdog_s=0.2)) as (source, reader):
        await reader.until(lambda: source.status.silences >= 2, "two reconnects")
        await reader.until(lambda: source.status.connects >= 2, "connected again")
        assert source.status.session_lost == 0


async def test_a_frozen_broker_is_noticed(broker: Broker) -> None:
    """No answer to PINGREQ is the end of a connection, although its socket is open."""
    async with running(settings(broker, keepalive_s=1, connect_timeout_s=0.5)) as (source, reader):
        await reader.connected()
        broker.freeze()
        try:
            await reader.until(lambda: source.status.state is SessionState.AWAY, "noticed")
            assert "no longer answers" in source.status.last_error
            await reader.until(lambda: "answer CONNECT" in source.status.last_error, "still frozen")
        finally:
            broker.thaw()
        await reader.until(lambda: source.status.connects == 2, "back")


async def test_keepalive_keeps_an_idle_connection(broker: Broker) -> None:
    """PINGREQ goes out in time, while reading is paused, too."""
    async with running(settings(broker, keepalive_s=1, memory=1)) as (source, reader):
        await reader.connected()
        await send(broker, numbered(1))
        await reader.until(lambda: source.status.paused, "paused")
        await asyncio.sleep(2.5)  # longer than 1.5 keepalives: the broker would have closed by now
        assert source.status.connects == 1
        assert source.status.state is SessionState.CONNECTED
        await source.acknowledge(reader.got[0])
        assert not source.status.paused


async def test_an_overlong_uplink_is_no_dead_end(broker: Broker) -> None:
    """Under 3.1.1 it is acknowledged, counted and dropped; its neighbours come, and it does not again."""
    wanted = settings(broker, protocol="3.1.1", max_packet=10_000)
    await begin_session(broker, protocol="3.1.1")
    await send(broker, [*numbered(3), ("city/paris/bin/x/up", b"x" * 200_000), *numbered(3, start=3)])
    async with running(wanted, last_connection=1) as (source, reader):
        await reader.until(lambda: len(reader.payloads) == 6, "the neighbours")
        assert source.status.oversize == 1
        for batch in reader.got:
            await source.acknowledge(batch)
    async with running(wanted, last_connection=2) as (source, reader):
        await reader.connected()
        await send(broker, numbered(1, start=9))
        await reader.until(lambda: bool(reader.payloads), "the next")
        assert (reader.payloads, source.status.oversize) == ([b"9"], 0)


async def test_a_broker_that_is_not_there_is_a_status() -> None:
    """With its reason, and since when; `close` does not wait for it."""
    wanted = MqttSettings("127.0.0.1", free_port(), "ecluse", filters=[("a", 1)], retry_first_s=0.01)
    changes: list[str] = []
    async with running(wanted, on_change=lambda status: changes.append(str(status.state))) as (
        source,
        reader,
    ):
        await reader.until(lambda: source.status.state is SessionState.AWAY, "away")
        assert "no connection" in source.status.last_error
        since = source.status.since_ns
        await reader.until(lambda: changes.count("broker away") > 3, "several attempts")
        assert source.status.since_ns == since
    assert source.status.state is SessionState.CLOSED


@pytest.mark.parametrize(
    ("greeting", "told"),
    [
        pytest.param(b"SSH-2.0-x\r\n", "answer CONNECT", id="waits for something else"),
        pytest.param(b"", "closed by the broker", id="hangs up"),
        pytest.param(b"\x00\x00", "broke the protocol", id="speaks first"),
        pytest.param(b"\x20\x02\x00\x00\x30\x03\x00\x09t", "broke the protocol", id="breaks it later"),
    ],
)
async def test_a_server_that_is_no_broker_is_a_status(greeting: bytes, told: str) -> None:
    """With what it did; the source goes on trying."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        if greeting:
            await reader.read()
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        wanted = MqttSettings(
            "127.0.0.1", port, "ecluse", protocol="3.1.1", retry_first_s=0.01, connect_timeout_s=0.2
        )
        async with running(wanted) as (source, reader):
            await reader.until(lambda: told in source.status.last_error, told)
            await reader.until(lambda: source.status.state is SessionState.AWAY, "away")


async def test_reader_sees_the_end(broker: Broker) -> None:
    """After `stop_reading`, `batches` ends by itself, and what was read can still be acknowledged."""
    await begin_session(broker)
    source = MqttSource(settings=settings(broker), clock=SystemClock(), last_connection=1)
    reader = Reader(source)
    await reader.connected()
    await send(broker, numbered(10))
    await reader.until(lambda: len(reader.payloads) == 10, "ten")
    await source.stop_reading()
    await asyncio.wait_for(reader.task, 5)
    for batch in reader.got:
        await source.acknowledge(batch)
    await source.close()
    async with running(settings(broker), last_connection=2) as (_again, later):
        await later.connected()
        await send(broker, numbered(1, start=99))
        await later.until(lambda: bool(later.payloads), "the next")
        assert later.payloads == [b"99"]
