"""Republishes points as JSON over MQTT at QoS 1, for Node-RED and others who listen."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import aiomqtt

from gateway.errors import SinkUnavailable
from gateway.literals import SINK_TOPIC
from gateway.sinks.messages import messages

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

IN_FLIGHT: Final = 200
"""Messages that wait for their acknowledgement at one time."""


@dataclass(frozen=True, slots=True)
class MqttSinkSettings:
    """Where points are published; `url` is for people. `tls` is None for a connection in clear."""

    name: str
    url: str
    host: str
    port: int
    client_id: str
    topic: str = SINK_TOPIC
    retain: bool = False
    username: str = ""
    password: str = field(default="", repr=False)
    tls: ssl.SSLContext | None = None
    timeout_s: float = 30.0


class MqttSink:
    """Publishes each point once its broker has acknowledged the ones before; connects on first use."""

    overwrites = True

    def __init__(self, settings: MqttSinkSettings) -> None:
        self.name = settings.name
        self._settings = settings
        self._client: aiomqtt.Client | None = None
        self._renewed = False

    def renew(self, *, username: str, token: str) -> None:
        """Use these credentials from the next call on."""
        self._settings = replace(self._settings, username=username, password=token)
        self._renewed = True

    async def write(self, bodies: Sequence[bytes]) -> None:
        """Publish the points of some outbox entries, in their order. Raises `SinkUnavailable`.

        What was under way where the connection was lost is published once more: whoever listens may get it
        twice, with the same time and tags.
        """
        client = await self._connected()
        points = messages(bodies, self._settings.topic)
        try:
            while some := list(itertools.islice(points, IN_FLIGHT)):
                async with asyncio.timeout(self._settings.timeout_s), asyncio.TaskGroup() as going:
                    for _, topic, payload in some:
                        going.create_task(self._publish(client, topic, payload))
        except* (aiomqtt.MqttError, TimeoutError, OSError) as errors:
            await self.close()
            raise SinkUnavailable(
                f"{self.name}: {self._settings.url} did not acknowledge: {errors.exceptions[0]}",
                hint="is the broker running, and may this user publish there?",
                ambiguous=True,
            ) from errors

    async def _publish(self, client: aiomqtt.Client, topic: str, payload: bytes) -> None:
        await client.publish(
            topic, payload, qos=1, retain=self._settings.retain, timeout=self._settings.timeout_s
        )

    async def check(self) -> str:
        """Return a line on the broker, having connected. Raises `SinkUnavailable`."""
        await self._connected()
        return f"MQTT broker at {self._settings.url}, publishing to {self._settings.topic}"

    async def close(self) -> None:
        """Say good-bye."""
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(aiomqtt.MqttError, OSError):
                await client.__aexit__(None, None, None)

    async def _connected(self) -> aiomqtt.Client:
        if self._renewed:
            self._renewed = False
            await self.close()
        if self._client is not None:
            return self._client
        settings = self._settings
        client = aiomqtt.Client(
            hostname=settings.host,
            port=settings.port,
            identifier=settings.client_id,
            username=settings.username or None,
            password=settings.password or None,
            tls_context=settings.tls,
            timeout=settings.timeout_s,
            protocol=aiomqtt.ProtocolVersion.V311,
            clean_session=True,
            max_inflight_messages=IN_FLIGHT,
        )
        try:
            async with asyncio.timeout(settings.timeout_s):
                await client.__aenter__()
        except (aiomqtt.MqttError, TimeoutError, OSError) as error:
            raise SinkUnavailable(
                f"{self.name}: {settings.url}: {error or 'no answer'}",
                hint="username and token_file: see [[sinks]]",
            ) from error
        self._client = client
        return client
