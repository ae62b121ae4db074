"""The parts of the demonstration, each a process of its own: broker, gateway, simulated city."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import gateway
from gateway.api.address import ADDRESS_FILE
from gateway.clock import Scale, SystemClock
from gateway.errors import BrokerError, ConfigurationError, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

START_S = 30.0
STOP_S = 30.0
_THIS_MACHINE = "# --- This machine"


@dataclass(slots=True)
class Part:
    """A process and its log. `start` may be called again after it ended."""

    name: str
    command: Sequence[str]
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; its output goes to the log."""
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(  # noqa: S603 - our own command
                self.command,
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env=_own_environment(),
            )

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self.process is not None and self.process.poll() is None

    def stop(self) -> int | None:
        """End it politely, then for good; return its exit code."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(timeout=STOP_S)
        return self.process.returncode

    def last_words(self) -> str:
        """Return the end of its log."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-1_500:].strip()


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the demonstration was asked for."""

    devices: int = 300
    speed: float = 600.0
    seconds: float | None = None
    seed: int = 1
    faults: float = 0.01
    broker: str = "nats"
    """`nats`, `mosquitto`, or the URL of a running broker."""
    influx: str = ""
    port: int = 0
    folder: Path = field(default_factory=Path)


def _own_environment() -> dict[str, str]:
    """Return the environment without settings of another gateway: they would win over the demo's file."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ECLUSE_")}


def free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_broker(wishes: Wishes) -> tuple[Part | None, str]:
    """Start the broker that was wished for, or take a running one; return it and its URL.

    Raises ConfigurationError or BrokerError.
    """
    if "://" in wishes.broker:
        return None, wishes.broker
    port = free_port()
    if wishes.broker == "nats":
        command = _nats(wishes.folder, port)
    elif wishes.broker == "mosquitto":
        command = _mosquitto(wishes.folder, port)
    else:
        problem = Problem(
            "--broker", f"{wishes.broker!r} is not known", "nats, mosquitto, or mqtt://HOST:PORT"
        )
        raise ConfigurationError([problem])
    part = Part("broker", command, wishes.folder / "broker.log")
    part.start()
    _wait_for(part, lambda: _listens(port))
    return part, f"mqtt://127.0.0.1:{port}"


def _nats(folder: Path, port: int) -> list[str]:
    program = Path(sysconfig.get_path("scripts")) / "nats-server"
    settings = folder / "nats.conf"
    settings.write_text(
        f'server_name: "ecluse-demo"\nlisten: "127.0.0.1:{free_port()}"\n'
        f'jetstream {{ store_dir: "{folder}/nats" }}\n'
        f'mqtt {{ listen: "127.0.0.1:{port}", max_ack_pending: 10000, ack_wait: "5s" }}\n',
        encoding="utf-8",
    )
    return [str(program), "-c", str(settings)]


def _mosquitto(folder: Path, port: int) -> list[str]:
    program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        hint = "install it, or leave --broker away: the demonstration brings its own"
        raise ConfigurationError([Problem("--broker", "mosquitto is not installed", hint)])
    shipped = (_project() / "deploy" / "mosquitto" / "mosquitto.conf").read_text(encoding="utf-8")
    common = shipped.split(_THIS_MACHINE)[0].replace("allow_anonymous false", "allow_anonymous true")
    data = folder / "mosquitto"
    data.mkdir(exist_ok=True)
    user = "user root\n" if os.geteuid() == 0 else ""
    settings = folder / "mosquitto.conf"
    own = f"listener {port} 127.0.0.1\npersistence_location {data}/\nlog_dest stderr\n{user}"
    settings.write_text(f"{common}\n{own}", encoding="utf-8")
    return [program, "-c", str(settings)]


