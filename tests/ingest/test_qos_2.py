"""QoS 2 with real brokers: what is answered when, over reconnects, and what a broker grants."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from gateway.errors import JournalError
from gateway.ingest.answers import Grant
from gateway.model import ControlKind
from tests.brokers import mosquitto, nats, publish
from tests.ingest.peer import BadBroker, Message, pubrel, running, settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.ingest.mqtt import MqttSource
    from gateway.model import Control
    from tests.brokers import Broker
    from tests.ingest.peer import Reader

LEVEL = pytest.mark.parametrize("level", [4, 5])
PROTOCOL = pytest.mark.parametrize("protocol", ["5", "3.1.1"])
FILTERS = [("city/+/bin/+/up", 2)]
PUBREC, PUBCOMP, NOT_FOUND = 0x50, 0x70, 0x92


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with mosquitto(tmp_path) as running_broker:
        yield running_broker


async def send(broker: Broker, *numbers: int, qos: int = 2) -> None:
    messages = [(f"city/paris/bin/{n % 10}/up", b"%d" % n) for n in numbers]
    await asyncio.to_thread(publish, broker, messages, qos=qos)


def texts(*numbers: int) -> list[bytes]:
    return [b"%d" % number for number in numbers]


def released(reader: Reader) -> int:
    """Return how many PUBRELs came."""
    return sum(len(batch.releases) for batch in reader.got if batch.releases is not None)


async def acknowledge(source: MqttSource, reader: Reader) -> list[bytes]:
    """Acknowledge what came; return its payloads."""
    done: list[bytes] = []
    while reader.got:
        batch = reader.got.pop(0)
        await source.acknowledge(batch)
        done += batch.payloads
    return done


async def subscribed(broker: Broker, protocol: str) -> None:
    """Leave a session with its subscription at the broker."""
    async with running(settings(broker, filters=FILTERS, protocol=protocol)) as (source, reader):
        await reader.until(lambda: bool(source.status.grants), "subscribed")
        assert source.status.grants == (Grant("city/+/bin/+/up", 2, 2),)


@PROTOCOL
async def test_an_exchange_with_mosquitto(broker: Broker, protocol: str) -> None:
    """PUBREC once durable, then the broker's PUBREL is a batch of its own, and PUBCOMP ends it."""
    async with running(settings(broker, filters=FILTERS, protocol=protocol)) as (source, reader):
        await reader.until(lambda: bool(source.status.grants), "subscribed")
        await send(broker, 1, 2, 3)
        await reader.until(lambda: reader.payloads == texts(1, 2, 3), "all three")
        assert {int(header) & 6 for batch in reader.got for header in batch.headers} == {4}
        assert (released(reader), source.status.unreleased) == (0, 0)
        await acknowledge(source, reader)
        assert source.status.unreleased == 3
        await reader.until(lambda: released(reader) == 3, "released")
        await acknowledge(source, reader)
        assert (source.status.unreleased, source.status.unacknowledged_bytes) == (0, 0)
    async with running(settings(broker, filters=FILTERS, protocol=protocol), last_connection=1) as (
        _,
        reader,
    ):
        await send(broker, 4)
        await reader.until(lambda: bool(reader.payloads), "the next one")
        assert (reader.payloads, released(reader)) == (texts(4), 0)


@PROTOCOL
@pytest.mark.parametrize("remembered", [True, False])
async def test_an_exchange_goes_on_over_connections(
    broker: Broker,
    protocol: str,
    remembered: bool,  # noqa: FBT001 - pytest gives it
) -> None:
    """Where it was: first the PUBLISH again with DUP, then the PUBREL alone; also one that we do not know."""
    await subscribed(broker, protocol)
    await send(broker, 1, 2)
    wanted = settings(broker, filters=FILTERS, protocol=protocol)
    for connection in (1, 2):
        async with running(wanted, last_connection=connection) as (source, reader):
            await reader.until(lambda r=reader: r.payloads == texts(1, 2), "the uplinks")
            again = [bool(header & 8) for batch in reader.got for header in batch.headers]
            assert again == [connection > 1] * 2
            if connection == 2:
                await source.stop_reading()
                await acknowledge(source, reader)
                open_ones = source._unreleased.packet_ids
    assert len(open_ones) == 2
    for connection in (3, 4):
        unreleased = open_ones if remembered else ()
        async with running(wanted, last_connection=connection, unreleased=unreleased) as (source, reader):
            assert source.status.unreleased == len(unreleased)
            await reader.until(lambda r=reader: released(r) == 2, "the releases")
            assert reader.payloads == []
            if connection == 4:
                await acknowledge(source, reader)
                assert source.status.unreleased == 0
    async with running(wanted, last_connection=5) as (source, reader):
        await send(broker, 3)
        await reader.until(lambda: reader.payloads == texts(3), "the next one")
        assert released(reader) == 0
        assert source.status.session_lost == 0


