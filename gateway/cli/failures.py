"""How a command fails: one clear paragraph, a documented exit code, never a traceback."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from gateway.errors import (
    BackupError,
    BrokerError,
    ConfigurationError,
    EcluseError,
    JournalError,
    QueryError,
    StateError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


class Exit(IntEnum):
    """Exit codes, documented in `docs/commands.md`."""

    OK = 0
    PROBLEMS = 1
    """A check found problems, the demo's books did not balance, or a file cannot be read or written."""
    USAGE = 2
    """The command line is wrong."""
    CONFIGURATION = 3
    """Settings, profiles or devices were refused; nothing was started."""
    BROKER = 4
    """The broker refused the gateway for good, or another gateway uses its client identifier."""
    STORAGE = 5
    """Journal, state or a backup cannot be written, read or locked, or is damaged."""
    UNREACHABLE = 6
    """The gateway that was asked does not answer, or cannot answer this question."""


class Unreachable(EcluseError):  # noqa: N818 - says a state of the gateway that was asked
    """No gateway answered."""


_CODES: tuple[tuple[type[EcluseError], Exit], ...] = (
    (ConfigurationError, Exit.CONFIGURATION),
    (BrokerError, Exit.BROKER),
    (JournalError, Exit.STORAGE),
    (StateError, Exit.STORAGE),
    (BackupError, Exit.STORAGE),
    (QueryError, Exit.UNREACHABLE),
    (Unreachable, Exit.UNREACHABLE),
)


def exit_code(error: EcluseError) -> Exit:
    """Return the exit code of an error."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), Exit.PROBLEMS)


@contextmanager
def told() -> Iterator[None]:
    """Turn an EcluseError of the block into its paragraph on stderr and its exit code."""
    try:
        yield
    except EcluseError as error:
        say(error)
        sys.exit(exit_code(error))


def say(error: EcluseError) -> None:
    """Print an error, and its hint, for a person."""
    console = Console(stderr=True, soft_wrap=True)
    if isinstance(error, ConfigurationError) and len(error.problems) > 1:
        console.print(f"[bold red]{len(error.problems)} problems:[/]")
    for line in str(error).splitlines():
        console.print(f"[red]•[/] {escape(line)}")
    if error.hint:
        console.print(f"  [dim]{escape(error.hint)}[/]")
