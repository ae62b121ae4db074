"""What SIGHUP takes in: all credentials or none, and only what has changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from gateway import config
from gateway.api.server import Key
from gateway.clock import ManualClock
from gateway.reloading import Credentials, Reloading, differences, with_credentials_of
from gateway.sinks.influx import Api, InfluxSettings, InfluxSink
from gateway.survey import Changeable
from tests.brokers import certificates

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.ingest.settings import MqttSettings

SETTINGS = """\
[broker]
url = "mqtts://127.0.0.1:8883"
username = "ecluse"
password_file = "password"
ca_file = "authority.pem"
[http]
token_file = "page"
[[sinks]]
name = "influx"
kind = "influxdb2"
url = "http://127.0.0.1:8086"
token_file = "token"
[[sinks]]
name = "embedded"
kind = "embedded"
"""


@dataclass
class Recorder:
    """Stands for a source, and for a writer."""

    renewed: list[MqttSettings] = field(default_factory=list)
    woken: int = 0

    def renew(self, settings: MqttSettings) -> None:
        """Note it."""
        self.renewed.append(settings)

    def wake(self) -> None:
        """Note it."""
        self.woken += 1


class Desk:
    """Where an operator writes, and the parts that are told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "ecluse.toml"
        self.file.write_text(SETTINGS)
        for name in ("password", "page", "token"):
            (folder / name).write_text(f"first {name}\n")
        certificates(folder)
        self.settings = config.load(self.file)
        self.known, self.key, self.source, self.writer = (
            Changeable(),
            Key("first page"),
            Recorder(),
            Recorder(),
        )
        self.sink = InfluxSink(InfluxSettings("influx", Api.INFLUXDB2, "http://127.0.0.1:8086"))
        self.reloading = Reloading(
            self.settings,
            begun=Credentials.read(self.settings),
            reread=lambda: config.load(self.file),
            known=self.known,
            clock=ManualClock(7),
            key=self.key,
            sinks={"influx": self.sink},
            writers={"influx": self.writer},  # type: ignore[dict-item]
        )

    async def take(self) -> list[dict[str, Any]]:
        """Read again; return what was said."""
        with capture_logs() as said:
            await self.reloading.take(self.source)  # type: ignore[arg-type]
        return [dict(line) for line in said]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


async def test_what_has_not_changed_is_left_alone(desk: Desk) -> None:
    """No reconnection, no new session of HTTP."""
    assert (await desk.take())[-1]["changed"] == []
    assert (desk.source.renewed, desk.writer.woken) == ([], 0)
    assert desk.known.credentials_since_ns == 7


async def test_each_goes_where_it_belongs(desk: Desk) -> None:
    """A password to the broker's session, a token to its sink, which is woken, and the page's to the page."""
    (desk.folder / "password").write_text("second\n")
    assert (await desk.take())[-1]["changed"] == ["broker"]
    assert [settings.password for settings in desk.source.renewed] == ["second"]
    (desk.folder / "token").write_text("second\n")
    assert (await desk.take())[-1]["changed"] == ["sink influx"]
    assert (desk.sink._settings.token, desk.writer.woken) == ("second", 1)
    (desk.folder / "page").write_text("second\n")
    assert (await desk.take())[-1]["changed"] == ["http"]
    assert (desk.key.token, len(desk.source.renewed)) == ("second", 1)


async def test_a_certificate_counts_by_its_content(desk: Desk) -> None:
    """Under the same name, with another content: the next connection trusts by that."""
    certificates(desk.folder)
    assert (await desk.take())[-1]["changed"] == ["broker"]
    assert desk.source.renewed[0].tls is not None


async def test_all_or_nothing(desk: Desk) -> None:
    """One bad file, and nothing of it is taken; every problem is told, until all is right again."""
    (desk.folder / "password").write_text("second\n")
    (desk.folder / "token").write_text("")
    (desk.folder / "authority.pem").write_text("nonsense")
    said = await desk.take()
    assert [line["log_level"] for line in said] == ["warning", "warning"]
    told = " ".join(map(str, desk.known.credential_problems))
    assert "authority.pem: cannot be used for TLS" in told
    assert "token: this secret is empty" in told
    assert (desk.source.renewed, desk.sink._settings.token) == ([], "")
    certificates(desk.folder)
    (desk.folder / "token").write_text("second\n")
    assert (await desk.take())[-1]["changed"] == ["broker", "sink influx"]
    assert desk.known.credential_problems == ()


async def test_a_bad_settings_file_changes_nothing(desk: Desk) -> None:
    """Nor one that names no such file."""
    desk.file.write_text("no = toml = at all")
    await desk.take()
    assert "is not TOML" in str(desk.known.credential_problems[0])
    desk.file.write_text(SETTINGS.replace('"password"', '"nowhere"'))
    await desk.take()
    assert "nowhere: cannot read this secret" in str(desk.known.credential_problems[0])
    assert desk.source.renewed == []


async def test_other_settings_wait_for_a_restart(desk: Desk) -> None:
    """They are named; another user, or another file for a secret, is taken."""
    (desk.folder / "other").write_text("other\n")
    text = SETTINGS.replace('"password"', '"other"').replace('"ecluse"', '"boss"').replace("8883", "8884")
    desk.file.write_text('default_zone = "Europe/Paris"\n' + text)
    said = await desk.take()
    assert said[0]["settings"] == ["default_zone", "broker.url"]
    (renewed,) = desk.source.renewed
    assert (renewed.username, renewed.password, renewed.port) == ("boss", "other", 8883)


def test_credentials_alone_are_taken_over(desk: Desk) -> None:
    """And what is no credential is what differs."""
    desk.file.write_text(SETTINGS.replace("8086", "8087").replace('"token"', '"page"'))
    fresh = config.load(desk.file)
    taken = with_credentials_of(desk.settings, fresh)
    assert taken.sinks[0].url.endswith("8086")
    assert taken.sinks[0].token_file == desk.folder / "page"
    assert list(differences(desk.settings, fresh)) == ["sinks"]
    assert list(differences(desk.settings, desk.settings)) == []
    assert Credentials.read(taken).sinks["influx"][1] == "first page"
