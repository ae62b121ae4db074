from __future__ import annotations

import subprocess
import sys

import pytest
import typer
import typer.main

from gateway import kernel
from gateway.cli.failures import Exit, Unreachable, exit_code
from gateway.cli.main import application
from gateway.errors import (
    BrokerError,
    ConfigurationError,
    EcluseError,
    JournalError,
    Problem,
    QueryError,
    SessionTakenOver,
    StateError,
)
from tests.cli.command import ecluse
from tests.integration.gateway_process import PROJECT

VERBS = ["demo", "run", "check", "status", "query", "replay", "version", "profile", "device", "quarantine"]


def test_it_is_a_command() -> None:
    """`python -m gateway` starts, and says its version."""
    told = subprocess.run(
        [sys.executable, "-m", "gateway", "version"], capture_output=True, text=True, check=True, timeout=60
    )
    assert told.stdout.startswith("ecluse 0.")
    assert told.stderr == ""


def test_the_version_says_what_runs_compiled() -> None:
    """All of it where there is a compiler; nothing where it is left out, and what to do."""
    command = [sys.executable, "-X", "ecluse-kernel=off", "-m", "gateway", "version"]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout.splitlines()[1:] == [
        "compiled: nothing",
        "a C compiler at installation makes all of it faster",
    ]
    sources = {path.stem for path in (PROJECT / "gateway" / "kernel").glob("*.pyx")}
    assert sources == set(kernel.TWINS)


def test_a_failure_of_the_process_is_a_paragraph() -> None:
    """On stderr, with its exit code; never a traceback."""
    words = [sys.executable, "-m", "gateway", "profile", "show", "/nowhere"]
    told = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert told.returncode == Exit.CONFIGURATION
    assert told.stdout == ""
    assert "/nowhere: there is no profile here" in told.stderr
    assert "Traceback" not in told.stderr


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str) -> None:
    """Without any settings."""
    assert ecluse(verb, "--help").exit_code == 0


def test_examples_stay_as_they_are_written() -> None:
    """A line each, so that they can be copied."""
    assert "\n    ecluse query waste --latest " in ecluse("query", "--help").stdout


def test_every_option_is_explained() -> None:
    """In its help."""

    def walk(command: typer.main.click.Command, name: str) -> None:
        for inner_name, inner in getattr(command, "commands", {}).items():
            walk(inner, f"{name} {inner_name}")
        for parameter in command.params:
            if parameter.name not in ("help", "install_completion", "show_completion"):
                assert getattr(parameter, "help", None), f"{name}: {parameter.name}"

    walk(typer.main.get_command(application()), "ecluse")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigurationError([Problem("x", "y")]), Exit.CONFIGURATION),
        (BrokerError("x"), Exit.BROKER),
        (SessionTakenOver("x"), Exit.BROKER),
        (JournalError("x"), Exit.STORAGE),
        (StateError("x"), Exit.STORAGE),
        (QueryError("x"), Exit.UNREACHABLE),
        (Unreachable("x"), Exit.UNREACHABLE),
        (EcluseError("x"), Exit.PROBLEMS),
    ],
)
def test_exit_codes(error: EcluseError, code: Exit) -> None:
    """One a kind of failure, as documented."""
    assert exit_code(error) is code
