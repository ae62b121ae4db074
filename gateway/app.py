"""The composition root: runs the real parts as named tasks, and stops them in order.

Order of stopping: stop reading → journal what was read → drain decode and aggregate → outbox →
checkpoint → give the sinks their grace → disconnect. Whatever was not written is on disk.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from gateway import assembly
from gateway.api.server import Key
from gateway.backup.held import StoreCopies
from gateway.closing import Closing
from gateway.console.page import StatusPage
from gateway.console.values import StatusValues
from gateway.errors import BrokerError, StateError
from gateway.health.snapshot import Replay, State
from gateway.ingest.mqtt import MqttSource
from gateway.ingest.settings import SessionState
from gateway.leaving import Leaving
from gateway.profile_folder import ProfileFolder
from gateway.reloading import Credentials, Reloading
from gateway.sinks.embedded import EmbeddedSink
from gateway.upstream import filters_of, silence_s
from gateway.web import listen, serve
from gateway.wishes import Wishes

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from gateway.assembly import Parts
    from gateway.config import Settings
    from gateway.console.page import Demo
    from gateway.health.snapshot import ClockHealth
    from gateway.ingest.settings import MqttSettings
    from gateway.pipeline import River

SOURCE = "mqtt"
"""The name of the broker's connection in the journal."""
CATCH_UP_S = 60.0
"""How long after a connection windows that are written only once are kept back, at most …"""
SILENT_S = 5.0
"""… and how long the broker must have said nothing for them to be let go before."""
NOTE_S = 1.0
SAMPLE_S = 0.5
COPY_RETRY_S = 600.0
"""A copy of the state that failed, for want of space perhaps, is tried again after this."""
SHORTEST_COPY_S = 60.0
log = structlog.get_logger("ecluse")


