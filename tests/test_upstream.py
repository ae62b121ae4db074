"""From the settings to the session: TLS, secrets, filters, patience."""

from __future__ import annotations

import ssl
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization

from gateway.config import Broker
from gateway.errors import ConfigurationError
from gateway.upstream import filters_of, mqtt_settings, silence_s, topic_filter
from tests.brokers import certificates
from tests.river import PLANS

if TYPE_CHECKING:
    from pathlib import Path

TLS = "mqtts://broker.example:8883"


def test_a_session_without_tls() -> None:
    """What the settings say, in the session's units."""
    session = mqtt_settings(Broker(username="u", password="secret", keepalive="45s", memory="1MB"))  # noqa: S106 - no real one
    assert (session.host, session.port, session.tls) == ("127.0.0.1", 1883, None)
    assert (session.username, session.password) == ("u", "secret")
    assert (session.keepalive_s, session.session_expiry_s, session.memory) == (45, 7 * 86_400, 1_000_000)
    assert "secret" not in repr(session)


def test_a_password_from_a_file(tmp_path: Path) -> None:
    """Without the line's end; a file that is not there is named."""
    (tmp_path / "password").write_text("secret\n")
    assert mqtt_settings(Broker(password_file=tmp_path / "password")).password == "secret"  # noqa: S105 - no real one
    with pytest.raises(ConfigurationError, match="gone"):
        mqtt_settings(Broker(password_file=tmp_path / "gone"))


def test_tls_verifies_the_broker(tmp_path: Path) -> None:
    """Its name too, by the machine's authorities or by the one that is named; and we show ours."""
    authority, certificate, key = certificates(tmp_path)
    for broker in (
        Broker(url=TLS),
        Broker(url=TLS, ca_file=authority, certificate_file=certificate, key_file=key),
    ):
        context = mqtt_settings(broker).tls
        assert context is not None
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname


def test_what_is_wrong_with_a_file_names_it(tmp_path: Path) -> None:
    """Not there, no certificate, a key of another one, a key with a password: a problem, never a prompt."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    authority, certificate, key = certificates(tmp_path / "one")
    _, _, other = certificates(tmp_path / "two")
    (tmp_path / "text.pem").write_text("hello")
    locked = serialization.load_pem_private_key(key.read_bytes(), None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    (tmp_path / "locked.pem").write_bytes(locked)
    good = {"url": TLS, "ca_file": authority, "certificate_file": certificate, "key_file": key}
    for name, file in (
        ("ca_file", tmp_path / "gone.pem"),
        ("ca_file", tmp_path / "text.pem"),
        ("ca_file", tmp_path),
        ("certificate_file", tmp_path / "gone.pem"),
        ("certificate_file", tmp_path / "text.pem"),
        ("key_file", tmp_path / "gone.pem"),
        ("key_file", tmp_path / "locked.pem"),
        ("key_file", other),
    ):
        with pytest.raises(ConfigurationError) as caught:
            mqtt_settings(Broker(**{**good, name: file}))
        (problem,) = caught.value.problems
        assert str(file) in problem.where, name
        assert problem.hint


def test_filters_are_the_topics_of_the_profiles() -> None:
    """With the profile's QoS."""
    assert filters_of(PLANS) == [
        ("city/+/bin/+/up", 1),
        ("city/+/traffic/+/up", 1),
        ("city/+/water/+/up", 1),
    ]
    assert filters_of({"a": replace(PLANS["bin-level"], qos=2)}) == [("city/+/bin/+/up", 2)]
    assert filters_of({"a": replace(PLANS["bin-level"], qos=0)}) == [("city/+/bin/+/up", 0)]
    assert topic_filter("{site}/x/{device}") == "+/x/+"
    assert topic_filter("application/+/device/{device}/event/up") == "application/+/device/+/event/up"


@pytest.mark.parametrize(
    ("silence", "factor", "expected"),
    [("0s", 1.0, 4_500.0), ("0s", 10.0, 450.0), ("0s", 10_000.0, 30.0), ("90s", 600.0, 90.0)],
)
def test_silence_follows_the_fleet(silence: str, factor: float, expected: float) -> None:
    """Five times its shortest interval, in real seconds, never under 30; or what the settings say."""
    assert silence_s(Broker(silence=silence), PLANS, factor) == expected


def test_where_no_interval_is_known_silence_means_nothing() -> None:
    """The watchdog is off."""
    assert silence_s(Broker(), {"a": replace(PLANS["bin-level"], every_ns=0)}, 1.0) == 0.0