@PROTOCOL
async def test_answers_belong_to_their_connection(broker: Broker, protocol: str) -> None:
    """What is durable only after a reconnect is answered when the broker asks again."""
    await subscribed(broker, protocol)
    wanted = settings(broker, filters=FILTERS, protocol=protocol)
    async with running(wanted, last_connection=1) as (source, reader):
        await reader.connected()
        await send(broker, 1)
        await reader.until(lambda: reader.payloads == texts(1), "the first time")
        await asyncio.to_thread(broker.stop)
        await asyncio.to_thread(broker.start)
        await reader.until(lambda: reader.payloads == texts(1, 1), "the second time")
        old, new = reader.got
        await source.acknowledge(old)
        await send(broker, 2, qos=0)
        await reader.until(lambda: texts(2)[0] in reader.payloads, "another one")
        assert released(reader) == 0, "no PUBREC went out on the new connection"
        await source.acknowledge(new)
        await reader.until(lambda: released(reader) == 1, "released")


async def test_the_receive_maximum_counts_until_pubcomp(broker: Broker) -> None:
    """With five in flight at most, the sixth waits for a PUBCOMP; PUBREC does not do.

    From then on Mosquitto 2.0.11 does not keep to the limit, at QoS 1 neither: that is its own affair.
    """
    wanted = settings(broker, filters=FILTERS, protocol="5", receive_maximum=5)
    async with running(wanted) as (source, reader):
        await reader.until(lambda: bool(source.status.grants), "subscribed")
        await send(broker, *range(20))
        await reader.until(lambda: len(reader.payloads) == 5, "the first five")
        seen = await acknowledge(source, reader)
        await reader.until(lambda: released(reader) == 5, "their releases")
        assert reader.payloads == []
        assert source.status.unreleased == 5
        while len(seen) < 20:
            await reader.until(lambda: bool(reader.got), "more")
            seen += await acknowledge(source, reader)
        assert seen == texts(*range(20))


@LEVEL
async def test_a_release_of_nothing_is_answered(level: int) -> None:
    """With the reason that MQTT 5 has for it, once it is durable; a PUBREC has never a reason."""
    says = pubrel(9) + Message("t", b"p", qos=2, packet_id=7).frame(level) + pubrel(7)
    async with (
        BadBroker(level, says).running() as peer,
        running(peer.settings(filters=[("#", 2)])) as (source, reader),
    ):
        await reader.until(lambda: released(reader) == 2, "both releases")
        assert peer.answers == []
        await acknowledge(source, reader)
        await reader.until(lambda: len(peer.answers) == 3, "the answers")
        code = NOT_FOUND if level == 5 else 0
        assert peer.answers == [(PUBCOMP, 9, code), (PUBREC, 7, 0), (PUBCOMP, 7, 0)]


async def test_an_overlong_uplink_at_qos_2() -> None:
    """It is passed by, its exchange is not: PUBREC, then PUBCOMP."""
    says = Message("t", b"x" * 20_000, qos=2, packet_id=7).frame(4)
    async with (
        BadBroker(4, says, pubrel(7)).running() as peer,
        running(peer.settings(filters=[("#", 2)])) as (source, reader),
    ):
        await reader.until(lambda: peer.answers == [(PUBREC, 7, 0)] and released(reader) == 1, "PUBREC")
        assert source.status.unreleased == 1
        await acknowledge(source, reader)
        await reader.until(lambda: peer.answers[1:] == [(PUBCOMP, 7, 0)], "PUBCOMP")
        assert source.status.unreleased == 0


# --- sessions that the broker has lost ---


class Notes:
    """A journal of which a test holds the door."""

    def __init__(self) -> None:
        self.taken: list[Control] = []
        self.door = asyncio.Event()
        self.fails = False

    async def __call__(self, record: Control) -> None:
        """Take a record, once the door is open."""
        await self.door.wait()
        if self.fails:
            raise JournalError("the disk is full")
        self.taken.append(record)


