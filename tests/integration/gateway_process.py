"""The gateway as an operator runs it: settings in a file, a process of its own, its HTTP to ask it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.databases import fetch
from tests.processes import stop, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from firmware_sim.clock import Scale
    from tests.brokers import Broker

PROJECT = Path(__file__).parent.parent.parent
START_S = 40.0
STOP_S = 60.0
ASK_EVERY_S = 0.1
"""Asked more often, the gateway would do little else."""


@dataclass
class GatewayProcess:
    """A gateway with its files under `folder`; it may be killed and started again.

    `module` is what is run, `environment` what it is given beside the test's own.
    """

    folder: Path
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0
    program: Sequence[str] = ("-m", "gateway")
    """What Python runs as `ecluse`."""
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def state(self) -> Path:
        """Its state folder."""
        return self.folder / "state"

    @property
    def devices(self) -> Path:
        """Its devices' file."""
        return self.folder / "devices.csv"

    @property
    def log(self) -> str:
        """What it has said in all its lives."""
        with contextlib.suppress(OSError):
            return (self.folder / "gateway.log").read_text(encoding="utf-8", errors="replace")
        return ""

    @property
    def url(self) -> str:
        """Where it answers; empty before it has said so."""
        with contextlib.suppress(OSError):
            return (self.state / "http.address").read_text(encoding="utf-8").strip()
        return ""

    def start(self, *, ready: bool = True, also: Mapping[str, str] | None = None) -> None:
        """Start it (again); return once it answers and is connected, unless `ready` is False.

        `also`: its environment in this life alone.
        """
        assert self.process is None or self.process.poll() is not None, "it runs already"
        address = self.state / "http.address"
        if address.exists():  # on a disk that is read-only even a file that is not there cannot be unlinked
            address.unlink()
        command = [sys.executable, *self.program, "run", "--config", str(self.folder / "ecluse.toml")]
        environment = os.environ | self.environment | dict(also or {})
        with (self.folder / "gateway.log").open("ab") as out:
            self.process = subprocess.Popen(
                command,
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=PROJECT,
                env=environment,
            )
        self.starts += 1
        if ready:
            self.wait(lambda now: now["connection"]["state"] == "connected", "connected to the broker")

    def kill(self) -> None:
        """SIGKILL: it has no time for anything."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(timeout=STOP_S)

    def stop(self) -> int:
        """SIGTERM; return its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=STOP_S)

    def ended(self, *, within_s: float = START_S) -> int:
        """Return its exit code once it has ended by itself."""
        assert self.process is not None
        try:
            return self.process.wait(timeout=within_s)
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"it still runs: {self.log[-3000:]}") from error

    def status(self) -> dict[str, Any] | None:
        """Return /api/status; None where nobody answers."""
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            answer: dict[str, Any] = json.loads(fetch(f"{self.url}/api/status", timeout_s=10))
            return answer
        return None

    def component(self, name: str) -> dict[str, Any]:
        """Return what the status says of one part; an empty dict where nobody answers."""
        now = self.status() or {"components": []}
        return next((part for part in now["components"] if part["name"] == name), {})

    def ask(self, question: Mapping[str, str]) -> dict[str, Any]:
        """Put a question to the embedded store, as `ecluse query` does."""
        query = "&".join(f"{key}={value}" for key, value in question.items())
        answer: dict[str, Any] = json.loads(fetch(f"{self.url}/api/query?{query}"))
        return answer

    def wait(
        self, condition: Callable[[dict[str, Any]], bool], what: str, *, within_s: float = START_S
    ) -> dict[str, Any]:
        """Return the status once the condition holds of it; fails at once where the gateway has ended."""
        found: list[dict[str, Any]] = []

        def holds() -> bool:
            if self.process is not None and self.process.poll() is not None:
                raise AssertionError(f"{what}: ended with {self.process.returncode}\n{self.log[-3000:]}")
            threading.Event().wait(ASK_EVERY_S)
            now = self.status()
            found[:] = [now] if now is not None else found
            return now is not None and condition(now)

        try:
            wait_until(holds, within_s=within_s, what=what)
        except AssertionError as error:
            seen = json.dumps(found[-1])[:6000] if found else "it never answered"
            raise AssertionError(f"{error}\n{seen}\n{self.log[-3000:]}") from error
        return found[-1]

    def drained(self, *, uplinks: int = 0, of: Collection[str] = (), within_s: float = 120) -> dict[str, Any]:
        """Return the status once all is treated and stored: nothing pending, nothing waiting, all calm.

        `uplinks`: so many must be in the journal at least. `of`: the sinks that count (all of them).
        """
        calm: list[tuple[int, int, float]] = []

        def is_calm(now: dict[str, Any]) -> bool:
            waiting = sum(book["waiting"] for name, book in now["sinks"].items() if not of or name in of)
            received = now["queues"].get("received", {"items": 0})["items"]
            journalled = now["uplinks"]["journalled"]
            if now["uplinks"]["pending"] or waiting or received or journalled < uplinks:
                calm.clear()
                return False
            made = sum(book["made"] for book in now["sinks"].values())
            if calm and calm[0][:2] == (journalled, made):
                return time.monotonic() - calm[0][2] > 1.5
            calm[:] = [(journalled, made, time.monotonic())]
            return False

        return self.wait(is_calm, "drained", within_s=within_s)


