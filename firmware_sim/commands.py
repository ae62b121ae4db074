"""The commands: `run` publishes a living city, `backfill` a past span of it, `fleet` only lists it.

Exit codes: 0 everything published was acknowledged; 1 some was not; 2 wrong usage; 3 no broker, or
it refused us.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from paho.mqtt import MQTTException, publish

from firmware_sim.clock import Pace, Scale, now_ns
from firmware_sim.connection import Broker
from firmware_sim.faults import Rates
from firmware_sim.fleet import SITE, Fleet, FleetError, write_devices
from firmware_sim.model import DAY, MINUTE, SECOND, Span
from firmware_sim.publish import BrokerRefused
from firmware_sim.session import Plan, perform_until_signal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paho.mqtt.publish import AuthParameter

NOT_ACKNOWLEDGED, USAGE, NO_BROKER = 1, 2, 3
PASSWORD_VARIABLE = "FIRMWARE_SIM_PASSWORD"  # noqa: S105 - a name, not a secret
UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
BOOT_SPREAD_S = 5.0

app = typer.Typer(
    help="A believable city of sensors - bins, traffic counters, water meters - that publishes over MQTT.",
    epilog="Everything follows from --seed: the same seed and origin give the same city.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Host = Annotated[str, typer.Option(help="The broker's address.")]
Port = Annotated[int, typer.Option(help="The broker's port.", min=1, max=65_535)]
Devices = Annotated[int, typer.Option(help="How many devices: 5 bins : 2 counters : 3 meters.", min=1)]
Seed = Annotated[int, typer.Option(help="Decides everything about the city.", min=0)]
Site = Annotated[str, typer.Option(help="The site in the devices' topics.")]
LedgerFile = Annotated[
    Path | None,
    typer.Option("--ledger", help="Write down here what was published and what is true (JSON Lines)."),
]
FleetFile = Annotated[
    Path | None, typer.Option("--fleet", help="Write devices.csv here, for the gateway.", dir_okay=False)
]
Faults = Annotated[
    float,
    typer.Option(
        help="Share of malformed uplinks; duplicates, disorder, outages follow from it.", min=0, max=0.25
    ),
]
DriftS = Annotated[
    float, typer.Option("--drift", help="Device clocks are off by up to this many seconds.", min=0)
]
Connections = Annotated[int, typer.Option(help="Connections that the devices share; 0 = one each.", min=0)]
Window = Annotated[int, typer.Option(help="Messages in flight on a connection.", min=1, max=60_000)]
Version = Annotated[Literal["3.1.1", "5"], typer.Option("--mqtt", help="Version of MQTT.")]
User = Annotated[
    str | None,
    typer.Option(
        "--user", help=f"User name; the password comes from ${PASSWORD_VARIABLE} or --password-file."
    ),
]
PasswordFile = Annotated[
    Path | None, typer.Option(help="File whose first line is the password.", exists=True)
]
Tls = Annotated[bool, typer.Option("--tls", help="Use TLS, with the system's authorities or --ca-file.")]
CaFile = Annotated[
    Path | None, typer.Option(help="Certificate of the broker's authority (PEM).", exists=True)
]
Certificate = Annotated[Path | None, typer.Option(help="Client certificate (PEM).", exists=True)]
Key = Annotated[Path | None, typer.Option(help="Key of the client certificate (PEM).", exists=True)]
Messages = Annotated[int | None, typer.Option(help="End after this many messages.", min=1)]
Origin = Annotated[
    str | None,
    typer.Option(
        help="When this city begins (RFC 3339): give the same to backfill and run to go on with it."
    ),
]
Patience = Annotated[float, typer.Option(help="Seconds to wait for a broker at the start.", min=0)]
Drain = Annotated[
    float, typer.Option(help="Seconds to wait for the last acknowledgements at the end.", min=0)
]


def duration_s(text: str) -> float:
    """Return the seconds of `30s`, `5m`, `2h` or `1d`. Raises ValueError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if found is None or float(found[1]) == 0:
        raise ValueError(f"{text!r} is no duration: say 30s, 5m, 2h or 1d")
    return float(found[1]) * UNITS[found[2]]


def moment_ns(text: str, now: int) -> int:
    """Return a time: RFC 3339 (UTC where it says no zone), or how long ago (`3d`). Raises ValueError."""
    if re.fullmatch(r"[\d.]+[smhd]", text):
        return now - int(duration_s(text) * SECOND)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(
            f"{text!r} is no time: say 2026-11-22T10:00:00Z, or 3d for three days ago"
        ) from error
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()) * SECOND