async def test_a_lost_session_is_durable_before_the_next_one_hears_anything(broker: Broker) -> None:
    """What was under way in it is dropped, and said; subscriptions wait for the journal."""
    notes = Notes()
    wanted = settings(broker, filters=FILTERS)
    with capture_logs() as logs:
        async with running(wanted, last_connection=3, unreleased=[5, 6], note=notes) as (source, reader):
            await reader.until(lambda: source.status.session_lost == 1, "lost")
            assert source.status.unreleased == 0
            await source.subscribe([("city/#", 2)])
            await send(broker, 1)
            assert (source.status.grants, reader.payloads) == ((), [])
            notes.door.set()
            await reader.until(lambda: bool(source.status.grants), "subscribed")
            await send(broker, 2)
            await reader.until(lambda: reader.payloads == texts(2), "it flows")
            (record,) = notes.taken
    assert (record.kind, record.at_ns) == (ControlKind.SESSION_LOST, source.status.gap_possible_ns)
    assert record.body == b'{"source": "mqtt", "session": "ecluse-test", "connection": 4}'
    (said,) = [line for line in logs if "no longer had our session" in line["event"]]
    assert said["dropped_deliveries"] == 2


async def test_the_connection_may_change_meanwhile(broker: Broker) -> None:
    """The one that stands when the loss is durable is subscribed on."""
    notes = Notes()
    async with running(settings(broker, filters=FILTERS), last_connection=3, note=notes) as (source, reader):
        await reader.until(lambda: source.status.session_lost == 1, "lost")
        await asyncio.to_thread(broker.stop)
        await asyncio.to_thread(broker.start)
        await reader.until(lambda: source.status.connects == 2, "connected again")
        assert source.status.grants == ()
        notes.door.set()
        await reader.until(lambda: bool(source.status.grants), "subscribed")
        await send(broker, 2)
        await reader.until(lambda: reader.payloads == texts(2), "it flows")


async def test_a_loss_that_cannot_be_journalled_ends_the_receiving(broker: Broker) -> None:
    """Like any other failure of the journal; and a door that never opens does not keep `close` waiting."""
    notes = Notes()
    async with running(settings(broker), last_connection=3, note=notes) as (source, reader):
        await reader.until(lambda: source.status.session_lost == 1, "lost")
    notes.fails = True
    notes.door.set()
    async with running(settings(broker, name="other"), last_connection=3, note=notes) as (source, reader):
        with pytest.raises(JournalError, match="full"):
            await reader.until(lambda: bool(source.status.grants), "never")


# --- what is granted ---


@PROTOCOL
async def test_a_lower_grant_is_said(tmp_path: Path, protocol: str) -> None:
    """With the filter, both QoS, and what to do; it flows all the same."""
    with mosquitto(tmp_path, extra="max_qos 1") as broker:
        wanted = settings(broker, filters=[*FILTERS, ("x", 1)], protocol=protocol)
        async with running(wanted) as (source, reader):
            await reader.until(lambda: len(source.status.grants) == 2, "answered")
            assert source.status.lower_grants == (Grant("city/+/bin/+/up", 2, 1),)
            assert source.status.refused_filters == ()
            assert "city/+/bin/+/up at QoS 1 instead of 2" in source.status.last_error
            assert "max_qos 2" in source.status.last_error
            await send(broker, 1, qos=1)
            await reader.until(lambda: reader.payloads == texts(1), "it flows")


@pytest.mark.parametrize("downgrade", [False, True])
async def test_what_nats_server_grants(tmp_path: Path, downgrade: bool) -> None:  # noqa: FBT001 - pytest gives it
    """QoS 2, with its whole exchange; QoS 1 where it was told to, which is said."""
    with nats(tmp_path, downgrade_qos_2=downgrade) as broker:
        async with running(settings(broker, filters=FILTERS)) as (source, reader):
            await reader.until(lambda: bool(source.status.grants), "answered")
            (grant,) = source.status.grants
            assert grant.granted == (1 if downgrade else 2)
            assert bool(source.status.last_error) == downgrade
            await send(broker, 1, 2, qos=2)
            await reader.until(lambda: reader.payloads == texts(1, 2), "both")
            if not downgrade:
                await acknowledge(source, reader)
                await reader.until(lambda: released(reader) == 2, "released")
                await acknowledge(source, reader)
                assert source.status.unreleased == 0
