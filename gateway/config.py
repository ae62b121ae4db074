"""Settings: one TOML file plus environment, read once, frozen, complete; every error at once.

`ECLUSE_BROKER__PASSWORD=…` in the environment wins over `password` under `[broker]` in the file.
Secrets come from the environment or from files (`password_file`), and print as `**********`.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from gateway.config_paths import anchored
from gateway.config_problems import NESTED, PREFIX, problems, unknown_variables
from gateway.config_types import Duration, Rate, SinkName, Size, Zone, address
from gateway.errors import ConfigurationError, Problem
from gateway.literals import SINK_TOPIC, is_loopback, topic_problem


def _written(default: str, description: str) -> Any:  # noqa: ANN401 - pydantic's own Field is Any too
    """A field whose default is written as in the file, and read like the file."""
    return Field(default=default, description=description)


class Section(BaseModel):
    """A table of the file: frozen; an unknown key is an error; a default is written as in the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, hide_input_in_errors=True)


class Site(Section):
    """A site: where its days begin and end."""

    zone: Zone = Field(description="IANA time zone of the site: hours, days are aligned in it.")


class Broker(Section):
    """The MQTT broker that devices publish to."""

    url: str = Field(
        default="mqtt://127.0.0.1:1883",
        description="mqtt:// or mqtts:// (TLS), host and port. Without TLS only on loopback, "
        "unless allow_plaintext says otherwise.",
    )
    client_id: str = Field(
        default="ecluse",
        min_length=1,
        max_length=128,
        description="Fixed: the broker keeps the session, and what came meanwhile, under this name. "
        "Two gateways never share one.",
    )
    username: str | None = Field(default=None, description="User at the broker.")
    password: SecretStr | None = Field(default=None, description="Better in ECLUSE_BROKER__PASSWORD.")
    password_file: Path | None = Field(default=None, description="A file that holds the password.")
    ca_file: Path | None = Field(default=None, description="PEM of the authority that signed the broker.")
    certificate_file: Path | None = Field(default=None, description="PEM of this gateway's certificate.")
    key_file: Path | None = Field(default=None, description="PEM of this gateway's key.")
    allow_plaintext: bool = Field(
        default=False, description="Allow mqtt:// to another machine: anyone reads it."
    )
    protocol: Literal["auto", "5", "3.1.1"] = Field(
        default="auto",
        description="MQTT level; auto tries 5, then 3.1.1 (which has fewer messages in flight).",
    )
    keepalive: Duration = _written(
        "30s", "A dead connection is noticed after 1.5 times this; shorter: more packets when idle."
    )
    session_expiry: Duration = _written(
        "7d", "How long the broker keeps our session (MQTT 5), and in its memory what came meanwhile."
    )
    memory: Size = _written(
        "64MB",
        "Memory for uplinks read and not yet acknowledged; beyond, the socket is paused and "
        "the broker waits.",
    )
    max_packet: Size = _written(
        "256kB",
        "Larger packets are held back by the broker (MQTT 5); of those that come all the same the first "
        "bytes are kept.",
    )
    queue: Size = _written(
        "1GB",
        "What the broker keeps for us while we are away (max_queued_bytes of "
        "deploy/mosquitto/mosquitto.conf). Only `ecluse check` reads it.",
    )
    silence: Duration = _written(
        "0s",
        "Connected, but nothing heard for this long: reconnect. 0s: five times the "
        "shortest interval that the profiles expect.",
    )

    @model_validator(mode="after")
    def _safe(self) -> Broker:
        parts = address(self.url)
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
            raise ValueError("url: must look like mqtt://127.0.0.1:1883 or mqtts://broker.example:8883")
        if parts.username or parts.password:
            raise ValueError("url: no user or password in it; use username and ECLUSE_BROKER__PASSWORD")
        if parts.scheme == "mqtt" and not self.allow_plaintext and not is_loopback(parts.hostname):
            raise ValueError(
                "url: mqtt:// off this machine sends all in clear; use mqtts://, or allow_plaintext = true"
            )
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file come together")
        return self

    @property
    def host(self) -> str:
        """The broker's host name."""
        return urlsplit(self.url).hostname or ""

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return urlsplit(self.url).scheme == "mqtts"

    @property
    def port(self) -> int:
        """The broker's port: 1883, or 8883 with TLS, unless given."""
        return urlsplit(self.url).port or (8883 if self.tls else 1883)


