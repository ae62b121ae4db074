"""Listens to topics beside the gateway, at QoS 0 and without a session: for people who look."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiomqtt

from gateway.registry.broker_check import (
    TIMEOUT_S,
    BrokerTrouble,
    client_of,
    connection_trouble,
    subscribed,
    versions_of,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from gateway.ingest.settings import MqttSettings


@dataclass(frozen=True, slots=True)
class Message:
    """What was heard."""

    topic: str
    payload: bytes
    retained: bool


async def listen(session: MqttSettings, filters: Sequence[str]) -> AsyncGenerator[Message, None]:
    """Yield what is published under filters, until closed.

    Raises BrokerTrouble where the broker cannot be reached, does not let us, or is lost.
    """
    trouble = BrokerTrouble("not tried")
    for version in versions_of(session):
        client = client_of(session, version, "listener")
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await client.__aenter__()
        except TimeoutError:
            trouble = BrokerTrouble(f"no answer within {TIMEOUT_S:.0f} s", hint="is it the right port?")
            continue
        except aiomqtt.MqttError as error:
            trouble = connection_trouble(error)
            continue
        try:
            await subscribed(client, [(one, 0) for one in filters])
            async for message in client.messages:
                payload = message.payload if isinstance(message.payload, bytes) else b""
                yield Message(str(message.topic), payload, retained=bool(message.retain))
        except aiomqtt.MqttError as error:
            raise BrokerTrouble(f"the connection was lost: {error}") from error
        finally:
            await client.__aexit__(None, None, None)
        return
    raise trouble
