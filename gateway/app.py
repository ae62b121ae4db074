"""The composition root: runs the real parts as named tasks, and stops them in order.

Order of stopping: stop reading → journal what was read → drain decode and aggregate → outbox →
checkpoint → give the sinks their grace → disconnect. Whatever was not written is on disk.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from gateway import assembly, config
from gateway.closing import Closing
from gateway.console.page import StatusPage
from gateway.console.values import StatusValues
from gateway.errors import BrokerError, StateError
from gateway.health.snapshot import State
from gateway.ingest.mqtt import MqttSource
from gateway.ingest.settings import SessionState
from gateway.sinks.embedded import EmbeddedSink
from gateway.upstream import filters_of, mqtt_settings, silence_s
from gateway.web import listen, serve
from gateway.wishes import Wishes

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from gateway.assembly import Parts
    from gateway.config import Settings
    from gateway.console.page import Demo
    from gateway.ingest.settings import MqttSettings
    from gateway.pipeline import River

SINK_GRACE_S = 5.0
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
    """One gateway. Construct it, then `run` it once. Raises ConfigurationError (its time scale)."""

    def __init__(self, settings: Settings, demo: Demo | None) -> None:
        self._settings = settings
        self._demo = demo
        self._clock = assembly.clock_of(settings)
        self._source: MqttSource | None = None
        self._refused: BrokerError | None = None

    async def run(self, stopping: asyncio.Event, progress: Callable[[int, int], None]) -> None:
        """Recover, then run until `stopping` is set; it is set too where the broker refuses us for good.

        `progress(position, end)` is told how the replay goes. Raises EcluseError for what a person must
        mend, alone or in an ExceptionGroup; whatever else is raised is a bug. Either ends everything at
        once, and the next run replays; a BrokerError alone is raised after everything was stopped in order.
        """
        settings = self._settings
        session = mqtt_settings(settings.broker)  # here, so that nothing is started with a bad certificate
        token = config.secret(settings.http.token, settings.http.token_file)
        async with Closing() as closing:
            assembly.lock(settings, closing)
            listener = listen(settings.http)
            closing.callback(listener.close)
            parts = await assembly.open_parts(
                settings, closing=closing, clock=self._clock, caught_up=self._caught_up
            )
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._serve(parts, listener, token, stopping), name="http")
                end = parts.journal.end
                if await parts.river.recover(lambda position: progress(position, end), stopping):
                    await self._flow(parts, session, stopping)
                stopping.set()
        if self._refused is not None:
            raise self._refused

    async def _flow(self, parts: Parts, session: MqttSettings, stopping: asyncio.Event) -> None:
        """Connect, flow, stop in order."""
        river, known = parts.river, parts.survey.changeable
        wishes = Wishes(
            self._settings, rules=parts.treatment.rules, river=river, known=known, clock=self._clock
        )
        try:
            async with asyncio.TaskGroup() as tasks:
                working = tasks.create_task(river.work(), name="work")
                writing = [tasks.create_task(w.run(), name=f"sink {n}") for n, w in parts.writers.items()]
                aside = [
                    tasks.create_task(self._measure(parts), name="measure"),
                    tasks.create_task(self._copy_state(parts), name="copies"),
                ]
                await wishes.take()
                if not stopping.is_set():
                    await self._connected(parts, session, wishes, stopping)
                for task in aside:
                    task.cancel()
                await river.queue.close()
                await working
                for writer in parts.writers.values():
                    writer.stop(grace_s=SINK_GRACE_S)
                await asyncio.gather(*writing)
        finally:
            if self._source is not None:
                await self._source.close()

    async def _connected(
        self, parts: Parts, session: MqttSettings, wishes: Wishes, stopping: asyncio.Event
    ) -> None:
        """Receive until told to stop, or until the broker refuses us for good; what was read is durable."""
        river, broker, factor = parts.river, self._settings.broker, self._clock.factor
        rules = parts.treatment.rules
        source = self._source = parts.survey.changeable.source = MqttSource(
            settings=replace(
                session, filters=filters_of(rules.plans), watchdog_s=silence_s(broker, rules.plans, factor)
            ),
            clock=self._clock,
            last_connection=river.connection,
            known_filters=river.filters,
            keep=parts.keep,
        )
        parts.survey.changeable.become(State.OK, "flows", since_ns=self._clock.now_ns())

        async def changed() -> None:
            await source.subscribe(filters_of(rules.plans))
            await asyncio.to_thread(_forget_known, parts)

        await asyncio.to_thread(_forget_known, parts)
        async with asyncio.TaskGroup() as tasks:
            receiving = tasks.create_task(self._receive(river, source), name="receive")
            aside = [
                tasks.create_task(wishes.watch(changed), name="wishes"),
                tasks.create_task(parts.readmission.run(), name="readmission"),
                tasks.create_task(self._note(parts, source), name="notes"),
            ]
            waiting = tasks.create_task(stopping.wait(), name="stopping")
            await asyncio.wait({receiving, waiting}, return_when=asyncio.FIRST_COMPLETED)
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
        connected_ns, heard_ns = source.status.since_ns, source.status.last_heard_ns
        silent_s = self._clock.since_s(max(connected_ns, heard_ns))
        return silent_s >= SILENT_S or self._clock.since_s(connected_ns) >= CATCH_UP_S

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
        """Sample the books for rates, and see how late the loop runs."""
        while True:
            began = self._clock.monotonic_ns()
            await asyncio.sleep(SAMPLE_S)
            parts.survey.sample()
            late_s = (self._clock.monotonic_ns() - began) / 1e9 - SAMPLE_S
            parts.survey.changeable.loop_lag_s = max(0.0, late_s)

    async def _serve(
        self, parts: Parts, listener: socket.socket, token: str | None, stopping: asyncio.Event
    ) -> None:
        store = next((sink for sink in parts.sinks.values() if isinstance(sink, EmbeddedSink)), None)
        await serve(
            self._settings.state_dir,
            listener=listener,
            token=token,
            survey=parts.survey,
            page=StatusPage(demo=self._demo),
            values=StatusValues(store, self._clock) if store else None,
            store=store,
            writers=parts.writers,
            quarantine=parts.readmission,
            stopping=stopping,
        )


def _note_session(river: River, source: MqttSource) -> None:
    river.connection = max(river.connection, source.status.connection)
    river.filters = source.status.filters or river.filters


def _forget_known(parts: Parts) -> None:
    """Take off the list of strangers who is in the registry by now."""
    devices = parts.treatment.rules.devices
    for stranger in parts.strangers.list():
        if (stranger.site, stranger.device) in devices:
            parts.strangers.forget(stranger.site, stranger.device)