class Sink(Section):
    """Where points go. Sinks that take the same bytes share one outbox."""

    name: SinkName = Field(description="Its name in metrics and messages.")
    kind: Literal["influxdb2", "influxdb3", "influxdb1", "victoriametrics", "embedded", "mqtt"] = Field(
        description="What is written to; embedded is a DuckDB file in the state folder, mqtt a broker."
    )
    url: str = Field(
        default="",
        description="http(s):// of the server, mqtt(s):// of a broker; none of the embedded store.",
    )
    org: str = Field(default="", description="Organisation (InfluxDB 2).")
    bucket: str = Field(default="ecluse", description="Bucket (InfluxDB 2, 3) or database (InfluxDB 1).")
    username: str | None = Field(default=None, description="User (InfluxDB 1).")
    token: SecretStr | None = Field(default=None, description="Token, or password of the user.")
    token_file: Path | None = Field(default=None, description="A file that holds the token.")
    timeout: Duration = _written(
        "30s", "An answer later than this counts as none, and the points are sent again."
    )
    topic: str = Field(
        default=SINK_TOPIC,
        description="MQTT: where a point goes; {measurement} and the names of tags are replaced.",
    )
    retain: bool = Field(default=False, description="MQTT: the broker keeps the last point of each topic.")
    create: bool = Field(default=False, description="InfluxDB 1: make the database where it is missing.")
    batch: int = Field(default=5_000, ge=1, le=100_000, description="Points a request: fewer are slower.")
    policy: Literal["hold", "drop-oldest"] = Field(
        default="hold",
        description="When the outbox is full: hold stops the river until this sink is back; "
        "drop-oldest gives up its oldest points, counted.",
    )
    order: Literal["backlog", "live"] = Field(
        default="backlog",
        description="What this sink gets first after it was away: backlog, all in the order in which it was "
        "made; live, what is new, and what waited in between.",
    )
    backlog_after: Duration = _written(
        "1min", "What has waited longer is backlog: what `order` and `drain_rate` speak of."
    )
    drain_rate: Rate = Field(
        default="off",
        description="Points of backlog in each second, minute or hour, such as 20000/s: a database that "
        "comes back is not overrun. With the order backlog it must be more than what is made meanwhile.",
    )
    retention: Duration = _written("30d", "Embedded store: how long points are kept.")
    window_retention: Duration = _written("400d", "Embedded store: how long windows are kept; 0s for ever.")
    size: Size = _written("0B", "Embedded store: largest file, the oldest points go first; 0B: no bound.")
    ca_file: Path | None = Field(default=None, description="PEM of the authority that signed the server.")
    allow_plaintext: bool = Field(default=False, description="Allow http:// to another machine.")

    @model_validator(mode="after")
    def _complete(self) -> Sink:
        if self.backlog_after < 10**9:
            raise ValueError(
                "backlog_after: at least 1s; the way through the gateway itself takes a part of that"
            )
        if self.kind == "embedded":
            return self
        parts = address(self.url)
        schemes = ("mqtt", "mqtts") if self.kind == "mqtt" else ("http", "https")
        if parts.scheme not in schemes or not parts.hostname:
            example = "mqtt://127.0.0.1:1883" if self.kind == "mqtt" else "http://127.0.0.1:8086"
            raise ValueError(f"url: a sink of kind {self.kind} needs one, such as {example}")
        if self.kind == "mqtt" and (problem := topic_problem(self.topic)):
            raise ValueError(f"topic: {problem}")
        if parts.scheme == schemes[0] and not self.allow_plaintext and not is_loopback(parts.hostname):
            raise ValueError(
                f"url: {schemes[0]}:// off this machine sends the token in clear; "
                f"use {schemes[1]}://, or allow_plaintext"
            )
        return self


class Journal(Section):
    """The durable log of what was received."""

    segment: Size = _written(
        "256MB", "One file each. Damage costs one segment, and disk is given back one segment at a time."
    )
    retention: Duration = _written("7d", "How far back a replay can go, in disk: about 150 bytes an uplink.")
    retention_size: Size = _written(
        "20GB", "Disk that retention may use; what is not treated yet is kept beyond it."
    )


class Checkpoint(Section):
    """How often the state is tied to a place in the journal."""

    every: Duration = _written("5s", "Longer: fewer writes, and a longer replay after a crash.")
    copy_every: Duration = _written(
        "1d", "A verified copy of the state file; two are kept, each as large as the state."
    )


class Outbox(Section):
    """The durable log of points in front of the sinks."""

    size: Size = _written(
        "10GB", "Disk for each log of points; a database that is away is waited for until it is full."
    )


class Windows(Section):
    """When windows are written."""

    grace: Duration = _written(
        "10s",
        "How long after its end a window is first written: shorter is sooner, and corrected more often.",
    )
    settle: Duration = _written("15min", "The same for stores that cannot overwrite.")
    memory: Size = _written(
        "64MB",
        "Memory for the readings behind open windows; colder ones wait on disk, and late readings "
        "fetch them back.",
    )


class Quarantine(Section):
    """Where refused uplinks wait."""

    per_device: int = Field(
        default=1_000,
        ge=1,
        description="Rows a device and reason; the oldest go first. A row holds the whole payload.",
    )
    total: int = Field(default=100_000, ge=1, description="Rows in all.")


