"""`ecluse status` and `ecluse query` against a page served as a gateway serves it."""

from __future__ import annotations

import json
import os
import socket
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

from gateway.api.address import ADDRESS_FILE
from gateway.health.snapshot import ClockHealth
from tests.cli.command import ecluse, settings_file
from tests.pages import NOW_NS, Site, site, snapshot
from tests.processes import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = "of-the-city"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gateway")


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Site]:
    with site(folder, token=KEY) as running:
        yield running


@pytest.fixture(scope="module")
def config(folder: Path, served: Site) -> Path:
    """Settings of a gateway that runs: it wrote its address down."""
    (folder / "token").write_text(KEY + "\n", encoding="utf-8")
    file = settings_file(folder, '[http]\ntoken_file = "token"\n')
    (folder / "state" / ADDRESS_FILE).write_text(served.url + "\n", encoding="utf-8")
    return file


def test_status_shows_components_books_and_queues(config: Path) -> None:
    """Exit 0 where all is well."""
    result = ecluse("status", "--config", config)
    assert result.exit_code == 0, result.output
    for part in ("sink influx", "1204567 journalled", "42 pending", "outbox influx", "10:13:30"):
        assert part in result.stdout
    for part in ("900 (400 after newer ones)", "10000000000", "1.4 s", "2.5 h", "5.0 h", "it grows"):
        assert part in result.stdout


def test_status_exits_1_where_something_is_wrong(config: Path, served: Site) -> None:
    """A component that is down, or a book that does not balance."""
    before = served.now
    try:
        served.now = snapshot(ready=False)
        result = ecluse("status", "--config", config)
        assert result.exit_code == 1
        assert "<connection refused>" in result.stdout
        served.now = snapshot(missing=3)
        assert ecluse("status", "--config", config).exit_code == 1
    finally:
        served.now = before


def test_status_as_json(config: Path) -> None:
    """Everything, for programs."""
    told = json.loads(ecluse("status", "--json", "--config", config).stdout)
    assert told["balanced"] is True
    assert told["fleet"]["known"] == 10_000


def test_the_clock_is_shown_and_confirmed(config: Path, served: Site) -> None:
    """What is wrong, what waits, and when it ends; then it is believed, and nothing is left to confirm."""
    before = served.now
    assert ecluse("clock", "show", "--config", config).exit_code == 0
    hour_ns = 3_600 * 10**9
    suspect = ClockHealth(
        suspect=True,
        since_ns=NOW_NS,
        shown_ns=NOW_NS - hour_ns,
        expected_ns=NOW_NS,
        newest_ns=NOW_NS - 10**9,
        step_s=-3_600.0,
        waiting=1_234,
        bytes=150_000,
    )
    try:
        served.now = replace(before, clock=suspect)
        shown = ecluse("clock", "show", "--config", config)
        assert shown.exit_code == 1
        assert "shows 2026-11-22T09:15:00Z, and is suspect since 2026-11-22T10:15:00Z" in shown.stdout
        assert "2026-11-22T10:15:00Z was expected" in shown.stdout
        assert "1234 uplinks (0.1 MB) wait" in shown.stdout
        confirmed = ecluse("clock", "confirm", "--config", config)
        assert confirmed.exit_code == 0
        assert "believed: 2026-11-22T09:15:00Z" in confirmed.stdout
        assert "receive times move by about -3600 s" in confirmed.stdout
        again = ecluse("clock", "confirm", "--config", config)
        assert (again.exit_code, "nothing to confirm" in again.stdout) == (0, True)
    finally:
        served.now = before


def test_query_lists_and_shows(config: Path) -> None:
    """The measurements; the newest values; a span of one device."""
    assert "waste_1h" in ecluse("query", "--config", config).stdout
    latest = ecluse("query", "waste", "--latest", "--device", "bin-00003", "--config", config).stdout
    assert "tilted" in latest
    assert "bin-00004" not in latest
    span = ecluse("query", "waste", "--device", "bin-00003", "--last", "40min", "--config", config).stdout
    assert span.count("bin-00003") == 2


def test_query_writes_csv_and_parquet(config: Path, tmp_path: Path) -> None:
    """To the terminal or to a file."""
    text = ecluse("query", "waste", "--limit", 3, "-f", "csv", "--config", config).stdout
    assert text.splitlines()[0].startswith('"time","device"')
    assert len(text.splitlines()) == 4
    out = tmp_path / "waste.parquet"
    assert ecluse("query", "waste", "-f", "parquet", "-o", out, "--config", config).exit_code == 0
    assert pq.read_table(out).num_rows == 50


def test_a_question_that_cannot_be_answered(config: Path) -> None:
    """The gateway's own sentence and hint, exit 6."""
    result = ecluse("query", "wast", "--config", config)
    assert result.exit_code == 6
    assert "wast" in result.stderr
    assert "waste" in result.stderr


def test_a_file_that_cannot_be_written(config: Path) -> None:
    """Exit 1, with the file."""
    result = ecluse("query", "waste", "-f", "csv", "-o", "/nowhere/x.csv", "--config", config)
    assert result.exit_code == 1
    assert "/nowhere/x.csv cannot be written" in result.stderr


def test_the_wrong_token(config: Path, folder: Path) -> None:
    """Exit 6, and which settings hold it."""
    (folder / "token").write_text("another", encoding="utf-8")
    try:
        result = ecluse("status", "--config", config)
    finally:
        (folder / "token").write_text(KEY, encoding="utf-8")
    assert result.exit_code == 6
    assert "ECLUSE_HTTP__TOKEN" in result.stderr


def test_no_gateway(tmp_path: Path) -> None:
    """Exit 6: who was asked, and how to start one."""
    port = free_port()
    result = ecluse("status", "--config", settings_file(tmp_path, f"[http]\nport = {port}\n"))
    assert result.exit_code == 6
    assert f"no gateway answers at http://127.0.0.1:{port}" in result.stderr
    assert "ecluse run" in result.stderr


def test_a_proxy_of_the_environment_is_not_asked(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway is on this machine, or where the settings say."""
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    assert ecluse("status", "--config", config).exit_code == 0


@pytest.mark.parametrize(
    "said", [b"\x20\x02\x00\x00", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"], ids=["mqtt", "http"]
)
def test_something_else_answers(tmp_path: Path, said: bytes) -> None:
    """Another server has the port: a sentence, not a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(said)

        thread = threading.Thread(target=answer)
        thread.start()
        port = listener.getsockname()[1]
        result = ecluse("status", "--config", settings_file(tmp_path, f"[http]\nport = {port}\n"))
        thread.join(timeout=10)
    assert result.exit_code == 6
    assert f"http://127.0.0.1:{port}" in result.stderr


def test_settings_that_are_wrong(tmp_path: Path) -> None:
    """Exit 3, with every problem."""
    file = settings_file(tmp_path, '[broker]\nkeepalive = "often"\n[http]\nport = 99999\n')
    result = ecluse("status", "--config", file)
    assert result.exit_code == 3
    assert "2 problems" in result.stderr
    assert "broker.keepalive" in result.stderr
    assert "http.port" in result.stderr


def test_the_environment_names_the_settings(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ECLUSE_CONFIG, so that no command needs the option."""
    monkeypatch.setitem(os.environ, "ECLUSE_CONFIG", str(config))
    assert ecluse("status").exit_code == 0
