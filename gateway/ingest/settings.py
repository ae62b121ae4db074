"""What the MQTT source is told, and what it tells: plain values for both sides of the seam."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from gateway.ingest.answers import Grant

LOWER_GRANT_HINT = (
    "let the broker grant it (Mosquitto: max_qos 2; nats-server: downgrade_qos2_subscribe false), or set "
    "qos: 1 in the profile"
)


@dataclass(frozen=True, slots=True)
class MqttSettings:
    """One broker connection. Durations in seconds or milliseconds as named, sizes in bytes.

    `memory` bounds the uplinks that were read and not yet acknowledged, in memory: at the bound the
    socket is paused. `filters` are (filter, QoS) pairs of any overlap. `watchdog_s` 0 is off.
    `gather_ms` is how long the next read waits at most under load.
    """

    host: str
    port: int
    client_id: str
    filters: Sequence[tuple[str, int]] = ()
    tls: ssl.SSLContext | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    protocol: Literal["auto", "5", "3.1.1"] = "auto"
    keepalive_s: int = 30
    session_expiry_s: int = 7 * 86_400
    receive_maximum: int = 65_535
    max_packet: int = 256_000
    memory: int = 64_000_000
    gather_ms: float = 20.0
    watchdog_s: float = 0.0
    connect_timeout_s: float = 10.0
    retry_first_s: float = 0.5
    retry_max_s: float = 30.0
    refused_retry_s: float = 60.0


class SessionState(StrEnum):
    """Where the connection stands."""

    NEW = "not started"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    AWAY = "broker away"
    REFUSED = "refused by broker"
    TAKEN_OVER = "taken over"
    CLOSED = "closed"


@dataclass(slots=True)
class SessionStatus:
    """The source's own account, written by it alone and read by the control side. Times are ns UTC.

    `connection` is the number of the last connection; `protocol` its level (4 or 5).
    `gap_possible_ns` is when a session that was expected had gone at the broker (0: never), counted
    in `session_lost`. `grants` is what the broker said of the filters that it has answered for, on this
    connection. `unreleased` counts QoS 2 deliveries that are journalled and not over: the broker's Receive
    Maximum counts them too, until our PUBCOMP. `widened` lists filters that were
    subscribed although nobody asked for them, to leave no overlap. `duplicates` counts uplinks with
    the DUP flag, `refused_qos0` those at QoS 0 that were refused while the river was held,
    `oversize` those over the maximum packet size, of which the first bytes were kept,
    `silences` reconnects of the flow watchdog. `stuck` says what to do where the same packet ends every
    connection ("" where none does). `unacknowledged_bytes` is an estimate of memory.
    `opened_mono_ns` and `heard_mono_ns` are when it was connected and last heard by the monotonic clock,
    which nobody sets.
    """

    state: SessionState = SessionState.NEW
    since_ns: int = 0
    last_error: str = ""
    connection: int = 0
    protocol: int = 0
    session_present: bool = False
    session_expiry_s: int = 0
    gap_possible_ns: int = 0
    filters: tuple[str, ...] = ()
    grants: tuple[Grant, ...] = ()
    widened: tuple[str, ...] = ()
    paused: bool = False
    last_heard_ns: int = 0
    opened_mono_ns: int = 0
    heard_mono_ns: int = 0
    connects: int = 0
    reconnects: int = 0
    session_lost: int = 0
    protocol_errors: int = 0
    silences: int = 0
    pauses: int = 0
    messages: int = 0
    bytes: int = 0
    duplicates: int = 0
    oversize: int = 0
    refused_qos0: int = 0
    stuck: str = ""
    unacknowledged: int = 0
    unacknowledged_bytes: int = 0
    unreleased: int = 0

    @property
    def refused_filters(self) -> tuple[str, ...]:
        """The filters that the broker refused."""
        return tuple(grant.filter for grant in self.grants if grant.granted is None)

    @property
    def lower_grants(self) -> tuple[Grant, ...]:
        """What was granted at a lower QoS than was asked for."""
        return tuple(grant for grant in self.grants if grant.is_lower)
