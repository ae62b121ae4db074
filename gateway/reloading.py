"""What SIGHUP takes in besides profiles and devices: credentials and certificates, read again.

All of them or none: where one file cannot be used, everything stays as it was, and the status says why.
Other settings that have changed are named: they wait for a restart.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import structlog

from gateway import config
from gateway.errors import ConfigurationError
from gateway.ingest.settings import MqttSettings
from gateway.sinks.influx import InfluxSink
from gateway.sinks.mqtt import MqttSink
from gateway.upstream import contents, fingerprint, mqtt_settings, trust

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from gateway.api.server import Key
    from gateway.config import Settings
    from gateway.errors import Problem
    from gateway.ingest.mqtt import MqttSource
    from gateway.ports import Clock, Sink
    from gateway.sinks.writer import Writer
    from gateway.survey import Changeable

BROKER = {"username", "password", "password_file", "ca_file", "certificate_file", "key_file"}
SINK = {"username", "token", "token_file", "ca_file"}
HTTP = {"token", "token_file"}
_NOBODY = MqttSettings(host="", port=0, client_id="")
T = TypeVar("T")
S = TypeVar("S", bound=config.Section)
log = structlog.get_logger("ecluse")


@dataclass(frozen=True, slots=True)
class Credentials:
    """Everything that was read at one time: secrets, and the contents of certificates."""

    broker: MqttSettings
    broker_print: tuple[object, ...]
    sinks: Mapping[str, tuple[str, str, bytes]]
    """Name → user, token, authority's certificate; of those that have some."""
    http: str | None

    @classmethod
    def read(cls, settings: Settings) -> Credentials:
        """Read all files that the settings name. Raises ConfigurationError with every problem."""
        problems: list[Problem] = []

        def tried(read: Callable[[], T], *, instead: T) -> T:
            try:
                return read()
            except ConfigurationError as refused:
                problems.extend(refused.problems)
                return instead

        found = cls(
            broker=tried(lambda: mqtt_settings(settings.broker), instead=_NOBODY),
            broker_print=tried(lambda: fingerprint(settings.broker), instead=()),
            sinks={
                sink.name: tried(lambda sink=sink: _of_sink(sink), instead=("", "", b""))  # type: ignore[misc]
                for sink in settings.sinks
                if sink.kind != "embedded"
            },
            http=tried(lambda: config.secret(settings.http.token, settings.http.token_file), instead=None),
        )
        if problems:
            raise ConfigurationError(list(dict.fromkeys(problems)))
        return found


class Reloading:
    """Knows which credentials are in force, and brings changed ones into force."""

    def __init__(
        self,
        settings: Settings,
        *,
        begun: Credentials,
        reread: Callable[[], Settings],
        known: Changeable,
        clock: Clock,
        key: Key,
        sinks: Mapping[str, Sink],
        writers: Mapping[str, Writer],
    ) -> None:
        """`begun` are those that the gateway has begun with."""
        self._settings = settings
        self._reread = reread
        self._known = known
        self._clock = clock
        self._key = key
        self._sinks = sinks
        self._writers = writers
        self._now = begun
        known.credentials_since_ns = clock.now_ns()

    async def take(self, source: MqttSource) -> None:
        """Read everything again; what has changed takes effect, or nothing of it does."""
        known = self._known
        known.credentials_since_ns = self._clock.now_ns()
        try:
            fresh = await asyncio.to_thread(self._reread)
            read = await asyncio.to_thread(Credentials.read, with_credentials_of(self._settings, fresh))
        except ConfigurationError as refused:
            known.credential_problems = refused.problems
            for problem in refused.problems:
                log.warning("credentials stay as they are", where=problem.where, what=problem.what)
            return
        known.credential_problems = ()
        if changed := list(differences(self._settings, fresh)):
            log.warning("settings have changed that only a restart takes in", settings=changed)
        before, self._now = self._now, read
        log.info("credentials read again", changed=list(self._use(source, before, read)))

    def _use(self, source: MqttSource, before: Credentials, now: Credentials) -> Iterator[str]:
        """Put what has changed into force; yield its names."""
        if now.broker_print != before.broker_print:
            source.renew(now.broker)
            yield "broker"
        for name, (username, token, _) in now.sinks.items():
            sink = self._sinks[name]
            if now.sinks[name] != before.sinks.get(name) and isinstance(sink, InfluxSink | MqttSink):
                sink.renew(username=username, token=token)
                self._writers[name].wake()
                yield f"sink {name}"
        if now.http != before.http:
            self._key.token = now.http
            yield "http"


def with_credentials_of(settings: Settings, fresh: Settings) -> Settings:
    """Return the settings in force, but for what tells who we are and whom we trust."""
    of_sink = {sink.name: sink for sink in fresh.sinks}
    return settings.model_copy(
        update={
            "broker": _copied(settings.broker, fresh.broker, BROKER),
            "http": _copied(settings.http, fresh.http, HTTP),
            "sinks": tuple(_copied(sink, of_sink.get(sink.name, sink), SINK) for sink in settings.sinks),
        }
    )


def differences(settings: Settings, fresh: Settings) -> Iterator[str]:
    """Yield the names of settings that differ and are no credentials."""
    now, then = with_credentials_of(settings, fresh), fresh
    for name in type(settings).model_fields:
        one, other = getattr(now, name), getattr(then, name)
        if one == other:
            continue
        if isinstance(one, config.Section):
            inner: Sequence[str] = list(type(one).model_fields)
            yield from (f"{name}.{key}" for key in inner if getattr(one, key) != getattr(other, key))
        else:
            yield name


def _copied(section: S, fresh: S, names: set[str]) -> S:
    return section.model_copy(update={name: getattr(fresh, name) for name in names})


def _of_sink(sink: config.Sink) -> tuple[str, str, bytes]:
    trust(sink.ca_file)
    token = config.secret(sink.token, sink.token_file)
    return sink.username or "", token or "", contents(sink.ca_file)
