"""Tries the broker once, beside the gateway's own session: can we connect, and may we subscribe?"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiomqtt
from paho.mqtt.reasoncodes import ReasonCode

from gateway.errors import EcluseError
from gateway.ingest.settings import LOWER_GRANT_HINT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.ingest.settings import MqttSettings

TIMEOUT_S = 10.0
_FAILURE = 0x80


class BrokerTrouble(EcluseError):  # noqa: N818 - says what the broker said
    """The broker cannot be used as configured."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What the broker said: a line on the connection and on each filter granted, and what falls short."""

    lines: tuple[str, ...]
    trouble: BrokerTrouble | None = None


async def try_broker(session: MqttSettings, filters: Sequence[tuple[str, int]]) -> Trial:
    """Connect with another client identifier and a clean session, subscribe, and go.

    Raises BrokerTrouble with what was refused.
    """
    trouble = BrokerTrouble("not tried")
    for version in versions_of(session):
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await _try(session, filters, version)
        except TimeoutError:
            trouble = BrokerTrouble(f"no answer within {TIMEOUT_S:.0f} s", hint="is it the right port?")
        except aiomqtt.MqttError as error:
            trouble = connection_trouble(error)
    raise trouble


async def _try(
    session: MqttSettings, filters: Sequence[tuple[str, int]], version: aiomqtt.ProtocolVersion
) -> Trial:
    async with client_of(session, version, "check") as client:
        granted = await subscribed(client, filters)
    name = "5" if version is aiomqtt.ProtocolVersion.V5 else "3.1.1"
    lines = [f"MQTT {name} at {session.host}:{session.port}, {len(filters)} subscriptions granted"]
    lines += [f"{topic} at QoS {code}" for topic, _, code in granted]
    lower = [f"{topic} at QoS {code} instead of {qos}" for topic, qos, code in granted if code < qos]
    trouble = BrokerTrouble(f"grants {', '.join(lower)}", hint=LOWER_GRANT_HINT) if lower else None
    return Trial(tuple(lines), trouble)


def versions_of(session: MqttSettings) -> list[aiomqtt.ProtocolVersion]:
    """Return the versions of MQTT to be tried, in order."""
    both = [aiomqtt.ProtocolVersion.V5, aiomqtt.ProtocolVersion.V311]
    return {"5": both[:1], "3.1.1": both[1:]}.get(session.protocol, both)


def client_of(session: MqttSettings, version: aiomqtt.ProtocolVersion, purpose: str) -> aiomqtt.Client:
    """Return a client beside the gateway's own: another identifier, and no session that stays."""
    return aiomqtt.Client(
        hostname=session.host,
        port=session.port,
        identifier=f"{session.client_id}-{purpose}",
        username=session.username,
        password=session.password,
        protocol=version,
        tls_context=session.tls,
        timeout=TIMEOUT_S,
        clean_session=None if version is aiomqtt.ProtocolVersion.V5 else True,
    )


async def subscribed(
    client: aiomqtt.Client, filters: Sequence[tuple[str, int]]
) -> list[tuple[str, int, int]]:
    """Subscribe; return (filter, QoS wanted, QoS granted). Raises BrokerTrouble where one is refused."""
    granted = [(topic, qos, _code(await client.subscribe(topic, qos=qos))) for topic, qos in filters]
    refused = [topic for topic, _, code in granted if code >= _FAILURE]
    if refused:
        raise BrokerTrouble(
            f"does not let us subscribe to {', '.join(refused)}", hint="give this user the right to read them"
        )
    return granted


def connection_trouble(error: Exception) -> BrokerTrouble:
    """Return what to say where there was no connection."""
    return BrokerTrouble(f"cannot connect: {error}", hint=_hint(str(error)))


def _code(codes: Iterable[int | ReasonCode]) -> int:
    """Return the answer to one filter: the QoS granted, or 0x80 and above."""
    (code,) = codes
    return code.value if isinstance(code, ReasonCode) else code


def _hint(said: str) -> str:
    if "authori" in said.lower() or "user name" in said.lower():
        return "username and password: see [broker], or ECLUSE_BROKER__PASSWORD"
    return "is the broker running, and is url right?"