@app.command()
def run(
    *,
    host: Host = "127.0.0.1",
    port: Port = 1883,
    devices: Devices = 300,
    speed: Annotated[float, typer.Option(help="Event seconds a wall second.", min=0.001)] = 1.0,
    for_: Annotated[
        str | None, typer.Option("--for", help="End after this long (30s, 5m, 2h); else on SIGTERM.")
    ] = None,
    seed: Seed = 1,
    scale_file: Annotated[
        Path | None,
        typer.Option(
            help="Scaled time shared with the gateway: read if it is there (its speed counts), else written."
        ),
    ] = None,
    ledger: LedgerFile = None,
    fleet: FleetFile = None,
    faults: Faults = 0.01,
    drift: DriftS = 60.0,
    site: Site = SITE,
    connections: Connections = 4,
    window: Window = 1_000,
    mqtt: Version = "3.1.1",
    user: User = None,
    password_file: PasswordFile = None,
    tls: Tls = False,
    ca_file: CaFile = None,
    certificate: Certificate = None,
    key: Key = None,
    messages: Messages = None,
    origin: Origin = None,
    patience: Patience = 60.0,
    drain: Drain = 30.0,
) -> None:
    """Publish a living city at the pace of event time.

    Every device sends a first message at once, then bins and counters every 15 minutes of event time
    and meters every hour, each at its own moment. Where the pace is more than the machine or the
    broker can do, it says so and catches up: nothing is skipped.

    Example: python -m firmware_sim run --devices 300 --speed 600 --for 30s --fleet devices.csv
    """
    with _usage():
        seconds = duration_s(for_) if for_ else None
        scale = _scale(scale_file, speed)
        start = scale.event_ns(now_ns())
        begins = scale.event_origin_ns if scale_file else start // DAY * DAY
        spread = min(BOOT_SPREAD_S, seconds / 4 if seconds else BOOT_SPREAD_S) * scale.factor
        plan = Plan(
            specs=Fleet.of(devices, site=site).specs(seed),
            span=Span(
                seed=seed,
                origin_ns=moment_ns(origin, start) if origin else begins,
                start_ns=start,
                boot_spread_ns=min(int(spread * SECOND), 5 * MINUTE),
                drift_ns=int(drift * SECOND),
            ),
            rates=Rates.of(faults),
            pace=Pace(scale),
            end_ns=start + int(seconds * scale.factor * SECOND) if seconds else None,
            messages=messages,
            ledger=ledger,
            broker=_broker(host, port, mqtt, user, password_file, tls=tls, files=(ca_file, certificate, key)),
            connections=connections,
            window=window,
            patience_s=patience,
            drain_s=drain,
        )
        if fleet is not None:
            write_devices(fleet, plan.specs)
    _perform(plan)


@app.command()
def backfill(
    *,
    from_: Annotated[
        str, typer.Option("--from", help="Start of the span: RFC 3339, or 3d for three days ago.")
    ],
    to: Annotated[str | None, typer.Option(help="End of the span; else now.")] = None,
    host: Host = "127.0.0.1",
    port: Port = 1883,
    devices: Devices = 300,
    seed: Seed = 1,
    ledger: LedgerFile = None,
    fleet: FleetFile = None,
    faults: Faults = 0.01,
    drift: DriftS = 60.0,
    site: Site = SITE,
    connections: Connections = 4,
    window: Window = 1_000,
    mqtt: Version = "3.1.1",
    user: User = None,
    password_file: PasswordFile = None,
    tls: Tls = False,
    ca_file: CaFile = None,
    certificate: Certificate = None,
    key: Key = None,
    messages: Messages = None,
    origin: Origin = None,
    patience: Patience = 60.0,
    drain: Drain = 60.0,
) -> None:
    """Publish a past span of the city as fast as the broker takes it, with its original times.

    Example: python -m firmware_sim backfill --from 2d --devices 300 --ledger ledger.jsonl
    """
    with _usage():
        now = now_ns()
        start, end = moment_ns(from_, now), moment_ns(to, now) if to else now
        if start >= end:
            raise ValueError("--from must lie before --to")
        plan = Plan(
            specs=Fleet.of(devices, site=site).specs(seed),
            span=Span(
                seed=seed,
                origin_ns=moment_ns(origin, now) if origin else start,
                start_ns=start,
                drift_ns=int(drift * SECOND),
            ),
            rates=Rates.of(faults),
            pace=Pace(None),
            end_ns=end,
            messages=messages,
            ledger=ledger,
            broker=_broker(host, port, mqtt, user, password_file, tls=tls, files=(ca_file, certificate, key)),
            connections=connections,
            window=window,
            patience_s=patience,
            drain_s=drain,
        )
        if fleet is not None:
            write_devices(fleet, plan.specs)
    _perform(plan)