class Devices(Section):
    """The registry's file and what happens to strangers."""

    file: Path = Field(
        default=Path("devices.csv"), description="One row a device: what belongs to its installation."
    )
    unknown: Literal["quarantine", "accept"] = Field(
        default="quarantine", description="A device that is not in the file: its uplinks wait, or are taken."
    )
    max_unknown: int = Field(
        default=1_000,
        ge=0,
        description="How many strangers are listed, or accepted: each accepted one makes series.",
    )
    max_series: int = Field(
        default=1_000_000,
        ge=1,
        description="Series a profile may create in all: memory here, and far more in the database.",
    )
    max_rate: Rate = Field(
        default="off",
        description="Messages of one device in each second, minute or hour of receipt, such as 600/min; more "
        "are refused, counted and sampled in quarantine. What a device sends after an outage counts, too.",
    )


class Http(Section):
    """The status page, the metrics and the questions of `ecluse query`."""

    host: str = Field(
        default="127.0.0.1", description="Address to listen on; off loopback a token is needed."
    )
    port: int = Field(default=8080, ge=0, le=65_535, description="0 takes a free one and says which.")
    token: SecretStr | None = Field(
        default=None, description="Asked as Bearer token, or as password of any user."
    )
    token_file: Path | None = Field(default=None, description="A file that holds the token.")

    @model_validator(mode="after")
    def _guarded(self) -> Http:
        if not is_loopback(self.host) and self.token is None and self.token_file is None:
            raise ValueError("host: off loopback anyone could read the page; set token (ECLUSE_HTTP__TOKEN)")
        return self


class Log(Section):
    """What the process says."""

    format: Literal["console", "json"] = Field(
        default="console", description="For people, or for a collector."
    )
    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="What is said; debug says every batch."
    )


class Settings(BaseSettings):
    """Everything that the gateway can be told."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=PREFIX,
        env_nested_delimiter=NESTED,
        validate_default=True,
        hide_input_in_errors=True,
    )

    state_dir: Path = Field(default=Path("state"), description="Journal, checkpoint, outbox, quarantine.")
    profiles_dir: Path = Field(default=Path("device_profiles"), description="Device profiles, a folder each.")
    time_scale_file: Path | None = Field(default=None, description="Scaled time, for demonstrations only.")
    stop_grace: Duration = _written(
        "20s",
        "How long a stop may take (SIGTERM): what is not decoded or written by then waits on disk for the "
        "next start. The supervisor must wait longer.",
    )
    default_zone: Zone = Field(default="UTC", description="Zone of sites that are not listed.")
    sites: dict[str, Site] = Field(default_factory=dict, description="Sites by name, as in the topics.")
    broker: Broker = Broker()
    sinks: tuple[Sink, ...] = Field(
        default=(Sink(name="embedded", kind="embedded"),), description="At least one.", min_length=1
    )
    journal: Journal = Journal()
    checkpoint: Checkpoint = Checkpoint()
    outbox: Outbox = Outbox()
    windows: Windows = Windows()
    quarantine: Quarantine = Quarantine()
    devices: Devices = Devices()
    http: Http = Http()
    log: Log = Log()

    @model_validator(mode="after")
    def _names_differ(self) -> Settings:
        names = [sink.name for sink in self.sinks]
        if len(set(names)) < len(names):
            raise ValueError("sinks: two of them have the same name")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file; nothing else is read."""
        del settings_cls, dotenv_settings, file_secret_settings
        return env_settings, init_settings


def secret(value: SecretStr | None, file: Path | None) -> str | None:
    """Return a secret from its setting or its file. Raises ConfigurationError (unreadable, or empty)."""
    if value is not None:
        return value.get_secret_value()
    if file is None:
        return None
    try:
        text = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError([Problem(str(file), f"cannot read this secret: {why}")]) from error
    if not text:
        raise ConfigurationError([Problem(str(file), "this secret is empty", "one line, the secret itself")])
    return text


def load(path: Path | None) -> Settings:
    """Read the file (or nothing) and the environment. Relative paths are relative to the file.

    Raises ConfigurationError with every problem, each with its path in the file.
    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigurationError([Problem(str(path), f"cannot be read: {error.strerror}")]) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigurationError([Problem(str(path), f"is not TOML: {error}")]) from error
    name = str(path) if path else "settings"
    try:
        settings = Settings(**values)
    except ValidationError as error:
        faults = problems(error, file=name, settings=Settings, environment=os.environ)
        raise ConfigurationError([*faults, *unknown_variables(Settings, os.environ)]) from error
    except SettingsError as error:
        # Of a variable that should hold JSON; the sentence names its field in quotes.
        variable = PREFIX + str(error).split('"')[1].upper() if '"' in str(error) else "environment"
        hint = "a list is given as a whole, as JSON"
        raise ConfigurationError([Problem(variable, "is not JSON", hint)]) from error
    if unknown := list(unknown_variables(Settings, os.environ)):
        raise ConfigurationError(unknown)
    return anchored(settings, path.parent if path else Path())


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the settings file."""
    return Settings.model_json_schema()
