"""`ecluse demo`: the whole river on this machine, in one command."""

from __future__ import annotations

import contextlib
import csv
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer
from rich.console import Console
from rich.live import Live

from gateway.cli.client import Client
from gateway.cli.failures import Exit, Unreachable, told
from gateway.cli.summary import plain_line, screen
from gateway.console.page import Demo
from gateway.demo import parts
from gateway.errors import BrokerError, ConfigurationError, Problem, QueryError
from gateway.literals import duration_ns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.demo.parts import Part, Wishes

RESTART_AFTER_S = 3.0
DRAIN_S = 60.0
FAMILIES = ("waste", "traffic", "water")


def demo(
    seconds: Annotated[
        Optional[str],  # noqa: UP045 - typer reads it at run time
        typer.Option("--for", help="End by itself after this long (30s), print the books, and judge them."),
    ] = None,
    speed: Annotated[float, typer.Option(min=1, max=10_000, help="Event seconds a second.")] = 600.0,
    devices: Annotated[int, typer.Option(min=3, max=20_000, help="Simulated devices.")] = 300,
    seed: Annotated[int, typer.Option(help="Decides everything about the simulated city.")] = 1,
    faults: Annotated[float, typer.Option(min=0, max=0.25, help="Share of malformed uplinks.")] = 0.01,
    broker: Annotated[
        str, typer.Option(help="nats (comes along), mosquitto (where installed), or a URL mqtt://…")
    ] = "nats",
    influx: Annotated[
        str,
        typer.Option(help="Also write to this InfluxDB (version 1; 2 with INFLUX_TOKEN, INFLUX_ORG set)."),
    ] = "",
    port: Annotated[int, typer.Option(help="Port of the status page; 0 takes a free one.")] = 0,
    headless: Annotated[
        bool, typer.Option("--headless", help="Plain lines instead of a live screen.")
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the folder with state and logs.")] = False,
) -> None:
    """Show the river run: a broker, this gateway, a simulated city of three families, a status page.

    Ends on Ctrl-C, or after --for. Exits 0 only if the books balance and every device was stored.

    Example: ecluse demo --for 30s --speed 600 --devices 300 --headless
    """
    console = Console(soft_wrap=True)
    with told():
        folder = Path(tempfile.mkdtemp(prefix="ecluse-demo-"))
        wishes = parts.Wishes(
            devices=devices,
            speed=speed,
            seconds=_seconds(seconds),
            seed=seed,
            faults=faults,
            broker=broker,
            influx=influx,
            port=port,
            folder=folder,
        )
        try:
            well = _show(wishes, console, headless=headless or not console.is_terminal)
        finally:
            if keep:
                console.print(f"State and logs are in {folder}")
            else:
                shutil.rmtree(folder, ignore_errors=True)
    sys.exit(Exit.OK if well else Exit.PROBLEMS)


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return duration_ns(text) / 1e9
    except ValueError as error:
        raise ConfigurationError([Problem("--for", str(error))]) from error


def _show(wishes: Wishes, console: Console, *, headless: bool) -> bool:
    """Run everything until it ends; return whether the books balance and all devices were stored."""
    with contextlib.ExitStack() as running:
        parts.write_scale(wishes)
        parts.write_fleet(wishes)
        broker, url = parts.start_broker(wishes)
        if broker is not None:
            running.callback(broker.stop)
        gateway = parts.gateway_part(wishes, url, _to_try(wishes, url).to_json())
        gateway.start()
        running.callback(gateway.stop)
        address = parts.wait_for_gateway(gateway, wishes.folder)
        client = Client(address, None)
        console.print(f"Status page: {address}/", highlight=False)
        _connected(client)  # before that nobody keeps what the city says
        city = parts.city_part(wishes, url)
        city.start()
        running.callback(city.stop)
        show = _Show(wishes, console, client, gateway, city, headless=headless)
        with contextlib.suppress(KeyboardInterrupt):
            show.watch()
        console.print("The city stops; what is on its way is waited for …")
        if city.stop() not in (0, 1):  # 1: some of its messages were not acknowledged
            raise BrokerError(f"the simulated city ended too early: {city.last_words()}")
        now = show.drained()
        stored = _stored(client)
    return _judge(console, now, _registered(wishes.folder), stored)


def _connected(client: Client) -> None:
    """Wait until the gateway has its session at the broker, or has had its time."""
    deadline = time.monotonic() + parts.START_S
    while time.monotonic() < deadline:
        with contextlib.suppress(Unreachable, QueryError):
            if client.json("/api/status")["connection"]["state"] == "connected":
                return
        time.sleep(0.1)


def _to_try(wishes: Wishes, url: str) -> Demo:
    port = url.rsplit(":", 1)[-1]
    python = Path(sys.executable)
    line = f"{python} -m firmware_sim send city/lyon/bin/bin-00001/up 'hello' --port {port}"
    pid_file = wishes.folder / "gateway.pid"
    return Demo(publish=line, kill=f"kill -9 $(cat {pid_file})", sink="" if wishes.influx else "embedded")


class _Show:
    """The loop that people look at."""

    def __init__(
        self, wishes: Wishes, console: Console, client: Client, gateway: Part, city: Part, *, headless: bool
    ) -> None:
        self._wishes = wishes
        self._console = console
        self._client = client
        self._gateway = gateway
        self._city = city
        self._headless = headless
        self._now: dict[str, Any] | None = None
        self._note_pid()

    def watch(self) -> None:
        """Show what happens until the city has ended."""
        with contextlib.ExitStack() as showing:
            live = None if self._headless else showing.enter_context(Live(console=self._console))
            for _ in self._ticks():
                self._revive()
                now = self._ask()
                if now is None:
                    continue
                if live is None:
                    self._console.print(plain_line(now), highlight=False)
                else:
                    live.update(screen(now, self._latest(), self._client.url))

    def drained(self) -> dict[str, Any]:
        """Return the status once nothing is on its way any more. Raises Unreachable."""
        deadline, before = time.monotonic() + DRAIN_S, None
        while time.monotonic() < deadline:
            self._revive()
            now = self._ask()
            if now is not None and _idle(now):
                if before == now["uplinks"]["journalled"]:
                    return now
                before = now["uplinks"]["journalled"]
            time.sleep(1.5)
        if self._now is None:
            raise Unreachable("the gateway does not answer any more", hint=self._gateway.last_words())
        return self._now

    def _ticks(self) -> Iterator[None]:
        while self._city.running:
            yield
            time.sleep(1)

    def _revive(self) -> None:
        if not self._gateway.running:
            self._console.print(f"The gateway is gone; it starts again in {RESTART_AFTER_S:.0f} s …")
            time.sleep(RESTART_AFTER_S)
            self._gateway.start()
            self._note_pid()
            self._client.url = parts.wait_for_gateway(self._gateway, self._wishes.folder)

    def _note_pid(self) -> None:
        process = self._gateway.process
        if process is not None:
            (self._wishes.folder / "gateway.pid").write_text(str(process.pid), encoding="utf-8")

    def _ask(self) -> dict[str, Any] | None:
        with contextlib.suppress(Unreachable, QueryError):
            self._now = self._client.json("/api/status")
            return self._now
        return None

    def _latest(self) -> dict[str, Any]:
        answers = {}
        for family in FAMILIES:
            with contextlib.suppress(Unreachable, QueryError):
                answers[family] = self._client.json("/api/query", {"latest": family})
        return answers


def _idle(now: dict[str, Any]) -> bool:
    waiting = sum(book["waiting"] for book in now["sinks"].values())
    return not now["uplinks"]["pending"] and not waiting


def _registered(folder: Path) -> set[str]:
    with (folder / "devices.csv").open(encoding="utf-8", newline="") as file:
        return {row["id"] for row in csv.DictReader(file)}


def _stored(client: Client) -> set[str]:
    stored: set[str] = set()
    for family in FAMILIES:
        with contextlib.suppress(QueryError):
            answer = client.json("/api/query", {"latest": family})
            column = answer["columns"].index("device")
            stored |= {row[column] for row in answer["rows"]}
    return stored


def _judge(console: Console, now: dict[str, Any], registered: set[str], stored: set[str]) -> bool:
    from gateway.cli.status import books_table  # noqa: PLC0415 - rich tables only where they are printed

    console.print(books_table(now))
    missing = sorted(registered - stored)
    console.print(f"Devices stored: {len(registered) - len(missing)} of {len(registered)}")
    if missing:
        console.print(f"[red]Not stored:[/] {', '.join(missing[:10])}")
    if not now["balanced"]:
        console.print("[red]The books do not balance.[/]")
    return bool(now["balanced"]) and not missing