class Gateway:
    """One gateway. Construct it, then `run` it once. Raises ConfigurationError (its time scale).

    `reread` reads the settings again, for `reload`.
    """

    def __init__(self, settings: Settings, demo: Demo | None, *, reread: Callable[[], Settings]) -> None:
        self._settings = settings
        self._demo = demo
        self._reread = reread
        self._reloads = asyncio.Event()
        self._hurried = asyncio.Event()
        self._stopping = asyncio.Event()
        self.lends = False
        """Whether it ends, or ended, to let another process have its state folder."""
        self._clock = assembly.clock_of(settings)
        self._source: MqttSource | None = None
        self._refused: BrokerError | None = None

    async def run(self, stopping: asyncio.Event, progress: Callable[[Replay], None]) -> None:
        """Recover, then run until `stopping` is set; it is set too where the broker refuses us for good.

        `progress` is told how the replay goes. Raises EcluseError for what a person must
        mend, alone or in an ExceptionGroup; whatever else is raised is a bug. Either ends everything at
        once, and the next run replays; a BrokerError alone is raised after everything was stopped in order.
        """
        settings, self._stopping = self._settings, stopping
        begun = Credentials.read(settings)  # here, so that nothing is started with a bad certificate
        key = Key(begun.http)
        async with Closing() as closing:
            assembly.lock(settings, closing)
            listener = listen(settings.http)
            closing.callback(listener.close)
            parts = await assembly.open_parts(
                settings, closing=closing, clock=self._clock, caught_up=self._caught_up
            )
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._serve(parts, listener, key, stopping), name="http")
                known = len(parts.journal.damaged)
                recovered = await parts.river.recover(self._progress(parts, progress), stopping)
                assembly.say_damage(parts.journal, known)
                if recovered:
                    await self._flow(parts, begun, key, stopping)
                stopping.set()
        if self._refused is not None:
            raise self._refused

    def _progress(self, parts: Parts, told: Callable[[Replay], None]) -> Callable[[int], None]:
        begin, end, began_ns = parts.river.position, parts.journal.end, self._clock.monotonic_ns()

        def reached(position: int) -> None:
            seconds = (self._clock.monotonic_ns() - began_ns) / 1e9
            replay = Replay(begin=begin, position=position, end=end, seconds=seconds)
            parts.survey.changeable.replays(replay)
            told(replay)

        return reached

    def reload(self) -> None:
        """Read profiles, devices, credentials and certificates again, as soon as it flows."""
        self._reloads.set()

    def lend(self) -> bool:
        """Stop in order, for another process to have the state folder; False where it is stopping anyway."""
        if self._stopping.is_set():
            return False
        log.info("stepping aside", what="another command needs the state folder; the broker queues meanwhile")
        self.lends = True
        self._stopping.set()
        return True

    def hurry(self) -> None:
        """Once told to stop: wait for nothing any more. What is not done is on disk."""
        self._hurried.set()

    async def _flow(self, parts: Parts, begun: Credentials, key: Key, stopping: asyncio.Event) -> None:
        """Connect, flow, stop in order."""
        river, known = parts.river, parts.survey.changeable
        wishes = Wishes(
            self._settings, rules=parts.treatment.rules, river=river, known=known, clock=self._clock
        )
        reloading = self._reloading(parts, begun, key)
        leaving = Leaving(
            grace_s=self._settings.stop_grace / 1e9,
            hurried=self._hurried,
            river=river,
            writers=parts.writers,
            survey=parts.survey,
        )
        try:
            async with asyncio.TaskGroup() as tasks:
                working = tasks.create_task(river.work(), name="work")
                writing = {n: tasks.create_task(w.run(), name=f"sink {n}") for n, w in parts.writers.items()}
                hastening = tasks.create_task(leaving.hasten(), name="hasten")
                aside = [
                    tasks.create_task(self._measure(parts), name="measure"),
                    tasks.create_task(self._copy_state(parts), name="copies"),
                    tasks.create_task(river.watch(), name="clock"),
                    tasks.create_task(parts.retention.run(), name="retention"),
                ]
                await wishes.take()
                parts.intake.is_open = True
                if not stopping.is_set():
                    await self._connected(
                        parts,
                        session=begun.broker,
                        wishes=wishes,
                        reloading=reloading,
                        leaving=leaving,
                        stopping=stopping,
                    )
                leaving.begin()
                parts.intake.is_open = False
                for task in aside:
                    task.cancel()
                await river.queue.close()
                await leaving.finish(working, writing)
                hastening.cancel()
        finally:
            if self._source is not None:
                await self._source.close()

    def _reloading(self, parts: Parts, begun: Credentials, key: Key) -> Reloading:
        return Reloading(
            self._settings,
            begun=begun,
            reread=self._reread,
            known=parts.survey.changeable,
            clock=self._clock,
            key=key,
            sinks=parts.sinks,
            writers=parts.writers,
        )

    async def _connected(
        self,
        parts: Parts,
        *,
        session: MqttSettings,
        wishes: Wishes,
        reloading: Reloading,
        leaving: Leaving,
        stopping: asyncio.Event,
    ) -> None:
        """Receive until told to stop, or until the broker refuses us for good; what was read is durable."""
        river, broker, factor = parts.river, self._settings.broker, self._clock.factor
        rules = parts.treatment.rules
        source = self._source = parts.survey.changeable.source = MqttSource(
            settings=replace(
                session, filters=filters_of(rules.plans), watchdog_s=silence_s(broker, rules.plans, factor)
            ),
            clock=self._clock,
            source=SOURCE,
            last_connection=river.connection,
            known_filters=river.filters,
            unreleased=parts.treatment.identities.unreleased(SOURCE, session.client_id),
            keep=parts.keep,
            note=river.note,
        )
        parts.survey.changeable.become(State.OK, "flows", since_ns=self._clock.now_ns())

        async def changed() -> None:
            await source.subscribe(filters_of(rules.plans))
            await asyncio.to_thread(_forget_known, parts)

        async def reload() -> None:
            while await self._reloads.wait():
                self._reloads.clear()
                log.info("reading again", what="profiles, devices, credentials, certificates")
                if await wishes.take():
                    await changed()
                await reloading.take(source)

        await asyncio.to_thread(_forget_known, parts)
        async with asyncio.TaskGroup() as tasks:
            receiving = tasks.create_task(self._receive(river, source), name="receive")
            aside = [
                tasks.create_task(wishes.watch(changed), name="wishes"),
                tasks.create_task(parts.readmission.run(), name="readmission"),
                tasks.create_task(self._note(parts, source), name="notes"),
                tasks.create_task(reload(), name="reload"),
            ]
            waiting = tasks.create_task(stopping.wait(), name="stopping")
            await asyncio.wait({receiving, waiting}, return_when=asyncio.FIRST_COMPLETED)
            leaving.begin()
            await source.stop_reading()
            river.stop()
            await receiving
            for task in (*aside, waiting):  # what a cancelled change has appended takes effect by a replay
                task.cancel()
        _note_session(river, source)

    async def _receive(self, river: River, source: MqttSource) -> None:
        """Receive; where the broker refuses us for good, end, so that all that was received is stored."""
        try:
            await river.receive(source)
        except BrokerError as refused:
            self._refused = refused

    def _caught_up(self) -> bool:
        """Tell whether what the broker kept for us has come in: it fell silent, or it has had its time."""
        source = self._source
        if source is None or source.status.state is not SessionState.CONNECTED:
            return False
        now_ns, opened_ns, heard_ns = (
            self._clock.monotonic_ns(),
            source.status.opened_mono_ns,
            source.status.heard_mono_ns,
        )
        silent_s = (now_ns - max(opened_ns, heard_ns)) / 1e9
        return silent_s >= SILENT_S or now_ns - opened_ns >= CATCH_UP_S * 1e9

    async def _note(self, parts: Parts, source: MqttSource) -> None:
        """Write down strangers, and what a restart must know of the session."""
        while True:
            await asyncio.sleep(NOTE_S)
            _note_session(parts.river, source)
            await asyncio.to_thread(parts.strangers.flush)

    async def _copy_state(self, parts: Parts) -> None:
        """Make a verified copy of the state, soon after the start and then as often as set.

        One that fails is a status and no end: the state itself is sound, as far as is known.
        """
        known = parts.survey.changeable
        every_s = max(self._settings.checkpoint.copy_every / 1e9, SHORTEST_COPY_S)
        while True:
            try:
                await asyncio.to_thread(parts.state.copy)
            except StateError as error:
                log.error("the state was not copied", error=str(error), hint=error.hint)  # noqa: TRY400 - told, no bug
                known.copy_error = str(error)
            else:
                known.copied_ns, known.copy_error = self._clock.now_ns(), ""
            await asyncio.sleep(min(every_s, COPY_RETRY_S) if known.copy_error else every_s)

    async def _measure(self, parts: Parts) -> None:
        """Sample the books for rates, see how late the loop runs, and say what the clock does."""
        suspect = False
        while True:
            began = self._clock.monotonic_ns()
            await asyncio.sleep(SAMPLE_S)
            parts.survey.sample()
            clock = parts.survey.clock_health()
            if clock.suspect is not suspect:
                suspect = clock.suspect
                _tell_clock(clock)
            late_s = (self._clock.monotonic_ns() - began) / 1e9 - SAMPLE_S
            parts.survey.changeable.loop_lag_s = max(0.0, late_s)

    async def _serve(self, parts: Parts, listener: socket.socket, key: Key, stopping: asyncio.Event) -> None:
        stores = {name: sink for name, sink in parts.sinks.items() if isinstance(sink, EmbeddedSink)}
        store = next(iter(stores.values()), None)
        await serve(
            self._settings.state_dir,
            listener=listener,
            key=key,
            survey=parts.survey,
            page=StatusPage(demo=self._demo),
            values=StatusValues(store, self._clock) if store else None,
            store=store,
            writers=parts.writers,
            copies=StoreCopies(self._settings.state_dir, stores),
            intake=parts.intake,
            lend=self.lend,
            quarantine=parts.readmission,
            profiles=ProfileFolder(self._settings.profiles_dir, lambda: parts.treatment.rules.plans),
            stopping=stopping,
        )


def _tell_clock(clock: ClockHealth) -> None:
    if clock.suspect:
        log.warning("clock suspect", error=clock.sentence(), hint="set it right, or: ecluse clock confirm")
    else:
        log.info("clock settled", what="receive times are set right, and decoding goes on")


def _note_session(river: River, source: MqttSource) -> None:
    river.connection = max(river.connection, source.status.connection)
    river.filters = source.status.filters or river.filters


def _forget_known(parts: Parts) -> None:
    """Take off the list of strangers who is in the registry by now."""
    devices = parts.treatment.rules.devices
    for stranger in parts.strangers.list():
        if (stranger.site, stranger.device) in devices:
            parts.strangers.forget(stranger.site, stranger.device)