@contextlib.contextmanager
def gateway(
    folder: Path,
    broker: Broker,
    *sinks: Mapping[str, Any],
    scale: Scale | None = None,
    profiles: Path | None = None,
    start: bool = True,
    more: Mapping[str, Any] | None = None,
) -> Iterator[GatewayProcess]:
    """Write the settings of a gateway, start it, end it with the block.

    `sinks` defaults to the embedded store; `more` are further settings, which win.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if scale is not None:
        scale.write(folder / "scale.json")
    if not (folder / "devices.csv").exists():
        (folder / "devices.csv").write_text("site,id,profile\n", encoding="utf-8")
    write_settings(folder, broker, *sinks, scaled=scale is not None, profiles=profiles, more=more)
    running = GatewayProcess(folder)
    try:
        if start:
            running.start()
        yield running
    finally:
        if running.process is not None:
            stop(running.process)


def write_settings(
    folder: Path,
    broker: Broker,
    *sinks: Mapping[str, Any],
    scaled: bool = False,
    profiles: Path | None = None,
    more: Mapping[str, Any] | None = None,
) -> Path:
    """Write ecluse.toml into a folder; return its path."""
    values: dict[str, Any] = {
        "state_dir": "state",
        "profiles_dir": str(profiles or PROJECT / "device_profiles"),
        "default_zone": "Europe/Paris",
    }
    if scaled:
        values["time_scale_file"] = "scale.json"
    values["sites"] = {"lyon": {"zone": "Europe/Paris"}}
    values["broker"] = {"url": broker.url, "client_id": "ecluse-test"}
    values["http"] = {"port": 0}
    values["devices"] = {"file": "devices.csv"}
    values["log"] = {"format": "json"}
    for name, section in (more or {}).items():
        values[name] = values.get(name, {}) | section if isinstance(section, dict) else section
    values["sinks"] = list(sinks) or [{"name": "embedded", "kind": "embedded"}]
    path = folder / "ecluse.toml"
    path.write_text("\n".join(_toml(values)) + "\n", encoding="utf-8")
    return path


def own_profiles(folder: Path) -> Path:
    """Copy the shipped profiles, so that a test may change them; return the copy."""
    shutil.copytree(PROJECT / "device_profiles", folder / "profiles")
    return folder / "profiles"


def _toml(values: Mapping[str, Any], inside: str = "") -> Iterator[str]:
    """Yield the lines of a TOML file: plain values first, then tables, then lists of tables."""
    plain = {key: value for key, value in values.items() if not isinstance(value, dict | list)}
    yield from (f"{key} = {json.dumps(value)}" for key, value in plain.items())
    for key, value in values.items():
        name = f"{inside}.{key}" if inside else key
        if isinstance(value, dict):
            yield f"[{name}]"
            yield from _toml(value, name)
        elif isinstance(value, list):
            for element in value:
                yield f"[[{name}]]"
                yield from _toml(element, name)
