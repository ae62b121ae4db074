"""From the settings to the session at the broker: TLS, credentials, filters, patience."""

from __future__ import annotations

import contextlib
import ssl
from typing import TYPE_CHECKING

from gateway import config
from gateway.errors import ConfigurationError, Problem
from gateway.ingest.settings import MqttSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from gateway.profiles.plan import ProfilePlan

SILENCE_INTERVALS = 5
"""The flow watchdog waits for so many of the fleet's shortest expected intervals."""
SHORTEST_SILENCE_S = 30.0


def mqtt_settings(broker: config.Broker) -> MqttSettings:
    """Return the session's settings, but for what depends on the profiles: `filters_of`, `silence_s`.

    Raises ConfigurationError where a secret or a certificate cannot be read.
    """
    return MqttSettings(
        host=broker.host,
        port=broker.port,
        client_id=broker.client_id,
        tls=_tls(broker) if broker.tls else None,
        username=broker.username,
        password=config.secret(broker.password, broker.password_file),
        protocol=broker.protocol,
        keepalive_s=max(1, round(broker.keepalive / 1e9)),
        session_expiry_s=round(broker.session_expiry / 1e9),
        max_packet=broker.max_packet,
        memory=broker.memory,
    )


def fingerprint(broker: config.Broker) -> tuple[object, ...]:
    """Return what differs where other credentials or certificates are in force: names, secrets, contents.

    Raises ConfigurationError where one cannot be read.
    """
    files = (broker.ca_file, broker.certificate_file, broker.key_file) if broker.tls else ()
    password = config.secret(broker.password, broker.password_file)
    return broker.username, password, *map(contents, files)


def contents(file: Path | None) -> bytes:
    """Return what is in a certificate's file; nothing of none. Raises ConfigurationError."""
    with _read(file):
        return file.read_bytes() if file else b""


def filters_of(plans: Mapping[str, ProfilePlan]) -> list[tuple[str, int]]:
    """Return the (filter, QoS) pairs that the profiles' topics need."""
    return [(topic_filter(topic), plan.qos) for plan in plans.values() for topic in plan.topics]


def topic_filter(template: str) -> str:
    """Turn `city/{site}/bin/{device}/up` into `city/+/bin/+/up`."""
    return "/".join("+" if level.startswith("{") else level for level in template.split("/"))


def silence_s(broker: config.Broker, plans: Mapping[str, ProfilePlan], time_factor: float) -> float:
    """Return after how many real seconds without an uplink the flow watchdog acts; 0 where it never does."""
    if broker.silence:
        return broker.silence / 1e9
    intervals = [plan.every_ns for plan in plans.values() if plan.every_ns]
    if not intervals:
        return 0.0
    return max(SHORTEST_SILENCE_S, SILENCE_INTERVALS * min(intervals) / 1e9 / time_factor)


def trust(ca_file: Path | None) -> ssl.SSLContext:
    """Return what trusts that authority, or those of the system. Raises ConfigurationError."""
    with _read(ca_file):
        return ssl.create_default_context(cafile=ca_file)


def _tls(broker: config.Broker) -> ssl.SSLContext:
    context = trust(broker.ca_file)
    if broker.certificate_file is not None:
        with _read(broker.certificate_file, broker.key_file):
            # A password is given, so that OpenSSL does not ask the terminal for one.
            context.load_cert_chain(broker.certificate_file, broker.key_file, password="")
    return context


@contextlib.contextmanager
def _read(*files: Path | None) -> Iterator[None]:
    """Turn what is wrong with these files into a problem that names them."""
    try:
        yield
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        what = f"cannot be used for TLS: {error.strerror if isinstance(error, OSError) else error}"
        hint = "a PEM file that this user may read; a key without a password, that fits its certificate"
        raise ConfigurationError([Problem(", ".join(str(f) for f in files if f), what, hint)]) from error