@app.command(name="fleet")
def fleet_(
    path: Annotated[Path, typer.Argument(help="Where to write devices.csv.", dir_okay=False)],
    devices: Devices = 300,
    seed: Seed = 1,
    site: Site = SITE,
) -> None:
    """Only write devices.csv: names, places and parameters of the simulated devices."""
    with _usage():
        specs = Fleet.of(devices, site=site).specs(seed)
        write_devices(path, specs)
    typer.echo(f"{len(specs)} devices in {path}")


def _perform(plan: Plan) -> None:
    try:
        tally = asyncio.run(perform_until_signal(plan, say=_say))
    except BrokerRefused as error:
        _say(f"No run: {error}")
        raise typer.Exit(NO_BROKER) from error
    except OSError as error:
        _say(f"No run: {error}")
        raise typer.Exit(USAGE) from error
    rate = tally.messages / tally.seconds if tally.seconds else 0.0
    typer.echo(
        f"{tally.messages} messages published, {tally.acknowledged} acknowledged, {tally.resent} sent again,"
        f" {rate:.0f} a second, at most {max(tally.worst_lag_s, 0):.1f} s behind"
    )
    if tally.outstanding or tally.refused:
        _say(
            f"{tally.outstanding} messages were not acknowledged, {tally.refused} were refused by the broker"
        )
        raise typer.Exit(NOT_ACKNOWLEDGED)


@contextlib.contextmanager
def _usage() -> Iterator[None]:
    """Turn what the caller can mend into one sentence."""
    try:
        yield
    except (ValueError, FleetError, OSError) as error:
        _say(str(error))
        raise typer.Exit(USAGE) from error


def _scale(path: Path | None, speed: float) -> Scale:
    """Return the scale of the file, or a new one that starts now (and is written where a file is named)."""
    if path is not None and path.exists():
        scale = Scale.read(path)
        if scale.factor != speed:
            _say(f"{path} runs at {scale.factor:g} times real time: its speed counts")
        return scale
    scale = Scale.starting_now(speed)
    if path is not None:
        scale.write(path)
    return scale


def _broker(
    host: str,
    port: int,
    mqtt: Literal["3.1.1", "5"],
    user: str | None,
    password_file: Path | None,
    *,
    tls: bool,
    files: tuple[Path | None, Path | None, Path | None],
) -> Broker:
    password = os.environ.get(PASSWORD_VARIABLE)
    if password_file is not None:
        password = password_file.read_text(encoding="utf-8").partition("\n")[0]
    ca_file, certificate, key = files
    return Broker(
        host=host,
        port=port,
        version=5 if mqtt == "5" else 4,
        username=user,
        password=password if user is not None else None,
        tls=tls or ca_file is not None,
        ca_file=ca_file,
        certificate=certificate,
        key=key,
    )


def _say(text: str) -> None:
    typer.echo(text, err=True)


@app.command()
def send(
    topic: Annotated[str, typer.Argument(help="Such as city/lyon/bin/bin-00001/up.")],
    payload: Annotated[str, typer.Argument(help="Any text; what is not understood goes to quarantine.")],
    *,
    host: Host = "127.0.0.1",
    port: Port = 1883,
    user: User = None,
    password_file: PasswordFile = None,
) -> None:
    """Publish one line, as a single device would, at QoS 1.

    Example: python -m firmware_sim send city/lyon/bin/bin-00001/up 'hello'
    """
    broker = _broker(host, port, "3.1.1", user, password_file, tls=False, files=(None, None, None))
    auth: AuthParameter | None = None
    if broker.username:
        auth = {"username": broker.username, "password": broker.password or ""}
    try:
        publish.single(topic, payload, qos=1, hostname=host, port=port, auth=auth)
    except (OSError, MQTTException) as error:
        typer.echo(f"The broker at {host}:{port} did not take it: {error}", err=True)
        raise typer.Exit(NO_BROKER) from error
    typer.echo("acknowledged by the broker")
