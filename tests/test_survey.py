"""What the gateway says of itself: every part asked, put together, and true at that instant."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.clock import ManualClock
from gateway.errors import Problem
from gateway.health.fleet import FleetRoll
from gateway.health.meters import LatencyMeters
from gateway.health.snapshot import Replay, State
from gateway.ingest.answers import Grant
from gateway.ingest.mqtt import MqttSource
from gateway.ingest.settings import MqttSettings, SessionState
from gateway.sinks.embedded import EmbeddedSettings, EmbeddedSink
from gateway.sinks.outbox import Entry
from gateway.sinks.writer import Writer
from gateway.survey import Survey
from gateway.testing import MemoryBroker
from tests.river import SINK, START_NS, Flowing, bin_uplink, opened, topic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.health.snapshot import Component


class View:
    """A survey of a river that flows, of its parts, and of a session that a test makes up."""

    def __init__(self, flowing: Flowing, clock: ManualClock, writer: Writer) -> None:
        parts = flowing.parts
        self.flowing = flowing
        self.clock = clock
        self.writer = writer
        self.survey = Survey(
            clock=clock,
            factor=2.0,
            river=parts.river,
            treatment=parts.treatment,
            journal=parts.journal,
            quarantine=parts.quarantine,
            logs=[parts.log],
            writers={SINK: writer},
            fleet=FleetRoll(started_ns=START_NS),
            meters=LatencyMeters((SINK,)),
        )
        self.known = self.survey.changeable

    def part(self, name: str) -> Component:
        """Return one component as it is now."""
        return next(part for part in self.survey.snapshot().components if part.name == name)


@pytest.fixture
async def view(tmp_path: Path) -> AsyncIterator[View]:
    clock = ManualClock(START_NS)
    async with opened(tmp_path, clock=clock, outbox_bytes=2_000) as parts:
        flowing = Flowing(parts, MemoryBroker(), clock)
        sink = EmbeddedSink(EmbeddedSettings(path=tmp_path / "store.duckdb", name=SINK), clock=clock)

        async def refuse(_lines: object) -> None:
            raise AssertionError("nothing is refused here")

        writer = Writer(
            sink=sink, outbox=parts.log.outbox, clock=clock, quarantine=refuse, random=lambda: 0.5
        )
        yield View(flowing, clock, writer)
        await flowing.cut()
        await sink.close()


def source(clock: ManualClock) -> MqttSource:
    return MqttSource(settings=MqttSettings(host="h", port=1, client_id="c"), clock=clock)


async def test_at_the_start(view: View) -> None:
    """Every part is there; the broker waits for the replay, and nothing is ready."""
    now = view.survey.snapshot()
    assert [part.name for part in now.components] == [
        "broker",
        "journal",
        "state",
        "clock",
        "river",
        "profiles",
        "devices",
        "credentials",
        f"sink {SINK}",
    ]
    assert not now.ready
    assert now.balanced
    assert (now.time_factor, now.started_ns) == (2.0, START_NS)
    assert "replay" in view.part("broker").detail
    assert view.part("river").state is State.STARTING
    assert now.as_dict()["components"][0]["name"] == "broker"


async def test_the_books_are_those_of_this_instant(view: View) -> None:
    """What waits to be decoded is pending, in the book and in the queue; then it is decoded."""
    await view.flowing.parts.want()
    await view.flowing.treated()
    await view.flowing.cut()
    view.flowing.connect()
    for minute in range(2):
        view.flowing.broker.publish(topic("bin-1"), bin_uplink(minute, 900))
    view.flowing.broker.publish(topic("bin-1"), b"{")
    await view.flowing.until(lambda: not view.flowing.broker.waiting)
    now = view.survey.snapshot()
    assert (now.uplinks["journalled"], now.uplinks["pending"], now.uplinks["difference"]) == (3, 3, 0)
    assert now.queues["decode"].items == 3
    view.clock.advance(2)
    assert view.survey.snapshot().queues["decode"].seconds == 2.0
    view.flowing.go_on()
    await view.flowing.treated()
    now = view.survey.snapshot()
    assert (now.uplinks["decoded"], now.uplinks["quarantined"], now.uplinks["pending"]) == (2, 1, 0)
    assert now.reasons == {"not json": 1}
    assert now.queues["quarantine"].items == 1
    assert now.sinks[SINK].waiting == now.queues[f"outbox {SINK}"].items > 0
    assert now.balanced


async def test_rates_are_of_the_last_samples(view: View) -> None:
    """Per real second; unknown before there are two."""
    view.survey.sample()
    assert view.survey.rates() is None
    view.flowing.parts.treatment.books.uplinks.journalled += 30
    view.clock.advance(2)
    view.survey.sample()
    assert view.survey.rates() == {"uplinks": 15.0, "readings": 0.0}


async def test_the_broker_as_its_session_says(view: View) -> None:
    """Connected is well, unless something was refused or a gap is possible; away is down, with the reason."""
    view.known.source = session = source(view.clock)
    status = session.status
    assert view.part("broker").state is State.STARTING
    status.state, status.protocol = SessionState.CONNECTED, 5
    assert (view.part("broker").state, view.part("broker").detail) == (State.OK, "connected, MQTT 5")
    status.grants = (Grant("city/#", 1, None), Grant("x", 2, 1), Grant("y", 1, 1))
    told = view.part("broker").last_error
    assert view.part("broker").state is State.DEGRADED
    assert "did not grant city/#" in told
    assert "x at QoS 1 instead of 2" in told
    assert "max_qos 2" in told
    said = view.survey.snapshot().as_dict()["connection"]["subscriptions"]
    assert [(one["filter"], one["granted"]) for one in said] == [("city/#", None), ("x", 1), ("y", 1)]
    status.grants, status.gap_possible_ns = (Grant("y", 1, 1),), START_NS
    assert view.part("broker").state is State.DEGRADED
    view.clock.advance(3_601)
    assert view.part("broker").state is State.OK
    for state in (SessionState.AWAY, SessionState.REFUSED, SessionState.TAKEN_OVER, SessionState.CLOSED):
        status.state, status.last_error = state, "why"
        assert (view.part("broker").state, view.part("broker").last_error) == (State.DOWN, "why")
    assert view.survey.snapshot().connection.takeovers == 0
    status.unreleased = 7
    assert view.survey.snapshot().connection.unreleased == 7
    status.unacknowledged, status.unacknowledged_bytes = 3, 500
    assert view.survey.snapshot().queues["received"].bytes == 500


async def test_a_packet_that_ends_every_connection_is_said(view: View) -> None:
    """While the broker is away, and for a minute of a connection: then it got past that packet."""
    view.known.source = session = source(view.clock)
    status = session.status
    status.state, status.last_error, status.stuck = SessionState.AWAY, "why", "what to do"
    assert (view.part("broker").state, view.part("broker").last_error) == (State.DOWN, "what to do")
    status.state, status.since_ns = SessionState.CONNECTED, view.clock.now_ns()
    assert (view.part("broker").state, view.part("broker").last_error) == (State.DEGRADED, "what to do")
    view.clock.advance(61)
    assert (view.part("broker").state, view.part("broker").last_error) == (State.OK, "")


async def test_a_held_river_says_why(view: View) -> None:
    """Which outbox is full, and what it means."""
    view.known.become(State.OK, "flows", since_ns=START_NS)
    assert (view.part("river").state, view.part("river").detail) == (State.OK, "flows")
    await view.flowing.parts.want()
    view.flowing.connect()
    for minute in range(30):
        view.flowing.broker.publish(topic("bin-1"), bin_uplink(minute / 10, 900))
    await view.flowing.until(lambda: view.flowing.parts.log.full)
    # One more: all of the others may have come in one batch, and a full outbox holds only what is behind it.
    view.flowing.broker.publish(topic("bin-1"), bin_uplink(3, 900))
    await view.flowing.until(lambda: view.flowing.parts.river.held_since_ns > 0)
    view.clock.advance(30)
    held = view.part("river")
    assert held.state is State.DEGRADED
    assert "the outbox of lines is full" in held.last_error
    assert "outbox.size" in held.last_error
    assert held.since_ns == START_NS


async def test_a_sink_that_gives_up_points_says_so(view: View) -> None:
    """How many since when, and what to do; for ten minutes after the last one."""
    outbox = view.flowing.parts.log.outbox
    await outbox.register(SINK, "drop-oldest")
    view.survey.sample()
    assert view.part(f"sink {SINK}").state is State.STARTING
    for number in range(5):
        await outbox.append([Entry(b"x" * 1_000, 10, START_NS)])
        view.clock.advance(1)
        view.survey.sample()
        assert ("given up" in view.part(f"sink {SINK}").last_error) == (number >= 2)
    part = view.part(f"sink {SINK}")
    assert (part.state, part.since_ns) == (State.DEGRADED, START_NS + 3 * 10**9)
    assert "30 of its oldest points given up since" in part.last_error
    assert "outbox.size" in part.last_error
    view.clock.advance(601)
    view.survey.sample()
    assert view.part(f"sink {SINK}").state is State.STARTING
    await outbox.append([Entry(b"x" * 1_000, 10, START_NS)])
    view.survey.sample()
    assert "10 of its oldest points given up since" in view.part(f"sink {SINK}").last_error


async def test_every_queue_says_its_depth_and_its_bound(view: View) -> None:
    """And of an outbox how old the oldest is, and when it will be empty."""
    parts = view.flowing.parts
    outbox = parts.log.outbox
    view.known.source = source(view.clock)
    now = view.survey.snapshot()
    assert list(now.queues) == [
        *(
            "received",
            "journal",
            "decode",
            "windows",
            "memory of outbox-lines",
            f"outbox {SINK}",
            "quarantine",
        )
    ]
    bounded = {name for name, depth in now.queues.items() if depth.limit_bytes or depth.limit_items}
    assert bounded == {"journal", "decode", "memory of outbox-lines", f"outbox {SINK}"}, (
        "the rest is the settings'"
    )
    view.survey.sample()
    await outbox.append([Entry(b"x" * 100, 10, START_NS) for _ in range(4)])
    view.clock.advance(7_200)
    view.survey.sample()
    depth = view.survey.snapshot().queues[f"outbox {SINK}"]
    assert (depth.items, depth.bytes, depth.entries, depth.seconds) == (40, 400, 4, 7_200)
    assert (depth.limit_bytes, depth.empty_s) == (2_000, None)
    assert view.survey.snapshot().queues["memory of outbox-lines"].bytes > 400
    await outbox.next(SINK, 10, 10**9)
    await outbox.advance(SINK, 1)
    for _ in range(20):  # the first samples are forgotten
        view.clock.advance(1)
        view.survey.sample()
    assert view.survey.snapshot().queues[f"outbox {SINK}"].empty_s is None
    await outbox.next(SINK, 10, 10**9)
    await outbox.advance(SINK, 2)
    view.clock.advance(1)
    view.survey.sample()
    # Ten points in nineteen seconds; twenty are left.
    assert view.survey.snapshot().queues[f"outbox {SINK}"].empty_s == 38.0


async def test_a_replay_says_how_far_it_is(view: View) -> None:
    """In the component and in numbers; once it flows, no more."""
    view.known.replays(Replay(begin=0, position=25, end=100, seconds=2.0))
    assert "25%, record 25 of 100, about 6 s left" in view.part("river").detail
    told = view.survey.snapshot().as_dict()["replay"]
    assert (told["position"], told["share"], told["left_s"]) == (25, 0.25, 6.0)
    view.known.become(State.OK, "flows", since_ns=START_NS)
    assert view.survey.snapshot().replay is None


async def test_a_suspect_clock_says_what_it_shows(view: View) -> None:
    """What waits for it is in a queue of its own; it is well again once it is settled."""
    river, clock = view.flowing.parts.river, view.clock
    assert view.part("clock").state is State.OK
    clock.step(-3_600)
    clock.now_ns()
    await river.look_at_clock()
    view.flowing.connect()
    view.flowing.broker.publish(topic("bin-1"), bin_uplink(0, 900))
    await view.flowing.until(lambda: not view.flowing.broker.waiting)
    part = view.part("clock")
    assert part.state is State.DEGRADED
    assert "shows 2026-11-22T09:00:00Z, 2026-11-22T10:00:00Z was expected" in part.last_error
    assert "ecluse clock confirm" in part.last_error
    now = view.survey.snapshot()
    assert (now.clock.step_s, now.clock.waiting, now.queues["clock"].items) == (-3_600.0, 1, 1)
    assert view.survey.confirm_clock()
    await river.look_at_clock()
    assert view.part("clock").state is State.OK
    assert "clock" not in view.survey.snapshot().queues
    assert not view.survey.confirm_clock()


async def test_what_the_operator_must_mend(view: View) -> None:
    """Refused profiles and devices, three by name; a copy of the state that failed."""
    view.known.device_problems = tuple(Problem("devices.csv", f"row {n}") for n in range(5))
    devices = view.part("devices")
    assert devices.state is State.DEGRADED
    assert devices.last_error.endswith("row 2; 2 more")
    assert view.part("profiles").state is State.OK
    view.known.copy_error = "the disk is full"
    assert (view.part("state").state, view.part("state").last_error) == (State.DEGRADED, "the disk is full")


async def test_a_sink_as_its_writer_says(view: View) -> None:
    """Starting, then well with its last success; what was not delivered counts where windows are final."""
    assert view.part(f"sink {SINK}").state is State.STARTING
    running = asyncio.create_task(view.writer.run())
    await view.flowing.until(lambda: view.part(f"sink {SINK}").state is State.OK)
    assert view.survey.snapshot().sinks[SINK].last_success_ns == START_NS
    view.flowing.parts.treatment.books.not_delivered = 4
    assert view.survey.snapshot().sinks[SINK].not_delivered == 0
    view.flowing.parts.log.once = True
    assert view.survey.snapshot().sinks[SINK].not_delivered == 4
    view.writer.stop(grace_s=5)
    await running
    assert view.part(f"sink {SINK}").state is State.DOWN