def gateway_part(wishes: Wishes, broker_url: str, demo_json: str) -> Part:
    """Write the gateway's settings, and return its part."""
    settings = wishes.folder / "ecluse.toml"
    sinks = '[[sinks]]\nname = "embedded"\nkind = "embedded"\n' + (_influx(wishes) if wishes.influx else "")
    plain = urlsplit(broker_url).scheme == "mqtt"
    settings.write_text(
        f'state_dir = "state"\nprofiles_dir = {_quoted(_project() / "device_profiles")}\n'
        f'time_scale_file = "scale.json"\ndefault_zone = "Europe/Paris"\n'
        f'[sites.lyon]\nzone = "Europe/Paris"\n'
        f'[broker]\nurl = {_quoted(broker_url)}\nclient_id = "ecluse-demo"\n'
        f"allow_plaintext = {str(plain).lower()}\n"
        f'[http]\nport = {wishes.port}\n[devices]\nfile = "devices.csv"\n{sinks}',
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "gateway", "run", "--config", str(settings), "--demo-try", demo_json]
    return Part("gateway", command, wishes.folder / "gateway.log")


def _influx(wishes: Wishes) -> str:
    """Return the settings of a database beside the embedded store; its token has a file of its own."""
    sink = f'[[sinks]]\nname = "influx"\nurl = {_quoted(wishes.influx)}\ncreate = true\n'
    token = os.environ.get("INFLUX_TOKEN")
    if not token:
        return sink + 'kind = "influxdb1"\n'
    file = wishes.folder / "influx.token"
    file.touch(mode=0o600)
    file.write_text(token, encoding="utf-8")
    org = _quoted(os.environ.get("INFLUX_ORG", ""))
    return f'{sink}kind = "influxdb2"\norg = {org}\ntoken_file = {_quoted(file)}\n'


def _quoted(text: object) -> str:
    """Return a text as TOML writes it: its basic strings escape as JSON does."""
    return json.dumps(str(text))


def write_fleet(wishes: Wishes) -> None:
    """Write devices.csv of the simulated city. Raises ConfigurationError."""
    _simulator(
        wishes,
        "fleet",
        str(wishes.folder / "devices.csv"),
        "--devices",
        str(wishes.devices),
        "--seed",
        str(wishes.seed),
    )


def _simulator(wishes: Wishes, *arguments: str) -> None:
    done = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "firmware_sim", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=wishes.folder,
    )
    if done.returncode:
        raise ConfigurationError([Problem("simulator", (done.stderr or done.stdout).strip()[-500:])])


def city_part(wishes: Wishes, broker_url: str) -> Part:
    """Return the simulated city's part."""
    parts = urlsplit(broker_url)
    command = [
        sys.executable,
        "-m",
        "firmware_sim",
        "run",
        "--host",
        parts.hostname or "",
        "--port",
        str(parts.port or 1883),
    ]
    command += ["--devices", str(wishes.devices), "--seed", str(wishes.seed), "--faults", str(wishes.faults)]
    command += [
        "--scale-file",
        str(wishes.folder / "scale.json"),
        "--ledger",
        str(wishes.folder / "ledger.jsonl"),
    ]
    if wishes.seconds is not None:
        command += ["--for", f"{wishes.seconds:g}s"]
    return Part("city", command, wishes.folder / "city.log")


def write_scale(wishes: Wishes) -> Scale:
    """Begin scaled time now, in the demonstration's folder."""
    now = SystemClock().now_ns()
    scale = Scale(wall_origin_ns=now, event_origin_ns=now, factor=wishes.speed)
    scale.write(wishes.folder / "scale.json")
    return scale


def wait_for_gateway(part: Part, folder: Path) -> str:
    """Return the gateway's address once it answers. Raises BrokerError with its last words."""
    address = folder / "state" / ADDRESS_FILE

    def answers() -> bool:
        if not address.is_file():
            return False
        url = urlsplit(address.read_text(encoding="utf-8").strip())
        return _listens(url.port or 0)

    _wait_for(part, answers)
    return address.read_text(encoding="utf-8").strip()


def _wait_for(part: Part, ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if ready():
            return
        if not part.running:
            raise BrokerError(f"the {part.name} ended at once: {part.last_words()}")
        time.sleep(0.05)
    raise BrokerError(f"the {part.name} was not ready within {START_S:.0f} s: {part.last_words()}")


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.5):
        return True
    return False


def _project() -> Path:
    """Return the folder that holds device_profiles and deploy. Raises ConfigurationError."""
    folder = Path(gateway.__file__).parent.parent
    if not (folder / "device_profiles").is_dir():
        hint = "run it from a clone of the repository: make demo"
        raise ConfigurationError([Problem(str(folder), "there are no device_profiles here", hint)])
    return folder
