"""The commands explain themselves, refuse wrong usage in one sentence, and write the fleet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from firmware_sim.commands import NO_BROKER, USAGE, app, duration_s, moment_ns
from firmware_sim.model import DAY, SECOND
from tests.processes import free_port

if TYPE_CHECKING:
    from pathlib import Path

runner = CliRunner()


@pytest.mark.parametrize(
    "words", [["--help"], ["run", "--help"], ["backfill", "--help"], ["fleet", "--help"]]
)
def test_help_teaches(words: list[str]) -> None:
    """Every command has a help text and needs no broker to show it."""
    result = runner.invoke(app, words)
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_fleet_is_written(tmp_path: Path) -> None:
    """`fleet` writes one row a device below the header."""
    path = tmp_path / "devices.csv"
    result = runner.invoke(app, ["fleet", str(path), "--devices", "10"])
    assert result.exit_code == 0, result.output
    assert len(path.read_text(encoding="utf-8").splitlines()) == 11


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--for", "soon"],
        ["run", "--for", "0s"],
        ["run", "--origin", "yesterday"],
        ["backfill", "--from", "1h", "--to", "2h"],
        ["backfill", "--from", "never"],
        ["run", "--password-file", "/does/not/exist"],
    ],
)
def test_wrong_usage_is_said_in_a_sentence(words: list[str]) -> None:
    """Exit code 2 and no traceback."""
    result = runner.invoke(app, words)
    assert result.exit_code == USAGE
    assert "Traceback" not in result.output


def test_no_broker_is_said(tmp_path: Path) -> None:
    """Where nobody listens the command says so after its patience, with exit code 3."""
    words = ["run", "--port", str(free_port()), "--patience", "0.3", "--ledger", str(tmp_path / "l.jsonl")]
    result = runner.invoke(app, words)
    assert result.exit_code == NO_BROKER
    assert "No run: 127.0.0.1" in result.output


def test_durations_and_moments() -> None:
    """Durations have a unit; moments are RFC 3339, or so long ago."""
    assert [duration_s(text) for text in ("30s", "1.5m", "2h", "1d")] == [30, 90, 7_200, 86_400]
    assert moment_ns("1970-01-02T00:00:00Z", 0) == DAY
    assert moment_ns("1970-01-02T01:00:00+01:00", 0) == DAY
    assert moment_ns("1970-01-02T00:00:00", 0) == DAY
    assert moment_ns("90s", 100 * SECOND) == 10 * SECOND
