"""Asks every part how it is, and puts the answers together as one snapshot."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from gateway.clock import rfc3339
from gateway.health.snapshot import (
    ClockHealth,
    Component,
    Connection,
    Replay,
    SinkBook,
    Snapshot,
    State,
    Subscription,
)
from gateway.ingest.settings import SessionState
from gateway.ingest.subscriptions import trouble
from gateway.queues import Bounds, Queues
from gateway.sinks.writer import WriterState
from gateway.version import installed_version

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.damage import Aside
    from gateway.errors import Problem
    from gateway.health.fleet import FleetRoll
    from gateway.health.meters import LatencyMeters
    from gateway.ingest.mqtt import MqttSource
    from gateway.journal.journal import Journal
    from gateway.outlets import LogOutlet
    from gateway.pipeline import River
    from gateway.ports import Clock
    from gateway.quarantine.store import QuarantineStore
    from gateway.sinks.writer import Writer
    from gateway.treatment import Treatment

RATE_SAMPLES = 20
"""One each half second: rates are those of the last ten seconds."""

GAP_TOLD_NS = 3600 * 10**9
"""So long after a session was lost the status says so, over a restart of the gateway, too."""
STUCK_NS = 60 * 10**9
"""A connection that has lasted so long got past the packet that ended those before."""

_LINK_STATES = {
    SessionState.NEW: State.STARTING,
    SessionState.CONNECTING: State.STARTING,
    SessionState.CONNECTED: State.OK,
}

_WRITER_STATES = {
    WriterState.STARTING: State.STARTING,
    WriterState.OK: State.OK,
    WriterState.DOWN: State.DOWN,
    WriterState.PAUSED: State.DEGRADED,
    WriterState.STOPPED: State.DOWN,
}


@dataclass(slots=True)
class Changeable:
    """What the composition root learns as it goes."""

    source: MqttSource | None = None
    river_state: State = State.STARTING
    river_since_ns: int = 0
    river_detail: str = "replaying the journal"
    profile_problems: Sequence[Problem] = ()
    device_problems: Sequence[Problem] = ()
    wanted_since_ns: int = 0
    credential_problems: Sequence[Problem] = ()
    credentials_since_ns: int = 0
    loop_lag_s: float = 0.0
    copied_ns: int = 0
    copy_error: str = ""

    replay: Replay | None = None

    def become(self, state: State, detail: str, *, since_ns: int) -> None:
        """Say how the river is, from then on."""
        self.river_state, self.river_detail, self.river_since_ns = state, detail, since_ns
        self.replay = None

    def replays(self, replay: Replay) -> None:
        """Say how far the replay is."""
        self.replay, self.river_detail = replay, replay.sentence()


class Survey:
    """The parts, and the snapshot of them."""

    def __init__(
        self,
        *,
        clock: Clock,
        factor: float,
        river: River,
        treatment: Treatment,
        journal: Journal,
        quarantine: QuarantineStore,
        logs: Sequence[LogOutlet],
        writers: Mapping[str, Writer],
        fleet: FleetRoll,
        meters: LatencyMeters,
        aside: Sequence[Aside] = (),
        bounds: Bounds | None = None,
    ) -> None:
        self.changeable = Changeable(river_since_ns=clock.now_ns(), wanted_since_ns=clock.now_ns())
        self._clock = clock
        self._factor = factor
        self._river = river
        self._treatment = treatment
        self._journal = journal
        self._quarantine = quarantine
        self._queues = Queues(
            clock=clock,
            river=river,
            journal=journal,
            quarantine=quarantine,
            logs=logs,
            bounds=bounds or Bounds(),
        )
        self._logs = logs
        self._writers = writers
        self._fleet = fleet
        self._meters = meters
        self._aside = tuple(aside)
        self._started_ns = clock.now_ns()
        self._samples: deque[tuple[int, int, int]] = deque(maxlen=RATE_SAMPLES)

    def sample(self) -> None:
        """Note the counts, once in a while, so that `rates` can say how fast they grow."""
        books = self._treatment.books
        self._samples.append((self._clock.monotonic_ns(), books.uplinks.journalled, books.readings.decoded))
        self._queues.sample()

    def rates(self) -> dict[str, float] | None:
        """Return uplinks and readings a second over the last samples; None before there are two."""
        if len(self._samples) < 2:
            return None
        (began, uplinks, readings), (ended, later_uplinks, later_readings) = (
            self._samples[0],
            self._samples[-1],
        )
        seconds = (ended - began) / 1e9
        return {
            "uplinks": (later_uplinks - uplinks) / seconds,
            "readings": (later_readings - readings) / seconds,
        }

    def snapshot(self) -> Snapshot:
        """Return how everything is now."""
        now, books = self._clock.now_ns(), self._treatment.books
        figures = self._treatment.aggregator.figures()
        rules = self._treatment.rules
        return Snapshot(
            version=installed_version(),
            now_ns=now,
            started_ns=self._started_ns,
            time_factor=self._factor,
            components=tuple(self._components(now)),
            uplinks=asdict(books.uplinks) | {"difference": books.uplinks.difference()},
            readings=asdict(books.readings) | {"difference": books.readings.difference()},
            sinks={name: self._sink_book(log, name) for log in self._logs for name in log.sinks},
            reasons=dict(books.reasons),
            quarantine_evicted=self._quarantine.evicted + books.not_kept,
            quarantine_replayed=books.from_quarantine,
            quarantine_dropped=self._quarantine.dropped,
            late=books.late,
            windows=books.windows,
            corrections=books.corrections,
            connection=self._connection(),
            fleet=self._fleet.count(now, rules.devices, rules.plans),
            queues=self._queues.depths(self.changeable.source, figures.hot_bytes),
            watermarks=dict(figures.watermarks),
            series=figures.series,
            hot_blocks=figures.hot_blocks,
            hot_bytes=figures.hot_bytes,
            loop_lag_s=self.changeable.loop_lag_s,
            clock=self.clock_health(),
            replay=self.changeable.replay,
            durable=self._meters.durables,
            stored=self._meters.stores,
        )

    def clock_health(self) -> ClockHealth:
        """Return how the clock is."""
        watched = self._river.watched
        face, span = watched.face(), watched.span
        if span is None:
            return ClockHealth(shown_ns=face.wall_ns, expected_ns=face.given_ns)
        return ClockHealth(
            suspect=True,
            since_ns=span.segments[-1].at_ns,
            shown_ns=face.wall_ns,
            expected_ns=face.given_ns,
            newest_ns=span.newest_ns,
            step_s=(face.wall_ns - face.given_ns) / face.factor / 1e9,
            waiting=span.uplinks,
            bytes=span.bytes,
        )

    def confirm_clock(self) -> bool:
        """Believe the machine's clock as it stands; False where it is not suspect."""
        return self._river.watched.confirm()

    def _components(self, now: int) -> list[Component]:
        known = self.changeable
        parts = [
            self._broker(now),
            self._journal_part(),
            self._state_part(),
            self._clock_part(),
            self._river_part(now),
        ]
        wanted_ns, rules = known.wanted_since_ns, self._treatment.rules
        for name, problems, since_ns, good in (
            ("profiles", known.profile_problems, wanted_ns, f"{len(rules.plans)} in force"),
            ("devices", known.device_problems, wanted_ns, f"{len(rules.devices)} registered"),
            ("credentials", known.credential_problems, known.credentials_since_ns, "as read then"),
        ):
            state = State.DEGRADED if problems else State.OK
            told = "; ".join(map(str, problems[:3])) + (
                f"; {len(problems) - 3} more" if len(problems) > 3 else ""
            )
            parts.append(Component(name, state, since_ns, last_error=told, detail=good))
        log_of = {name: log for log in self._logs for name in log.sinks}
        return parts + [self._sink_part(log_of[name], name) for name in self._writers]

    def _broker(self, now: int) -> Component:
        source = self.changeable.source
        if source is None:
            return Component("broker", State.STARTING, self._started_ns, detail="waits for the replay")
        status = source.status
        state = _LINK_STATES.get(status.state, State.DOWN)
        detail = f"{status.state.value}, MQTT {'5' if status.protocol == 5 else '3.1.1'}"
        error = status.last_error if state is not State.OK else ""
        if status.stuck and (state is not State.OK or now - status.since_ns < STUCK_NS):
            state, error = max(state, State.DEGRADED, key=list(State).index), status.stuck
        if state is State.OK and (told := trouble(status)):
            state, error = State.DEGRADED, told
        lost_ns = max(status.gap_possible_ns, self._treatment.books.session_lost_ns)
        if state is State.OK and lost_ns and now - lost_ns < GAP_TOLD_NS:
            told = f"gap possible: the broker had forgotten our session, found at {rfc3339(lost_ns)}"
            state, error = State.DEGRADED, told
        return Component("broker", state, status.since_ns, last_error=error, detail=detail)

    def _journal_part(self) -> Component:
        figures = self._journal.figures()
        state = State.DOWN if figures.failed else State.DEGRADED if figures.set_aside else State.OK
        told = figures.failed or (
            f"{figures.set_aside} damaged records set aside" if figures.set_aside else ""
        )
        detail = f"{figures.bytes / 1e6:.1f} MB in {figures.segments} segments"
        return Component("journal", state, self._started_ns, last_error=told, detail=detail)

    def _state_part(self) -> Component:
        known = self.changeable
        told = "; ".join(filter(None, (known.copy_error, *map(str, self._aside))))
        state = State.DEGRADED if told else State.OK
        detail = f"saved at position {self._river.saved_position}, copied {rfc3339(known.copied_ns)}"
        since_ns = known.copied_ns or self._started_ns
        return Component("state", state, since_ns, last_error=told, detail=detail)

    def _clock_part(self) -> Component:
        clock = self.clock_health()
        state = State.DEGRADED if clock.suspect else State.OK
        since_ns = clock.since_ns or self._started_ns
        return Component(
            "clock", state, since_ns, last_error=clock.sentence(), detail="goes with the machine's"
        )

    def _river_part(self, now: int) -> Component:
        known = self.changeable
        if self._river.waits_for_clock:
            told = "held: journal.retention_size waits for the clock, nothing more is acknowledged"
            return Component("river", State.DEGRADED, self._river.held_since_ns or now, last_error=told)
        held = [sink for log in self._logs for sink in log.outbox.holding]
        if held:
            told = (
                f"held: the outbox of {', '.join(held)} is full, nothing more is acknowledged; "
                "bring that database back, or set outbox.size higher"
            )
            return Component("river", State.DEGRADED, self._river.held_since_ns or now, last_error=told)
        return Component("river", known.river_state, known.river_since_ns, detail=known.river_detail)

    def _sink_part(self, log: LogOutlet, name: str) -> Component:
        status = self._writers[name].status
        state = _WRITER_STATES[status.state]
        error = f"{status.last_error} {status.hint}".strip() if state is State.DOWN else ""
        since_ns = status.since_ns
        lost = sum(last + 1 - first for sink, first, last in log.outbox.damaged if sink == name)
        if lost and state is State.OK:
            state, error = State.DEGRADED, f"{lost} damaged entries of its outbox were passed over"
        if (given_up := self._queues.given_up(name)) is not None:
            since_ns = since_ns if state is State.DOWN else given_up[0]
            state = max(state, State.DEGRADED, key=list(State).index)
            told = (
                f"its outbox is full: {given_up[1]} of its oldest points given up "
                f"since {rfc3339(given_up[0])}; bring the database back, or set outbox.size higher"
            )
            error = f"{error}; {told}" if error else told
        return Component(f"sink {name}", state, since_ns, last_error=error, detail=status.state.value)

    def _sink_book(self, log: LogOutlet, name: str) -> SinkBook:
        totals, status = log.outbox.totals(name), self._writers[name].status
        return SinkBook(
            made=totals.made,
            stored=totals.stored,
            waiting=totals.waiting,
            refused=totals.refused,
            dropped=totals.dropped,
            superseded=totals.superseded,
            replayed=totals.replayed,
            not_delivered=self._treatment.books.not_delivered if log.once else 0,
            retries=status.retries,
            last_success_ns=status.last_success_ns,
        )

    def _connection(self) -> Connection:
        source = self.changeable.source
        if source is None:
            return Connection()
        status = source.status
        return Connection(
            state=status.state.value,
            protocol="5" if status.protocol == 5 else "3.1.1",
            connects=status.connects,
            sessions_lost=status.session_lost,
            takeovers=int(status.state is SessionState.TAKEN_OVER),
            silences=status.silences,
            uplinks=status.messages,
            bytes=status.bytes,
            oversize=status.oversize,
            refused_qos0=status.refused_qos0,
            unreleased=status.unreleased,
            last_heard_ns=status.last_heard_ns,
            subscriptions=tuple(Subscription(g.filter, g.asked, g.granted) for g in status.grants),
        )
